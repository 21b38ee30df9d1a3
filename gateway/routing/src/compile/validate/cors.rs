//! `corsPolicy`: which other sites' pages may call.

use http::HeaderName;
use regex::Regex;

use super::super::support::Written;
use super::{deprecated, matches, values};
use crate::origin::At;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{CorsPolicy, StringMatch};

pub(super) fn check(policy: &At<Box<CorsPolicy>>, sink: &mut Sink<'_>) {
    let CorsPolicy {
        allow_origins,
        allow_origin,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials: _,
        unmatched_preflights: _,
    } = &*policy.value;
    for origin in allow_origins {
        check_origin(origin, sink);
    }
    if let Some(key) = allow_origin.key() {
        deprecated(key, "allowOrigin", "allowOrigins", sink);
    }
    for method in allow_methods.iter().filter(|method| !METHODS.contains(&method.as_str())) {
        sink.schema(method.pos, format!("{:?} is not a method that a policy may allow", method.value))
            .hints
            .push(format!("it is one of {}", METHODS.join(", ")));
    }
    let bad = |name: &&At<String>| name.value != "*" && HeaderName::from_bytes(name.as_bytes()).is_err();
    for name in allow_headers.iter().chain(expose_headers).filter(bad) {
        sink.schema(name.pos, format!("{:?} is not the name of a header field", name.value));
    }
    if let Some(age) = max_age {
        values::duration(age, sink);
        if age.as_millis() > 0 && age.subsec_millis() > 0 {
            sink.schema(age.pos, format!("{:?} is finer than seconds, which a browser is told", age.value));
        }
    }
}

/// Istio: an origin is compared with something, and not with nothing.
fn check_origin(origin: &At<StringMatch>, sink: &mut Sink<'_>) {
    let StringMatch { exact, prefix, regex } = &origin.value;
    match [exact, prefix, regex].into_iter().flatten().collect::<Vec<_>>().as_slice() {
        [one] if !one.is_empty() => {}
        [] | [_] => {
            sink.schema(
                origin.pos,
                "an origin takes one of exact, prefix and regex, which is not empty".into(),
            );
        }
        _ => {
            sink.schema(origin.pos, "exact, prefix and regex exclude each other".into());
        }
    }
    // "*" alone is no pattern, and allows every origin.
    if let Some(pattern) = regex.as_ref().filter(|pattern| pattern.value != "*") {
        matches::check_length(pattern, sink);
        if let Err(error) = Regex::new(pattern) {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            sink.schema(pattern.pos, format!("{:?} is not a pattern: {why}", pattern.value));
        }
    }
}

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];
