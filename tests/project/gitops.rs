//! What is written down for GitOps tools says the same in every place.

use anyhow::{Context as _, Result, ensure};
use pretty_assertions::assert_eq;

use crate::{documents, files, read};

const SCRIPT: &str =
    "config/gitops/argocd/resource_customizations/workload-identity.io/WorkloadIdentityBinding/health.lua";

/// The code blocks of a document in one language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = document.split(&fence).skip(1);
    parts
        .filter_map(|part| part.split_once("```"))
        .map(|(block, _)| block.to_owned())
        .collect()
}

#[test]
fn the_config_map_of_argo_cd_carries_the_script() -> Result<()> {
    let maps = documents("config/gitops/argocd/argocd-cm.yaml")?;
    let key = "resource.customizations.health.workload-identity.io_WorkloadIdentityBinding";
    assert_eq!(maps[0]["data"][key].as_str(), Some(read(SCRIPT)?.as_str()));
    Ok(())
}

#[test]
fn the_document_shows_the_files_as_they_are() -> Result<()> {
    let document = read("docs/gitops.md")?;
    let shown = blocks(&document, "yaml");
    let mut paths = files("config/gitops/flux", "yaml")?;
    paths.extend(["application", "argocd-cm"].map(|name| format!("config/gitops/argocd/{name}.yaml")));
    for path in paths {
        let text = read(&path)?;
        ensure!(
            shown.contains(&text),
            "docs/gitops.md does not show {path} as it is"
        );
        ensure!(
            document.contains(&format!("](../{path})")),
            "docs/gitops.md does not link to {path}"
        );
    }
    Ok(())
}

/// The table of states: each real object under the word that Argo CD has for it.
#[test]
fn the_document_links_every_real_object_to_its_health() -> Result<()> {
    let document = read("docs/gitops.md")?;
    let directory = SCRIPT
        .rsplit_once('/')
        .map(|(directory, _)| directory)
        .unwrap_or_default();
    for path in files(&format!("{directory}/testdata"), "yaml")? {
        let link = format!("](../{path})");
        let row = document.lines().find(|line| line.contains(&link));
        let row = row.with_context(|| format!("docs/gitops.md does not link to {path}"))?;
        let (_, file) = path.rsplit_once('/').unwrap_or_default();
        let (word, _) = file.split_once('_').unwrap_or_default();
        ensure!(
            row.to_lowercase().contains(&format!("| {word} |")),
            "docs/gitops.md: {file} is in the row {row}"
        );
    }
    Ok(())
}
