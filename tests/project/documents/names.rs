//! Names in documents: flags, codes of Entra, tests.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use clap::CommandFactory;
use workload_identity_binding::cli::Cli;

use super::{document, pages};
use crate::{files, read, root};

/// Flags of other programs that pages name by themselves, without a command around them.
const FLAGS_OF_OTHERS: [(&str, &str); 5] = [
    ("--field-manager", "flux and kubectl"),
    ("--issuer-ambient-credentials", "cert-manager"),
    ("--locked", "cargo"),
    ("--service-account-issuer", "kube-apiserver"),
    ("--validate", "kubectl"),
];

/// The flags of `wib` and of all its commands.
fn flags() -> BTreeSet<String> {
    let cli = Cli::command();
    let commands = std::iter::once(&cli).chain(cli.get_subcommands());
    let arguments = commands.flat_map(clap::Command::get_arguments);
    let mut flags: BTreeSet<_> = arguments
        .filter_map(|argument| argument.get_long())
        .map(|long| format!("--{long}"))
        .collect();
    flags.extend(["--help", "--version"].map(str::to_owned));
    flags
}

/// The long flags in a piece of a command line.
fn flags_in(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| c.is_whitespace() || "='\"`".contains(c));
    words.filter(|word| word.len() > 2 && word.starts_with("--"))
}

/// What stands behind `wib` in a line of shell, up to the end of the command.
fn arguments_of_wib(line: &str) -> Option<&str> {
    let line = line.split(" #").next().unwrap_or_default();
    let (_, arguments) = [
        "wib run",
        "wib crd",
        "wib migrate",
        "kubectl wib",
        "--bin wib -- ",
    ]
    .iter()
    .find_map(|program| line.split_once(program))?;
    arguments.split(['|', ';', '>', '&']).next()
}

#[test]
fn every_flag_of_wib_in_a_document_exists() -> Result<()> {
    let known = flags();
    let mut seen = 0;
    for page in pages()? {
        let document = document(&page)?;
        // A flag that stands alone is ours, unless it is listed as another's.
        let alone = document.spans.iter().filter(|span| span.starts_with("--"));
        for flag in alone.filter_map(|span| flags_in(span).next()) {
            let others = FLAGS_OF_OTHERS.iter().any(|(other, _)| *other == flag);
            ensure!(
                known.contains(flag) || others,
                "{page} names {flag}, which wib does not have"
            );
            seen += 1;
        }
        let lines = document.blocks.iter().flat_map(|block| block.text.lines());
        let spans = document.spans.iter().map(String::as_str);
        for arguments in lines.chain(spans).filter_map(arguments_of_wib) {
            for flag in flags_in(arguments) {
                ensure!(
                    known.contains(flag),
                    "{page} gives wib {flag}, which it does not have"
                );
                seen += 1;
            }
        }
    }
    ensure!(seen > 50, "found {seen} flags only: are documents still read?");
    Ok(())
}

#[test]
fn the_reader_of_commands_sees_flags() {
    let flags: Vec<_> = arguments_of_wib("cargo run --bin wib -- run --a=b --c d | x --e # --f")
        .into_iter()
        .flat_map(flags_in)
        .collect();
    assert_eq!(flags, ["--a", "--c"]);
    assert_eq!(arguments_of_wib("kubectl get wib --all"), None);
}

/// The codes in a text, with what stands before the digits.
fn codes(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.starts_with("AADSTS") && word.len() > 6)
        .collect()
}

#[test]
fn every_code_of_entra_is_written_out_and_explained_once() -> Result<()> {
    let path = "docs/troubleshooting.md";
    let text = read(path)?;
    let mut explained = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| `AADSTS")) {
        let first = row.split(" | ").next().unwrap_or_default();
        for code in codes(first) {
            ensure!(
                code[6..].bytes().all(|b| b.is_ascii_digit()),
                "{path}: {code} is no code"
            );
            ensure!(explained.insert(code.to_owned()), "{path} explains {code} twice");
        }
    }
    ensure!(explained.len() > 15, "{path} has lost its table of codes");
    let digits: BTreeSet<&str> = explained.iter().map(|code| &code[6..]).collect();
    for page in pages()? {
        let text = read(&page)?;
        for code in codes(&text).into_iter().filter(|code| *code != "AADSTS0") {
            ensure!(
                explained.contains(code),
                "{page} names {code}, which {path} does not explain"
            );
        }
        for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
            ensure!(!digits.contains(word), "{page}: write {word} as AADSTS{word}");
        }
    }
    Ok(())
}

#[test]
fn every_test_that_a_document_names_exists() -> Result<()> {
    let mut modules: Vec<(String, String)> = Vec::new();
    for path in files("tests/suites", "rs")? {
        let name = path.trim_start_matches("tests/suites/").trim_end_matches(".rs");
        let module = name.split('/').next().unwrap_or_default().to_owned();
        modules.push((module, read(&path)?));
    }
    let mut seen = 0;
    for page in files("docs", "md")? {
        for span in document(&page)?.spans {
            let Some((module, test)) = span.split_once("::") else {
                continue;
            };
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let test = test.split(" --").next().unwrap_or_default();
            if module.is_empty() || !module.chars().all(plain) || !test.chars().all(plain) || test.is_empty()
            {
                continue;
            }
            if root().join("src").join(module).is_dir() {
                continue;
            }
            let found = modules
                .iter()
                .any(|(name, text)| name == module && text.contains(&format!(" {test}")));
            ensure!(found, "{page} names the test {span}, which does not exist");
            seen += 1;
        }
    }
    ensure!(seen > 20, "found {seen} names of tests only");
    let policy = read("docs/security.md")?;
    policy
        .split_once("## Threats")
        .context("docs/security.md has lost its threats")?;
    Ok(())
}
