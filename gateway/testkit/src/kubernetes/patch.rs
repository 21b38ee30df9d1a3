//! The ways to change a part of an object: merge patch, JSON patch, and kubectl's strategic merge for built-in kinds.

use serde_json::{Map, Value};

/// RFC 7396: objects are merged, null removes, all else replaces.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (name, value) in fields {
        if value.is_null() {
            if let Some(target) = target.as_object_mut() {
                target.remove(name);
            }
        } else {
            merge(&mut target[name], value);
        }
    }
}

/// As [`merge`], with lists of named things merged by their names, and the directives `$patch: delete` and
/// `$patch: replace`. What `$setElementOrder` and `$retainKeys` ask is not done.
pub(super) fn strategic(target: &mut Value, patch: &Value, field: &str) {
    match patch {
        Value::Object(fields) if fields.get("$patch").is_some_and(|what| what == "replace") => {
            let mut fields = fields.clone();
            fields.remove("$patch");
            *target = Value::Object(fields);
        }
        Value::Object(fields) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            for (name, value) in fields {
                if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
                    let gone = value.as_array().map(Vec::as_slice).unwrap_or_default();
                    if let Some(items) = target[list].as_array_mut() {
                        items.retain(|item| !gone.contains(item));
                    }
                } else if name.starts_with('$') {
                    continue;
                } else if value.is_null() || value["$patch"] == "delete" && value.is_object() {
                    if let Some(target) = target.as_object_mut() {
                        target.remove(name);
                    }
                } else {
                    strategic(&mut target[name], value, name);
                }
            }
        }
        Value::Array(changes) => match merge_key(field) {
            Some(key) if changes.iter().all(Value::is_object) => {
                if !target.is_array() {
                    *target = Value::Array(Vec::new());
                }
                let Value::Array(items) = target else { return };
                for change in changes {
                    let found = items.iter().position(|item| item[key] == change[key]);
                    match (found, change["$patch"] == "delete") {
                        (Some(at), true) => drop(items.remove(at)),
                        (Some(at), false) => strategic(&mut items[at], change, ""),
                        (None, true) => {}
                        (None, false) => items.push(change.clone()),
                    }
                }
            }
            _ if field == "finalizers" => {
                let Value::Array(items) = target else {
                    *target = patch.clone();
                    return;
                };
                for change in changes {
                    if !items.contains(change) {
                        items.push(change.clone());
                    }
                }
            }
            _ => *target = patch.clone(),
        },
        _ => *target = patch.clone(),
    }
}

/// By which field a list of a built-in kind is merged.
fn merge_key(field: &str) -> Option<&'static str> {
    match field {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => Some("name"),
        "ports" => Some("port"),
        "conditions" => Some("type"),
        "ownerReferences" => Some("uid"),
        _ => None,
    }
}

/// RFC 6902. The error says which step could not be done.
pub(super) fn json(target: &mut Value, patch: &Value) -> Result<(), String> {
    let steps = patch.as_array().ok_or("a JSON patch is a list")?;
    for step in steps {
        let text = |field: &str| step[field].as_str().ok_or_else(|| format!("{step} has no {field:?}"));
        let (what, path) = (text("op")?, text("path")?);
        let missing = |path: &str| format!("{what} operation does not apply: doc is missing path: {path:?}");
        match what {
            "add" => add(target, path, step["value"].clone()).ok_or_else(|| missing(path))?,
            "remove" => drop(remove(target, path).ok_or_else(|| missing(path))?),
            "replace" => {
                *target.pointer_mut(path).ok_or_else(|| missing(path))? = step["value"].clone();
            }
            "copy" => {
                let from = text("from")?;
                let value = target.pointer(from).cloned().ok_or_else(|| missing(from))?;
                add(target, path, value).ok_or_else(|| missing(path))?;
            }
            "move" => {
                let from = text("from")?;
                let value = remove(target, from).ok_or_else(|| missing(from))?;
                add(target, path, value).ok_or_else(|| missing(path))?;
            }
            "test" => {
                if target.pointer(path).unwrap_or(&Value::Null) != &step["value"] {
                    return Err(format!("testing value {path} failed: test failed"));
                }
            }
            _ => return Err(format!("unexpected kind: {what}")),
        }
    }
    Ok(())
}

fn add(target: &mut Value, path: &str, value: Value) -> Option<()> {
    let Some((parent, last)) = path.rsplit_once('/') else {
        *target = value;
        return Some(());
    };
    match target.pointer_mut(parent)? {
        Value::Object(fields) => drop(fields.insert(last.replace("~1", "/").replace("~0", "~"), value)),
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let at = last.parse().ok().filter(|at| *at <= items.len())?;
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(target: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = path.rsplit_once('/')?;
    match target.pointer_mut(parent)? {
        Value::Object(fields) => fields.remove(&last.replace("~1", "/").replace("~0", "~")),
        Value::Array(items) => {
            let at = last.parse().ok().filter(|at| *at < items.len())?;
            Some(items.remove(at))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn merge_patches() {
        for (target, patch, expected) in [
            (r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"b":null,"d":3}}"#, r#"{"a":{"c":2,"d":3}}"#),
            (r#"{"a":[1,2]}"#, r#"{"a":[3]}"#, r#"{"a":[3]}"#),
            (r#"{"a":"x"}"#, r#"{"a":{"b":{"c":null}}}"#, r#"{"a":{"b":{}}}"#),
        ] {
            let mut target = value(target);
            merge(&mut target, &value(patch));
            assert_eq!(target, value(expected), "{patch}");
        }
    }

    #[test]
    fn strategic_patches() {
        for (target, patch, expected) in [
            (
                r#"{"ports":[{"port":80,"name":"a"},{"port":81}]}"#,
                r#"{"$setElementOrder/ports":[{"port":80}],"ports":[{"port":80,"name":"b"},{"$patch":"delete","port":81}]}"#,
                r#"{"ports":[{"port":80,"name":"b"}]}"#,
            ),
            (
                r#"{"selector":{"a":"b"}}"#,
                r#"{"selector":{"$patch":"replace","c":"d"}}"#,
                r#"{"selector":{"c":"d"}}"#,
            ),
            (r#"{"finalizers":["a"]}"#, r#"{"finalizers":["b"]}"#, r#"{"finalizers":["a","b"]}"#),
            (
                r#"{"finalizers":["a"]}"#,
                r#"{"$deleteFromPrimitiveList/finalizers":["a"]}"#,
                r#"{"finalizers":[]}"#,
            ),
        ] {
            let mut target = value(target);
            strategic(&mut target, &value(patch), "");
            assert_eq!(target, value(expected), "{patch}");
        }
    }

    #[test]
    fn json_patches() {
        for (patch, expected) in [
            (r#"[{"op":"add","path":"/a/-","value":3}]"#, r#"{"a":[1,2,3]}"#),
            (r#"[{"op":"add","path":"/a/0","value":3}]"#, r#"{"a":[3,1,2]}"#),
            (r#"[{"op":"replace","path":"/a/1","value":3}]"#, r#"{"a":[1,3]}"#),
            (r#"[{"op":"remove","path":"/a/0"}]"#, r#"{"a":[2]}"#),
            (r#"[{"op":"move","from":"/a","path":"/b~1c"}]"#, r#"{"b/c":[1,2]}"#),
            (r#"[{"op":"copy","from":"/a/0","path":"/b"}]"#, r#"{"a":[1,2],"b":1}"#),
            (r#"[{"op":"test","path":"/a/0","value":2}]"#, "testing value /a/0 failed: test failed"),
            (
                r#"[{"op":"replace","path":"/z","value":3}]"#,
                "replace operation does not apply: doc is missing path: \"/z\"",
            ),
        ] {
            let mut target = value(r#"{"a":[1,2]}"#);
            match json(&mut target, &value(patch)) {
                Ok(()) => assert_eq!(target, value(expected), "{patch}"),
                Err(error) => assert_eq!(error, expected, "{patch}"),
            }
        }
    }
}
