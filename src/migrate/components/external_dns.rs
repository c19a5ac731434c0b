//! external-dns: the settings of Azure in the values of its chart.

use super::{Context, Decision, Group, group};
use crate::migrate::edit::Change;
use crate::migrate::model::{Model, Setting};

/// None where nothing says that its pods use pod identity: they may as well use the identity of the node.
pub fn settings(context: &Context<'_, '_>, model: &Model, setting: &Setting) -> Option<Group> {
    let own = |with, decision| group(&setting.holder, model.environment.clone(), with, decision);
    let mut workloads = model.workloads.iter();
    let made = workloads.find(|workload| workload.chart.is_some() && workload.at.mark == setting.holder.mark);
    if let Some(workload) = made {
        workload.label.as_ref()?;
        let decision = match context.switch(model, workload) {
            Some(_) => edits(context, setting),
            None => Err(context.unplanned(model, workload)),
        };
        return Some(own(vec![workload.at.clone()], decision));
    }
    let mut labels = model.elsewhere.iter();
    let labelled = labels.any(|found| found.holder.mark == setting.holder.mark);
    let reason = "the ServiceAccount of its pods is not known: set useWorkloadIdentityExtension together with the label \
                  of the pods";
    labelled.then(|| own(Vec::new(), Err(reason.to_owned())))
}

fn edits(context: &Context<'_, '_>, setting: &Setting) -> Decision {
    if setting.around.get("useManagedIdentityExtension").is_none() {
        let reason = "its azure.json is a text: set useWorkloadIdentityExtension there, instead of \
                      useManagedIdentityExtension and userAssignedIdentityID";
        return Err(reason.to_owned());
    }
    let mut edits = vec![(
        context.entry(setting.mark, "useManagedIdentityExtension")?,
        Change::Remove,
    )];
    // Only for managed identities; the ServiceAccount names the identity now.
    if let Some((_, id)) = setting.around.entry("userAssignedIdentityID") {
        edits.push((context.entry(id.mark, "userAssignedIdentityID")?, Change::Remove));
    }
    match setting.around.get("useWorkloadIdentityExtension") {
        Some(there) if there.is_truthy() => {}
        Some(there) => {
            let mark = context.entry(there.mark, "useWorkloadIdentityExtension")?;
            edits.push((mark, Change::Set("true".to_owned())));
        }
        None => edits.push((
            setting.around.mark,
            Change::Insert {
                key: "useWorkloadIdentityExtension".to_owned(),
                value: true.into(),
                before: None,
            },
        )),
    }
    Ok(edits)
}
