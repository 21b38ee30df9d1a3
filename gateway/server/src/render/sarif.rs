//! Findings as SARIF 2.1.0, which code hosts and editors show beside the lines they are about.

use serde_json::{Value, json};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::origin::Origin;

/// One log with one run: the rules are all codes that there are, the results the findings.
pub(crate) fn log(findings: &Diagnostics) -> Value {
    let rules: Vec<Value> = Code::ALL.iter().map(rule).collect();
    let results: Vec<Value> = findings.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "trysail", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "invocations": [{"executionSuccessful": true}],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(code: &Code) -> Value {
    let mut rule = json!({
        "id": code.id,
        "name": code.name,
        "shortDescription": {"text": code.about.trim()},
    });
    if let (Some(url), Some(rule)) = (super::documentation(code), rule.as_object_mut()) {
        rule.insert("helpUri".into(), url.into());
    }
    rule
}

fn result(finding: &Diagnostic) -> Value {
    let mut text = finding.message.clone();
    for hint in &finding.hints {
        text.push('\n');
        text.push_str(hint);
    }
    json!({
        "ruleId": finding.code.id,
        "ruleIndex": Code::ALL.iter().position(|code| *code == finding.code),
        "level": match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        },
        "message": {"text": text},
        "locations": location(finding).into_iter().collect::<Vec<Value>>(),
    })
}

/// Where a finding is: in which file and on which line, of which object and field; `None` where it is nowhere.
fn location(finding: &Diagnostic) -> Option<Value> {
    let mut logical = Vec::new();
    if !finding.object.is_empty() {
        logical.push(json!({"fullyQualifiedName": finding.object, "kind": "object"}));
    }
    if !finding.path.is_empty() {
        let whole = format!("{} {}", finding.object, finding.path);
        let parts = json!({"name": finding.path, "fullyQualifiedName": whole.trim(), "kind": "member"});
        logical.push(parts);
    }
    let mut location = serde_json::Map::new();
    if let Some(origin) = &finding.origin {
        location.insert("physicalLocation".into(), physical(origin));
    }
    if !logical.is_empty() {
        location.insert("logicalLocations".into(), logical.into());
    }
    (!location.is_empty()).then(|| location.into())
}

fn physical(origin: &Origin) -> Value {
    let mut place = serde_json::Map::new();
    place.insert("artifactLocation".into(), json!({"uri": uri(&origin.piece.file)}));
    match (origin.line(), origin.column()) {
        (0, _) => {}
        (line, 0) => {
            place.insert("region".into(), json!({"startLine": line}));
        }
        (line, column) => {
            place.insert("region".into(), json!({"startLine": line, "startColumn": column}));
        }
    }
    place.into()
}

/// A file's name as a URI: one relative to where the command ran, or of scheme `file`.
fn uri(file: &str) -> String {
    let mut uri = if file.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in file.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trysail_routing::compile::{Compiler, Surroundings};
    use trysail_routing::wire::{Limits, Reader};

    use super::*;

    /// A path from a value, where a `*` stands for every item of a list.
    fn each<'v>(value: &'v Value, path: &[&str]) -> Vec<&'v Value> {
        let Some((first, rest)) = path.split_first() else { return vec![value] };
        match *first {
            "*" => value.as_array().into_iter().flatten().flat_map(|item| each(item, rest)).collect(),
            key => value.get(key).into_iter().flat_map(|item| each(item, rest)).collect(),
        }
    }

    fn log_of(text: &str) -> Value {
        let (name, text): (Arc<str>, Arc<str>) = ("/a folder/ä#1.yaml".into(), text.into());
        let set = Reader::new("default", Limits::default()).read([(&name, &text)], Diagnostics::default());
        let mut findings = Compiler::new(0).compile(&set, &Surroundings::default()).findings;
        let nowhere = Diagnostic::new(Code::EMPTY, Severity::Warning, None, "nothing is there");
        findings.push(nowhere);
        findings.push(Diagnostic::new(Code::UNREADABLE, Severity::Error, Some(Origin::file("-")), "no"));
        let text = serde_json::to_string(&log(&findings)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_log_has_what_the_schema_requires() {
        let log = log_of(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec: {servers: [{}]}\n",
        );
        // The keys that the published schema requires of each type that is written here.
        let required: &[(&[&str], &[&str])] = &[
            (&[], &["version", "runs"]),
            (&["runs", "*"], &["tool"]),
            (&["runs", "*", "tool"], &["driver"]),
            (&["runs", "*", "tool", "driver"], &["name"]),
            (&["runs", "*", "tool", "driver", "rules", "*"], &["id"]),
            (&["runs", "*", "tool", "driver", "rules", "*", "shortDescription"], &["text"]),
            (&["runs", "*", "invocations", "*"], &["executionSuccessful"]),
            (&["runs", "*", "results", "*"], &["message"]),
            (&["runs", "*", "results", "*", "message"], &["text"]),
        ];
        for (path, keys) in required {
            let found = each(&log, path);
            assert!(!found.is_empty(), "{path:?}");
            for (value, key) in found.iter().flat_map(|value| keys.iter().map(move |key| (value, key))) {
                assert!(value.get(key).is_some(), "{path:?} lacks {key}: {value}");
            }
        }
        assert_eq!(log["version"], "2.1.0");
        let rules = each(&log, &["runs", "*", "tool", "driver", "rules", "*"]);
        assert_eq!(rules.len(), Code::ALL.len());
        let results = each(&log, &["runs", "*", "results", "*"]);
        assert!(results.len() >= 3, "{results:?}");
        for result in results {
            let rule = rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
            assert_eq!(rule["id"], result["ruleId"]);
            assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        }
    }

    #[test]
    fn places_are_files_lines_objects_and_fields() {
        let log = log_of(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec: {servers: 1}\n",
        );
        let text = |result: &Value| result["message"]["text"].to_string();
        let results = each(&log, &["runs", "*", "results", "*"]);
        let result = results.iter().find(|result| text(result).contains("a list is wanted")).unwrap();
        let location = &result["locations"][0];
        assert_eq!(
            location["physicalLocation"],
            json!({
                "artifactLocation": {"uri": "file:///a%20folder/%C3%A4%231.yaml"},
                "region": {"startLine": 4, "startColumn": 17},
            })
        );
        assert_eq!(
            location["logicalLocations"],
            json!([
                {"fullyQualifiedName": "Gateway default/a", "kind": "object"},
                {
                    "name": "spec.servers",
                    "fullyQualifiedName": "Gateway default/a spec.servers",
                    "kind": "member",
                },
            ])
        );
        let locations: Vec<&Value> = each(&log, &["runs", "*", "results", "*", "locations"]);
        assert_eq!(locations[locations.len() - 2], &json!([]));
        let whole = json!([{"physicalLocation": {"artifactLocation": {"uri": "-"}}}]);
        assert_eq!(locations[locations.len() - 1], &whole);
    }
}
