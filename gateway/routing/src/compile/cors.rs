//! CorsPolicy → the fields that preflights and answers get.

use std::time::Duration;

use http::HeaderValue;

use super::matches::compile_value;
use super::names::read_field;
use super::support::Written;
use super::values::{deprecated, duration};
use crate::origin::At;
use crate::snapshot::{Cors, Listed, ValueTest};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{CorsPolicy, StringMatch, UnmatchedPreflights};

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
        allow_origins.iter().filter_map(|origin| compile_origin(origin, sink)).collect();
    if let Some(key) = allow_origin.key() {
        deprecated("\"allowOrigin\"", "\"allowOrigins\"", key, sink);
    }
    // Istio: the older list counts where the newer is empty.
    if allow_origins.is_empty() {
        origins.extend(allow_origin.iter().map(|origin| ValueTest::Exact(origin.as_str().into())));
    }
    Cors {
        origins,
        methods: listed(allow_methods, is_method, sink),
        headers: listed(allow_headers, is_field, sink),
        expose: match listed(expose_headers, is_field, sink) {
            Some(Listed::Any) => Some(HeaderValue::from_static("*")),
            Some(Listed::These(these)) => Some(these),
            None => None,
        },
        max_age: max_age.as_ref().and_then(|age| compile_age(age, sink)),
        credentials: allow_credentials.as_ref().is_some_and(|allow| allow.value),
        ignores_unmatched: unmatched_preflights
            .as_ref()
            .is_some_and(|unmatched| unmatched.value == UnmatchedPreflights::Ignore),
    }
}

/// Istio: an origin is compared with something, and not with nothing.
fn compile_origin(written: &At<StringMatch>, sink: &mut Sink<'_>) -> Option<ValueTest> {
    let StringMatch { exact, prefix, regex } = &written.value;
    let mut said = [exact, prefix, regex].into_iter().flatten();
    if said.next().is_none_or(|text| text.is_empty() && said.next().is_none()) {
        let message = "an origin takes one of exact, prefix and regex, which is not empty".to_owned();
        sink.schema(written.pos, message);
        return None;
    }
    compile_value(written, sink)
}

/// Browsers are told whole seconds.
fn compile_age(written: &At<Duration>, sink: &mut Sink<'_>) -> Option<Duration> {
    let age = duration(Some(written), sink)?;
    if age.subsec_millis() > 0 {
        sink.schema(written.pos, format!("{age:?} is finer than seconds, which a browser is told"));
        return None;
    }
    Some(age)
}

/// `None` for an empty list, which leaves the field out.
fn listed(
    items: &[At<String>],
    sound: fn(&At<String>, &mut Sink<'_>) -> bool,
    sink: &mut Sink<'_>,
) -> Option<Listed> {
    let names: Vec<&str> = items.iter().filter(|item| sound(item, sink)).map(|item| item.as_str()).collect();
    match names.as_slice() {
        [] => None,
        ["*"] => Some(Listed::Any),
        names => HeaderValue::from_str(&names.join(",")).ok().map(Listed::These),
    }
}

fn is_method(item: &At<String>, sink: &mut Sink<'_>) -> bool {
    let sound = METHODS.contains(&item.as_str());
    if !sound {
        sink.schema(item.pos, format!("{:?} is not a method that a policy may allow", item.value))
            .hints
            .push(format!("it is one of {}", METHODS.join(", ")));
    }
    sound
}

/// `*` is a letter of names too.
fn is_field(item: &At<String>, sink: &mut Sink<'_>) -> bool {
    read_field(item, sink).is_some()
}

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];
