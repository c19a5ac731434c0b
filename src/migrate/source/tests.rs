use super::*;

fn read(text: &[u8]) -> Sources {
    Sources::of(&[("a.yaml", text)])
}

fn found(sources: &Sources) -> Vec<(&'static str, u32)> {
    let codes = sources.findings.iter();
    codes.map(|f| (f.code.as_str(), f.place.line)).collect()
}

#[test]
fn a_broken_document_is_searched_as_text_and_the_others_are_read() {
    let sources = read(b"a: 1\n---\nlabels:\n  x: [\n  aadpodidbinding: web\n---\nb: 1\n");
    let codes = found(&sources);
    assert!(codes.contains(&("text-only", 5)), "{codes:?}");
    assert!(
        codes.iter().any(|(code, _)| *code == "not-parseable"),
        "{codes:?}"
    );
    let read: Vec<bool> = sources.files[0]
        .documents
        .iter()
        .map(|d| d.content.is_some())
        .collect();
    assert_eq!(read, [true, false, true]);
}

#[test]
fn a_template_is_said_once() {
    let text =
        b"{{- if .Values.x }}\na: {{ .Values.a }}\n{{- end }}\n---\n{{- if }}\n---\nb: {{ .Values.b }}\n";
    assert_eq!(found(&read(text)), [("template", 1)]);
}

#[test]
fn bytes_that_are_no_text_are_a_finding_with_a_line() {
    let sources = read(b"a: 1\nb: \xff\nlabels: {aadpodidbinding: web}\n");
    assert_eq!(found(&sources), [("not-utf8", 2), ("text-only", 3)]);
}
