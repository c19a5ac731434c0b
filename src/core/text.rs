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

    #[test]
    fn a_text_that_fits_is_quoted_whole() {
        for n in [MAX - 1, MAX] {
            let text = "é".repeat(n);
            assert_eq!(quote(&text), text);
        }
        let cut = quote(&"é".repeat(MAX + 1));
        assert_eq!(cut, "é".repeat(MAX) + "…");
    }

    #[test]
    fn words_are_parted_by_one_space_and_the_ends_have_none() {
        assert_eq!(quote("  a\t\n b \u{200b}c  "), "a b c");
        assert_eq!(quote(" Trace ID: 1"), "");
        assert_eq!(quote(""), "");
    }

    #[test]
    fn every_invisible_mark_is_left_out() {
        for mark in "\u{200b}\u{200f}\u{2028}\u{202e}\u{2060}\u{206f}\u{feff}".chars() {
            assert_eq!(quote(&format!("a{mark}b")), "a b", "{mark:?}");
        }
        for letter in "\u{200a}\u{2010}\u{2027}\u{2070}"
            .chars()
            .filter(|c| !c.is_whitespace())
        {
            assert_eq!(quote(&format!("a{letter}b")), format!("a{letter}b"));
        }
    }

    /// An error and what caused it.
    #[derive(Debug)]
    struct Caused(&'static str, Option<Box<Self>>);

    impl std::fmt::Display for Caused {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Caused {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            self.1.as_ref().map(|source| source.as_ref() as _)
        }
    }

    #[test]
    fn the_innermost_cause_is_told_when_it_says_more() {
        let refused = || Caused("connection refused", None);
        let middle = |inner| Caused("client error", Some(Box::new(inner)));
        assert_eq!(cause(&refused()), "connection refused");
        let outer = Caused("cannot send", Some(Box::new(middle(refused()))));
        assert_eq!(cause(&outer), "cannot send: connection refused");
        let tells = Caused(
            "cannot send: connection refused",
            Some(Box::new(middle(refused()))),
        );
        assert_eq!(cause(&tells), "cannot send: connection refused");
    }
}
