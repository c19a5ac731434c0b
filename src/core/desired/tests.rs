use super::*;

const SUBSCRIPTION: &str = "00000000-0000-0000-0000-00000000000a";

fn defaults() -> Defaults {
    Defaults {
        subscription_id: None,
        resource_group: None,
        deletion_policy: DeletionPolicy::Delete,
        audience: "api://AzureADTokenExchange".into(),
        prefix: "wib".into(),
    }
}

fn by_name() -> IdentityReference {
    IdentityReference {
        name: Some("web".into()),
        ..IdentityReference::default()
    }
}

#[test]
fn the_name_form_takes_the_operators_defaults() {
    let defaults = Defaults {
        subscription_id: Some(SUBSCRIPTION.into()),
        resource_group: Some("shop".into()),
        ..defaults()
    };
    let id = identity(&by_name(), &defaults).unwrap();
    assert_eq!(
        (id.subscription(), id.resource_group(), id.name()),
        (SUBSCRIPTION, "shop", "web")
    );
}

#[test]
fn a_missing_default_is_named_with_its_flag() {
    let error = identity(&by_name(), &defaults()).unwrap_err();
    assert!(error.to_string().contains("--subscription-id"), "{error}");
}

#[test]
fn both_forms_or_none_are_refused() {
    assert_eq!(
        identity(&IdentityReference::default(), &defaults()),
        Err(InvalidSpec::IdentityForm)
    );
    let both = IdentityReference {
        resource_id: Some("/x".into()),
        ..by_name()
    };
    assert_eq!(identity(&both, &defaults()), Err(InvalidSpec::IdentityForm));
}

#[test]
fn a_hostile_service_account_name_is_refused() {
    for name in ["web", "a", "0-1.b", &"a".repeat(253)] {
        assert!(is_service_account_name(name), "{name:?} was refused");
    }
    let long = "a".repeat(254);
    for name in [
        "",
        "..",
        ".",
        "a..b",
        "../web",
        "web/token",
        "web?x=1",
        "web#",
        "web%2ftoken",
        "a:b",
        "*",
        "Web",
        "-web",
        "web-",
        "web.",
        "web\n",
        "we b",
        "w\u{0}b",
        "wéb",
        "\u{212a}",
        "web\u{200b}",
        &long,
    ] {
        assert!(!is_service_account_name(name), "{name:?} was accepted");
    }
}

fn spec(json: serde_json::Value) -> WorkloadIdentityBindingSpec {
    serde_json::from_value(json).unwrap()
}

fn by_id(extra: &serde_json::Value) -> WorkloadIdentityBindingSpec {
    let id = format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/shop/providers/Microsoft.ManagedIdentity/userAssignedIdentities/web"
    );
    let mut json = serde_json::json!({
        "identity": { "resourceId": id },
        "serviceAccount": { "name": "web" },
    });
    let fields = extra.as_object().unwrap().clone();
    json.as_object_mut().unwrap().extend(fields);
    spec(json)
}

fn understood(spec: &WorkloadIdentityBindingSpec) -> Desired {
    Desired::new("shop", spec, &defaults(), "https://issuer/").unwrap()
}

#[test]
fn a_spec_and_the_settings_make_the_credential_and_the_question() {
    let desired = understood(&by_id(&serde_json::json!({})));
    let tuple = Tuple::for_service_account("https://issuer/", "shop", "web", "api://AzureADTokenExchange");
    assert_eq!(desired.credential, Credential::named_by_us("wib", tuple));
    assert_eq!((desired.namespace.as_str(), desired.suspend), ("shop", false));
    assert_eq!(desired.identity.name(), "web");
    assert_eq!(desired.service_account.name, "web");
    let request = grant::Request {
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
        identity: desired.identity.clone(),
    };
    assert_eq!(desired.grant(), request);
}

#[test]
fn what_a_spec_says_of_deletion_speaks_before_the_setting() {
    let policy = |extra, default| {
        let defaults = Defaults {
            deletion_policy: default,
            ..defaults()
        };
        let desired = Desired::new("shop", &by_id(&extra), &defaults, "i").unwrap();
        desired.deletion_policy
    };
    let none = serde_json::json!({});
    assert_eq!(
        policy(none.clone(), DeletionPolicy::Delete),
        DeletionPolicy::Delete
    );
    assert_eq!(policy(none, DeletionPolicy::Retain), DeletionPolicy::Retain);
    let delete = serde_json::json!({"deletionPolicy": "Delete"});
    assert_eq!(policy(delete, DeletionPolicy::Retain), DeletionPolicy::Delete);
}

#[test]
fn adoption_and_suspension_are_those_of_the_spec() {
    let desired = understood(&by_id(&serde_json::json!({"adoption": "Never", "suspend": true})));
    assert_eq!((desired.adoption, desired.suspend), (Adoption::Never, true));
}

#[test]
fn the_form_by_name_speaks_before_the_settings_and_misses_each_by_itself() {
    let settings = Defaults {
        subscription_id: Some("00000000-0000-0000-0000-00000000000b".into()),
        resource_group: Some("other".into()),
        ..defaults()
    };
    let own = IdentityReference {
        subscription_id: Some(SUBSCRIPTION.into()),
        resource_group: Some("shop".into()),
        ..by_name()
    };
    let id = identity(&own, &settings).unwrap();
    assert_eq!((id.subscription(), id.resource_group()), (SUBSCRIPTION, "shop"));
    let without_group = IdentityReference {
        resource_group: None,
        ..own
    };
    let error = identity(&without_group, &defaults()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.identity.resourceGroup is not set and the operator has no default for it: set it, or start the operator with --resource-group"
    );
}

#[test]
fn a_name_that_would_steer_an_address_is_told() {
    let spec = by_id(&serde_json::json!({"serviceAccount": {"name": "../web"}}));
    let error = Desired::new("shop", &spec, &defaults(), "i").unwrap_err();
    assert_eq!(error, InvalidSpec::ServiceAccount);
}

#[test]
fn azure_takes_600_characters_of_each_part() {
    let made = |issuer: usize, audience: usize, namespace: usize| {
        let defaults = Defaults {
            audience: "é".repeat(audience),
            ..defaults()
        };
        let spec = by_id(&serde_json::json!({}));
        Desired::new(&"n".repeat(namespace), &spec, &defaults, &"é".repeat(issuer)).map(|_| ())
    };
    // system:serviceaccount:<namespace>:web
    let namespace = 600 - "system:serviceaccount::web".len();
    assert_eq!(made(600, 600, namespace), Ok(()));
    assert_eq!(made(601, 600, namespace), Err(InvalidSpec::TooLong("issuer")));
    assert_eq!(made(600, 601, namespace), Err(InvalidSpec::TooLong("audience")));
    assert_eq!(
        made(600, 600, namespace + 1),
        Err(InvalidSpec::TooLong("subject"))
    );
}

#[test]
fn a_namespace_is_one_label() {
    for name in ["shop", "a", "0-1", &"a".repeat(63)] {
        assert!(is_namespace_name(name), "{name:?} was refused");
    }
    for name in ["", "-a", "a-", "a.b", "A", "a/b", "é", &"a".repeat(64)] {
        assert!(!is_namespace_name(name), "{name:?} was accepted");
    }
}

#[test]
fn an_audience_has_no_character_that_nobody_sees() {
    for audience in [
        "api://AzureADTokenExchange",
        "a",
        &"a".repeat(600),
        &"é".repeat(600),
    ] {
        assert!(is_audience(audience), "{audience:?} was refused");
    }
    for audience in [
        "",
        " a",
        "a ",
        "a b",
        "a\n",
        "a\u{0}",
        "a\u{a0}b",
        &"a".repeat(601),
    ] {
        assert!(!is_audience(audience), "{audience:?} was accepted");
    }
}
