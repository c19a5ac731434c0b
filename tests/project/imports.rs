//! Which module may name which, and which crates stay behind which door.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use pretty_assertions::assert_eq;

use crate::{files, read};

/// Which modules of ours a module may name, beside itself. `lib.rs` and `main.rs` may name all.
const MAY_NAME: [(&str, &[&str]); 11] = [
    ("api", &[]),
    ("fairness", &[]),
    // Helpers for those that register metrics of their own.
    ("metrics", &[]),
    ("core", &["api"]),
    ("azure", &["core", "fairness", "metrics"]),
    ("runtime", &["api"]),
    ("controller", &["api", "core", "fairness", "metrics", "azure"]),
    ("cli", &["api", "core", "azure", "controller", "runtime"]),
    ("migrate", &["api", "core", "cli"]),
    ("app", &["api", "core", "azure", "controller", "runtime", "cli"]),
    ("fuzzing", &["api", "core", "azure", "controller", "runtime"]),
];

/// Crates that only some modules may name, and what is within these.
const FENCED: [(&str, &[&str]); 14] = [
    ("azure_core", &["azure"]),
    ("azure_core_mgmt", &["azure"]),
    ("azure_identity", &["azure"]),
    ("azure_mgmt_msi", &["azure"]),
    ("reqwest", &["azure"]),
    // Of migrate, only what is about clusters: the rest of it is pure, or reads files.
    ("kube", &["api", "controller", "runtime", "app", "migrate::live"]),
    (
        "prometheus_client",
        &[
            "metrics",
            "azure",
            "controller::metrics",
            "runtime::metrics",
            "app",
        ],
    ),
    ("serde_yaml", &["api", "migrate"]),
    ("granit_parser", &["migrate::yaml"]),
    ("yaml_edit", &["migrate::edit"]),
    ("jsonc_parser", &["migrate::edit"]),
    ("similar", &["migrate::rewrite::diff"]),
    ("rayon", &["migrate::source"]),
    ("indicatif", &["migrate"]),
];

/// Identifiers and signs of a source file, without comments, literals and its test module.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens: Vec<String> = Vec::new();
    let mut at = 0;
    let starts = |at: usize, text: &str| {
        text.chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    while let Some(&c) = chars.get(at) {
        if starts(at, "//") {
            while chars.get(at).is_some_and(|&c| c != '\n') {
                at += 1;
            }
        } else if starts(at, "#[cfg(test)]\nmod ") {
            break;
        } else if c == '"' {
            let raw = tokens.last().is_some_and(|t| t == "r" || t == "br");
            at += 1;
            while chars.get(at).is_some_and(|&c| c != '"') {
                at += if chars.get(at) == Some(&'\\') && !raw {
                    2
                } else {
                    1
                };
            }
            at += 1;
        } else if starts(at, "r#\"") {
            while at < chars.len() && !starts(at, "\"#") {
                at += 1;
            }
            at += 2;
        } else if c == '\'' {
            // A character literal or a lifetime.
            if chars.get(at + 1) == Some(&'\\') {
                at += 3;
                while chars.get(at).is_some_and(|&c| c != '\'') {
                    at += 1;
                }
                at += 1;
            } else {
                at += if chars.get(at + 2) == Some(&'\'') { 3 } else { 1 };
            }
        } else if c.is_alphanumeric() || c == '_' {
            let start = at;
            while chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
                at += 1;
            }
            tokens.push(chars.iter().skip(start).take(at - start).collect());
        } else {
            if starts(at, "::") {
                tokens.push("::".to_owned());
                at += 1;
            } else if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            at += 1;
        }
    }
    tokens
}

/// The first names under a root that stands before `tokens`: `::a` gives a, `::{a, b::{c}}` gives
/// a and b.
fn names_after(tokens: &[String]) -> Vec<&str> {
    match tokens {
        [sign, open, rest @ ..] if sign == "::" && open == "{" => {
            let mut names = Vec::new();
            let mut depth = 1;
            let mut previous = "{";
            for token in rest {
                if depth == 1 && ["{", ","].contains(&previous) && !["}", ","].contains(&token.as_str()) {
                    names.push(token.as_str());
                }
                depth += i32::from(token == "{") - i32::from(token == "}");
                if depth == 0 {
                    break;
                }
                previous = token;
            }
            names
        }
        [sign, name, ..] if sign == "::" => vec![name],
        _ => Vec::new(),
    }
}

/// The modules of ours that a file names, by `crate::` or by enough `super::`.
fn named(tokens: &[String], depth: usize) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        let rest = tokens.get(at + 1..).unwrap_or_default();
        if token == "crate" {
            found.extend(names_after(rest));
        }
        let first = at == 0 || tokens.get(at - 1).is_some_and(|t| t != "::");
        if token == "super" && first {
            let chain = rest
                .chunks(2)
                .take_while(|pair| matches!(pair, [sign, next] if sign == "::" && next == "super"))
                .count();
            if chain + 1 == depth {
                found.extend(names_after(rest.get(2 * chain..).unwrap_or_default()));
            }
        }
    }
    found
}

/// `src/azure/lane/tests.rs` is `["azure", "lane", "tests"]`; a `mod.rs` stands for its directory.
fn module_path(file: &str) -> Vec<&str> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').filter(|part| *part != "mod").collect()
}

#[test]
fn the_reader_of_imports_sees_what_it_must() {
    let source = r##"
        //! crate::comment
        use crate::{api::{self, Reason}, core};
        fn f<'a>(c: char) { if c == '"' { super::super::azure::g("crate::text", r#"crate::raw"#) } }
        #[cfg(test)]
mod tests { use crate::controller; }
    "##
    .replace("        #[cfg", "#[cfg");
    let tokens = tokens(&source);
    assert_eq!(
        named(&tokens, 2),
        BTreeSet::from(["api", "azure", "core"]),
        "{tokens:?}"
    );
}

#[test]
fn modules_name_only_what_they_may() -> Result<()> {
    let mut violations = Vec::new();
    for file in files("src", "rs")? {
        let path = module_path(&file);
        let Some(&module) = path.first() else { continue };
        if ["lib", "main"].contains(&module) || path.last() == Some(&"tests") {
            continue;
        }
        let allowed = MAY_NAME.iter().find(|(name, _)| *name == module);
        let (_, allowed) =
            allowed.with_context(|| format!("{file}: give module {module} its rule in MAY_NAME"))?;
        let tokens = tokens(&read(&file)?);
        for name in named(&tokens, path.len()) {
            if name != module && !allowed.contains(&name) && !name.starts_with(char::is_uppercase) {
                violations.push(format!("{file} names crate::{name}"));
            }
        }
        for (fenced, only) in FENCED {
            let names = tokens
                .windows(2)
                .any(|pair| matches!(pair, [name, next] if name == fenced && (next == "::" || next == "as")));
            let is_within = |door: &&str| {
                let door: Vec<&str> = door.split("::").collect();
                path.starts_with(&door)
            };
            if names && !only.iter().any(is_within) {
                violations.push(format!("{file} names the crate {fenced}"));
            }
        }
    }
    assert_eq!(violations, Vec::<String>::new());
    Ok(())
}

#[test]
fn azure_is_seen_only_through_the_names_that_it_exports() -> Result<()> {
    let tokens = tokens(&read("src/azure/mod.rs")?);
    let open = tokens
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if (a == "pub" || a == ")") && b == "mod"));
    ensure!(!open, "src/azure/mod.rs has a module that is not private");
    Ok(())
}
