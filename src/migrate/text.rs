//! Pod identity in text that is no YAML: templates and broken documents are searched line by line. Pure.

use super::finding::{Code, Finding, Place};
use super::object::LABEL;

/// What a line can hold, what it means and what to do about it.
const SIGNS: [(Sign, Code, &str, &str); 7] = [
    (
        Sign::Key(LABEL),
        Code::TextOnly,
        "The label of pod identity, in text that cannot be parsed: which identity it selects is not known.",
        "Put the label azure.workload.identity/use: \"true\" and a serviceAccountName on the pod template, \
         and give the identity and the ServiceAccount a WorkloadIdentityBinding.",
    ),
    (
        Sign::Kind("AzureIdentity"),
        Code::TextOnly,
        "An AzureIdentity, in text that cannot be parsed.",
        "Run wib migrate on the rendered manifests, or write the WorkloadIdentityBinding yourself.",
    ),
    (
        Sign::Kind("AzureIdentityBinding"),
        Code::TextOnly,
        "An AzureIdentityBinding, in text that cannot be parsed.",
        "Run wib migrate on the rendered manifests, or write the WorkloadIdentityBinding yourself.",
    ),
    (
        Sign::Kind("AzurePodIdentityException"),
        Code::TextOnly,
        "An AzurePodIdentityException, in text that cannot be parsed.",
        "Remove it last: nothing takes its place.",
    ),
    (
        Sign::Kind("TriggerAuthentication"),
        Code::KedaProvider,
        "A TriggerAuthentication of KEDA, in text that cannot be parsed.",
        "Provider azure was removed in KEDA 2.15: use azure-workload, and bind the identity to the \
         ServiceAccount of the operator.",
    ),
    (
        Sign::Key("usePodIdentity"),
        Code::SecretProviderClass,
        "A SecretProviderClass may use pod identity here, in text that cannot be parsed.",
        "Where it is true: remove it and set clientID.",
    ),
    (
        Sign::Word("aad-pod-identity"),
        Code::Leftover,
        "Something names aad-pod-identity, in text that cannot be parsed.",
        "Remove it together with MIC and NMI.",
    ),
];

enum Sign {
    /// The word followed by a colon, an equals sign or a quote.
    Key(&'static str),
    /// `kind: X`.
    Kind(&'static str),
    /// The word, as a whole.
    Word(&'static str),
}

/// Whether a text is made to be filled in before it is YAML.
pub fn is_template(text: &str) -> bool {
    ["{{", "%{", "<%"].iter().any(|sign| text.contains(sign))
}

/// Every line of a text that has to do with pod identity, one finding per line at most. `line` is the number of the
/// first.
pub fn search(path: &str, document: u32, line: u32, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, content) in (line..).zip(text.lines()) {
        let content = content.trim_start();
        if content.starts_with('#') {
            continue;
        }
        if let Some((_, code, reason, action)) = SIGNS.iter().find(|(sign, ..)| sign.is_in(content)) {
            let place = Place {
                file: path.to_owned(),
                line: number,
                document,
            };
            // A chart repeats its own name; the first is enough.
            let again = *code == Code::Leftover && found.iter().any(|f: &Finding| f.code == *code);
            if !again {
                let finding = Finding::new(*code, place, *reason, *action);
                found.push(match label(content) {
                    Some(value) => finding.about(format!("{LABEL}: {value}")),
                    None => finding,
                });
            }
        }
    }
    found
}

/// The value of the label that a line holds, if it stands there by itself.
fn label(line: &str) -> Option<&str> {
    let value = line
        .trim_start_matches("- ")
        .strip_prefix(LABEL)?
        .strip_prefix(':')?;
    let value = value.split(" #").next()?.trim().trim_matches(['"', '\'']);
    (!value.is_empty()).then_some(value)
}

impl Sign {
    fn is_in(&self, line: &str) -> bool {
        match self {
            Self::Kind(kind) => line
                .trim_start_matches("- ")
                .strip_prefix("kind:")
                .is_some_and(|rest| first_word(rest) == *kind),
            Self::Key(word) => after(line, word).any(|rest| {
                rest.trim_start_matches(['"', '\''])
                    .trim_start()
                    .starts_with([':', '=', ','])
            }),
            Self::Word(word) => after(line, word).next().is_some(),
        }
    }
}

/// What follows each occurrence of a word that is not part of a longer one.
fn after<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(word).filter_map(move |(at, _)| {
        let joined = |c: char| c.is_alphanumeric() || c == '_';
        let before = line[..at].chars().next_back().is_some_and(joined);
        let rest = &line[at + word.len()..];
        (!before && !rest.starts_with(joined)).then_some(rest)
    })
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start().trim_start_matches(['"', '\'']);
    text.split(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<(u32, &'static str)> {
        let found = search("a.tpl", 0, 1, text);
        found.iter().map(|f| (f.place.line, f.code.as_str())).collect()
    }

    #[test]
    fn labels_and_kinds_are_found_with_their_lines() {
        let text = "{{- if .x }}\nkind: AzureIdentity\n  'aadpodidbinding': {{ .n }}\nkind: \"AzureIdentityBinding\"\n";
        assert_eq!(
            lines(text),
            [(2, "text-only"), (3, "text-only"), (4, "text-only")]
        );
    }

    #[test]
    fn comments_and_longer_words_are_no_signs() {
        assert_eq!(
            lines("# aadpodidbinding: x\nmy_aadpodidbinding: x\nkind: AzureIdentityThing\n"),
            []
        );
    }

    #[test]
    fn a_label_may_be_text_in_text() {
        assert_eq!(lines("labels: \"a=b,aadpodidbinding=web\"\n"), [(1, "text-only")]);
    }
}
