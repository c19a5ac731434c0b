use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Parsed {
    let mut documents = parse(0, text);
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents.remove(0)
}

fn content(text: &str) -> std::sync::Arc<Node> {
    one(text).content.unwrap().unwrap()
}

#[test]
fn a_node_knows_its_line_and_bytes() {
    let text = "# head\n---\na: 1\n---\nkind: Pod\nspec:\n  x: \"y\"\n";
    let documents = parse(7, text);
    let second = documents[1].content.clone().unwrap().unwrap();
    let node = second.at(&["spec", "x"]).unwrap();
    assert_eq!((node.mark.file, node.mark.document, node.mark.line), (7, 1, 7));
    assert_eq!(&text[node.mark.start as usize..node.mark.end as usize], "\"y\"");
}

#[test]
fn a_broken_document_does_not_stop_the_next() {
    let text = "a: 1\n---\n%{ if x }\nb: 2\n---\nc: [\n---\nd: 4\n";
    let documents = parse(0, text);
    let read: Vec<bool> = documents.iter().map(|d| d.content.is_ok()).collect();
    assert_eq!(read, [true, false, false, true]);
    let broken = documents[1].content.clone().unwrap_err();
    assert_eq!(broken.mark.line, 3);
    assert_eq!(documents[3].content.clone().unwrap().unwrap().mark.line, 8);
}

#[test]
fn line_ends_byte_order_mark_and_json_are_read() {
    assert_eq!(
        content("a: 1\r\nb:\r\n  c: x\r\n").text_at(&["b", "c"]),
        Some("x")
    );
    assert_eq!(content("\u{feff}a: x\n").text_at(&["a"]), Some("x"));
    assert_eq!(
        content("{\n\t\"a\": {\"b\": [\"x\"]}\n}\n")
            .at(&["a", "b"])
            .unwrap()
            .items()
            .len(),
        1
    );
}

#[test]
fn anchors_and_merges_are_followed() {
    let text = "base: &base {a: 1, b: 2}\nuse:\n  <<: *base\n  b: 3\n";
    let node = content(text);
    assert_eq!(node.text_at(&["use", "a"]), Some("1"));
    assert_eq!(node.text_at(&["use", "b"]), Some("3"));
}

#[test]
fn bombs_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        writeln!(text, "a{level}: &a{level} [{before}]").unwrap();
    }
    assert!(one(&text).content.unwrap_err().message.contains("values"));
    let mut chain = "a0: &a0 [x]\n".to_owned();
    for level in 1..5000 {
        writeln!(chain, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert!(one(&chain).content.unwrap_err().message.contains("nested"));
    assert!(one(&"[".repeat(100_000)).content.is_err());
    assert!(one("a: &a [*a]\n").content.is_err());
}

#[test]
fn a_duplicate_key_is_seen_and_the_last_counts() {
    let parsed = one("a: 1\nb: 2\na: 3\n");
    assert_eq!(parsed.duplicates.iter().map(|m| m.line).collect::<Vec<_>>(), [3]);
    assert_eq!(parsed.content.unwrap().unwrap().text_at(&["a"]), Some("3"));
}

#[test]
fn keys_in_any_case_prefer_the_one_of_the_schema() {
    let node = content("ClientID: odd\nclientID: right\nResourceId: a\nRESOURCEID: b\n");
    let client = node.any_case("clientID");
    assert_eq!(
        (client.node.unwrap().as_text(), client.odd.is_some()),
        (Some("right"), false)
    );
    let resource = node.any_case("resourceID");
    assert!(resource.odd.is_some() && resource.conflict);
}

#[test]
fn templates_have_odd_keys() {
    assert!(one("name: {{ .Values.name }}\n").odd_keys);
    assert!(!one("name: \"{{ .Values.name }}\"\n").odd_keys);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*") {
        parse(0, &text);
    }

    #[test]
    fn no_text_of_yaml_signs_makes_it_panic(text in "[-:?,\\[\\]{}#&*!|>'\"%@` \n\r\tab~<$.\u{feff}]{0,200}") {
        for document in parse(0, &text) {
            let mark = document.mark;
            prop_assert!(mark.start as usize <= text.len() && mark.end as usize <= text.len());
        }
    }
}
