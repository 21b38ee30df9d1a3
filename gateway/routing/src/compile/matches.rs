//! HTTPMatchRequest → conditions.

use http::HeaderName;

use super::support::{fields, unsupported};
use crate::diagnostic::{Code, Severity};
use crate::origin::{At, Pos};
use crate::snapshot::{HeaderTest, Match, PathTest, Pattern, ValueTest};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{HttpMatch, StringMatch};

/// Compiles one block; `None` where a condition of it could not be, with the reason in the sink.
pub(super) fn compile(block: &At<HttpMatch>, sink: &mut Sink<'_>) -> Option<Match> {
    let HttpMatch {
        name: _,        // names the block in logs, with the route's name
        stat_prefix: _, // names Envoy's own statistics
        uri,
        ignore_uri_case,
        scheme,
        method,
        authority,
        headers,
        without_headers,
        query_params,
        port,
        gateways,
        source_labels,
        source_namespace,
    } = &block.value;
    let ignore_uri_case = &ignore_uri_case.filter(|ignore| ignore.value);
    unsupported(
        Severity::Error,
        fields![
            ignore_uri_case = "ignoreUriCase",
            scheme,
            method,
            authority,
            without_headers = "withoutHeaders",
            query_params = "queryParams",
            port,
            gateways,
            source_labels = "sourceLabels",
            source_namespace = "sourceNamespace",
        ],
        sink,
    );
    let path = match uri {
        None => Some(None),
        Some(uri) => compile_uri(uri, sink).map(|test| Some(PathTest(test))),
    };
    let written = headers.len();
    let headers: Vec<HeaderTest> =
        headers.iter().filter_map(|(name, value)| compile_header(name, value, sink)).collect();
    (headers.len() == written).then_some(Match { path: path?, headers })
}

fn compile_uri(uri: &At<StringMatch>, sink: &mut Sink<'_>) -> Option<ValueTest> {
    match compile_value(uri, sink)? {
        ValueTest::Present => {
            sink.schema(uri.pos, "a path is matched by one of exact, prefix and regex".into());
            None
        }
        test => Some(test),
    }
}

fn compile_header(name: &At<String>, value: &At<StringMatch>, sink: &mut Sink<'_>) -> Option<HeaderTest> {
    if name.starts_with([':', '@']) {
        let message = format!("a condition on {:?} is not supported yet", name.value);
        sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, name.pos, message);
        return None;
    }
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        sink.schema(name.pos, format!("{:?} is not the name of a header field", name.value));
        return None;
    };
    let value = compile_value(value, sink)?;
    if let ValueTest::Prefix(prefix) = &value
        && prefix.is_empty()
    {
        sink.schema(name.pos, "an empty prefix takes every value; write {} for \"present\"".into());
        return None;
    }
    Some(HeaderTest { name: parsed, value })
}

/// Istio `StringMatch`: one of three; none, or the regex `*`, means "present".
fn compile_value(written: &At<StringMatch>, sink: &mut Sink<'_>) -> Option<ValueTest> {
    match &written.value {
        StringMatch { exact: None, prefix: None, regex: None } => Some(ValueTest::Present),
        StringMatch { exact: Some(exact), prefix: None, regex: None } => {
            Some(ValueTest::Exact(exact.as_str().into()))
        }
        StringMatch { exact: None, prefix: Some(prefix), regex: None } => {
            Some(ValueTest::Prefix(prefix.as_str().into()))
        }
        StringMatch { exact: None, prefix: None, regex: Some(regex) } if regex.value == "*" => {
            Some(ValueTest::Present)
        }
        StringMatch { exact: None, prefix: None, regex: Some(regex) } => {
            compile_regex(regex, regex.pos, sink)
        }
        StringMatch { exact: _, prefix: _, regex: _ } => {
            sink.schema(written.pos, "exact, prefix and regex exclude each other".into());
            None
        }
    }
}

fn compile_regex(written: &str, pos: Pos, sink: &mut Sink<'_>) -> Option<ValueTest> {
    if written.is_empty() {
        sink.schema(pos, "an empty pattern takes nothing".into());
        return None;
    }
    match Pattern::new(written) {
        Ok(pattern) => Some(ValueTest::Regex(pattern)),
        Err(message) => {
            sink.schema(pos, format!("{written:?} is not a pattern: {message}"))
                .hints
                .push("patterns are RE2's: no look-around, no back-references".into());
            None
        }
    }
}
