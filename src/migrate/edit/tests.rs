use proptest::prelude::*;

use super::*;

fn path(text: &str) -> Path {
    let step = |part: &str| {
        part.parse()
            .map_or_else(|_| Step::Key(part.to_owned()), Step::Item)
    };
    text.split('>')
        .filter(|part| !part.is_empty())
        .map(step)
        .collect()
}

fn remove(at: &str) -> Edit {
    Edit::new(path(at), Change::Remove)
}

fn rename(at: &str) -> Edit {
    let (key, value) = ("azure.workload.identity/use".to_owned(), "true".to_owned());
    Edit::new(path(at), Change::Rename { key, value })
}

fn set(at: &str, text: &str) -> Edit {
    Edit::new(path(at), Change::Set(text.to_owned()))
}

fn insert(at: &str, key: &str, value: Json) -> Edit {
    let (key, before) = (key.to_owned(), Some("containers"));
    Edit::new(path(at), Change::Insert { key, value, before })
}

fn push(at: &str, item: &str) -> Edit {
    Edit::new(path(at), Change::Push(Json::from(item)))
}

/// Asserts what becomes of a text, whether it is taken for a large one or not.
fn gives(before: &str, edits: &[Edit], after: &str) {
    for small in [SMALL, 0] {
        assert_eq!(in_parts(before, edits, small).as_deref(), Ok(after), "{before}");
    }
}

const TEMPLATE: &str = "\
# head
kind: Deployment
spec:
    template:
        metadata:
            labels:
                app: web
                # the identity
                aadpodidbinding: 'web'  # old

        # the pods
        spec:
            containers:
            - name: a
              env:
              - {name: AZURE_AUTH_METHOD, value: msi}
";

#[test]
fn the_label_is_swapped_at_its_place() {
    let edits = [
        rename("spec>template>metadata>labels>aadpodidbinding"),
        insert("spec>template>spec", "serviceAccountName", "web".into()),
        remove("spec>template>spec>containers>0>env>0"),
    ];
    gives(
        TEMPLATE,
        &edits,
        "\
# head
kind: Deployment
spec:
    template:
        metadata:
            labels:
                app: web
                # the identity
                azure.workload.identity/use: 'true'  # old

        # the pods
        spec:
            serviceAccountName: web
            containers:
            - name: a
",
    );
}

#[test]
fn a_text_that_needs_quotes_gets_them() {
    gives(
        "a: {b: web, c: d}\n",
        &[rename("a>b")],
        "a: {azure.workload.identity/use: \"true\", c: d}\n",
    );
    gives(
        "a:\n  b: web # c\n",
        &[rename("a>b")],
        "a:\n  azure.workload.identity/use: \"true\" # c\n",
    );
    gives("a: x # y\n", &[set("a", "5")], "a: \"5\" # y\n");
    gives(
        "a: \"azure\"\n",
        &[set("a", "azure-workload")],
        "a: \"azure-workload\"\n",
    );
    gives("a: azure", &[set("a", "azure-workload")], "a: azure-workload");
    gives("a: ${X}\n", &[set("a", "${Y}")], "a: ${Y}\n");
}

#[test]
fn what_is_left_empty_goes_as_well() {
    gives(
        "a:\n  labels:\n    x: y\n  b: c\n",
        &[remove("a>labels>x")],
        "a:\n  b: c\n",
    );
    gives(
        "a: b\nenv:\n- name: x\n# end\n",
        &[remove("env>0")],
        "a: b\n# end\n",
    );
    gives("a:\n  b: c\n", &[remove("a>b")], "");
}

#[test]
fn several_changes_of_one_list_do_not_disturb_each_other() {
    let text = "resources:\n- a.yaml\n- b.yaml # b\n- c.yaml\n- d.yaml\n";
    let edits = [
        remove("resources>0"),
        remove("resources>2"),
        push("resources", "e.yaml"),
    ];
    gives(text, &edits, "resources:\n- b.yaml # b\n- d.yaml\n- e.yaml\n");
}

#[test]
fn line_ends_and_a_missing_one_are_kept() {
    gives(
        "a:\r\n  b: c\r\nx: y\r\n",
        &[insert("a", "d", "e".into())],
        "a:\r\n  b: c\r\n  d: e\r\nx: y\r\n",
    );
    gives(
        "a:\n  b: c",
        &[insert("a", "d", "e".into())],
        "a:\n  b: c\n  d: e",
    );
    gives("---\r\na: b\r\nc: d\r\n", &[remove("a")], "---\r\nc: d\r\n");
}

#[test]
fn mappings_that_are_missing_are_made() {
    let edit = || insert("spec>metadata>labels", "x", "y".into());
    gives(
        "spec:\n  a: b\n",
        &[edit()],
        "spec:\n  a: b\n  metadata:\n    labels:\n      x: y\n",
    );
    gives(
        "{\n  \"spec\": {}\n}\n",
        &[edit()],
        "{\n  \"spec\": {\n    \"metadata\": {\n      \"labels\": {\n        \"x\": \"y\"\n      }\n    }\n  }\n}\n",
    );
}

#[test]
fn json_stays_json() {
    let text = "{\n    \"a\": {\n        \"b\": \"c\",\n        \"d\": \"e\"\n    },\n    \"f\": [1]\n}";
    gives(
        text,
        &[remove("a>d")],
        "{\n    \"a\": {\n        \"b\": \"c\"\n    },\n    \"f\": [1]\n}",
    );
    gives(
        text,
        &[rename("a>b")],
        &text.replace("\"b\": \"c\"", "\"azure.workload.identity/use\": \"true\""),
    );
    gives(
        text,
        &[remove("f>0")],
        "{\n    \"a\": {\n        \"b\": \"c\",\n        \"d\": \"e\"\n    }\n}",
    );
}

#[test]
fn what_an_anchor_shares_is_not_changed() {
    let text = "a:\n  labels: &l\n    x: y\n    z: z\nb:\n  labels: *l\n";
    assert_eq!(
        document(text, &[remove("a>labels>x")]),
        Err(Refused::NotAlone("a.labels.x".to_owned()))
    );
    gives(
        text,
        &[insert("a", "c", "d".into())],
        "a:\n  labels: &l\n    x: y\n    z: z\n  c: d\nb:\n  labels: *l\n",
    );
    let merged = "a: &l\n  x: y\nb:\n  <<: *l\n  z: z\n  w: w\n";
    gives(merged, &[remove("b>z")], "a: &l\n  x: y\nb:\n  <<: *l\n  w: w\n");
}

#[test]
fn a_document_within_a_text_is_changed_in_its_indentation() {
    let text = "patches:\n- patch: |-\n    a: # one\n\n      b: web\n      c: d\n\n  target: {kind: x}\n";
    let edit = |at: &str| Edit::new(path("patches>0>patch"), Change::Within(vec![rename(at)]));
    gives(
        text,
        &[edit("a>b")],
        &text.replace("b: web", "azure.workload.identity/use: \"true\""),
    );
    gives(
        &text.replace('\n', "\r\n"),
        &[edit("a>b")],
        &text
            .replace('\n', "\r\n")
            .replace("b: web", "azure.workload.identity/use: \"true\""),
    );
    let quoted = "patches: [{patch: \"a:\\n  b: web\\n  c: d\"}]\n";
    gives(
        quoted,
        &[edit("a>b")],
        &quoted.replace("b: web", "azure.workload.identity/use: \\\"true\\\""),
    );
    let folded = "patches:\n- patch: >-\n    a:\n    - b\n    - c\n";
    let push = Change::Within(vec![push("a", "d")]);
    assert!(document(folded, &[Edit::new(path("patches>0>patch"), push)]).is_err());
}

#[test]
fn a_place_that_is_not_there_is_an_error() {
    assert_eq!(
        document("a: b\n", &[remove("c>d")]),
        Err(Refused::NoPlace("c.d".to_owned()))
    );
    assert_eq!(document("a: [\n", &[remove("a")]), Err(Refused::Unreadable));
    assert_eq!(
        document("a: |\n  x\n", &[set("a", "y")]),
        Err(Refused::NoPlace("a".to_owned()))
    );
}

#[test]
fn marks_lead_to_their_paths() {
    let (root, _) = read(TEMPLATE).unwrap();
    for wanted in [
        "spec>template>metadata>labels>aadpodidbinding",
        "spec>template>spec",
        "spec>template>spec>containers>0>env>0>name",
    ] {
        let wanted = path(wanted);
        let mark = at(&root, &wanted).unwrap().mark;
        assert_eq!(locate(&root, mark), Some(wanted));
    }
}

#[test]
fn what_takes_the_place_of_something_else_keeps_its_mapping() {
    let edits = [
        insert("a", "new", serde_json::json!({ "enabled": true, "id": "5" })),
        remove("a>old"),
    ];
    gives(
        "a:\n  old:\n    x: y\nz: z\n",
        &edits,
        "a:\n  new:\n    enabled: true\n    id: '5'\nz: z\n",
    );
    gives(
        "a:\n  old: true\n  b: c\n",
        &[insert("a", "new", true.into()), remove("a>old")],
        "a:\n  b: c\n  new: true\n",
    );
}

#[test]
fn a_text_in_json_has_quotes() {
    gives("{\"a\": true}\n", &[set("a", "word")], "{\"a\": \"word\"}\n");
}

#[test]
fn what_looks_like_a_comment_in_a_text_belongs_to_it() {
    let text = "a:\n- t: |+\n    # no comment\n\n  # a comment\n- t: x\n";
    gives(text, &[remove("a>0")], "a:\n  # a comment\n- t: x\n");
    gives(
        "a: b\nc: |\n  # no comment\n# a comment\n",
        &[remove("c")],
        "a: b\n# a comment\n",
    );
    gives(
        text,
        &[insert("a>0", "new", "v".into())],
        "a:\n- t: |+\n    # no comment\n\n  new: v\n  # a comment\n- t: x\n",
    );
}

/// Lists of objects, as people write them.
fn lists() -> impl Strategy<Value = String> {
    let between = prop::sample::select(vec![
        "",
        "",
        "\n",
        "# about the next\n",
        "  # of this\n",
        "\n# both\n\n",
    ]);
    let item = prop::sample::select(vec![
        "- name: a\n  labels: {x: y}\n",
        "- name: b # b\n  labels:\n    # the label\n    x: y\n    z: 'w'\n",
        "- name: c\n  text: |\n    one\n\n    two\n  labels:\n    x: \"y\"\n",
        "- labels:\n    x: y\n  name: d\n  text: |+\n    # no comment\n\n",
        "- name: &n e\n  labels: {x: y}\n  again: *n\n",
    ]);
    let items = prop::collection::vec((item, between), 2..7);
    (items, prop::sample::select(vec!["", "z: 1\n", "# end\n"])).prop_map(|(items, end)| {
        let items: Vec<&str> = items
            .into_iter()
            .flat_map(|(item, between)| [item, between])
            .collect();
        let items = items.concat();
        format!("# head\nkind: List\nitems:\n{items}{end}")
    })
}

/// What is done to the items of a list.
fn changes() -> impl Strategy<Value = Vec<Edit>> {
    let change = |n: usize, what: usize| {
        let item = format!("items>{n}");
        match what {
            0 => vec![remove(&item)],
            1 => vec![rename(&format!("{item}>labels>x"))],
            2 => vec![remove(&format!("{item}>labels>x"))],
            3 => vec![
                insert(&item, "new", "v".into()),
                set(&format!("{item}>name"), "other"),
            ],
            4 => vec![insert(&format!("{item}>labels"), "new", "true".into())],
            _ => Vec::new(),
        }
    };
    let of_items = prop::collection::vec(0..6usize, 1..7);
    of_items.prop_map(move |all| {
        all.into_iter()
            .enumerate()
            .flat_map(|(n, what)| change(n, what))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_large_document_becomes_what_a_small_one_becomes(text in lists(), edits in changes(), small in 0..200usize) {
        let (root, _) = read(&text).unwrap();
        let is_there = |edit: &Edit| at(&root, &edit.path[..2]).is_some();
        let edits: Vec<Edit> = edits.into_iter().filter(is_there).collect();
        prop_assert_eq!(in_parts(&text, &edits, small), document(&text, &edits));
        if let Ok(value) = serde_yaml::from_str::<Json>(&text) {
            for json in [format!("{value:#}\n"), value.to_string()] {
                prop_assert_eq!(in_parts(&json, &edits, small), document(&json, &edits));
            }
        }
    }
}
