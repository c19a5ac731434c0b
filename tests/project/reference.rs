//! Reference pages: between two marks of a page stands what the code makes. `UPDATE=1 cargo test --test project`
//! writes it anew.

mod api;
mod settings;

use std::fs;

use anyhow::{Context, Result, ensure};
use pretty_assertions::assert_eq;

use crate::{read, root};

/// Puts `made` between the marks of this name.
fn put(page: &str, name: &str, made: &str) -> Result<String> {
    let (begin, end) = (
        format!("<!-- generated: {name} -->\n"),
        "\n<!-- end of generated -->",
    );
    let (before, rest) = page
        .split_once(&begin)
        .with_context(|| format!("no line {}", begin.trim()))?;
    let (_, after) = rest
        .split_once(end)
        .with_context(|| format!("{} is not followed by {}", begin.trim(), end.trim()))?;
    Ok(format!("{before}{begin}\n{}\n{end}{after}", made.trim()))
}

/// Fails if a page does not hold these parts between its marks, or holds others.
fn check(path: &str, parts: &[(&str, String)]) -> Result<()> {
    let kept = read(path)?;
    let mut made = kept.clone();
    for (name, part) in parts {
        made = put(&made, name, part).with_context(|| path.to_owned())?;
    }
    ensure!(
        kept.matches("<!-- generated: ").count() == parts.len(),
        "{path} has marks for something that nobody generates"
    );
    if std::env::var_os("UPDATE").is_some_and(|v| v == "1") {
        fs::write(root().join(path), &made)?;
    }
    let kept = read(path)?;
    assert_eq!(kept, made, "run UPDATE=1 cargo test --test project");
    Ok(())
}

/// Text for a cell of a table: one line, and no `|` that would end the cell.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

#[test]
fn what_is_made_goes_between_its_marks() -> Result<()> {
    let page = "a\n<!-- generated: x -->\nold\n<!-- end of generated -->\nb\n";
    let made = put(page, "x", "new\n")?;
    assert_eq!(
        made,
        "a\n<!-- generated: x -->\n\nnew\n\n<!-- end of generated -->\nb\n"
    );
    assert_eq!(put(&made, "x", "new")?, made, "not stable");
    ensure!(put(page, "y", "new").is_err(), "no mark is missed");
    Ok(())
}
