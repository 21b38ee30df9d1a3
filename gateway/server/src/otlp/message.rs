//! `ExportTraceServiceRequest` in JSON: ids are hexadecimal, and numbers of 64 bits are texts.

use serde::Serialize;

use crate::trace::{Attribute, Kind, Span};

/// The body of a request.
pub(super) fn of(spans: &[Span], service: &str) -> Vec<u8> {
    let service = KeyValue { key: "service.name", value: Value::StringValue(service) };
    let scope = Scope { name: "trysail", version: env!("CARGO_PKG_VERSION") };
    let request = Request {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes: [service] },
            scope_spans: [ScopeSpans { scope, spans: spans.iter().map(Written::from).collect() }],
        }],
    };
    serde_json::to_vec(&request).expect("texts and numbers are always JSON")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: [KeyValue<'a>; 1],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<Written<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_state: &'a str,
    flags: u32,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue<'a>>,
    status: Status,
}

#[derive(Serialize)]
struct KeyValue<'a> {
    key: &'static str,
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Value<'a> {
    StringValue(&'a str),
    IntValue(String),
}

#[derive(Serialize)]
struct Status {
    /// 0 says nothing, 2 is an error.
    code: u8,
}

impl<'a> From<&'a Span> for Written<'a> {
    fn from(span: &'a Span) -> Self {
        let attribute = |(key, value): &'a (&'static str, Attribute)| KeyValue {
            key,
            value: match value {
                Attribute::Text(text) => Value::StringValue(text),
                Attribute::Number(number) => Value::IntValue(number.to_string()),
            },
        };
        Written {
            trace_id: format!("{:032x}", span.context.trace),
            span_id: format!("{:016x}", span.context.span),
            parent_span_id: span.parent.map(|parent| format!("{parent:016x}")),
            trace_state: &span.state,
            flags: u32::from(span.context.sampled),
            name: &span.name,
            kind: match span.kind {
                Kind::Server => 2,
                Kind::Client => 3,
            },
            start_time_unix_nano: span.start.to_string(),
            end_time_unix_nano: span.end.to_string(),
            attributes: span.attributes.iter().map(attribute).collect(),
            status: Status { code: if span.failed { 2 } else { 0 } },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::context::Context;

    #[test]
    fn a_span_as_collectors_read_it() {
        let span = Span {
            context: Context { trace: 0xa1, span: 0xb2, sampled: true },
            parent: Some(0xc3),
            state: String::new(),
            kind: Kind::Client,
            name: "GET \"x\"".to_owned(),
            start: 1_767_323_045_678_000_001,
            end: 1_767_323_045_679_000_000,
            attributes: vec![
                ("http.request.method", "GET".into()),
                ("http.response.status_code", 503_u16.into()),
            ],
            failed: true,
        };
        let told: serde_json::Value = serde_json::from_slice(&of(&[span], "shop")).unwrap();
        let expected = serde_json::json!({"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeSpans": [{
                "scope": {"name": "trysail", "version": env!("CARGO_PKG_VERSION")},
                "spans": [{
                    "traceId": "000000000000000000000000000000a1", "spanId": "00000000000000b2",
                    "parentSpanId": "00000000000000c3", "flags": 1, "name": "GET \"x\"", "kind": 3,
                    "startTimeUnixNano": "1767323045678000001", "endTimeUnixNano": "1767323045679000000",
                    "attributes": [
                        {"key": "http.request.method", "value": {"stringValue": "GET"}},
                        {"key": "http.response.status_code", "value": {"intValue": "503"}},
                    ],
                    "status": {"code": 2},
                }],
            }],
        }]});
        assert_eq!(told, expected);
    }
}
