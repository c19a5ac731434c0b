//! Application Gateway Ingress Controller: its chart labels and annotates the pods by `armAuth`.

use super::{Context, Decision};
use crate::migrate::edit::Change;
use crate::migrate::model::Setting;

pub fn settings(context: &Context<'_, '_>, setting: &Setting) -> Option<Decision> {
    // Objects of other kinds only look like its values.
    ["values", "HelmRelease", "Application"]
        .contains(&setting.holder.kind.as_str())
        .then(|| decide(context, setting))
}

fn decide(context: &Context<'_, '_>, setting: &Setting) -> Decision {
    if setting
        .around
        .text_at(&["identityClientID"])
        .is_none_or(str::is_empty)
    {
        let reason =
            "armAuth has no identityClientID, which the chart asks for: add it and run wib migrate again";
        return Err(reason.to_owned());
    }
    let mode = Change::Set("workloadIdentity".to_owned());
    let mut edits = vec![(context.entry(setting.mark, "type")?, mode)];
    if let Some((_, id)) = setting.around.entry("identityResourceID") {
        edits.push((context.entry(id.mark, "identityResourceID")?, Change::Remove));
    }
    Ok(edits)
}
