//! No token, no secret and no key in any log, whatever level is asked for; and what the log says instead.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use azure_emulator::{Fault, FaultAction, Identity, Operation};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use wib_harness::program::Ended;
use wib_harness::{Program, World};

use crate::process::{WIB, certificate};
use crate::runner::trials;

trials![
    shared no_token_is_logged_at_any_level,
    shared no_client_secret_is_logged_at_any_level,
    shared no_certificate_key_is_logged_at_any_level,
    shared a_log_without_a_level_is_json_and_says_each_change_once,
];

/// Starts the real program, which logs all it has to say as JSON.
fn start(arguments: &[String], level: &str, environment: &[(&str, &str)]) -> Result<Program> {
    let mut all = vec![("WIB_LOG_LEVEL", level), ("WIB_LOG_FORMAT", "json")];
    all.extend_from_slice(environment);
    Program::start(Path::new(WIB), &arguments[1..], &all)
}

/// All that a binding can go through, from its creation to its end.
async fn lifecycle(world: &World) -> Result<()> {
    let (first, second) = (world.identity("first"), world.identity("second"));
    world.service_account("web").await?;
    world.bind("web", "web", &first).await?;
    world.not_ready("web", "NotAuthorized").await?;
    world
        .azure
        .fault(Fault::on(Operation::GetIdentity).status(503, "ServiceUnavailable", "Try again."));
    world.azure.fault(Fault::on(Operation::ListCredentials).status(
        401,
        "ExpiredAuthenticationToken",
        "Expired.",
    ));
    world
        .azure
        .fault(Fault::on(Operation::PutCredential).action(FaultAction::Status {
            status: 429,
            code: "TooManyRequests".to_owned(),
            message: "Slow down.".to_owned(),
            headers: vec![("retry-after".to_owned(), "1".to_owned())],
        }));
    world
        .azure
        .fault(Fault::on(Operation::PutCredential).nth(2).reset_after_commit());
    world.grant("web", &first).await?;
    world.ready("web").await?;
    world.assert_accepted("web", &first.client_id).await?;

    world.grant("web", &second).await?;
    world
        .azure
        .deny(None, "federatedIdentityCredentials/write", &second.resource_id);
    world
        .change(
            "web",
            json!({ "spec": { "identity": { "resourceId": second.resource_id } } }),
        )
        .await?;
    world.not_ready("web", "AzureAccessDenied").await?;
    world.azure.allow_all();
    world.ready("web").await?;
    world.revoke("web", &second).await?;
    world.not_ready("web", "NotAuthorized").await?;
    world.grant("web", &second).await?;
    world.ready("web").await?;

    world
        .azure
        .fault(Fault::on(Operation::DeleteCredential).status(500, "InternalServerError", "Oh."));
    world.delete("web").await
}

/// The whole log of a lifecycle, with everything that the program can be asked to say.
async fn log_of(world: &World, arguments: &[String], environment: &[(&str, &str)]) -> Result<Ended> {
    // Every token is used at its end, too: Entra is asked again and again.
    world.azure.knobs(|knobs| knobs.expires_in = 2);
    // The last ones are asked for by name, which must not lift the cap either.
    let level = "trace,azure_core=trace,hyper=trace,h2=trace,reqwest=trace,kube_client=trace,rustls=trace,tower=trace";
    let mut program = start(arguments, level, environment)?;
    program.ready().await?;
    lifecycle(world).await?;
    let ended = program.terminate().await?;
    ensure!(ended.code == Some(0), "{ended:?}");
    ensure!(ended.output.is_empty(), "on standard output: {}", ended.output);
    ensure!(
        world.azure.count(Operation::Token) > 3,
        "the tokens were not renewed"
    );
    Ok(ended)
}

/// A text that looks like a signed token: three parts of base64url, the first of them of JSON.
fn token_in(text: &str) -> Option<&str> {
    let of_a_token = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    text.match_indices("eyJ").find_map(|(at, _)| {
        let rest = &text[at..];
        let found = &rest[..rest.find(|c| !of_a_token(c)).unwrap_or(rest.len())];
        let parts = found.split('.').filter(|part| part.len() >= 16).count();
        (parts >= 2).then_some(found)
    })
}

/// Fails if the log holds one of these, or anything that looks like a token.
fn assert_no_secret(log: &str, secrets: &[String]) -> Result<()> {
    ensure!(
        log.contains("\"level\":\"TRACE\"") || log.contains("\"level\":\"DEBUG\""),
        "the log is not deep:\n{log}"
    );
    for (number, line) in log.lines().enumerate() {
        let named = [
            "Bearer ",
            "client_assertion=",
            "client_secret=",
            "PRIVATE KEY",
            "authorization:",
        ];
        let named = named
            .iter()
            .find(|name| line.to_lowercase().contains(&name.to_lowercase()));
        ensure!(named.is_none(), "line {number} holds {named:?}: {line}");
        ensure!(token_in(line).is_none(), "line {number} holds a token: {line}");
        let secret = secrets.iter().position(|secret| line.contains(secret.as_str()));
        ensure!(secret.is_none(), "line {number} holds secret {secret:?}: {line}");
    }
    Ok(())
}

/// Fails unless every line is an object with a level, a time and a message or fields.
fn parsed(log: &str) -> Result<Vec<Value>> {
    let lines: Result<Vec<Value>, _> = log.lines().map(serde_json::from_str).collect();
    let lines = lines.with_context(|| format!("a line is no JSON:\n{log}"))?;
    ensure!(!lines.is_empty(), "the log is empty");
    for line in &lines {
        ensure!(
            line["level"].is_string() && line["timestamp"].is_string(),
            "no level or time: {line}"
        );
    }
    Ok(lines)
}

async fn no_token_is_logged_at_any_level(world: World) -> Result<()> {
    let ended = log_of(&world, &world.operator_arguments(&[]), &[]).await?;
    let mut secrets = Vec::new();
    for file in ["api-token", "azure-token"] {
        let token = std::fs::read_to_string(world.directory().join(file))?;
        ensure!(
            token_in(&format!("x={token};")) == Some(token.as_str()),
            "the search does not find a token"
        );
        // A part would be enough for a thief: the signature is the rest of what is public.
        secrets.extend(token.split('.').skip(1).map(str::to_owned));
    }
    parsed(&ended.log)?;
    assert_no_secret(&ended.log, &secrets)
}

/// The arguments of an operator that logs in as an app registration.
fn as_app(world: &World) -> Vec<String> {
    let dropped = [
        "--azure-credential",
        "--azure-client-id",
        "--azure-federated-token-file",
    ];
    let mut arguments = world.operator_arguments(&[]);
    arguments.retain(|argument| !dropped.contains(&argument.split('=').next().unwrap_or_default()));
    arguments.push("--azure-client-id=app-of-operator".to_owned());
    arguments
}

async fn no_client_secret_is_logged_at_any_level(world: World) -> Result<()> {
    let secret = "s3cret~of.the_operator";
    world.azure.add_app("app-of-operator", Some(secret), None);
    let ended = log_of(&world, &as_app(&world), &[("AZURE_CLIENT_SECRET", secret)]).await?;
    parsed(&ended.log)?;
    assert_no_secret(&ended.log, &[secret.to_owned()])?;

    // A login that fails quotes what Entra says, and Entra may quote us.
    let environment = [("AZURE_CLIENT_SECRET", "an0ther~secret")];
    let mut arguments = as_app(&world);
    arguments.retain(|argument| !argument.starts_with("--startup-timeout"));
    arguments.push("--startup-timeout=1s".to_owned());
    let ended = start(&arguments, "trace", &environment)?.ended().await?;
    assert_eq!(ended.code, Some(4));
    assert_no_secret(&ended.log, &["an0ther~secret".to_owned()])
}

async fn no_certificate_key_is_logged_at_any_level(world: World) -> Result<()> {
    let (certificate, key) = certificate()?;
    world.azure.add_app("app-of-operator", None, Some(&certificate));
    let path = world.directory().join("operator.pem");
    std::fs::write(&path, format!("{certificate}{key}"))?;
    let path = path.display().to_string();
    let ended = log_of(
        &world,
        &as_app(&world),
        &[("AZURE_CLIENT_CERTIFICATE_PATH", &path)],
    )
    .await?;
    parsed(&ended.log)?;
    let lines: Vec<_> = key
        .lines()
        .filter(|line| line.len() > 40)
        .map(str::to_owned)
        .collect();
    assert_no_secret(&ended.log, &lines)
}

/// Lines about a binding, as a person reads them at the usual level.
fn about_bindings(log: &str) -> Result<Vec<String>> {
    let lines = parsed(log)?;
    ensure!(
        lines
            .iter()
            .all(|line| line["level"] != "DEBUG" && line["level"] != "TRACE"),
        "too deep:\n{log}"
    );
    let lines = lines
        .iter()
        .filter(|line| !line["binding"].is_null() || !line["service_account"].is_null());
    Ok(lines
        .map(|line| {
            let about = [&line["binding"], &line["service_account"]];
            format!("{} {} {} {}", about[0], about[1], line["reason"], line["message"])
        })
        .collect())
}

async fn a_log_without_a_level_is_json_and_says_each_change_once(world: World) -> Result<()> {
    let identity = world.identity("web");
    let names = ["a", "b", "c"];
    for name in names {
        world.service_account(name).await?;
        world.grant(name, &identity).await?;
    }
    // Many looks, few changes.
    let arguments = world.operator_arguments(&["--drift-interval=200ms", "--read-after-write-grace=10ms"]);
    let mut program = start(&arguments, "info", &[])?;
    program.ready().await?;
    for name in names {
        world.bind(name, name, &identity).await?;
        world.ready(name).await?;
    }
    looked_again(&world, &identity, 10).await?;
    let ended = program.terminate().await?;
    let mut lines = about_bindings(&ended.log)?;
    for name in names {
        let own = lines
            .iter()
            .filter(|line| line.contains(&format!("/{name}\"")))
            .count();
        ensure!(
            (1..=4).contains(&own),
            "{own} lines about {name}:\n{}",
            lines.join("\n")
        );
    }
    let all = lines.len();
    lines.sort();
    lines.dedup();
    ensure!(lines.len() == all, "a line was said twice:\n{}", ended.log);

    // A restart finds all in order, and says nothing about any binding.
    let mut program = start(&arguments, "info", &[])?;
    program.ready().await?;
    looked_again(&world, &identity, 10).await?;
    let ended = program.terminate().await?;
    assert_eq!(about_bindings(&ended.log)?, Vec::<String>::new());
    ensure!(
        ended.log.lines().count() <= 8,
        "the log of a quiet run is long:\n{}",
        ended.log
    );
    Ok(())
}

/// Waits until the operator has looked at an identity this many times more.
async fn looked_again(world: &World, identity: &Identity, times: usize) -> Result<()> {
    let path = identity.resource_id.to_lowercase();
    let looks = || {
        let journal = world.azure.journal();
        let lists = journal
            .iter()
            .filter(|e| e.operation == Operation::ListCredentials);
        lists
            .filter(|e| e.identity.as_deref() == Some(path.as_str()))
            .count()
    };
    let (before, started) = (looks(), Instant::now());
    while looks() < before + times {
        ensure!(
            started.elapsed() < Duration::from_secs(30),
            "only {} looks",
            looks() - before
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
