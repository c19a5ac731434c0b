//! Generated files are what the code makes. `UPDATE=1 cargo test --test project` writes them anew.

use std::fs;

use anyhow::Result;
use pretty_assertions::assert_eq;
use workload_identity_binding::api;

use crate::{read, root};

#[test]
fn the_definition_in_crds_is_what_the_code_makes() -> Result<()> {
    let path = "crds/workload-identity.io_workloadidentitybindings.yaml";
    let made = api::crd_yaml()?;
    if std::env::var_os("UPDATE").is_some_and(|v| v == "1") {
        fs::write(root().join(path), &made)?;
    }
    let kept = read(path)?;
    assert_eq!(kept, made, "run UPDATE=1 cargo test --test project");
    Ok(())
}
