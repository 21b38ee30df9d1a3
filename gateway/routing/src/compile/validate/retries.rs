//! `retries`: when and how often a request is tried again.

use super::super::support::Written;
use super::values;
use crate::nearest::nearest;
use crate::origin::At;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::Retries;

pub(super) fn check(retries: &At<Box<Retries>>, sink: &mut Sink<'_>) {
    let Retries {
        attempts,
        per_try_timeout,
        retry_on,
        retry_remote_localities,
        retry_ignore_previous_hosts: _,
        backoff,
    } = &*retries.value;
    let count = attempts.as_ref().map_or(0, |attempts| attempts.value);
    if !(0..=i64::from(i32::MAX)).contains(&count) {
        let pos = attempts.as_ref().map_or(retries.pos, |attempts| attempts.pos);
        sink.schema(pos, format!("{count} attempts are not within 0 to {}", i32::MAX));
    }
    // Istio: `attempts` absent is 0, and 0 means that nothing is tried again.
    let said = retry_on.as_ref().filter(|on| !on.is_empty()).and_then(Written::key);
    let idle = [per_try_timeout.key(), said, retry_remote_localities.key()];
    if let (0, Some(key)) = (count, idle.into_iter().flatten().next()) {
        sink.schema(key, "it has no meaning with 0 attempts, which disable retries".into())
            .hints
            .push("say how many \"attempts\", or leave out \"retries\"".into());
    }
    for duration in [per_try_timeout, backoff].into_iter().flatten() {
        values::duration(duration, sink);
    }
    if let Some(on) = retry_on.as_ref().filter(|on| !on.is_empty()) {
        for token in on.split(',').filter(|token| !is_condition(token)) {
            let meant = nearest(token.trim(), CONDITIONS.iter().copied());
            let meant = meant.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
            sink.schema(on.pos, format!("{token:?} is not a condition to try again on{meant}"))
                .hints
                .push(format!("they are {} and statuses, with commas and no spaces", CONDITIONS.join(", ")));
        }
    }
}

fn is_condition(token: &str) -> bool {
    CONDITIONS.contains(&token) || token.parse::<u16>().is_ok_and(|status| STATUSES.contains(&status))
}

/// Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`, as Istio takes them.
const CONDITIONS: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// The statuses that have a name (IANA's registry, as Go's `http.StatusText` knows it); Istio takes no others.
const STATUSES: [u16; 62] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307,
    308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421,
    422, 423, 424, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];
