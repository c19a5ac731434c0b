//! Runs the emulator by hand.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use azure_emulator::{Emulator, Latency, Options, RpBuckets};
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// Azure Resource Manager (managed identities) and the Entra token endpoint on 127.0.0.1, for tests.
///
/// Nothing leaves the machine and nothing is kept: Ctrl-C ends it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Tenant id.
    #[arg(long, value_name = "GUID", default_value_t = Options::default().tenant_id)]
    tenant: String,
    /// Subscription id.
    #[arg(long, value_name = "GUID", default_value_t = Options::default().subscription_id)]
    subscription: String,
    /// A managed identity to make, with its resource group. Repeatable.
    #[arg(long = "identity", value_name = "GROUP/NAME", value_parser = group_and_name)]
    identities: Vec<(String, String)>,
    /// An app registration that logs in with a client secret. Repeatable.
    #[arg(long = "app", value_name = "CLIENT_ID=SECRET", value_parser = client_and_secret)]
    apps: Vec<(String, String)>,
    /// PEM bundle that vouches for the TLS certificate of a token issuer on loopback. Repeatable.
    #[arg(long = "issuer-ca", value_name = "FILE")]
    issuer_cas: Vec<PathBuf>,
    /// Where to write the emulator's CA certificate.
    #[arg(long, value_name = "FILE", default_value = "azure-emulator-ca.pem")]
    ca_out: PathBuf,
    /// Take as long as Azure does.
    #[arg(long)]
    realistic_latency: bool,
    /// Throttle like the resource provider does.
    #[arg(long)]
    throttle: bool,
}

fn group_and_name(text: &str) -> Result<(String, String), String> {
    pair(text, '/').ok_or_else(|| "expected GROUP/NAME".to_owned())
}

fn client_and_secret(text: &str) -> Result<(String, String), String> {
    pair(text, '=').ok_or_else(|| "expected CLIENT_ID=SECRET".to_owned())
}

fn pair(text: &str, separator: char) -> Option<(String, String)> {
    let (left, right) = text.split_once(separator)?;
    let whole = !left.is_empty() && !right.is_empty();
    whole.then(|| (left.to_owned(), right.to_owned()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let read =
        |path: &PathBuf| fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let azure = Emulator::start(Options {
        port: arguments.port,
        tenant_id: arguments.tenant.clone(),
        subscription_id: arguments.subscription.clone(),
        issuer_cas: arguments
            .issuer_cas
            .iter()
            .map(read)
            .collect::<anyhow::Result<_>>()?,
    })
    .await?;
    fs::write(&arguments.ca_out, azure.ca_pem())
        .with_context(|| format!("writing {}", arguments.ca_out.display()))?;
    azure.knobs(|knobs| {
        if arguments.realistic_latency {
            knobs.latency = Latency::realistic();
        }
        if arguments.throttle {
            knobs.rp_buckets = Some(RpBuckets::published());
        }
    });
    for (group, name) in &arguments.identities {
        azure.create_identity(group, name);
    }
    for (client_id, secret) in &arguments.apps {
        azure.add_app(client_id, Some(secret), None);
    }
    print(&azure, &arguments);
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn print(azure: &Emulator, arguments: &Arguments) {
    let ca = fs::canonicalize(&arguments.ca_out).unwrap_or_else(|_| arguments.ca_out.clone());
    let (url, ca) = (azure.url(), ca.display());
    println!("url           {url}");
    println!("ca            {ca}");
    println!("tenant        {}", azure.tenant_id());
    println!("subscription  {}", azure.subscription_id());
    for identity in azure.identities() {
        println!(
            "identity      {}\n  client id   {}",
            identity.resource_id, identity.client_id
        );
    }
    println!(
        "\nSDKs:\n  export AZURE_AUTHORITY_HOST={url}/ AZURE_TENANT_ID={} SSL_CERT_FILE={ca}\n\naz:\n  export \
         REQUESTS_CA_BUNDLE={ca} AZURE_CORE_INSTANCE_DISCOVERY=false\n  az cloud register --name emulator \
         --endpoint-resource-manager {url}\n  az cloud set --name emulator\n  az login --service-principal \
         --tenant {} -u CLIENT_ID -p SECRET",
        azure.tenant_id(),
        azure.tenant_id()
    );
}
