//! What a program of the Go module is made of.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

/// A name for everything the program is made of: source, versions, compiler, flags. `package` is `./cmd/…` for one
/// of ours, anything else comes with the versions in `go.mod`.
pub(super) fn key(module: &Path, package: &str, compiler: &[u8], flags: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for part in [compiler, flags.as_bytes(), package.as_bytes()] {
        hash.update(part);
    }
    let mut files = BTreeSet::from([module.join("go.mod"), module.join("go.sum")]);
    files.extend(sources(&module.join("mlog"))?);
    if let Some(ours) = package.strip_prefix("./") {
        files.extend(sources(&module.join(ours))?);
    }
    for file in files {
        let content = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        hash.update(file.strip_prefix(module)?.to_string_lossy().as_bytes());
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    let digest = hash.finalize();
    Ok(digest
        .iter()
        .take(8)
        .fold(String::new(), |name, byte| format!("{name}{byte:02x}")))
}

/// All files below a directory, in a fixed order.
fn sources(directory: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else {
            files.insert(path);
        }
    }
    Ok(files)
}

/// Sets what `/version` says. Without it the server calls itself v0.0.0-master, and clients fail to parse that.
pub(super) fn linker_flags(kubernetes: &str) -> String {
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let major = numbers.next().unwrap_or_default();
    let minor = numbers.next().unwrap_or_default();
    let packages = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
    let variables = [
        ("gitVersion", kubernetes),
        ("gitMajor", major),
        ("gitMinor", minor),
    ];
    let assignments = packages
        .iter()
        .flat_map(|package| variables.map(|(variable, value)| format!(" -X {package}.{variable}={value}")));
    format!("-s -w{}", assignments.collect::<String>())
}

/// The version of Kubernetes that `go.mod` names: the only place where it is written.
pub(super) fn kubernetes_version(module: &Path) -> Result<String> {
    let path = module.join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let version = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"));
    match version {
        Some(version) => Ok(format!("v{version}")),
        None => bail!("{} requires no k8s.io/kubernetes", path.display()),
    }
}
