//! Whether the objects of a release fit together.

use anyhow::{Context as _, Result, ensure};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use super::helm::{of_kind, one};

/// Whether labels are selected by `matchLabels`, which must select something.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object();
    selector.is_some_and(|s| !s.is_empty() && s.iter().all(|(key, value)| labels[key] == *value))
}

/// Every selector selects what it is for, every port leads to a listener, every binding binds a role that exists.
pub fn selectors_select(objects: &[Value]) -> Result<()> {
    let deployment = one(objects, "Deployment")?;
    let template = &deployment["spec"]["template"];
    let (pod, spec) = (&template["metadata"]["labels"], &template["spec"]);
    let constraints = spec["topologySpreadConstraints"].as_array().into_iter().flatten();
    let terms =
        spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"].as_array();
    let terms = terms
        .into_iter()
        .flatten()
        .map(|t| &t["podAffinityTerm"]["labelSelector"]["matchLabels"]);
    let mut selectors = vec![&deployment["spec"]["selector"]["matchLabels"]];
    selectors.extend(constraints.map(|c| &c["labelSelector"]["matchLabels"]));
    selectors.extend(terms);
    selectors.extend(of_kind(objects, "PodDisruptionBudget").map(|b| &b["spec"]["selector"]["matchLabels"]));
    selectors.extend(of_kind(objects, "NetworkPolicy").map(|p| &p["spec"]["podSelector"]["matchLabels"]));
    selectors.extend(of_kind(objects, "Service").map(|s| &s["spec"]["selector"]));
    for selector in selectors {
        ensure!(
            selects(selector, pod),
            "{selector} does not select the pods {pod}"
        );
    }
    let container = &spec["containers"][0];
    let ports = container["ports"].as_array().context("no ports")?;
    let has_port = |name: &Value| ports.iter().any(|p| p["name"] == *name);
    for probe in ["livenessProbe", "readinessProbe"] {
        ensure!(
            has_port(&container[probe]["httpGet"]["port"]),
            "{probe} asks another port"
        );
    }
    let listens = container["env"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|e| e["name"] == "WIB_HTTP_ADDRESS");
    let address: std::net::SocketAddr = listens
        .and_then(|e| e["value"].as_str())
        .context("no address")?
        .parse()?;
    ensure!(
        ports[0]["containerPort"] == address.port(),
        "the pod listens on {address}"
    );
    for policy in of_kind(objects, "NetworkPolicy") {
        ensure!(
            has_port(&policy["spec"]["ingress"][0]["ports"][0]["port"]),
            "{policy:#}"
        );
    }
    for service in of_kind(objects, "Service") {
        ensure!(
            has_port(&service["spec"]["ports"][0]["targetPort"]),
            "{service:#}"
        );
        for monitor in of_kind(objects, "ServiceMonitor") {
            let (spec, metadata) = (&monitor["spec"], &service["metadata"]);
            ensure!(
                selects(&spec["selector"]["matchLabels"], &metadata["labels"]),
                "{monitor:#}"
            );
            ensure!(
                spec["namespaceSelector"]["matchNames"] == json!([metadata["namespace"]]),
                "{monitor:#}"
            );
            ensure!(
                spec["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"],
                "{monitor:#}"
            );
        }
    }
    // Roles that exist, for the ServiceAccount that the pods have.
    for binding in ["ClusterRoleBinding", "RoleBinding"]
        .iter()
        .flat_map(|k| of_kind(objects, k))
    {
        let kind = binding["roleRef"]["kind"].as_str().unwrap_or_default();
        let role = of_kind(objects, kind).find(|r| r["metadata"]["name"] == binding["roleRef"]["name"]);
        let role = role.with_context(|| format!("{binding:#} binds nothing"))?;
        ensure!(
            role["metadata"]["namespace"] == binding["metadata"]["namespace"],
            "{binding:#}"
        );
        let subject = json!([{
            "kind": "ServiceAccount",
            "name": spec["serviceAccountName"],
            "namespace": deployment["metadata"]["namespace"],
        }]);
        assert_eq!(binding["subjects"], subject);
    }
    Ok(())
}

/// No role asks for everything, or for what opens everything.
pub fn nothing_asks_for_everything(objects: &[Value]) -> Result<()> {
    for role in ["ClusterRole", "Role"].iter().flat_map(|k| of_kind(objects, k)) {
        let rules = role["rules"].to_string();
        for word in ["*", "secrets", "pods", "token", "impersonate", "escalate", "bind"] {
            ensure!(!rules.contains(&format!("\"{word}\"")), "{word} in {rules}");
        }
    }
    Ok(())
}

/// The definition is kept by helm or not, as the values say.
pub fn keeps(objects: &[Value]) -> Result<()> {
    for crd in of_kind(objects, "CustomResourceDefinition") {
        let instance = &crd["metadata"]["labels"]["app.kubernetes.io/instance"];
        let policy = &crd["metadata"]["annotations"]["helm.sh/resource-policy"];
        // The set that says `crds.keep: false`.
        let kept = *instance != "one-tenant";
        ensure!((*policy == "keep") == kept, "{instance}: {policy}");
    }
    Ok(())
}
