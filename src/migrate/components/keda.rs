//! KEDA: the provider of TriggerAuthentications, and the identity of the operator in its chart.

use serde_json::json;

use super::{Context, Decision};
use crate::migrate::edit::Change;
use crate::migrate::model::{Model, Setting};

/// What makes a TriggerAuthentication. Other custom resources may mean something else by the same words.
const HOLDERS: [&str; 5] = [
    "TriggerAuthentication",
    "ClusterTriggerAuthentication",
    "HelmRelease",
    "Application",
    "values",
];

/// `provider: azure` becomes `azure-workload`. The operator logs in, so that no workload switches with it.
pub fn provider(context: &Context<'_, '_>, setting: &Setting) -> Option<Decision> {
    if !HOLDERS.contains(&setting.holder.kind.as_str()) {
        return None;
    }
    let mut entries = setting.around.entries().iter();
    let (key, _) = entries.find(|(_, value)| value.mark == setting.mark)?;
    let mark = context.entry(setting.mark, key.as_text()?);
    Some(mark.map(|mark| vec![(mark, Change::Set("azure-workload".to_owned()))]))
}

/// `podIdentity.activeDirectory.identity`, which is the label of its pods, becomes `podIdentity.azureWorkload`.
pub fn chart<'m>(context: &Context<'_, 'm>, model: &'m Model, setting: &Setting) -> Decision {
    let by_hand = |reason: String| {
        format!(
            "{reason}: set podIdentity.azureWorkload.enabled and clientId by hand, and remove activeDirectory"
        )
    };
    if setting.around.get("azureWorkload").is_some() {
        return Err(by_hand("podIdentity.azureWorkload is there already".to_owned()));
    }
    let identity = setting
        .around
        .at(&["activeDirectory", "identity"])
        .map(|identity| identity.mark);
    let label = model.elsewhere.iter().find(|found| Some(found.mark) == identity);
    let uses = label.map(|label| context.index.elsewhere(model, label).uses);
    let client = match uses.as_deref() {
        Some([only]) => context
            .client_id(only.identity, setting.mark.file)
            .map_err(by_hand)?,
        Some([]) | None => {
            return Err(by_hand(
                "no binding of the input leads from the operator to an identity".to_owned(),
            ));
        }
        Some(_) => return Err(by_hand("the operator has several identities".to_owned())),
    };
    let settings = json!({ "enabled": true, "clientId": client });
    let insert = Change::Insert {
        key: "azureWorkload".to_owned(),
        value: settings,
        before: None,
    };
    let edits = vec![
        (context.entry(setting.mark, "activeDirectory")?, Change::Remove),
        (setting.around.mark, insert),
    ];
    Ok(edits)
}
