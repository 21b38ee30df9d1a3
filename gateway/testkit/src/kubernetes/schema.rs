//! Structural schemas of CRDs: what is unknown is dropped, what is left is judged, in the words of the real server.

use serde_json::Value;

use super::refusal::Cause;
use super::rules;

/// Drops every field that the schema does not know; gives their paths.
pub(super) fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_at(schema, object, "", true, &mut unknown);
    unknown
}

/// What is wrong with an object. Where its shape is wrong the CEL rules are not asked, and that is told too.
pub(super) fn judge(schema: &Value, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    judge_at(schema, object, "", &mut |schema, value, path| judge_one(schema, value, path, &mut causes));
    if causes.is_empty() {
        judge_at(schema, object, "", &mut |schema, value, path| ask_rules(schema, value, path, &mut causes));
    } else if has_rules(schema) {
        let says = "some validation rules were not checked because the object was invalid; correct the existing \
                    errors to complete validation";
        causes.push(Cause::invalid("<nil>", "null", says));
    }
    causes
}

fn prune_at(schema: &Value, value: &mut Value, path: &str, is_root: bool, unknown: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let keeps = schema["x-kubernetes-preserve-unknown-fields"] == true;
            let others = &schema["additionalProperties"];
            let mut dropped = Vec::new();
            for (name, value) in fields.iter_mut() {
                if is_root && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) {
                    continue;
                }
                let path = join(path, name);
                match schema["properties"].get(name) {
                    Some(known) => prune_at(known, value, &path, false, unknown),
                    None if others.is_object() => prune_at(others, value, &path, false, unknown),
                    None if keeps || others == true => {}
                    None => {
                        unknown.push(path);
                        dropped.push(name.clone());
                    }
                }
            }
            for name in dropped {
                fields.remove(&name);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                prune_at(&schema["items"], item, &format!("{path}[{at}]"), false, unknown);
            }
        }
        _ => {}
    }
}

/// Visits every value that a schema is about, children after their parents.
fn judge_at(schema: &Value, value: &Value, path: &str, visit: &mut dyn FnMut(&Value, &Value, &str)) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    visit(schema, value, path);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
                if let Some(known) = known.filter(|known| known.is_object()) {
                    judge_at(known, value, &join(path, name), visit);
                }
            }
        }
        Value::Array(items) if schema["items"].is_object() => {
            for (at, item) in items.iter().enumerate() {
                judge_at(&schema["items"], item, &format!("{path}[{at}]"), visit);
            }
        }
        _ => {}
    }
}

/// What is wrong with one value, its children left out.
fn judge_one(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(wanted) = wrong_type(schema, value) {
        let shown = format!("\"{}\"", type_of(value));
        let says = format!("{path} in body must be of type {wanted}: {shown}");
        causes.push(Cause::new("FieldValueTypeInvalid", path, format!("Invalid value: {shown}: {says}")));
        return;
    }
    let mut invalid = |value: &str, says: &str| {
        causes.push(Cause::invalid(path, value, &format!("{path} in body {says}")));
    };
    let shown = value.to_string();
    if let Some(number) = value.as_f64() {
        if schema["minimum"].as_f64().is_some_and(|least| number < least) {
            invalid(&shown, &format!("should be greater than or equal to {}", schema["minimum"]));
        }
        if schema["maximum"].as_f64().is_some_and(|most| number > most) {
            invalid(&shown, &format!("should be less than or equal to {}", schema["maximum"]));
        }
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count() as u64;
        if schema["minLength"].as_u64().is_some_and(|least| length < least) {
            invalid(&shown, &format!("should be at least {} chars long", schema["minLength"]));
        }
        // The one pattern in Istio's CRDs that stands outside of CEL.
        let is_plain = |byte: u8| byte == b'-' || byte == b'_' || byte.is_ascii_alphanumeric();
        if schema["pattern"] == "^[-_A-Za-z0-9]+$" && (text.is_empty() || !text.bytes().all(is_plain)) {
            invalid(&shown, "should match '^[-_A-Za-z0-9]+$'");
        }
    }
    let items = value.as_array().map(|items| items.len() as u64);
    if let (Some(items), Some(least)) = (items, schema["minItems"].as_u64())
        && items < least
    {
        invalid(&items.to_string(), &format!("should have at least {least} items"));
    }
    for (limit, length, of) in [
        ("maxLength", value.as_str().map(str::len), "bytes"),
        ("maxItems", value.as_array().map(Vec::len), "items"),
        ("maxProperties", value.as_object().map(serde_json::Map::len), "items"),
    ] {
        let (Some(most), Some(length)) = (schema[limit].as_u64(), length) else { continue };
        if length as u64 > most {
            let (reason, what) = match limit {
                "maxLength" => ("FieldValueTooLong", "Too long: may not be more than".to_owned()),
                _ => ("FieldValueTooMany", format!("Too many: {length}: must have at most")),
            };
            causes.push(Cause::new(reason, path, format!("{what} {most} {of}")));
        }
    }
    if let Some(known) = schema["enum"].as_array().filter(|known| !known.contains(value)) {
        let known: Vec<String> = known.iter().map(Value::to_string).collect();
        let message = format!("Unsupported value: {shown}: supported values: {}", known.join(", "));
        causes.push(Cause::new("FieldValueNotSupported", path, message));
    }
    if value.is_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.get(name).is_none() {
                causes.push(Cause::required(&join(path, name)));
            }
        }
    }
    if let Some(says) = unfit(schema, value) {
        causes.push(Cause::invalid(path, "\"\"", &format!("\"{path}\" {says}")));
    }
}

fn ask_rules(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = rule["rule"].as_str().unwrap_or_default();
        // A rule that is not known passes; a test looks that there is none.
        if rules::holds(text, value) == Some(false) {
            let says = rule["message"].as_str().map_or_else(|| format!("failed rule: {text}"), str::to_owned);
            causes.push(Cause::new("FieldValueInvalid", path, format!("Invalid value: {says}")));
        }
    }
}

/// What `oneOf`, `anyOf`, `allOf` and `not` have against a value.
fn unfit(schema: &Value, value: &Value) -> Option<String> {
    let count = |list: &str| {
        let list = schema[list].as_array()?;
        Some((list.iter().filter(|one| fits(one, value)).count(), list.len()))
    };
    if let Some((fitting, _)) = count("oneOf").filter(|(fitting, _)| *fitting != 1) {
        let found =
            if fitting == 0 { "none valid".to_owned() } else { format!("{fitting} valid alternatives") };
        return Some(format!("must validate one and only one schema (oneOf). Found {found}"));
    }
    if count("anyOf").is_some_and(|(fitting, _)| fitting == 0) {
        return Some("must validate at least one schema (anyOf)".to_owned());
    }
    if count("allOf").is_some_and(|(fitting, all)| fitting < all) {
        return Some("must validate all the schemas (allOf)".to_owned());
    }
    let not = schema.get("not")?;
    fits(not, value).then(|| "must not validate the schema (not)".to_owned())
}

fn fits(schema: &Value, value: &Value) -> bool {
    let mut fits = true;
    judge_at(schema, value, "", &mut |schema, value, path| {
        let mut causes = Vec::new();
        judge_one(schema, value, path, &mut causes);
        fits &= causes.is_empty();
    });
    fits
}

/// The type that a value should have, where it has another.
fn wrong_type<'a>(schema: &'a Value, value: &Value) -> Option<&'a str> {
    if schema["x-kubernetes-int-or-string"] == true {
        return (!value.is_i64() && !value.is_u64() && !value.is_string()).then_some("integer,string");
    }
    let wanted = schema["type"].as_str()?;
    let is_right = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        _ => true,
    };
    (!is_right).then_some(wanted)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.contains_key("x-kubernetes-validations") || fields.values().any(has_rules)
        }
        Value::Array(items) => items.iter().any(has_rules),
        _ => false,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
