//! `wib`: the operator and its tools.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use workload_identity_binding::api;
use workload_identity_binding::app::{App, Failure};
use workload_identity_binding::cli::{Cli, Command, RunArgs};
use workload_identity_binding::migrate;
use workload_identity_binding::runtime::telemetry;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run(*args).map(|()| 0),
        Command::Crd => api::crds_yaml()
            .map(|yaml| {
                print!("{yaml}");
                0
            })
            .map_err(|e| Failure::Other(e.to_string())),
        Command::Migrate(args) => migrate::run(&args).map_err(|e| match e {
            migrate::Failure::Path(_) | migrate::Failure::Usage(_) => Failure::Setting(e.to_string()),
            _ => Failure::Other(e.to_string()),
        }),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // One line, whatever the sentence quotes.
            let sentence = failure.to_string();
            let words: Vec<_> = sentence.split_whitespace().collect();
            eprintln!("error: {}", words.join(" "));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(mut args: RunArgs) -> Result<(), Failure> {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    telemetry::install(args.process.log_format, &args.process.log_level, color)
        .map_err(|e| Failure::Setting(e.to_string()))?;
    args.azure.azure_client_secret = std::env::var("AZURE_CLIENT_SECRET").ok();
    // One TLS stack for both clients; kube would otherwise choose its own.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();

    let runtime = tokio::runtime::Runtime::new().map_err(|e| Failure::Other(e.to_string()))?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let app = App::bind(args).await?;
        let stop = shutdown.clone();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| Failure::Other(e.to_string()))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| Failure::Other(e.to_string()))?;
        let signals = async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            stop.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = app.run(shutdown) => result,
            () = signals => Ok(()),
        }
    })
}
