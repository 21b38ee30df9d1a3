//! Who wrote which field: `metadata.managedFields`, and server-side apply by it.
//!
//! Simpler than the real one: a list is one field, whatever is in it. So it is for lists in Istio's CRDs; those of
//! built-in kinds that are merged by a key conflict here as a whole.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::clock;
use super::refusal::Refusal;

/// Who writes, and how.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) manager: String,
    pub(super) api_version: String,
    /// Through the status.
    pub(super) is_status: bool,
}

/// A field's place, name by name.
type Path = Vec<String>;

#[derive(Clone, Debug, PartialEq)]
struct Owner {
    manager: String,
    is_apply: bool,
    is_status: bool,
    api_version: String,
    time: String,
    fields: BTreeSet<Path>,
}

/// Notes that `writer` has made `after` of `before`, other than by apply.
pub(super) fn note(before: Option<&Value>, after: &mut Value, writer: &Writer) {
    let mut owners = before.map(owners).unwrap_or_default();
    let (was, is) = (before.map(leaves).unwrap_or_default(), leaves(after));
    let is_same = |path: &Path| before.is_some_and(|before| at(before, path) == at(after, path));
    let changed: BTreeSet<Path> = was.union(&is).filter(|path| !is_same(path)).cloned().collect();
    for owner in &mut owners {
        owner.fields.retain(|path| !changed.contains(path));
    }
    let written: BTreeSet<Path> = changed.into_iter().filter(|path| is.contains(path)).collect();
    if !written.is_empty() {
        own(&mut owners, writer, false).fields.extend(written);
    }
    tell(after, owners);
}

/// What becomes of `live` when `wanted` is applied. Fields that this manager had applied and wants no more are gone.
pub(super) fn apply(
    live: &Value,
    wanted: &Value,
    writer: &Writer,
    is_forced: bool,
) -> Result<Value, Refusal> {
    let mut owners = owners(live);
    let wanted_fields = leaves(wanted);
    let is_mine = |owner: &Owner| {
        owner.manager == writer.manager && owner.is_apply && owner.is_status == writer.is_status
    };
    let mut conflicts = Vec::new();
    for owner in owners.iter_mut().filter(|owner| !is_mine(owner)) {
        let differs = |path: &&Path| owner.fields.contains(*path) && at(live, path) != at(wanted, path);
        let lost: Vec<Path> = wanted_fields.iter().filter(differs).cloned().collect();
        if is_forced {
            owner.fields.retain(|path| !lost.contains(path));
        } else if !lost.is_empty() {
            conflicts.push((owner.clone(), lost));
        }
    }
    if !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }
    let mut object = live.clone();
    let mine =
        owners.iter().find(|owner| is_mine(owner)).map(|owner| owner.fields.clone()).unwrap_or_default();
    for path in mine.difference(&wanted_fields) {
        if !owners.iter().any(|owner| !is_mine(owner) && owner.fields.contains(path)) {
            take(&mut object, path);
        }
    }
    for path in &wanted_fields {
        if let Some(value) = at(wanted, path) {
            put(&mut object, path, value.clone());
        }
    }
    if mine != wanted_fields {
        own(&mut owners, writer, true).fields = wanted_fields;
    }
    tell(&mut object, owners);
    Ok(object)
}

fn own<'a>(owners: &'a mut Vec<Owner>, writer: &Writer, is_apply: bool) -> &'a mut Owner {
    let is_it = |owner: &Owner| {
        owner.manager == writer.manager && owner.is_apply == is_apply && owner.is_status == writer.is_status
    };
    let place = owners.iter().position(is_it).unwrap_or_else(|| {
        owners.push(Owner {
            manager: writer.manager.clone(),
            is_apply,
            is_status: writer.is_status,
            api_version: String::new(),
            time: String::new(),
            fields: BTreeSet::new(),
        });
        owners.len() - 1
    });
    let owner = &mut owners[place];
    owner.api_version.clone_from(&writer.api_version);
    owner.time = clock::now();
    owner
}

fn conflict(conflicts: &[(Owner, Vec<Path>)]) -> Refusal {
    let mut told = String::new();
    let mut causes = Vec::new();
    for (owner, lost) in conflicts {
        let using = if owner.is_apply { String::new() } else { format!(" using {}", owner.api_version) };
        let with = format!("\"{}\"{using}", owner.manager);
        let fields: Vec<String> = lost.iter().map(|path| format!(".{}", path.join("."))).collect();
        match fields.as_slice() {
            [field] => told.push_str(&format!(" conflict with {with}: {field}")),
            fields => told.push_str(&format!(" conflicts with {with}:\n- {}", fields.join("\n- "))),
        }
        for field in fields {
            let message = format!("conflict with {with}");
            causes.push(json!({"reason": "FieldManagerConflict", "message": message, "field": field}));
        }
    }
    let count = causes.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut refusal =
        Refusal::new(409, "Conflict", format!("Apply failed with {count} conflict{plural}:{told}"));
    refusal.details = json!({"causes": causes});
    refusal
}

// === managedFields ===

fn owners(object: &Value) -> Vec<Owner> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            let mut fields = BTreeSet::new();
            from_tree(&entry["fieldsV1"], &mut Vec::new(), &mut fields);
            Owner {
                manager: text("manager"),
                is_apply: entry["operation"] == "Apply",
                is_status: entry["subresource"] == "status",
                api_version: text("apiVersion"),
                time: text("time"),
                fields,
            }
        })
        .collect()
}

fn tell(object: &mut Value, mut owners: Vec<Owner>) {
    owners.retain(|owner| !owner.fields.is_empty());
    let entries: Value = owners
        .iter()
        .map(|owner| {
            let mut fields = json!({});
            for path in &owner.fields {
                path.iter().fold(&mut fields, |tree, name| {
                    let below = &mut tree[format!("f:{name}")];
                    if below.is_null() {
                        *below = json!({});
                    }
                    below
                });
            }
            let operation = if owner.is_apply { "Apply" } else { "Update" };
            let mut entry = json!({
                "manager": owner.manager, "operation": operation, "apiVersion": owner.api_version,
                "time": owner.time, "fieldsType": "FieldsV1", "fieldsV1": fields,
            });
            if owner.is_status {
                entry["subresource"] = "status".into();
            }
            entry
        })
        .collect();
    object["metadata"]["managedFields"] = entries;
}

fn from_tree(tree: &Value, path: &mut Path, found: &mut BTreeSet<Path>) {
    let fields = tree.as_object().into_iter().flatten();
    for (name, below) in fields {
        path.push(name.trim_start_matches("f:").to_owned());
        if below.as_object().is_none_or(Map::is_empty) {
            found.insert(path.clone());
        } else {
            from_tree(below, path, found);
        }
        path.pop();
    }
}

/// Every field that somebody may own: what is in no map of its own.
fn leaves(object: &Value) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                for name in ["labels", "annotations", "finalizers", "ownerReferences"] {
                    if !value[name].is_null() {
                        walk(&value[name], &mut vec!["metadata".to_owned(), name.to_owned()], &mut found);
                    }
                }
            }
            _ => walk(value, &mut vec![name.clone()], &mut found),
        }
    }
    found
}

fn walk(value: &Value, path: &mut Path, found: &mut BTreeSet<Path>) {
    match value.as_object().filter(|fields| !fields.is_empty()) {
        Some(fields) => {
            for (name, value) in fields {
                path.push(name.clone());
                walk(value, path, found);
                path.pop();
            }
        }
        None => drop(found.insert(path.clone())),
    }
}

fn at<'a>(object: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name))
}

fn put(object: &mut Value, path: &Path, value: Value) {
    let place = path.iter().fold(object, |at, name| {
        if !at.is_object() {
            *at = json!({});
        }
        &mut at[name]
    });
    *place = value;
}

fn take(object: &mut Value, path: &Path) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(object, |at, name| at.get_mut(name));
    if let Some(fields) = parent.and_then(Value::as_object_mut) {
        fields.remove(last);
    }
}
