//! `wib migrate --in-place` on generated repositories: what it changes, what it leaves, and what kustomize builds of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pretty_assertions::assert_eq;
use serde::Deserialize as _;
use serde_json::Value;
use wib_harness::repository::{Repository, Truth};
use wib_harness::{Program, Tool};

use crate::repositories::ONE_CORE;
use crate::runner::figure;

/// Repositories of a trial.
const SEEDS: u64 = 12;

/// Runs `wib migrate` on a folder and gives what it prints.
async fn migrate(folder: &Path, arguments: &[&str]) -> Result<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_wib"));
    let folder = folder.display().to_string();
    let arguments: Vec<String> = [&["migrate"], arguments, &[&folder]]
        .concat()
        .iter()
        .map(|a| (*a).to_owned())
        .collect();
    let ended = Program::run(program, &arguments, &ONE_CORE).await?;
    ensure!(
        ended.code == Some(0) && ended.log.is_empty(),
        "{:?} {}",
        ended.code,
        ended.log
    );
    Ok(ended.output)
}

type Files = BTreeMap<String, Vec<u8>>;

/// Asserts that two folders are the same, and shows the first file that is not.
fn same(one: &Files, other: &Files, at: &str) {
    let paths: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for path in paths {
        let text = |files: &Files| {
            files
                .get(path)
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        assert_eq!(text(one), text(other), "{at}: {path}");
    }
}

/// All files below a folder.
fn read(folder: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder)?.display().to_string();
                files.insert(name, fs::read(&path)?);
            }
        }
    }
    Ok(files)
}

/// What a workload has, as far as the migration decides about it.
type Pods = BTreeMap<(String, String, String), (Option<String>, bool)>;

/// Bindings, as identity, namespace and ServiceAccount.
type Credentials = BTreeSet<(String, String, String)>;

fn documents(text: &str) -> Result<Vec<Value>> {
    let all = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
    let all: Result<Vec<Value>, _> = all.collect();
    let mut objects = Vec::new();
    for document in all? {
        match document["items"].as_array() {
            Some(items)
                if document["kind"]
                    .as_str()
                    .is_some_and(|kind| kind.ends_with("List")) =>
            {
                objects.extend(items.iter().cloned());
            }
            _ => objects.push(document),
        }
    }
    Ok(objects)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Pods and credentials of objects. A binding counts only if its grant is there, or cannot be yet.
fn understood(objects: &[Value]) -> (Pods, Credentials) {
    let (mut pods, mut credentials) = (Pods::new(), Credentials::new());
    let named = |kind: &str| {
        objects
            .iter()
            .filter(move |object| object["kind"] == *kind)
            .collect::<Vec<_>>()
    };
    let (roles, grants) = (named("ClusterRole"), named("ClusterRoleBinding"));
    for object in objects {
        let (kind, name, namespace) = (
            text(&object["kind"]),
            text(&object["metadata"]["name"]),
            text(&object["metadata"]["namespace"]),
        );
        let template = match kind.as_str() {
            "Pod" => object,
            "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
            _ => &object["spec"]["template"],
        };
        let labels = &template["metadata"]["labels"];
        if labels["azure.workload.identity/use"] == "true" {
            let old = labels["aadpodidbinding"].is_string();
            let account = template["spec"]["serviceAccountName"].as_str().map(str::to_owned);
            pods.insert((namespace.clone(), kind.clone(), name), (account, old));
        }
        if kind == "WorkloadIdentityBinding" {
            let id = text(&object["spec"]["identity"]["resourceId"]).to_ascii_lowercase();
            let account = text(&object["spec"]["serviceAccount"]["name"]);
            let granted = grants.iter().any(|grant| {
                let subject = &grant["subjects"][0];
                let role = roles
                    .iter()
                    .find(|role| role["metadata"]["name"] == grant["roleRef"]["name"]);
                subject["namespace"] == *namespace
                    && subject["name"] == *account
                    && role.is_some_and(|role| role["rules"][0]["resourceNames"][0] == *id)
            });
            if granted || id.starts_with("${") {
                credentials.insert((id, namespace, account));
            }
        }
    }
    (pods, credentials)
}

/// What every workload of some truth has after the migration.
fn wanted<'a>(truth: impl Iterator<Item = &'a Truth> + Clone) -> (Pods, Credentials) {
    let pods = truth.clone().map(|t| {
        let key = (t.namespace.clone(), t.kind.clone(), t.workload.clone());
        (key, (Some(t.account.clone()), t.label_in_selector))
    });
    let credentials = truth.flat_map(|t| {
        let ids = t.identities.iter();
        ids.map(|id| (id.clone(), t.namespace.clone(), t.account.clone()))
    });
    (pods.collect(), credentials.collect())
}

/// Objects of the files that no kustomization uses.
fn plain(repository: &Repository, files: &Files) -> Result<Vec<Value>> {
    let folders: BTreeSet<&str> = repository
        .truth
        .iter()
        .filter(|truth| truth.environment.is_none())
        .filter_map(|truth| {
            let holds = |(path, bytes): &(&String, &Vec<u8>)| {
                let text = String::from_utf8_lossy(bytes);
                !path.contains("/templates/") && text.contains(&truth.workload) && text.contains(&truth.kind)
            };
            repository
                .files
                .iter()
                .find(holds)?
                .0
                .rsplit_once('/')
                .map(|(folder, _)| folder)
        })
        .collect();
    let mut objects = Vec::new();
    for (path, bytes) in files {
        if path
            .rsplit_once('/')
            .is_some_and(|(folder, _)| folders.contains(folder))
        {
            objects.extend(documents(std::str::from_utf8(bytes)?)?);
        }
    }
    Ok(objects)
}

/// Compares a repository that was rewritten with its truth.
async fn is_migrated(repository: &Repository, folder: &Path) -> Result<()> {
    for environment in &repository.environments {
        let path = folder.join(environment).display().to_string();
        let rendered = Tool::Kustomize.run(&["build", &path], "").await?;
        let objects = documents(&rendered)?;
        let (pods, credentials) = understood(&objects);
        let truth = repository
            .truth
            .iter()
            .filter(|truth| truth.environment.as_ref() == Some(environment));
        let (wanted_pods, wanted_credentials) = wanted(truth);
        for (workload, pod) in wanted_pods {
            assert_eq!(pods.get(&workload), Some(&pod), "{workload:?} in {environment}");
        }
        let missing: Vec<_> = wanted_credentials.difference(&credentials).collect();
        ensure!(missing.is_empty(), "{environment}: {missing:?}");
        // Identities that no workload uses are for somebody to decide about.
        let used: BTreeSet<&str> = wanted_credentials.iter().map(|(id, _, _)| id.as_str()).collect();
        for identity in objects.iter().filter(|object| object["kind"] == "AzureIdentity") {
            let id = text(&identity["spec"]["resourceID"]).to_ascii_lowercase();
            ensure!(!used.contains(id.as_str()), "{environment} has {id} still");
        }
    }
    let (pods, credentials) = understood(&plain(repository, &read(folder)?)?);
    let (wanted_pods, wanted_credentials) = wanted(
        repository
            .truth
            .iter()
            .filter(|truth| truth.environment.is_none()),
    );
    for (workload, pod) in wanted_pods {
        assert_eq!(pods.get(&workload), Some(&pod), "{workload:?}");
    }
    let missing: Vec<_> = wanted_credentials.difference(&credentials).collect();
    ensure!(missing.is_empty(), "plain files: {missing:?}");
    Ok(())
}

/// The workloads that were left as they are, which is right only where an anchor shares the labels of their pods with
/// their selector.
fn anchored(told: &str) -> Result<BTreeSet<String>> {
    let mut workloads = BTreeSet::new();
    for line in told.lines() {
        if let Some(line) = line.strip_prefix("left    ") {
            ensure!(line.contains("through an anchor"), "{line}");
            workloads.extend(line.split([':', '(']).next().map(|name| name.trim().to_owned()));
        }
    }
    Ok(workloads)
}

/// Words that a rewriting may bring in, beside the names of ServiceAccounts.
const WORDS: [&str; 7] = [
    "azure.workload.identity/use",
    "azure.workload.identity~1use",
    "true",
    "serviceAccountName",
    "workload-identity.yaml",
    "workload-identity-grants.yaml",
    "resources",
];

/// Words that may go where no document goes.
const GONE: [&str; 4] = ["aadpodidbinding", "serviceAccount", "default", "team-"];

/// Words, and what stands between them.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let in_word = |c: char| c.is_ascii_alphanumeric() || "-_./~".contains(c);
        let end = rest.find(|c| in_word(c) != in_word(first)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        words.push(word);
        rest = after;
    }
    words
}

/// Whether the change of a file is what the migration is about and nothing else.
fn is_lossless(path: &str, before: &str, after: &str, accounts: &BTreeSet<&str>) -> Result<()> {
    let kustomization = path.to_lowercase().contains("kustomization");
    // Whole documents of pod identity go, and patches of them, and what kustomizations say of them.
    let removes =
        kustomization || before.contains("AzureIdentity") || before.contains("userAssignedIdentities");
    // By how many there are: a diff may take the moved for the changed.
    let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
    for word in words(after) {
        *balance.entry(word).or_default() += 1;
    }
    for word in words(before) {
        *balance.entry(word).or_default() -= 1;
    }
    for (word, more) in balance {
        let plain = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let account = plain.is_empty() || accounts.iter().any(|account| account.ends_with(plain));
        let known = match more {
            0 => true,
            1.. => account || WORDS.iter().any(|known| plain.contains(known)),
            _ => account || removes || GONE.iter().any(|known| plain.contains(known)),
        };
        ensure!(known, "{path}: {more} times {word:?}");
    }
    let ends = |text: &str| (text.contains("\r\n"), text.replace("\r\n", "").contains('\n'));
    assert_eq!(ends(before), ends(after), "{path}: line ends");
    // Where the last document goes, the one before ends as it did.
    let end = before.ends_with('\n') == after.ends_with('\n') || before.contains("AzureIdentity");
    ensure!(end, "{path}: its last line");
    Ok(())
}

pub async fn generated_repositories_are_rewritten_and_nothing_else_of_them() -> Result<()> {
    let (mut changed, mut credentials, mut left) = (0, 0, 0);
    for seed in 0..SEEDS {
        let at = || format!("seed {seed}");
        let mut repository = Repository::generate(2_000 + seed, 60);
        let folder = tempfile::tempdir()?;
        repository.write_to(folder.path())?;

        let patch = migrate(folder.path(), &["--diff"]).await.with_context(at)?;
        same(
            &read(folder.path())?,
            &repository.files,
            &format!("{}, --diff", at()),
        );

        let told = migrate(folder.path(), &["--in-place"]).await.with_context(at)?;
        let anchored = anchored(&told).with_context(at)?;
        repository.truth.retain(|truth| {
            !anchored.contains(&format!("{} {}/{}", truth.kind, truth.namespace, truth.workload))
        });
        left += anchored.len();
        is_migrated(&repository, folder.path()).await.with_context(at)?;
        let after = read(folder.path())?;
        let accounts = repository
            .truth
            .iter()
            .map(|truth| truth.account.as_str())
            .collect();
        for (path, before) in &repository.files {
            let before = std::str::from_utf8(before)?;
            // Beside what is to be migrated lies what has nothing to do with it, and what has been migrated before.
            let relevant =
                path.starts_with("apps/") || path.starts_with("plain/") || path.starts_with("clusters/");
            let Some(after) = after.get(path) else {
                ensure!(relevant, "{}: {path} is gone", at());
                continue;
            };
            let after = std::str::from_utf8(after)?;
            ensure!(relevant || before == after, "{}: {path} has changed", at());
            is_lossless(path, before, after, &accounts).with_context(at)?;
            ensure!(
                before == after || patch.contains(path.as_str()),
                "{}: {path} is not in the patch",
                at()
            );
            changed += usize::from(before != after);
        }

        let again = migrate(folder.path(), &["--in-place"]).await.with_context(at)?;
        ensure!(again.contains("0 files written"), "{}, again: {again}", at());
        same(&read(folder.path())?, &after, &format!("{}, again", at()));
        let plan: Value = serde_json::from_str(&migrate(folder.path(), &["-o", "json"]).await?)?;
        let rest = |key: &str| plan[key].as_array().map_or(usize::MAX, Vec::len);
        let done = (rest("workloads"), rest("steps")) == (0, 0);
        assert_eq!(done, anchored.is_empty(), "{}: {plan:#}", at());
        credentials += repository.credentials().len();
    }
    figure(format!(
        "migrate, rewritten: {SEEDS} repositories, {changed} files changed, {credentials} credentials as they are to be, {left} workloads left"
    ));
    Ok(())
}

pub async fn step_by_step_it_is_the_same() -> Result<()> {
    for seed in 0..SEEDS / 3 {
        let repository = Repository::generate(3_000 + seed, 60);
        let (steps, whole) = (tempfile::tempdir()?, tempfile::tempdir()?);
        repository.write_to(steps.path())?;
        repository.write_to(whole.path())?;
        for step in ["grant", "switch", "clean"] {
            migrate(steps.path(), &["--in-place", "--step", step]).await?;
            for environment in &repository.environments {
                let path = steps.path().join(environment).display().to_string();
                Tool::Kustomize
                    .run(&["build", &path], "")
                    .await
                    .with_context(|| format!("seed {seed}, {step}"))?;
            }
        }
        migrate(whole.path(), &["--in-place"]).await?;
        same(
            &read(steps.path())?,
            &read(whole.path())?,
            &format!("seed {seed}"),
        );
    }
    Ok(())
}
