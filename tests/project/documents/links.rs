//! Links lead somewhere, to the heading; and every page can be reached.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{document, pages};
use crate::{files, root};

/// A path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts
}

/// Where a link leads, as a path from the root of the repository and an anchor; none for links to the outside.
fn target(page: &str, link: &str) -> Option<(String, String)> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = if file.is_empty() {
        PathBuf::from(page)
    } else {
        let directory = Path::new(page).parent().unwrap_or_else(|| Path::new(""));
        normal(&directory.join(file))
    };
    Some((path.to_string_lossy().into_owned(), anchor.to_owned()))
}

#[test]
fn links_lead_to_a_file_and_to_a_heading_in_it() -> Result<()> {
    for page in pages()? {
        for link in document(&page)?.links {
            let Some((file, anchor)) = target(&page, &link) else {
                continue;
            };
            ensure!(
                root().join(&file).exists(),
                "{page} links to {link}, which is not there"
            );
            if !anchor.is_empty() {
                let anchors = document(&file)?.anchors;
                ensure!(
                    anchors.contains(&anchor),
                    "{page} links to {link}, but {file} has no heading of that name: {anchors:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn every_page_is_in_the_index() -> Result<()> {
    let index = "docs/README.md";
    let links = document(index)?.links;
    let listed: Vec<String> = links
        .iter()
        .filter_map(|link| target(index, link))
        .map(|(path, _)| path)
        .collect();
    for page in files("docs", "md")?.iter().filter(|page| *page != index) {
        ensure!(listed.contains(page), "{index} does not lead to {page}");
    }
    Ok(())
}

#[test]
fn the_reader_of_links_knows_where_they_lead() -> Result<()> {
    let at = |link| target("docs/a.md", link).context("outside");
    assert_eq!(at("b.md#c")?, ("docs/b.md".to_owned(), "c".to_owned()));
    assert_eq!(at("../b.md")?, ("b.md".to_owned(), String::new()));
    assert_eq!(at("#c")?, ("docs/a.md".to_owned(), "c".to_owned()));
    assert_eq!(target("docs/a.md", "https://a/b.md"), None);
    Ok(())
}
