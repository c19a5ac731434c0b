//! Lists as nobody has seen them of Azure, but as a reader has to survive them.

use azure_emulator::{Fault, FaultAction, NextLink, Operation, Shape};
use serde_json::{Value, json};

use crate::common::{Azure, credential, fic, fics, names};

/// The second of three entries in this shape, in the list and by itself.
async fn shown(azure: &Azure, shape: Shape) -> Value {
    let identity = azure.identity();
    for name in ["fic-1", "fic-2", "fic-3"] {
        azure.put_fic(&identity, name, name).await;
    }
    azure
        .emulator
        .knobs(|knobs| knobs.shapes = [("fic-2".to_owned(), shape)].into());
    let list = azure.get(&fics(&identity)).await.body;
    let alone = azure.get(&fic(&identity, "fic-2")).await.body;
    assert_eq!(list["value"].as_array().unwrap().len(), 3, "{shape:?}");
    for (at, name) in [(0, "fic-1"), (2, "fic-3")] {
        assert_eq!(list["value"][at]["properties"]["subject"], name, "{shape:?}");
    }
    assert_eq!(list["value"][1], alone, "{shape:?}");
    alone
}

#[tokio::test]
async fn a_credential_is_shown_in_the_shape_of_the_knob() {
    let azure = Azure::start().await;
    let expression = json!({ "value": "claims['sub'] matches 'repo:contoso/*'", "languageVersion": 1 });
    for shape in Shape::ALL {
        let found = shown(&azure, shape).await;
        let (properties, member) = (&found["properties"], |name| found["properties"].get(name));
        match shape {
            Shape::Flexible => {
                assert_eq!(
                    (member("subject"), &properties["claimsMatchingExpression"]),
                    (None, &expression)
                );
            }
            Shape::FlexibleWithSubject => {
                assert_eq!(properties["subject"], "fic-2");
                assert_eq!(properties["claimsMatchingExpression"], expression);
            }
            Shape::NoSubject => assert_eq!(member("subject"), None),
            Shape::NullSubject => assert_eq!(member("subject"), Some(&Value::Null)),
            Shape::EmptySubject => assert_eq!(member("subject"), Some(&json!(""))),
            Shape::NoIssuer => assert_eq!(member("issuer"), None),
            Shape::NoAudiences => assert_eq!(member("audiences"), None),
            Shape::EmptyAudiences => assert_eq!(member("audiences"), Some(&json!([]))),
            Shape::NoProperties => assert_eq!(found.get("properties"), None),
            Shape::NullProperties => assert_eq!(found.get("properties"), Some(&Value::Null)),
            Shape::NoName => {
                assert_eq!(found.get("name"), None);
                assert!(found["id"].as_str().unwrap().ends_with("/fic-2"));
            }
        }
    }
}

#[tokio::test]
async fn an_odd_credential_counts_and_is_deleted_like_any_other() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure
        .emulator
        .put_credential(&identity.resource_id, credential("odd", "a"));
    azure.emulator.knobs(|knobs| {
        knobs.max_fics = 1;
        knobs.shapes = [("odd".to_owned(), Shape::NoProperties)].into();
    });
    azure
        .put_fic(&identity, "fic-b", "b")
        .await
        .is(400, "BadRequest", false);
    assert_eq!(azure.delete(&fic(&identity, "odd")).await.status, 200);
    assert_eq!(azure.put_fic(&identity, "fic-b", "b").await.status, 201);
}

#[tokio::test]
async fn a_list_has_the_body_that_it_is_given() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    for body in [
        json!({}),
        json!([]),
        json!({ "error": {} }),
        json!({ "value": null }),
    ] {
        azure
            .emulator
            .fault(Fault::on(Operation::ListCredentials).action(FaultAction::Body(body.clone())));
        let answer = azure.get(&fics(&identity)).await;
        assert_eq!((answer.status, answer.body), (200, body));
        assert_eq!(azure.list(&identity).await, [""; 0]);
    }
}

#[tokio::test]
async fn links_lead_nowhere_when_told() {
    let azure = Azure::start().await;
    let identity = azure.identity();
    azure.put_fic(&identity, "fic-1", "a").await;
    let follow = async |path: &str| {
        let page = azure.get(path).await;
        let link = page.body["nextLink"].as_str().unwrap().to_owned();
        let path = link.strip_prefix(azure.emulator.url()).unwrap();
        (names(&page).len(), path.to_owned())
    };

    azure.emulator.knobs(|knobs| knobs.next_link = NextLink::Itself);
    let (entries, itself) = follow(&fics(&identity)).await;
    assert_eq!(entries, 1);
    assert_eq!(follow(&itself).await, (1, itself.clone()));

    azure.emulator.knobs(|knobs| knobs.next_link = NextLink::Endless);
    let mut seen = vec![follow(&fics(&identity)).await];
    for _ in 0..30 {
        let next = follow(&seen.last().unwrap().1).await;
        assert_eq!(next.0, 0);
        assert!(!seen.contains(&next), "{next:?} comes again");
        seen.push(next);
    }
}
