use serde_json::json;

use super::*;
use crate::azure::arm::fuzzing;
use crate::core::Fault;

const LINK: &str = "https://management.azure.com/subscriptions/s?api-version=2023-01-31&%24skiptoken=2";

fn entry(name: &str) -> Value {
    json!({ "name": name, "properties": {
        "issuer": "https://issuer/", "subject": "system:serviceaccount:shop:web", "audiences": ["aud"] } })
}

/// An entry whose member at this path is another one, or missing.
fn with(path: &str, value: Option<Value>) -> Value {
    let mut found = entry("odd");
    let (parent, member) = path.rsplit_once('/').unwrap();
    let members = found.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => members.insert(member.to_owned(), value),
        None => members.remove(member),
    };
    found
}

fn id() -> IdentityId {
    IdentityId::new("00000000-0000-0000-0000-00000000000a", "shop", "web").unwrap()
}

fn pages() -> Pages {
    let endpoint = Url::parse("https://management.azure.com/").unwrap();
    Pages::of(&endpoint, &id()).0
}

fn add(pages: &mut Pages, page: &Value) -> legacy::Result<Option<Url>> {
    pages.add(page.to_string().as_bytes())
}

fn read(entries: &[Value]) -> Holdings {
    let mut pages = pages();
    assert_eq!(add(&mut pages, &json!({ "value": entries })).unwrap(), None);
    pages.held()
}

#[test]
fn an_odd_entry_is_kept_by_its_name_and_spoils_nothing() {
    let flexible = json!({ "value": "claims['sub'] matches 'x'", "languageVersion": 1 });
    let odd = [
        with("/properties/subject", None),
        with("/properties/subject", Some(Value::Null)),
        with("/properties/subject", Some(json!(""))),
        with("/properties/subject", Some(json!(["a"]))),
        with("/properties/claimsMatchingExpression", Some(flexible)),
        with("/properties/issuer", None),
        with("/properties/issuer", Some(json!(7))),
        with("/properties/audiences", None),
        with("/properties/audiences", Some(Value::Null)),
        with("/properties/audiences", Some(json!([]))),
        with("/properties/audiences", Some(json!(["a", "b"]))),
        with("/properties/audiences", Some(json!([""]))),
        with("/properties/audiences", Some(json!([1]))),
        with("/properties/audiences", Some(json!("aud"))),
        with("/properties", None),
        with("/properties", Some(Value::Null)),
        with("/properties", Some(json!("none"))),
    ];
    for odd in odd {
        let held = read(&[entry("before"), odd.clone(), entry("after")]);
        let names: Vec<_> = held.credentials.iter().map(|c| &*c.name).collect();
        assert_eq!(names, ["before", "after"], "{odd}");
        assert_eq!(held.unreadable, ["odd"], "{odd}");
    }
}

#[test]
fn an_entry_without_a_name_counts_under_that_of_its_id_or_none() {
    let by_id = json!({ "id": "/subscriptions/s/federatedIdentityCredentials/by-id", "properties": {} });
    let held = read(&[
        by_id,
        with("/name", None),
        with("/name", Some(json!(1))),
        json!({}),
        Value::Null,
        json!("text"),
        json!([]),
    ]);
    assert_eq!(held.credentials, []);
    assert_eq!(held.unreadable, ["by-id", "", "", "", "", "", ""]);
}

#[test]
fn members_that_widen_nothing_do_not_matter() {
    for (member, value) in [
        ("/properties/claimsMatchingExpression", Value::Null),
        ("/properties/description", json!({ "new": ["member"] })),
        ("/systemData", json!({ "createdBy": 1 })),
        ("/type", json!(1)),
    ] {
        let found = with(member, Some(value));
        let tuple = Tuple::for_service_account("https://issuer/", "shop", "web", "aud");
        let name = "odd".to_owned();
        assert_eq!(
            read(std::slice::from_ref(&found)),
            vec![Credential { name, tuple }].into(),
            "{found}"
        );
    }
}

#[test]
fn what_is_no_list_is_an_error_and_not_an_empty_list() {
    for body in [
        "",
        "{}",
        "[]",
        "null",
        "7",
        "<html>",
        r#"{"error":{}}"#,
        r#"{"error":{"code":"InternalServerError","message":"x"}}"#,
        r#"{"value":null}"#,
        r#"{"value":{}}"#,
        r#"{"Value":[]}"#,
        r#"{"value":[]"#,
        r#"{"value":[],"nextLink":7}"#,
    ] {
        let error = fuzzing::list(body.as_bytes()).unwrap().unwrap_err();
        assert_eq!(error.fault, Fault::Unavailable, "{body}");
    }
    for body in [
        r#"{"value":[]}"#,
        r#"{"value":[],"nextLink":null}"#,
        r#"{"value":[],"nextLink":""}"#,
    ] {
        assert_eq!(
            fuzzing::list(body.as_bytes()).unwrap(),
            Ok(Holdings::default()),
            "{body}"
        );
    }
}

#[test]
fn an_identity_is_read_for_its_ids_alone() {
    let ids = json!({ "clientId": "c", "principalId": "p", "tenantId": "t" });
    let found = json!({ "name": 7, "location": null, "tags": [], "properties": ids });
    let identity = fuzzing::identity(found.to_string().as_bytes()).unwrap().unwrap();
    assert_eq!(identity.client_id, "c");
    for member in ["clientId", "principalId", "tenantId"] {
        for wrong in [Value::Null, json!(""), json!(7)] {
            let mut ids = ids.clone();
            ids[member] = wrong;
            let body = json!({ "properties": ids }).to_string();
            let error = fuzzing::identity(body.as_bytes()).unwrap().unwrap_err();
            assert_eq!(error.fault, Fault::Unavailable);
            assert!(error.to_string().contains("lacks clientId"), "{error}");
        }
    }
    for body in ["{}", "[]", r#"{"error":{}}"#, r#"{"properties":null}"#] {
        assert!(fuzzing::identity(body.as_bytes()).unwrap().is_err(), "{body}");
    }
}

#[test]
fn pages_are_put_together() {
    let mut pages = pages();
    let first = json!({ "value": [entry("one")], "nextLink": LINK });
    assert_eq!(add(&mut pages, &first).unwrap().unwrap().as_str(), LINK);
    let last = json!({ "value": [entry("two"), {}] });
    assert_eq!(add(&mut pages, &last).unwrap(), None);
    assert_eq!(pages.held().len(), 3);
}

#[test]
fn a_link_is_taken_as_it_is_but_for_a_missing_version() {
    let mut pages = pages();
    let mut next = |link: &str| {
        let page = json!({ "value": [], "nextLink": link });
        add(&mut pages, &page).unwrap().unwrap().to_string()
    };
    let host = "https://management.azure.com";
    assert_eq!(
        next("/x?$skiptoken=1"),
        format!("{host}/x?$skiptoken=1&api-version={API_VERSION}")
    );
    assert_eq!(
        next("https://MANAGEMENT.azure.com:443/y?api-version=1#z"),
        format!("{host}/y?api-version=1")
    );
}

#[test]
fn a_token_is_sent_nowhere_else() {
    for link in [
        "http://management.azure.com/x",
        "https://management.azure.com:8443/x",
        "https://management.azure.com.example/x",
        "https://somebody@management.azure.com/x",
        "https://:secret@management.azure.com/x",
        "//example.com/x",
        "file:///x",
        "https://",
    ] {
        let page = json!({ "value": [], "nextLink": link });
        assert!(add(&mut pages(), &page).is_err(), "{link}");
        let error = fuzzing::list(page.to_string().as_bytes()).unwrap().unwrap_err();
        assert_eq!(error.fault, Fault::Unavailable, "{link}");
    }
}

/// How many pages are read of a list whose `n`th link is this, up to the error.
fn calls(link: impl Fn(usize) -> String) -> usize {
    let mut pages = pages();
    (1..100)
        .find(|n| add(&mut pages, &json!({ "value": [], "nextLink": link(*n) })).is_err())
        .unwrap()
}

#[test]
fn a_list_without_an_end_is_left_after_a_few_calls() {
    let endpoint = Url::parse("https://management.azure.com/").unwrap();
    let first = Pages::of(&endpoint, &id()).1.to_string();
    assert_eq!(calls(|_| first.clone()), 1);
    assert_eq!(calls(|_| LINK.to_owned()), 2);
    assert_eq!(calls(|n| format!("{LINK}#{n}")), 2);
    assert_eq!(calls(|n| format!("{LINK}{}", n % 2)), 3);
    assert_eq!(calls(|n| format!("{LINK}{n}")), MAX_PAGES);
}

#[test]
fn a_page_without_an_end_is_no_list() {
    let most: Vec<_> = (0..MAX_ENTRIES).map(|n| entry(&n.to_string())).collect();
    assert_eq!(read(&most).len(), MAX_ENTRIES);
    let mut pages = pages();
    add(&mut pages, &json!({ "value": most, "nextLink": LINK })).unwrap();
    assert!(add(&mut pages, &json!({ "value": [{}] })).is_err());
}
