//! Outside text made fit for conditions, events and logs.

/// Longest foreign text that is quoted, in characters.
const MAX: usize = 400;

/// Quotes a text from outside: one line, no control characters, no more than 400 characters, and
/// without the parts that differ from call to call.
///
/// Entra ends its descriptions with a trace id, a correlation id and a time; in a condition they
/// would change it at every try.
pub fn quote(text: &str) -> String {
    let line = text
        .chars()
        .map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c })
        .collect::<String>();
    let mut words = String::new();
    for word in line.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    // After the words are joined: a line break may stand within the mark.
    if let Some(end) = words.find("Trace ID:") {
        words.truncate(words[..end].trim_end().len());
    }
    if words.chars().count() > MAX {
        words = words.chars().take(MAX).collect::<String>() + "…";
    }
    words
}

/// An error in one line: what it says, and its innermost cause when that says more. "Connection
/// refused" stands at the very end of a chain.
pub fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let (outer, inner) = (error.to_string(), innermost.to_string());
    if outer.contains(&inner) {
        outer
    } else {
        format!("{outer}: {inner}")
    }
}

/// Zero-width and direction marks: they hide or turn round what a person reads.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_trace_ids_are_left_out() {
        assert_eq!(
            quote("AADSTS1: no\u{1b}[31m\r\nTrace ID: 1\r\nTimestamp: now"),
            "AADSTS1: no [31m"
        );
        assert_eq!(quote("a\u{202e}b"), "a b");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let cut = quote(&"é".repeat(1000));
        assert_eq!(cut.chars().count(), MAX + 1);
    }
}
