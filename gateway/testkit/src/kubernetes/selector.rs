//! Label and field selectors, as lists and watches have them.

use serde_json::Value;

use super::kinds::Kind;
use super::refusal::Refusal;

/// Which objects a list or watch is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Selector {
    /// Reads both selectors of a request.
    pub(super) fn read(kind: &Kind, labels: Option<&str>, fields: Option<&str>) -> Result<Selector, Refusal> {
        let mut selector = Selector::default();
        for text in pieces(labels.unwrap_or_default()) {
            let requirement = read_requirement(&text)
                .ok_or_else(|| Refusal::bad_request(format!("unable to parse requirement: {text}")))?;
            selector.labels.push(requirement);
        }
        for text in pieces(fields.unwrap_or_default()) {
            let (field, wanted, value) = match (text.split_once("!="), text.split_once("==")) {
                (Some((field, value)), _) => (field, false, value),
                (None, Some((field, value))) => (field, true, value),
                (None, None) => match text.split_once('=') {
                    Some((field, value)) => (field, true, value),
                    None => {
                        let message = format!("invalid selector: '{text}'; can't understand '{text}'");
                        return Err(Refusal::bad_request(message));
                    }
                },
            };
            if !is_selectable(kind, field) {
                return Err(Refusal::bad_request(format!("field label not supported: {field}")));
            }
            selector.fields.push((field.to_owned(), wanted, value.to_owned()));
        }
        Ok(selector)
    }

    /// Leaves only the object of this name.
    pub(super) fn only(&mut self, name: &str) {
        self.fields.push(("metadata.name".to_owned(), true, name.to_owned()));
    }

    /// Whether it is about this object.
    pub(super) fn selects(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        let labels = self.labels.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
            Requirement::In(key, values) => {
                label(key).is_some_and(|is| values.iter().any(|value| value == is))
            }
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|is| values.iter().all(|value| value != is))
            }
        });
        labels
            && self.fields.iter().all(|(field, wanted, value)| {
                let found = field.split('.').fold(object, |at, name| &at[name]);
                let is = match found {
                    Value::Null => value.is_empty(),
                    Value::String(text) => text == value,
                    Value::Bool(yes) => value == if *yes { "true" } else { "false" },
                    _ => false,
                };
                is == *wanted
            })
    }
}

fn is_selectable(kind: &Kind, field: &str) -> bool {
    let own: &[&str] = match kind.plural.as_str() {
        "secrets" => &["type"],
        "pods" => &["spec.nodeName", "spec.restartPolicy", "status.phase", "status.podIP"],
        "services" => &["spec.clusterIP", "spec.type"],
        "namespaces" => &["status.phase"],
        "nodes" => &["spec.unschedulable"],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.uid",
            "reason",
            "type",
        ],
        _ => &[],
    };
    field == "metadata.name" || field == "metadata.namespace" && kind.is_namespaced || own.contains(&field)
}

/// Parts between commas that are not within parentheses.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut depth = 0;
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                pieces.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = pieces.last_mut() {
            last.push(letter);
        }
    }
    pieces.iter().map(|piece| piece.trim().to_owned()).filter(|piece| !piece.is_empty()).collect()
}

fn read_requirement(text: &str) -> Option<Requirement> {
    let values = |list: &str| -> Option<Vec<String>> {
        let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(list.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let key = |text: &str| {
        let text = text.trim();
        (!text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "()=!,".contains(c)))
            .then(|| text.to_owned())
    };
    if let Some((name, list)) = text.split_once(" notin ") {
        return Some(Requirement::NotIn(key(name)?, values(list)?));
    }
    if let Some((name, list)) = text.split_once(" in ") {
        return Some(Requirement::In(key(name)?, values(list)?));
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Some(Requirement::NotIn(key(name)?, vec![value.trim().to_owned()]));
    }
    if let Some((name, value)) = text.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Some(Requirement::In(key(name)?, vec![value.trim().to_owned()]));
    }
    match text.strip_prefix('!') {
        Some(name) => Some(Requirement::Absent(key(name)?)),
        None => Some(Requirement::Exists(key(text)?)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kubernetes::kinds;

    #[test]
    fn what_is_selected() {
        let kinds = kinds::all();
        let secrets = kinds.iter().find(|kind| kind.plural == "secrets").unwrap();
        let object = json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "type": "kubernetes.io/tls"});
        let rows = [
            ("", "", "yes"),
            ("x=y", "", "yes"),
            ("x==y", "metadata.name=a", "yes"),
            ("x!=y", "", "no"),
            ("x", "", "yes"),
            ("!x", "", "no"),
            ("!z,x in (w, y)", "", "yes"),
            ("x notin (w,y)", "", "no"),
            ("z notin (w,y)", "", "yes"),
            ("z!=1", "", "yes"),
            ("", "type=kubernetes.io/tls", "yes"),
            ("", "type!=kubernetes.io/tls", "no"),
            ("", "metadata.name==b", "no"),
            ("", "spec.nope=y", "field label not supported: spec.nope"),
            ("", "nope", "invalid selector: 'nope'; can't understand 'nope'"),
            ("x in y", "", "unable to parse requirement: x in y"),
        ];
        for (labels, fields, expected) in rows {
            let told = match Selector::read(secrets, Some(labels), Some(fields)) {
                Ok(selector) if selector.selects(&object) => "yes".to_owned(),
                Ok(_) => "no".to_owned(),
                Err(refusal) => refusal.message,
            };
            assert_eq!(told, expected, "{labels} {fields}");
        }
    }
}
