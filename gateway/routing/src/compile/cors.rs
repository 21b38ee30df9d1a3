//! CorsPolicy → the fields that preflights and answers get.

use http::{HeaderName, HeaderValue};

use super::matches::compile_value;
use crate::origin::At;
use crate::snapshot::{Cors, Listed, ValueTest};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{CorsPolicy, UnmatchedPreflights};

/// Compiles a policy; what is wrong with it is in the sink.
pub(super) fn compile(written: &At<Box<CorsPolicy>>, sink: &mut Sink<'_>) -> Cors {
    let CorsPolicy {
        allow_origins,
        allow_origin,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        unmatched_preflights,
    } = &*written.value;
    let mut origins: Vec<ValueTest> =
        allow_origins.iter().filter_map(|origin| compile_value(origin, sink)).collect();
    // Istio: the older list counts where the newer is empty.
    if origins.is_empty() {
        origins.extend(allow_origin.iter().map(|origin| ValueTest::Exact(origin.as_str().into())));
    }
    Cors {
        origins,
        methods: listed(allow_methods, sink),
        headers: listed(allow_headers, sink),
        expose: match listed(expose_headers, sink) {
            Some(Listed::Any) => Some(HeaderValue::from_static("*")),
            Some(Listed::These(these)) => Some(these),
            None => None,
        },
        max_age: max_age.as_ref().map(|age| age.value),
        credentials: allow_credentials.as_ref().is_some_and(|allow| allow.value),
        ignores_unmatched: unmatched_preflights
            .as_ref()
            .is_some_and(|unmatched| unmatched.value == UnmatchedPreflights::Ignore),
    }
}

/// `None` for an empty list, which leaves the field out.
fn listed(items: &[At<String>], sink: &mut Sink<'_>) -> Option<Listed> {
    let mut names: Vec<&str> = Vec::new();
    for item in items {
        // Methods and names of fields are made of the same letters; `*` is one of them.
        match HeaderName::from_bytes(item.as_bytes()) {
            Ok(_) => names.push(item),
            Err(_) => {
                sink.schema(item.pos, format!("{:?} is neither a method nor a field's name", item.value));
            }
        }
    }
    match names.as_slice() {
        [] => None,
        ["*"] => Some(Listed::Any),
        names => HeaderValue::from_str(&names.join(",")).ok().map(Listed::These),
    }
}
