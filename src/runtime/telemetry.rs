//! Logs.

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, fmt};

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Libraries that carry tokens. Below INFO some of them print requests whole: `azure_core` 0.21
/// shows the bearer token and hides the rest. No setting lifts this cap.
const CAPPED: [&str; 9] = [
    "azure_",
    "typespec",
    "reqwest",
    "hyper",
    "h2",
    "rustls",
    "tower",
    "kube_client",
    "tokio_rustls",
];

/// Libraries that say a second time, without the place, what is told where the call was made.
const TOLD_BY_US: [&str; 3] = [
    "kube_client::client",
    "kube_client::client::builder",
    "kube_runtime::watcher",
];

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not understood.
    #[error(
        "--log-level {0:?} is not understood: use error, warn, info, debug or trace, or directives such as info,kube=debug"
    )]
    Filter(String),
    /// The process has a log already.
    #[error("the log is set up already")]
    Twice,
}

/// A log in a form, from a level up, into a writer.
///
/// # Errors
/// [`Error::Filter`] when the level is not understood.
pub fn subscriber<W>(
    format: LogFormat,
    level: &str,
    color: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, Error>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let asked = EnvFilter::try_new(level).map_err(|_| Error::Filter(level.to_owned()))?;
    let filter = asked.and(filter_fn(is_wanted));
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => fmt::layer()
            .with_ansi(color)
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
    };
    Ok(Registry::default().with(layer))
}

/// Makes it the log of the process, on standard error.
///
/// # Errors
/// When the level is not understood, or the process has a log already.
pub fn install(format: LogFormat, level: &str, color: bool) -> Result<(), Error> {
    let subscriber = subscriber(format, level, color, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::Twice)
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    // Our own lines name the binding; the controller's span would say it twice.
    if metadata.is_span() && metadata.target().starts_with("kube_runtime") {
        return false;
    }
    if TOLD_BY_US.contains(&metadata.target()) {
        return false;
    }
    let carries_tokens = CAPPED.iter().any(|prefix| metadata.target().starts_with(prefix));
    !carries_tokens || *metadata.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(LogFormat::Json, level, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn libraries_that_carry_tokens_stay_quiet_whatever_is_asked_for() {
        let text = logged("trace,azure_core=trace", || {
            tracing::debug!(target: "azure_core", "Bearer secret");
            tracing::trace!(target: "hyper::proto", "Bearer secret");
            tracing::trace!(target: "workload_identity_binding", "ours");
        });
        assert!(text.contains("ours") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn a_level_that_is_not_understood_is_named() {
        let error = subscriber(LogFormat::Text, "loud=very=much", false, std::io::sink)
            .err()
            .unwrap();
        assert!(error.to_string().contains("loud=very=much"));
    }
}
