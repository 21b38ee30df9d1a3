//! Conditions on requests: what of them Istio refuses though it could be compiled.

use super::values;
use crate::origin::At;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{HttpMatch, StringMatch};

/// Istio: a pattern is at most this long, since Envoy bounds the program that it becomes.
const MAX_PATTERN: usize = 1024;

pub(super) fn check(blocks: &[At<HttpMatch>], sink: &mut Sink<'_>) {
    for block in blocks {
        let HttpMatch {
            name: _,
            uri,
            ignore_uri_case: _,
            scheme,
            method,
            authority,
            headers,
            without_headers,
            query_params,
            port: _,
            gateways,
            source_labels,
            source_namespace,
            stat_prefix: _,
        } = &block.value;
        let named = [headers, without_headers, query_params].into_iter().flatten().map(|(_, value)| value);
        let whole = [uri, scheme, method, authority].into_iter().flatten();
        for pattern in whole.chain(named).filter_map(|value| value.regex.as_ref()) {
            check_length(pattern, sink);
        }
        for value in [scheme, method, authority].into_iter().flatten() {
            let StringMatch { exact: _, prefix, regex: _ } = &value.value;
            if let Some(prefix) = prefix.as_ref().filter(|prefix| prefix.is_empty()) {
                sink.schema(prefix.pos, "an empty prefix takes every value".into());
            }
        }
        values::gateway_names(gateways, sink);
        values::labels(source_labels, sink);
        let namespace = source_namespace.as_ref().filter(|name| !name.is_empty() && !values::is_label(name));
        if let Some(namespace) = namespace {
            sink.schema(namespace.pos, format!("{:?} is not a namespace", namespace.value));
        }
    }
}

pub(super) fn check_length(pattern: &At<String>, sink: &mut Sink<'_>) {
    if pattern.len() > MAX_PATTERN {
        let message = format!("a pattern of {} bytes is over the limit of {MAX_PATTERN}", pattern.len());
        sink.schema(pattern.pos, message);
    }
}

/// Istio: claims of a token are only matched at a gateway.
pub(super) fn refuse_claims(blocks: &[At<HttpMatch>], sink: &mut Sink<'_>) {
    let names = |block: &'_ At<HttpMatch>| -> Vec<At<String>> {
        block.headers.iter().chain(&block.without_headers).map(|(name, _)| name.clone()).collect()
    };
    for name in blocks.iter().flat_map(names).filter(|name| is_claim(name)) {
        sink.schema(name.pos, format!("{:?} can only be matched at a gateway", name.value));
    }
}

/// Whether a field's name means a claim of the request's token, as `@request.auth.claims.group`.
pub(in super::super) fn is_claim(name: &str) -> bool {
    name.starts_with("@request.auth.claims")
}
