//! The CEL rules of Istio's CRDs, by their text: there are two dozen, so they are written by hand and not interpreted.

use serde_json::Value;

/// Whether a value is as its rule says; `None` for a rule that is not known. A value of another type than the rule
/// is about passes: its type is judged elsewhere.
pub(super) fn holds(rule: &str, value: &Value) -> Option<bool> {
    let known = RULES.iter().find(|(text, _)| *text == rule)?;
    Some((known.1)(value))
}

type Rule = (&'static str, fn(&Value) -> bool);

const RULES: [Rule; 23] = [
    ("duration(self) >= duration('1ms')", |value| {
        text(value).is_none_or(|text| nanos(text) >= Some(1_000_000))
    }),
    ("self.all(key, !key.contains(\"*\"))", |value| keys(value).all(|key| !key.contains('*'))),
    ("self.all(key, key.size() != 0)", |value| keys(value).all(|key| !key.is_empty())),
    ("!self.contains(\"*\")", |value| text(value).is_none_or(|text| !text.contains('*'))),
    ("(has(self.tlsCertificates) ? 1 : 0) + (has(self.credentialNames) ? 1 : 0) <= 1", |value| {
        !(has(value, "tlsCertificates") && has(value, "credentialNames"))
    }),
    ("(has(self.credentialName) ? 1 : 0) + (has(self.credentialNames) ? 1 : 0) <= 1", |value| {
        !(has(value, "credentialName") && has(value, "credentialNames"))
    }),
    ("(has(self.credentialNames) ? 1 : 0) + (has(self.tlsCertificates) ? 1 : 0) <= 1", |value| {
        !(has(value, "tlsCertificates") && has(value, "credentialNames"))
    }),
    ("(has(self.workloadSelector) ? 1 : 0) + (has(self.endpoints) ? 1 : 0) <= 1", |value| {
        !(has(value, "workloadSelector") && has(value, "endpoints"))
    }),
    (
        "!((has(self.addresses) ? self.addresses : []).exists(k, k.contains(\"/\")) && \
         !((has(self.resolution) ? self.resolution : \"NONE\") in [\"STATIC\", \"NONE\"]))",
        |value| {
            let ranges =
                items(&value["addresses"]).any(|item| text(item).is_some_and(|text| text.contains('/')));
            !ranges || ["STATIC", "NONE"].contains(&text(&value["resolution"]).unwrap_or("NONE"))
        },
    ),
    (
        "((has(self.resolution) ? self.resolution : \"NONE\") == \"NONE\") ? !has(self.endpoints) : true",
        |value| text(&value["resolution"]).unwrap_or("NONE") != "NONE" || !has(value, "endpoints"),
    ),
    (
        "((has(self.resolution) ? self.resolution : \"\") == \"DNS_ROUND_ROBIN\") ? ((has(self.endpoints) ? \
         self.endpoints : []).size() <= 1) : true",
        |value| {
            text(&value["resolution"]) != Some("DNS_ROUND_ROBIN") || items(&value["endpoints"]).count() <= 1
        },
    ),
    ("(has(self.workloadSelector) ? 1 : 0) + (has(self.targetRefs) ? 1 : 0) <= 1", |value| {
        !(has(value, "workloadSelector") && has(value, "targetRefs"))
    }),
    (
        "has(self.context) ? ((self.context == \"WAYPOINT\") ? has(self.waypoint) : !has(self.waypoint)) : \
         !has(self.waypoint)",
        |value| (text(&value["context"]) == Some("WAYPOINT")) == has(value, "waypoint"),
    ),
    ("self.size() == 0", |value| text(value).is_none_or(str::is_empty) && items(value).count() == 0),
    ("has(self.address) || has(self.network)", |value| has(value, "address") || has(value, "network")),
    (
        "(has(self.address) ? self.address : \"\").startsWith(\"unix://\") ? !has(self.ports) : true",
        |value| !text(&value["address"]).unwrap_or_default().starts_with("unix://") || !has(value, "ports"),
    ),
    (
        "self.startsWith(\"unix://\") ? (self.substring(7, 8) == \"/\" || self.substring(7, 8) == \"@\") : true",
        |value| socket(value).is_none_or(|path| path.starts_with(['/', '@'])),
    ),
    ("self.startsWith(\"unix://\") ? !self.endsWith(\"/\") : true", |value| {
        socket(value).is_none_or(|path| !path.ends_with('/'))
    }),
    (
        "self.all(key, size(key) < 63 && key.matches(\"^[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?$\"))",
        |value| keys(value).all(is_port_name),
    ),
    ("0 < self && self <= 65535", |value| value.as_i64().is_none_or(|port| 0 < port && port <= 65_535)),
    ("self != \"*\"", |value| value != "*"),
    ("self.all(l1, self.exists_one(l2, l1.number == l2.number))", |value| {
        let numbers: Vec<&Value> = items(value).map(|item| &item["number"]).collect();
        numbers.iter().all(|one| numbers.iter().filter(|other| *other == one).count() == 1)
    }),
    ("self in [\"\", \"HTTP\", \"HTTPS\"]", |value| {
        text(value).is_none_or(|text| ["", "HTTP", "HTTPS"].contains(&text))
    }),
];

fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some()
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn keys(value: &Value) -> impl Iterator<Item = &str> {
    value.as_object().into_iter().flat_map(|fields| fields.keys().map(String::as_str))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn socket(value: &Value) -> Option<&str> {
    text(value)?.strip_prefix("unix://")
}

fn is_port_name(name: &str) -> bool {
    let inner = |byte: u8| byte == b'-' || byte.is_ascii_alphanumeric();
    let ends = [name.bytes().next(), name.bytes().last()];
    name.len() < 63
        && name.bytes().all(inner)
        && ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}

/// A duration as Go writes them, in nanoseconds: `1h2m`, `1.5s`, `-1ms`.
fn nanos(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (value, after) = rest.split_at(number);
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, left) = after.split_at(end);
        let unit: f64 = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        total += (value.parse::<f64>().ok()? * unit).round() as i128;
        rest = left;
    }
    Some(sign * total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::kinds;

    /// All rules within a schema.
    fn rules<'a>(schema: &'a Value, found: &mut Vec<&'a str>) {
        match schema {
            Value::Object(fields) => {
                if let Some(Value::Array(list)) = fields.get("x-kubernetes-validations") {
                    found.extend(list.iter().filter_map(|rule| rule["rule"].as_str()));
                }
                fields.values().for_each(|value| rules(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| rules(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_rule_of_the_crds_is_known_and_none_is_idle() {
        let kinds = kinds::all();
        let mut found = Vec::new();
        for schema in kinds.iter().filter_map(|kind| kind.schema.as_deref()) {
            rules(schema, &mut found);
        }
        for rule in &found {
            assert!(holds(rule, &Value::Null).is_some(), "not known: {rule}");
        }
        for (rule, _) in RULES {
            assert!(found.contains(&rule), "in no CRD: {rule}");
        }
    }

    #[test]
    fn durations() {
        let rows = [
            ("1ms", true),
            ("0.5ms", false),
            ("1h2m", true),
            ("0s", false),
            ("-1s", false),
            ("x", false),
            ("", false),
        ];
        for (text, expected) in rows {
            assert_eq!(holds("duration(self) >= duration('1ms')", &text.into()), Some(expected), "{text}");
        }
    }
}
