//! The program itself: its command line, how it fails, what probes see, how it stops.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Emulator, Fault, FaultAction, Latency, Operation, Options};
use clap::CommandFactory as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, CustomResourceExt as _};
use pretty_assertions::assert_eq;
use workload_identity_binding::api::WorkloadIdentityBinding;
use workload_identity_binding::cli::Cli;

use wib_harness::program::Ended;
use wib_harness::{Cluster, Operator, Program, World};

use crate::runner::trials;

trials![
    alone help_names_every_setting_and_exit_code,
    alone crd_prints_the_files_that_are_shipped,
    alone a_wrong_command_line_exits_2,
    alone a_wrong_setting_exits_2_and_is_named,
    alone a_login_that_cannot_be_set_up_exits_2_and_names_what_is_missing,
    alone a_taken_port_exits_2,
    alone a_kubeconfig_that_cannot_be_used_exits_3_and_is_named,
    alone a_kubernetes_that_cannot_be_reached_exits_3_in_time,
    shared an_azure_that_cannot_be_reached_exits_4_in_time,
    shared a_login_that_entra_refuses_exits_4_with_the_code,
    shared every_setting_works_from_the_environment,
    shared a_client_secret_logs_in,
    shared a_client_certificate_logs_in,
    shared readyz_names_what_is_pending,
    shared metrics_count_what_was_done,
    shared a_stop_during_work_is_quick_and_the_next_run_goes_on,
    shared a_stop_before_it_is_ready_is_quick,
    alone an_operator_that_is_installed_before_the_crd_waits_for_it,
    alone a_deleted_crd_takes_no_trust_along,
];

/// The program under test.
pub const WIB: &str = env!("CARGO_BIN_EXE_wib");

/// Runs `wib` with these arguments, in an environment of its own.
async fn wib(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Ended> {
    let arguments: Vec<_> = arguments.iter().map(|&a| a.to_owned()).collect();
    Program::run(Path::new(WIB), &arguments, environment).await
}

/// Runs `wib run` for a world, with further flags, to its end.
async fn run_in(world: &World, flags: &[&str]) -> Result<Ended> {
    let arguments = &world.operator_arguments(flags)[1..];
    Program::run(Path::new(WIB), arguments, &[]).await
}

/// Starts `wib run` with these arguments, `wib` itself being the first.
fn start(arguments: &[String], environment: &[(&str, &str)]) -> Result<Program> {
    Program::start(Path::new(WIB), &arguments[1..], environment)
}

/// Fails unless it failed as a program should: the code, one `error:` line that holds all of `parts`, no trace.
fn assert_fails(ended: &Ended, code: i32, parts: &[&str]) -> Result<()> {
    let log = &ended.log;
    ensure!(
        ended.code == Some(code),
        "exit code {:?}, not {code}:\n{log}",
        ended.code
    );
    let errors: Vec<_> = log.lines().filter(|line| line.starts_with("error: ")).collect();
    ensure!(errors.len() == 1, "{} error lines:\n{log}", errors.len());
    for part in parts {
        ensure!(errors[0].contains(part), "{part:?} is missing in: {}", errors[0]);
    }
    ensure!(!log.contains("panicked") && !log.contains("backtrace"), "{log}");
    ensure!(ended.output.is_empty(), "on standard output: {}", ended.output);
    Ok(())
}

/// The same, and nothing comes after that line.
fn assert_ends_with(ended: &Ended, code: i32, parts: &[&str]) -> Result<()> {
    assert_fails(ended, code, parts)?;
    let last = ended.log.lines().last().unwrap_or_default();
    ensure!(
        last.starts_with("error: "),
        "the error is more than one line:\n{}",
        ended.log
    );
    Ok(())
}

/// A folder with a kubeconfig that leads nowhere, and the flag that names it.
fn nowhere() -> Result<(tempfile::TempDir, String)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("kubeconfig");
    let config = "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}],\n \
         clusters: [{name: k, cluster: {server: 'https://127.0.0.1:9'}}], users: [{name: u, user: {token: t}}]}";
    std::fs::write(&path, config)?;
    Ok((directory, format!("--kubeconfig={}", path.display())))
}

// --- The command line ------------------------------------------------------------------------------------

async fn help_names_every_setting_and_exit_code() -> Result<()> {
    let environment = [("AZURE_CLIENT_SECRET", "hunter2-of-the-test")];
    let short = wib(&["--help"], &environment).await?;
    assert_eq!(short.code, Some(0));
    for part in [
        "run",
        "crd",
        "Exit codes: 0",
        "2 a setting is wrong",
        "3 Kubernetes",
        "4 Azure",
        "5 no longer the leader",
    ] {
        ensure!(
            short.output.contains(part),
            "{part:?} is missing in:\n{}",
            short.output
        );
    }
    let long = wib(&["run", "--help"], &environment).await?;
    assert_eq!(long.code, Some(0));
    for group in [
        "Bindings:",
        "Azure:",
        "Kubernetes:",
        "Leader election:",
        "Process:",
    ] {
        ensure!(
            long.output.lines().any(|line| line == group),
            "no group {group}:\n{}",
            long.output
        );
    }
    let command = Cli::command();
    for setting in command.find_subcommand("run").context("no run")?.get_arguments() {
        let flag = format!("--{}", setting.get_long().context("a setting without a flag")?);
        ensure!(long.output.contains(&flag), "{flag} is missing");
        if let Some(variable) = setting.get_env() {
            let variable = variable.to_string_lossy();
            ensure!(
                long.output.contains(&format!("[env: {variable}=")),
                "{variable} is missing"
            );
        }
    }
    ensure!(!long.output.contains("hunter2"), "the help shows the secret");
    Ok(())
}

async fn crd_prints_the_files_that_are_shipped() -> Result<()> {
    let ended = wib(&["crd"], &[]).await?;
    assert_eq!((ended.code, ended.log.as_str()), (Some(0), ""));
    let mut shipped = Vec::new();
    for plural in ["workloadidentitybindings", "managedidentities"] {
        let path = format!("crds/workload-identity.io_{plural}.yaml");
        shipped.push(std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(path),
        )?);
    }
    // Two documents, as `kubectl apply -f -` reads them.
    assert_eq!(ended.output, shipped.join("---\n"));
    Ok(())
}

async fn a_wrong_command_line_exits_2() -> Result<()> {
    for (arguments, part) in [
        (&["run", "--frobnicate"][..], "--frobnicate"),
        (&["walk"], "walk"),
        (&["run", "left-over"], "left-over"),
        (&["run", "--drift-interval"], "--drift-interval"),
        (&["run", "--drift-interval=soon"], "--drift-interval"),
        (&["run", "--drift-interval=0s"], "at least 10ms"),
        (&["run", "--startup-timeout=-1s"], "--startup-timeout"),
        (&["run", "--credential-prefix=Wib_"], "lower-case letters"),
        (&["run", "--audience="], "--audience"),
        (&["run", "--audience=api://A "], "white space"),
        (
            &["run", "--audience=api://A\tB"],
            "white space or a control character. Leave it out for",
        ),
        (
            &["run", "--subscription-id=prod"],
            "must be a GUID: `az account show",
        ),
        (&["run", "--resource-group=a/b"], "1 to 90 letters, digits"),
        (&["run", "--watch-namespace=shop,web"], "one namespace"),
        (
            &["run", "--watch-namespace=../x"],
            "`kubectl get namespaces` lists them",
        ),
        (&["run", "--concurrency=0"], "--concurrency"),
        (&["run", "--authorization=maybe"], "--authorization"),
        (&["run", "--azure-cloud=mars"], "--azure-cloud"),
        (&["run", "--deletion-policy=Shred"], "--deletion-policy"),
        (&["run", "--http-address=8080"], "--http-address"),
        (&["run", "--leader-elect=perhaps"], "--leader-elect"),
        (&["run", "--lease-duration=2s"], "3s to 5m"),
        (&["run", "--lease-name=a/b"], "--lease-name"),
    ] {
        let ended = wib(arguments, &[]).await?;
        assert_fails(&ended, 2, &[part]).with_context(|| format!("{arguments:?}"))?;
    }
    // Nothing at all: the help, and not success.
    assert_eq!(wib(&[], &[]).await?.code, Some(2));
    Ok(())
}

async fn a_wrong_setting_exits_2_and_is_named() -> Result<()> {
    let (folder, kubeconfig) = nowhere()?;
    let no_pem = folder.path().join("no.pem");
    std::fs::write(&no_pem, "hello")?;
    let (no_pem, missing) = (no_pem.display().to_string(), "/nonexistent/ca.pem");
    for (flag, parts) in [
        (
            "--azure-endpoint=http://localhost:1".to_owned(),
            ["--azure-endpoint", "https"],
        ),
        (
            "--azure-authority-host=http://localhost:1".to_owned(),
            ["--azure-authority-host", "https"],
        ),
        (
            "--azure-endpoint=management".to_owned(),
            ["--azure-endpoint", "management"],
        ),
        (
            format!("--azure-ca-bundle={no_pem}"),
            [&no_pem, "no PEM certificate"],
        ),
        (format!("--azure-ca-bundle={missing}"), [missing, "No such file"]),
        (
            "--log-level=bogus=bogus=x".to_owned(),
            ["--log-level", "bogus=bogus=x"],
        ),
    ] {
        let ended = wib(&["run", &kubeconfig, &flag], &[("AZURE_CLIENT_SECRET", "s")]).await?;
        assert_ends_with(&ended, 2, &parts).with_context(|| flag)?;
    }
    for (name, value, parts) in [
        ("WIB_LOG_LEVEL", "bogus=bogus=x", ["--log-level", "bogus=bogus=x"]),
        ("WIB_DRIFT_INTERVAL", "soon", ["--drift-interval", "soon"]),
        (
            "WIB_CREDENTIAL_PREFIX",
            "-",
            ["--credential-prefix", "lower-case"],
        ),
        (
            "AZURE_ENVIRONMENT",
            "AzureMarsCloud",
            ["--azure-cloud", "AzureMarsCloud"],
        ),
        ("WIB_HTTP_ADDRESS", "nowhere", ["--http-address", "nowhere"]),
        ("WIB_AUDIENCE", " ", ["--audience", "1 to 600 characters"]),
        (
            "AZURE_SUBSCRIPTION_ID",
            "prod",
            ["'prod' for '--subscription-id", "must be a GUID"],
        ),
        (
            "WIB_RESOURCE_GROUP",
            "shop.",
            ["'shop.' for '--resource-group", "must not end in a period"],
        ),
        (
            "WIB_WATCH_NAMESPACE",
            "Shop",
            ["'Shop' for '--watch-namespace", "lower-case letters"],
        ),
    ] {
        let ended = wib(&["run", &kubeconfig], &[(name, value)]).await?;
        assert_fails(&ended, 2, &parts).with_context(|| name)?;
    }
    Ok(())
}

async fn a_login_that_cannot_be_set_up_exits_2_and_names_what_is_missing() -> Result<()> {
    let (folder, kubeconfig) = nowhere()?;
    let no_key = folder.path().join("cert.pem");
    let (certificate, _) = certificate()?;
    std::fs::write(&no_key, certificate)?;
    let no_key = no_key.display().to_string();
    let token = "AZURE_FEDERATED_TOKEN_FILE";
    let ids = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")];
    for (kind, environment, parts) in [
        ("workload-identity", vec![], vec![token, "workload identity"]),
        (
            "auto",
            vec![(token, "/nonexistent/token")],
            vec!["/nonexistent/token", "No such file"],
        ),
        ("auto", vec![(token, no_key.as_str())], vec!["AZURE_CLIENT_ID"]),
        (
            "environment",
            vec![],
            vec!["AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"],
        ),
        (
            "environment",
            vec![("AZURE_CLIENT_SECRET", "s")],
            vec!["AZURE_TENANT_ID"],
        ),
        (
            "auto",
            vec![("AZURE_CLIENT_SECRET", "s"), ids[0]],
            vec!["AZURE_CLIENT_ID"],
        ),
        (
            "auto",
            vec![("AZURE_CLIENT_CERTIFICATE_PATH", no_key.as_str()), ids[0], ids[1]],
            vec![no_key.as_str(), "no RSA key"],
        ),
        (
            "environment",
            vec![
                ("AZURE_CLIENT_CERTIFICATE_PATH", "/nonexistent/cert"),
                ids[0],
                ids[1],
            ],
            vec!["/nonexistent/cert", "No such file"],
        ),
    ] {
        let kind = format!("--azure-credential={kind}");
        let ended = wib(&["run", &kubeconfig, &kind], &environment).await?;
        assert_ends_with(&ended, 2, &parts).with_context(|| format!("{kind} {environment:?}"))?;
    }
    Ok(())
}

async fn a_taken_port_exits_2() -> Result<()> {
    let (_folder, kubeconfig) = nowhere()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let ended = wib(&["run", &kubeconfig, &format!("--http-address={address}")], &[]).await?;
    assert_ends_with(&ended, 2, &["--http-address", &address, "in use"])
}

// --- Kubernetes and Azure that cannot be used --------------------------------------------------------------

async fn a_kubeconfig_that_cannot_be_used_exits_3_and_is_named() -> Result<()> {
    let (folder, kubeconfig) = nowhere()?;
    let broken = folder.path().join("broken");
    std::fs::write(&broken, "{")?;
    let broken = broken.display().to_string();
    let missing = "/nonexistent/kubeconfig";
    let ended = wib(&["run", &format!("--kubeconfig={missing}")], &[]).await?;
    assert_ends_with(&ended, 3, &[missing, "No such file"])?;
    let ended = wib(&["run", &format!("--kubeconfig={broken}")], &[]).await?;
    assert_ends_with(&ended, 3, &[&broken])?;
    let ended = wib(&["run", &kubeconfig, "--context=elsewhere"], &[]).await?;
    assert_ends_with(&ended, 3, &["elsewhere"])?;
    let ended = wib(&["run"], &[("KUBECONFIG", missing)]).await?;
    assert_ends_with(&ended, 3, &[missing])?;
    let ended = wib(&["run"], &[]).await?;
    assert_ends_with(
        &ended,
        3,
        &["neither a cluster around this process nor a kubeconfig"],
    )
}

async fn a_kubernetes_that_cannot_be_reached_exits_3_in_time() -> Result<()> {
    wib_harness::control_plane::install_crypto();
    let (folder, kubeconfig) = nowhere()?;
    let azure = Emulator::start(Options::default()).await?;
    azure.add_app("app", Some("secret-of-the-app"), None);
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, azure.ca_pem())?;
    let ca = ca.display().to_string();
    let environment = [
        ("AZURE_CLIENT_SECRET", "secret-of-the-app"),
        ("AZURE_CLIENT_ID", "app"),
        ("AZURE_TENANT_ID", azure.tenant_id()),
        ("AZURE_AUTHORITY_HOST", azure.url()),
        ("AZURE_RESOURCE_MANAGER_ENDPOINT", azure.url()),
        ("WIB_AZURE_CA_BUNDLE", &ca),
        ("WIB_STARTUP_TIMEOUT", "1s"),
    ];
    let started = Instant::now();
    let ended = wib(&["run", &kubeconfig], &environment).await?;
    assert_ends_with(
        &ended,
        3,
        &[
            "the Kubernetes API does not answer",
            "127.0.0.1:9",
            "tried for 1s",
        ],
    )?;
    ensure!(
        started.elapsed() < Duration::from_secs(15),
        "it took {:?}",
        started.elapsed()
    );
    assert_eq!(azure.count(Operation::Token), 1, "one login is enough");
    Ok(())
}

async fn an_azure_that_cannot_be_reached_exits_4_in_time(world: World) -> Result<()> {
    let flags = [
        "--azure-authority-host=https://127.0.0.1:9",
        "--startup-timeout=1s",
    ];
    let started = Instant::now();
    let ended = run_in(&world, &flags).await?;
    assert_ends_with(
        &ended,
        4,
        &["cannot log in to Azure", "https://127.0.0.1:9", "tried for 1s"],
    )?;
    ensure!(
        started.elapsed() < Duration::from_secs(15),
        "it took {:?}",
        started.elapsed()
    );

    // A certificate that nobody vouches for.
    let ended = run_in(&world, &[&ca_of_somebody_else(&world)?, "--startup-timeout=1s"]).await?;
    assert_ends_with(&ended, 4, &["cannot log in to Azure", "certificate"])
}

fn ca_of_somebody_else(world: &World) -> Result<String> {
    let path = world.directory().join("other-ca.pem");
    std::fs::write(&path, certificate()?.0)?;
    Ok(format!("--azure-ca-bundle={}", path.display()))
}

async fn a_login_that_entra_refuses_exits_4_with_the_code(world: World) -> Result<()> {
    let guid = "00000000-0000-4000-8000-00000000dead";
    let other = world.identity("other").client_id;
    for (flag, code) in [
        (format!("--azure-tenant-id={guid}"), "AADSTS90002"),
        (format!("--azure-client-id={guid}"), "AADSTS700016"),
        (format!("--azure-client-id={other}"), "AADSTS70025"),
    ] {
        let ended = run_in(&world, &[&flag, "--startup-timeout=600ms"]).await?;
        assert_ends_with(&ended, 4, &["cannot log in to Azure", code]).with_context(|| flag)?;
    }
    Ok(())
}

// --- Settings and logins -------------------------------------------------------------------------------------

async fn every_setting_works_from_the_environment(world: World) -> Result<()> {
    let arguments = world.operator_arguments(&[
        "--drift-interval=7m",
        "--log-format=json",
        "--credential-prefix=env",
        "--concurrency=3",
        "--azure-cloud=AzurePublicCloud",
    ]);
    let command = Cli::command();
    let run = command.find_subcommand("run").context("no run")?;
    let variable = |flag: &str| -> Result<String> {
        let setting = run
            .get_arguments()
            .find(|s| s.get_long() == Some(flag))
            .context("no such flag")?;
        let variable = setting
            .get_env()
            .map(|variable| variable.to_string_lossy().into_owned());
        // The one that every Kubernetes program reads.
        Ok(variable.unwrap_or_else(|| flag.to_uppercase()))
    };
    let environment = arguments[2..]
        .iter()
        .filter(|argument| !argument.starts_with("--http-address"))
        .map(|argument| {
            let (flag, value) = argument
                .trim_start_matches("--")
                .split_once('=')
                .context("no value")?;
            Ok((variable(flag)?, value.to_owned()))
        })
        .collect::<Result<Vec<_>>>()?;
    let environment: Vec<_> = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let mut program = start(&["wib".to_owned(), "run".to_owned()], &environment)?;
    program.ready().await?;

    let identity = world.identity("web");
    world.service_account("web").await?;
    world.grant("web", &identity).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    let credentials = world.azure.credentials(&identity.resource_id);
    ensure!(
        credentials.iter().all(|c| c.name.starts_with("env-")),
        "{credentials:?}"
    );
    ensure!(
        program.log()?.lines().all(|line| line.starts_with('{')),
        "not JSON:\n{}",
        program.log()?
    );
    assert_eq!(program.terminate().await?.code, Some(0));
    Ok(())
}

/// A certificate and its RSA key.
pub fn certificate() -> Result<(String, String)> {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?;
    let certificate = rcgen::CertificateParams::new(vec!["operator".to_owned()])?.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// The arguments without those of workload identity.
fn without_workload_identity(world: &World) -> Vec<String> {
    let dropped = [
        "--azure-credential",
        "--azure-client-id",
        "--azure-federated-token-file",
    ];
    let mut arguments = world.operator_arguments(&[]);
    arguments.retain(|a| !dropped.contains(&a.split('=').next().unwrap_or_default()));
    arguments
}

async fn logs_in_as(world: &World, environment: &[(&str, &str)]) -> Result<()> {
    let mut program = start(&without_workload_identity(world), environment)?;
    program.ready().await?;
    let identity = world.identity("web");
    world.service_account("web").await?;
    world.grant("web", &identity).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await?;
    let callers: Vec<_> = world
        .azure
        .journal()
        .into_iter()
        .filter(|e| e.operation.is_arm())
        .map(|e| e.caller)
        .collect();
    ensure!(
        callers.iter().all(|c| c.as_deref() == Some("app-of-operator")),
        "{callers:?}"
    );
    assert_eq!(program.terminate().await?.code, Some(0));
    Ok(())
}

async fn a_client_secret_logs_in(world: World) -> Result<()> {
    world
        .azure
        .add_app("app-of-operator", Some("s3cret of the operator"), None);
    let environment = [
        ("AZURE_CLIENT_ID", "app-of-operator"),
        ("AZURE_CLIENT_SECRET", "s3cret of the operator"),
    ];
    logs_in_as(&world, &environment).await?;

    let wrong = [
        ("AZURE_CLIENT_ID", "app-of-operator"),
        ("AZURE_CLIENT_SECRET", "wr0ng"),
        ("WIB_STARTUP_TIMEOUT", "600ms"),
    ];
    let mut arguments = without_workload_identity(&world);
    arguments.retain(|a| !a.starts_with("--startup-timeout"));
    let ended = start(&arguments, &wrong)?.ended().await?;
    assert_ends_with(&ended, 4, &["AADSTS7000215"])?;
    ensure!(!ended.log.contains("wr0ng"), "the secret is in the log");
    Ok(())
}

async fn a_client_certificate_logs_in(world: World) -> Result<()> {
    let (certificate, key) = certificate()?;
    world.azure.add_app("app-of-operator", None, Some(&certificate));
    let path = world.directory().join("operator.pem");
    std::fs::write(&path, format!("{certificate}{key}"))?;
    let path = path.display().to_string();
    let environment = [
        ("AZURE_CLIENT_ID", "app-of-operator"),
        ("AZURE_CLIENT_CERTIFICATE_PATH", path.as_str()),
    ];
    logs_in_as(&world, &environment).await
}

// --- Probes and metrics ----------------------------------------------------------------------------------------

/// Waits until a probe of the operator answers this.
async fn probe(operator: &Operator, path: &str, status: u16, part: &str) -> Result<()> {
    let started = Instant::now();
    loop {
        let answer = operator.get(path).await?;
        if answer.0 == status && answer.1.contains(part) {
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(30),
            "{path} answers {answer:?}, not {status} {part:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn readyz_names_what_is_pending(world: World) -> Result<()> {
    world.azure.fault(
        Fault::on(Operation::Token)
            .always()
            .action(FaultAction::HangForever),
    );
    let operator = world.operator_with(&["--azure-timeout=500ms"]).await?;
    // Everything else that can be had without Azure is there by then.
    probe(
        &operator,
        "/readyz",
        503,
        "waiting for the login to Azure, the CustomResourceDefinition, the first list",
    )
    .await?;
    assert_eq!(operator.get("/healthz").await?, (200, "ok".to_owned()));
    ensure!(
        operator.get("/metrics").await?.0 == 200,
        "no metrics before it is ready"
    );
    assert_eq!(operator.get("/nothing").await?.0, 404);
    world.azure.clear_faults();
    probe(&operator, "/readyz", 200, "ok").await
}

async fn metrics_count_what_was_done(world: World) -> Result<()> {
    let identity = world.identity("web");
    world.service_account("web").await?;
    world.grant("web", &identity).await?;
    let operator = world
        .operator_with(&["--drift-interval=300ms", "--read-after-write-grace=10ms"])
        .await?;
    world
        .azure
        .fault(Fault::on(Operation::GetIdentity).status(503, "ServiceUnavailable", "Try again."));
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    for credential in world.azure.credentials(&identity.resource_id) {
        world
            .azure
            .delete_credential(&identity.resource_id, &credential.name);
    }
    probe(&operator, "/metrics", 200, "wib_drift_repairs_total 1").await?;
    world.delete("web").await?;

    let (_, text) = operator.get("/metrics").await?;
    for series in [
        "controller_runtime_reconcile_total{controller=\"workloadidentitybinding\",result=\"success\"}",
        "controller_runtime_reconcile_time_seconds_bucket{",
        "wib_reconcile_reason_total{reason=\"Synced\"}",
        "wib_arm_requests_total{operation=\"get_token\",code=\"2xx\",result=\"success\"} 1",
        "wib_arm_requests_total{operation=\"get_identity\",code=\"503\",result=\"unavailable\"} 1",
        "wib_arm_requests_total{operation=\"list_credentials\",code=\"2xx\",result=\"success\"}",
        "wib_arm_requests_total{operation=\"put_credential\",code=\"2xx\",result=\"success\"} 2",
        "wib_arm_requests_total{operation=\"delete_credential\",code=\"2xx\",result=\"success\"} 1",
        "wib_arm_request_duration_seconds_count{operation=\"put_credential\"} 2",
        "wib_time_to_ready_seconds_count 1",
        "workqueue_depth{controller=\"workloadidentitybinding\",name=\"workloadidentitybinding\"} 0",
        "controller_runtime_active_workers{controller=\"workloadidentitybinding\"} 0",
        "controller_runtime_max_concurrent_reconciles{controller=\"workloadidentitybinding\"} 32",
        "wib_visits_waiting_for_azure 0",
        "rest_client_requests_total{code=\"200\",method=\"PATCH\",host=\"127.0.0.1:",
        "wib_build_info{version=",
    ] {
        ensure!(text.contains(series), "{series} is missing in:\n{text}");
    }
    let no_error =
        "controller_runtime_reconcile_total{controller=\"workloadidentitybinding\",result=\"error\"} 0\n";
    ensure!(!text.contains(no_error), "{text}");
    // No label may grow with the cluster.
    ensure!(
        !text.contains(&world.namespace) && !text.contains(&identity.client_id),
        "{text}"
    );
    Ok(())
}

// --- Stopping --------------------------------------------------------------------------------------------------

async fn a_stop_during_work_is_quick_and_the_next_run_goes_on(world: World) -> Result<()> {
    let identity = world.identity("web");
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    world
        .azure
        .knobs(|k| k.latency = Latency::of([(Operation::PutCredential, Duration::from_millis(600))]));
    let mut program = start(&world.operator_arguments(&["--shutdown-timeout=20s"]), &[])?;
    program.ready().await?;
    for name in names {
        world.bind(name, name, &identity).await?;
    }
    let started = Instant::now();
    while world.azure.credentials(&identity.resource_id).is_empty() {
        ensure!(started.elapsed() < Duration::from_secs(20), "no write has begun");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked = Instant::now();
    let ended = program.terminate().await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(
        asked.elapsed() < Duration::from_secs(10),
        "the stop took {:?}",
        asked.elapsed()
    );
    ensure!(!ended.log.contains("error: "), "{}", ended.log);

    world.azure.knobs(|k| k.latency = Latency::default());
    let mut program = start(&world.operator_arguments(&[]), &[])?;
    program.ready().await?;
    for name in names {
        world.ready(name).await?;
        world.assert_accepted(name, &identity.client_id).await?;
    }
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), names.len());
    assert_eq!(world.azure.overlapping_writes(), []);
    assert_eq!(program.terminate().await?.code, Some(0));
    Ok(())
}

async fn a_stop_before_it_is_ready_is_quick(world: World) -> Result<()> {
    world.azure.fault(
        Fault::on(Operation::Token)
            .always()
            .action(FaultAction::HangForever),
    );
    let program = start(&world.operator_arguments(&[]), &[])?;
    let started = Instant::now();
    while program.get("/healthz").await.is_err() {
        ensure!(
            started.elapsed() < Duration::from_secs(30),
            "it does not listen: {}",
            program.log()?
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let asked = Instant::now();
    let ended = program.terminate().await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(
        asked.elapsed() < Duration::from_secs(5),
        "the stop took {:?}",
        asked.elapsed()
    );
    Ok(())
}

// --- The CustomResourceDefinition --------------------------------------------------------------------------------

async fn an_operator_that_is_installed_before_the_crd_waits_for_it() -> Result<()> {
    let world = World::new(Cluster::start_bare().await?.into()).await?;
    let operator = world.operator().await?;
    probe(
        &operator,
        "/readyz",
        503,
        "waiting for the CustomResourceDefinition",
    )
    .await?;
    assert_eq!(operator.get("/healthz").await?, (200, "ok".to_owned()));

    world.cluster.install_crd().await?;
    probe(&operator, "/readyz", 200, "ok").await?;
    let identity = world.identity("web");
    world.service_account("web").await?;
    world.grant("web", &identity).await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    world.assert_accepted("web", &identity.client_id).await
}

async fn a_deleted_crd_takes_no_trust_along() -> Result<()> {
    let world = World::new(Cluster::start().await?.into()).await?;
    let identity = world.identity("web");
    for name in ["web", "api"] {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    let operator = world.operator().await?;
    for name in ["web", "api"] {
        world.bind(name, name, &identity).await?;
        world.ready(name).await?;
    }

    // As `kubectl delete crd`: the API server deletes every object first, and waits for their finalizers.
    let crds: Api<CustomResourceDefinition> = Api::all(world.admin());
    crds.delete(
        WorkloadIdentityBinding::crd_name(),
        &kube::api::DeleteParams::default(),
    )
    .await?;
    let started = Instant::now();
    while crds.get_opt(WorkloadIdentityBinding::crd_name()).await?.is_some() {
        ensure!(
            started.elapsed() < Duration::from_secs(30),
            "the CRD hangs: its objects were not let go"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for name in ["web", "api"] {
        world.assert_accepted(name, &identity.client_id).await?;
    }
    assert_eq!(world.azure.count(Operation::DeleteCredential), 0);
    ensure!(!operator.has_ended(), "the operator has ended");
    assert_eq!(operator.get("/healthz").await?.0, 200);

    world.cluster.install_crd().await?;
    world.bind("web", "web", &identity).await?;
    world.ready("web").await?;
    assert_eq!(world.azure.credentials(&identity.resource_id).len(), 2);
    world.delete("web").await?;
    ensure!(
        world.exchange("web", &identity.client_id).await?.is_err(),
        "the trust was not taken back"
    );
    world.assert_accepted("api", &identity.client_id).await?;
    ensure!(!operator.has_ended(), "the operator has ended");
    Ok(())
}
