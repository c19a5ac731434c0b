//! What a plain scalar means, and what stands for a value that is filled in later.

/// Whether a plain scalar is null.
pub fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The bool that a plain scalar is.
pub fn plain_bool(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// The integer that a scalar is.
pub fn plain_number(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// Whether a text holds a part that somebody fills in later: Helm `{{ }}`, Terraform and Flux `${ }`, kustomize
/// `$( )`, envsubst `$NAME`, Terraform `%{ }`, or a word in angle brackets.
pub fn is_placeholder(text: &str) -> bool {
    let marked = ["{{", "${", "$(", "%{"].iter().any(|sign| text.contains(sign));
    marked || has_variable(text) || has_angle(text)
}

/// Whether a placeholder means the same in a file of its own: what Flux, envsubst or a person fills in, they fill in
/// everywhere. Helm and Terraform fill in the files that they are given, kustomize the fields that it knows.
pub fn can_be_copied(text: &str) -> bool {
    is_placeholder(text) && !["{{", "$(", "%{"].iter().any(|sign| text.contains(sign))
}

/// `$NAME`, as envsubst reads it.
fn has_variable(text: &str) -> bool {
    text.split('$')
        .skip(1)
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

/// `<identity id>`.
fn has_angle(text: &str) -> bool {
    text.split_once('<')
        .and_then(|(_, rest)| rest.split_once('>'))
        .is_some_and(|(inside, _)| !inside.is_empty() && !inside.contains('<'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_placeholder_is_seen() {
        for text in [
            "{{ .Values.id }}",
            "${ID}",
            "a/${id:-x}/b",
            "$(ID)",
            "$CLIENT_ID",
            "%{ if x }",
            "<client id>",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["web", "5$", "a<b", "100 %", "", "$1"] {
            assert!(!is_placeholder(text), "{text}");
        }
    }
}
