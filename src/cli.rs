//! The command line: every setting is a flag and an environment variable.

mod migrate;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use migrate::{ClusterArgs, MigrateArgs, MigrateOutput, MigrateStep};

use crate::api::DeletionPolicy;
use crate::azure::{Cloud, CredentialKind, Pacing};
use crate::controller::Authorization;
use crate::runtime::telemetry::LogFormat;

const EXIT_CODES: &str = "Exit codes: 0 stopped as asked, 1 failed, 2 a setting is wrong, 3 Kubernetes cannot be used, 4 Azure cannot be used, 5 no longer the leader.";

/// Makes Azure managed identities trust Kubernetes ServiceAccounts, one object each.
#[derive(Debug, Parser)]
#[command(
    name = "wib",
    version,
    about,
    long_about = None,
    propagate_version = true,
    after_help = EXIT_CODES
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator.
    #[command(after_help = EXIT_CODES)]
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinition as YAML.
    Crd,
    /// Migrate from aad-pod-identity: plan it, rewrite the manifests, or carry it out in a cluster.
    #[command(after_help = migrate::AFTER_HELP)]
    Migrate(Box<MigrateArgs>),
}

/// Settings of the operator.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Settings of the credentials that are made.
    #[command(flatten)]
    pub bindings: BindingArgs,
    /// Settings of the way to Azure.
    #[command(flatten)]
    pub azure: AzureArgs,
    /// Settings of the way to Kubernetes.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
    /// Settings of the leader election.
    #[command(flatten)]
    pub election: ElectionArgs,
    /// Settings of the process.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// Settings of the credentials that are made.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Bindings")]
pub struct BindingArgs {
    /// Who decides which ServiceAccount may use which identity.
    #[arg(long, env = "WIB_AUTHORIZATION", value_enum, default_value_t)]
    pub authorization: Authorization,
    /// Audience of every credential; the Azure Workload Identity webhook asks tokens for this one
    /// in every cloud.
    #[arg(long, env = "WIB_AUDIENCE", value_name = "AUDIENCE", default_value = "api://AzureADTokenExchange", value_parser = values::audience)]
    pub audience: String,
    /// Issuer of the cluster's tokens, byte for byte. By default it is read from the API server's discovery
    /// document, or where the operator may not read that, from its own token.
    #[arg(long, env = "WIB_ISSUER", value_name = "URL")]
    pub issuer: Option<String>,
    /// First part of the name of every credential. Change it only before the first binding.
    #[arg(long, env = "WIB_CREDENTIAL_PREFIX", value_name = "PREFIX", default_value = "wib", value_parser = values::prefix)]
    pub credential_prefix: String,
    /// Subscription of identities that a binding gives by name only.
    #[arg(long, env = "AZURE_SUBSCRIPTION_ID", value_name = "GUID", value_parser = values::subscription)]
    pub subscription_id: Option<String>,
    /// Resource group of identities that a binding gives by name only.
    #[arg(long, env = "WIB_RESOURCE_GROUP", value_name = "NAME", value_parser = values::resource_group)]
    pub resource_group: Option<String>,
    /// What happens to a credential when its binding is deleted and names no policy.
    #[arg(
        long,
        env = "WIB_DELETION_POLICY",
        value_enum,
        default_value_t,
        ignore_case = true
    )]
    pub deletion_policy: DeletionPolicy,
    /// How long a credential that the operator made and that no binding wants any more stays before it is deleted.
    /// One whose grant is withdrawn goes at once.
    #[arg(long, env = "WIB_ORPHAN_GRACE_PERIOD", value_name = "DURATION", default_value = "1h", value_parser = values::interval)]
    pub orphan_grace_period: Duration,
    /// After a change of the cluster's issuer, how long the credentials of the former one stay: the longest lifetime of a
    /// token, which the pod webhook bounds to 24 hours.
    #[arg(long, env = "WIB_FORMER_ISSUER_RETENTION", value_name = "DURATION", default_value = "24h", value_parser = values::interval)]
    pub former_issuer_retention: Duration,
    /// Time between two looks at an identity that is in order.
    #[arg(long, env = "WIB_DRIFT_INTERVAL", value_name = "DURATION", default_value = "10m", value_parser = values::interval)]
    pub drift_interval: Duration,
    /// Time between two tries of what a person has to mend, or what takes Azure minutes.
    #[arg(long, env = "WIB_SLOW_RETRY_INTERVAL", value_name = "DURATION", default_value = "2m", value_parser = values::interval)]
    pub slow_retry_interval: Duration,
    /// Longest delay between two tries of what passes by itself; the first is a 60th of it.
    #[arg(long, env = "WIB_MAX_RETRY_INTERVAL", value_name = "DURATION", default_value = "1m", value_parser = values::interval)]
    pub max_retry_interval: Duration,
    /// How long a list that lacks the operator's own write is taken for stale, not for drift.
    #[arg(long, env = "WIB_READ_AFTER_WRITE_GRACE", value_name = "DURATION", default_value = "2m", value_parser = values::interval)]
    pub read_after_write_grace: Duration,
    /// How many bindings are reconciled at the same time.
    #[arg(long, env = "WIB_CONCURRENCY", value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
}

/// Settings of the way to Azure.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Azure")]
pub struct AzureArgs {
    /// The cloud: its endpoints are the defaults below.
    #[arg(
        long,
        env = "AZURE_ENVIRONMENT",
        value_enum,
        default_value_t,
        ignore_case = true
    )]
    pub azure_cloud: Cloud,
    /// Endpoint of Azure Resource Manager.
    #[arg(long, env = "AZURE_RESOURCE_MANAGER_ENDPOINT", value_name = "URL")]
    pub azure_endpoint: Option<String>,
    /// Endpoint of Entra.
    #[arg(long, env = "AZURE_AUTHORITY_HOST", value_name = "URL")]
    pub azure_authority_host: Option<String>,
    /// PEM file with certificates to trust beside the system's.
    #[arg(long, env = "WIB_AZURE_CA_BUNDLE", value_name = "FILE", value_parser = values::path)]
    pub azure_ca_bundle: Option<PathBuf>,
    /// How the operator logs in to Azure.
    #[arg(long, env = "WIB_AZURE_CREDENTIAL", value_enum, default_value_t)]
    pub azure_credential: CredentialKind,
    /// Tenant of the operator's own identity.
    #[arg(long, env = "AZURE_TENANT_ID", value_name = "GUID", value_parser = values::own_id)]
    pub azure_tenant_id: Option<String>,
    /// Client id of the operator's own identity.
    #[arg(long, env = "AZURE_CLIENT_ID", value_name = "GUID", value_parser = values::own_id)]
    pub azure_client_id: Option<String>,
    /// The operator's own projected ServiceAccount token, for workload identity.
    #[arg(long, env = "AZURE_FEDERATED_TOKEN_FILE", value_name = "FILE", value_parser = values::path)]
    pub azure_federated_token_file: Option<PathBuf>,
    /// Client secret of the operator. Environment only: a flag would show in the process list.
    #[arg(skip)]
    pub azure_client_secret: Option<String>,
    /// PEM file with certificate and RSA key of the operator.
    #[arg(long, env = "AZURE_CLIENT_CERTIFICATE_PATH", value_name = "FILE", value_parser = values::path)]
    pub azure_client_certificate_path: Option<PathBuf>,
    /// How often Azure is asked. Its Retry-After is obeyed in any case.
    #[arg(long, env = "WIB_AZURE_PACING", value_enum, default_value_t)]
    pub azure_pacing: Pacing,
    /// Deadline of one call to Azure.
    #[arg(long, env = "WIB_AZURE_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = values::interval)]
    pub azure_timeout: Duration,
}

/// Settings of the way to Kubernetes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubernetesArgs {
    /// Kubeconfig file. By default the cluster around the process, else KUBECONFIG or
    /// ~/.kube/config.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Watch the bindings of this namespace only.
    #[arg(long, env = "WIB_WATCH_NAMESPACE", value_name = "NAMESPACE", value_parser = values::namespace)]
    pub watch_namespace: Option<String>,
    /// How long a watch lasts before the API server ends it and the operator asks anew. A connection
    /// that has gone silent is noticed 5 seconds after that.
    #[arg(long, env = "WIB_WATCH_TIMEOUT", value_name = "DURATION", default_value = "1m", value_parser = values::seconds)]
    pub watch_timeout: Duration,
    /// ServiceAccount token to read the issuer from, and from nothing else. A change of the issuer shows only
    /// when the token is renewed.
    #[arg(long, env = "WIB_ISSUER_TOKEN_FILE", value_name = "FILE", value_parser = values::path)]
    pub issuer_token_file: Option<PathBuf>,
    /// How often the issuer is read again: for so long tokens of a new one are refused at most.
    #[arg(long, env = "WIB_ISSUER_REFRESH_INTERVAL", value_name = "DURATION", default_value = "10s", value_parser = values::interval)]
    pub issuer_refresh_interval: Duration,
}

/// Settings of the leader election.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Leader election")]
pub struct ElectionArgs {
    /// Work only while holding a lease, so that several replicas may run. With =false this must be
    /// the only one.
    #[arg(long, env = "WIB_LEADER_ELECT", value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: bool,
    /// Namespace of the lease. By default the pod's own, else workload-identity-binding-system.
    #[arg(long, env = "WIB_LEASE_NAMESPACE", value_name = "NAMESPACE", value_parser = values::namespace)]
    pub lease_namespace: Option<String>,
    /// Name of the lease.
    #[arg(long, env = "WIB_LEASE_NAME", value_name = "NAME", default_value = "workload-identity-binding", value_parser = values::object_name)]
    pub lease_name: String,
    /// How long a leader that died without a word keeps others off. Whole seconds, 3s to 5m. The
    /// lease is renewed every third of it, and a call may take a fifth.
    #[arg(long, env = "WIB_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = values::lease_duration)]
    pub lease_duration: Duration,
    /// Name of this pod, in the lease and in events. By default HOSTNAME.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
}

/// Settings of the process.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Process")]
pub struct ProcessArgs {
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(
        long,
        env = "WIB_HTTP_ADDRESS",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub http_address: SocketAddr,
    /// Form of the log.
    #[arg(long, env = "WIB_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Level of the log: error, warn, info, debug, trace, or directives such as info,kube=debug.
    #[arg(long, env = "WIB_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// How long to try to reach Kubernetes and Azure before giving up.
    #[arg(long, env = "WIB_STARTUP_TIMEOUT", value_name = "DURATION", default_value = "1m", value_parser = values::interval)]
    pub startup_timeout: Duration,
    /// How long reconciles under way may take after a signal to stop.
    #[arg(long, env = "WIB_SHUTDOWN_TIMEOUT", value_name = "DURATION", default_value = "25s", value_parser = values::interval)]
    pub shutdown_timeout: Duration,
}

impl RunArgs {
    /// Takes an empty text for a setting that is not set: `WIB_ISSUER=` in a manifest means none.
    #[must_use]
    pub fn without_blanks(mut self) -> Self {
        let (bindings, azure, kubernetes) = (&mut self.bindings, &mut self.azure, &mut self.kubernetes);
        for text in [
            &mut bindings.issuer,
            &mut bindings.subscription_id,
            &mut bindings.resource_group,
            &mut azure.azure_endpoint,
            &mut azure.azure_authority_host,
            &mut azure.azure_tenant_id,
            &mut azure.azure_client_id,
            &mut azure.azure_client_secret,
            &mut kubernetes.context,
            &mut kubernetes.watch_namespace,
            &mut self.election.lease_namespace,
            &mut self.election.pod_name,
        ] {
            *text = text.take().filter(|t| !t.is_empty());
        }
        for path in [
            &mut azure.azure_ca_bundle,
            &mut azure.azure_federated_token_file,
            &mut azure.azure_client_certificate_path,
            &mut kubernetes.kubeconfig,
            &mut kubernetes.issuer_token_file,
        ] {
            *path = path.take().filter(|p| !p.as_os_str().is_empty());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_empty_setting_is_none() {
        let cli = Cli::try_parse_from([
            "wib",
            "run",
            "--issuer=",
            "--azure-tenant-id=t",
            "--azure-ca-bundle=",
            "--subscription-id=",
            "--resource-group=",
            "--watch-namespace=",
        ])
        .unwrap();
        let Command::Run(args) = cli.command else {
            panic!("not run")
        };
        let args = args.without_blanks();
        assert_eq!((args.bindings.issuer, args.azure.azure_ca_bundle), (None, None));
        assert_eq!(
            (args.bindings.subscription_id, args.bindings.resource_group),
            (None, None)
        );
        assert_eq!(args.kubernetes.watch_namespace, None);
        assert_eq!(args.azure.azure_tenant_id.as_deref(), Some("t"));
    }

    #[test]
    fn the_placeholder_of_the_manifests_is_no_id() {
        for flag in ["--azure-client-id", "--azure-tenant-id"] {
            let with = |value: &str| Cli::try_parse_from(["wib", "run", &format!("{flag}={value}")]);
            let error = with("00000000-0000-0000-0000-000000000000")
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(flag) && error.contains("AZURE_CLIENT_ID"),
                "{error}"
            );
            assert!(with("").is_ok() && with("00000000-0000-0000-0000-000000000001").is_ok());
        }
    }

    #[test]
    fn the_election_is_a_flag_with_or_without_a_value() {
        for (flags, wanted) in [
            (&[][..], true),
            (&["--leader-elect"], true),
            (&["--leader-elect=true"], true),
            (&["--leader-elect=false"], false),
        ] {
            let cli = Cli::try_parse_from(["wib", "run"].iter().chain(flags)).unwrap();
            let Command::Run(args) = cli.command else {
                panic!("not run")
            };
            assert_eq!(args.election.leader_elect, wanted, "{flags:?}");
        }
        for flag in [
            "--leader-elect=perhaps",
            "--lease-name=../pods",
            "--lease-namespace=A",
        ] {
            assert!(Cli::try_parse_from(["wib", "run", flag]).is_err(), "{flag}");
        }
    }
}
