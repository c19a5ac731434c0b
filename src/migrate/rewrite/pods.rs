//! What switching a workload changes in the files: the label of its pods and their ServiceAccount.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::Place;
use super::home::Home;
use crate::migrate::components::Group;
use crate::migrate::edit::{self, Change, Edit, Step};
use crate::migrate::model::{LABEL, USE_LABEL, Workload};
use crate::migrate::object::{Object, template_path};
use crate::migrate::plan::Switch;
use crate::migrate::source::Sources;
use crate::migrate::yaml::{Mark, Node, parse};

type Edits = Vec<(Mark, Change)>;

/// Last part of the path of a JSON patch.
const OLD_POINTER: &str = "/labels/aadpodidbinding";
const NEW_POINTER: &str = "/labels/azure.workload.identity~1use";

/// The changes of a workload.
pub fn group(sources: &Sources, switch: &Switch) -> Group {
    let workload = &switch.workload;
    let edits = label(sources, workload).and_then(|mut edits| {
        edits.extend(on_object(sources, workload));
        edits.extend(account(sources, switch)?);
        Ok(edits)
    });
    Group::of(&workload.at, switch.environment.clone(), edits)
}

/// The changes of a workload that needs its old label no more.
pub fn without_label(sources: &Sources, workload: &Workload, environment: Option<&String>) -> Group {
    let edits = label(sources, workload).map(|mut edits| {
        edits.extend(on_object(sources, workload));
        edits
    });
    Group::of(&workload.at, environment.cloned(), edits)
}

fn label(sources: &Sources, workload: &Workload) -> Result<Edits, String> {
    let Some(label) = &workload.label else {
        return Err("its label is not there".to_owned());
    };
    if workload.in_selector.is_some() {
        // The old label stays: the new one stands beside it, wherever the old one comes from.
        let added =
            || beside(sources, workload).ok_or("the labels of its pods are nowhere that can be changed");
        return Ok(if workload.uses_workload_identity {
            Vec::new()
        } else {
            vec![added()?]
        });
    }
    if let Some((text, inner)) = Place::of_text(sources, label.mark) {
        let edits = in_text(inner, workload.uses_workload_identity)?;
        let at = edit::at(text.root, &text.path).map_or(label.mark, |node| node.mark);
        return Ok(vec![(at, Change::Within(edits))]);
    }
    let place = Place::find(sources, label.mark).ok_or(NOWHERE)?;
    if place.in_kustomization() {
        return Err(format!(
            "its label comes from {}, which labels other objects as well",
            place.source.path
        ));
    }
    let edits = swap(place.root, &place.path, workload.uses_workload_identity)?;
    let marked = edits.into_iter().map(|edit| {
        let node = edit::at(place.root, &edit.path).ok_or(NOWHERE)?;
        Ok((node.mark, edit.change))
    });
    marked.collect()
}

const NOWHERE: &str = "its label stands where it cannot be changed";

/// Swaps the label whose value is at a path: an entry among labels, or what a JSON patch adds.
fn swap(root: &Arc<Node>, path: &[Step], has_new: bool) -> Result<Vec<Edit>, String> {
    let Some((Step::Key(key), parent)) = path.split_last() else {
        return Err(NOWHERE.to_owned());
    };
    let around = edit::at(root, parent).ok_or(NOWHERE)?;
    if key == LABEL {
        let old = around.text_at(&[USE_LABEL]).filter(|_| !has_new);
        if let Some(old) = old {
            return Err(format!(
                "its pods have the label {USE_LABEL}: {old:?} already, so that somebody has decided against it: \
                 remove one of the two labels"
            ));
        }
        let swap = Change::Rename {
            key: USE_LABEL.to_owned(),
            value: "true".to_owned(),
        };
        return Ok(vec![Edit::new(
            path.to_vec(),
            if has_new { Change::Remove } else { swap },
        )]);
    }
    let pointer = around.text_at(&["path"]).unwrap_or_default();
    let adds = key == "value" && around.text_at(&["op"]) == Some("add") && !has_new;
    let new = pointer.strip_suffix(OLD_POINTER).filter(|_| adds);
    let new = new.ok_or("its label stands in a JSON patch that does more than to add it")?;
    let pointer = [parent, &[Step::Key("path".to_owned())]].concat();
    Ok(vec![
        Edit::new(pointer, Change::Set(format!("{new}{NEW_POINTER}"))),
        Edit::new(path.to_vec(), Change::Set("true".to_owned())),
    ])
}

/// Swaps the label in a document that is written in a text, if it stands there once.
fn in_text(text: &str, has_new: bool) -> Result<Vec<Edit>, String> {
    let once = "its label stands several times in one text, such as a patch within a kustomization: put that into a \
                file";
    let mut documents = parse(0, text);
    let root = documents
        .pop()
        .filter(|_| documents.is_empty())
        .and_then(|document| document.content.ok().flatten());
    let root = root.ok_or(once)?;
    let mut found = Vec::new();
    root.walk(&mut Vec::new(), &mut |keys, node| {
        let selector = keys.iter().any(|key| key.is_text("matchLabels"));
        let pointer = node
            .text_at(&["path"])
            .is_some_and(|path| path.ends_with(OLD_POINTER));
        found.extend(node.get(LABEL).filter(|_| !selector).map(|value| value.mark));
        found.extend(node.get("value").filter(|_| pointer).map(|value| value.mark));
    });
    match found[..] {
        [mark] => swap(&root, &edit::locate(&root, mark).ok_or(once)?, has_new),
        _ => Err(once.to_owned()),
    }
}

/// The new label in the template as it is written, with what it needs around it.
fn beside(sources: &Sources, workload: &Workload) -> Option<(Mark, Change)> {
    let object = written(sources, workload)?;
    let template = match template_path(&object)? {
        [] => &object.node,
        path => object.node.at(path)?,
    };
    let insert = |at: &Node, key: &str, value: Json| {
        let (key, before) = (key.to_owned(), None);
        Some((at.mark, Change::Insert { key, value, before }))
    };
    let labels = || json!({ USE_LABEL: "true" });
    match (template.at(&["metadata", "labels"]), template.get("metadata")) {
        (Some(labels), _) => insert(labels, USE_LABEL, "true".into()),
        (None, Some(metadata)) => insert(metadata, "labels", labels()),
        (None, None) => insert(template, "metadata", json!({ "labels": labels() })),
    }
}

/// The label on the object itself has no effect, and would only puzzle people.
fn on_object(sources: &Sources, workload: &Workload) -> Edits {
    let place = workload.on_object.and_then(|mark| Place::find(sources, mark));
    let Some(place) = place.filter(|place| !place.in_kustomization() && place.key() == Some(LABEL)) else {
        return Vec::new();
    };
    let value = place.around().and_then(|labels| labels.get(LABEL));
    // Through an anchor it is that of the pods.
    let of_pods = |value: &&Arc<Node>| {
        workload
            .label
            .as_ref()
            .is_some_and(|label| label.mark == value.mark)
    };
    value
        .filter(|value| !of_pods(value))
        .map(|value| (value.mark, Change::Remove))
        .into_iter()
        .collect()
}

fn account(sources: &Sources, switch: &Switch) -> Result<Edits, String> {
    let workload = &switch.workload;
    let named = workload.service_account.as_ref();
    if workload.account() == switch.account && named.is_some() {
        return Ok(Vec::new());
    }
    let name = before_affixes(sources, switch)?;
    if let Some(named) = named {
        let place = Place::find(sources, named.mark).filter(|place| !place.in_kustomization());
        let key = place.as_ref().and_then(Place::key);
        if !matches!(key, Some("serviceAccountName" | "serviceAccount" | "value")) {
            return Err(
                "its ServiceAccount is named in a text, such as a patch within a kustomization".to_owned(),
            );
        }
        // The API server gives both names to what is read from it.
        let both = workload.pod.as_ref().and_then(|pod| pod.get("serviceAccount"));
        let both = both.filter(|node| node.mark != named.mark && node.as_text() == Some(&named.text));
        let marks = [Some(named.mark), both.map(|node| node.mark)];
        let set = |mark| (mark, Change::Set(name.clone()));
        return Ok(marks.into_iter().flatten().map(set).collect());
    }
    let object = written(sources, workload);
    let spec = object.as_ref().and_then(pod_spec);
    let spec = spec.ok_or("the spec of its pods is nowhere that can be changed")?;
    // An empty name is none, and stands there all the same.
    let mut empty = ["serviceAccountName", "serviceAccount"]
        .into_iter()
        .filter_map(|key| spec.get(key));
    if let Some(empty) = empty.find(|node| node.as_text() == Some("")) {
        return Ok(vec![(empty.mark, Change::Set(name))]);
    }
    let spec = spec.mark;
    let insert = Change::Insert {
        key: "serviceAccountName".to_owned(),
        value: name.into(),
        before: Some("containers"),
    };
    Ok(vec![(spec, insert)])
}

/// The name that the prefixes and suffixes of kustomizations make the ServiceAccount of.
fn before_affixes(sources: &Sources, switch: &Switch) -> Result<String, String> {
    let account = &switch.account;
    let file = sources.place(switch.workload.at.mark).file;
    let home = switch
        .environment
        .as_deref()
        .and_then(|name| Home::of(sources, name, Some(&file)));
    let name = home.map_or(Some(account.as_str()), |home| home.written(account));
    name.map(str::to_owned).ok_or_else(|| {
        format!("no name becomes {account} through the prefix and suffix of its kustomization: name its ServiceAccount")
    })
}

/// The object as it is written where the workload stands.
pub fn written(sources: &Sources, workload: &Workload) -> Option<Object> {
    let mark = workload.at.mark;
    let source = sources.files.get(usize::try_from(mark.file).ok()?)?;
    let document = source.documents.get(usize::try_from(mark.document).ok()?)?;
    let root = document.content.as_ref()?;
    // The object, or its first key, with lists around it.
    let path = edit::locate(root, mark)?;
    let nodes = (0..=path.len()).filter_map(|depth| edit::at(root, &path[..depth]));
    let mut objects = nodes.filter_map(Object::of);
    objects.find(|object| object.mark() == mark)
}

/// The spec of the pods, as it is written.
fn pod_spec(object: &Object) -> Option<&Arc<Node>> {
    let mut path = template_path(object)?.to_vec();
    path.push("spec");
    object.node.at(&path)
}
