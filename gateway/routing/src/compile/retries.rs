//! HTTPRetry → when and how often a request is tried again.

use std::time::Duration;

use super::support::{Written, fields, unsupported};
use super::values::{duration, number};
use crate::diagnostic::Severity;
use crate::nearest::nearest;
use crate::origin::At;
use crate::snapshot::{Retry, RetryOn, RetrySet};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::Retries;

/// Compiles a route's retries; Istio's default where it says nothing. `timeout` is the route's.
pub(super) fn compile(
    written: Option<&At<Box<Retries>>>,
    timeout: Option<Duration>,
    sink: &mut Sink<'_>,
) -> Retry {
    let Some(written) = written else { return Retry::default() };
    let Retries {
        attempts,
        per_try_timeout,
        retry_on,
        retry_remote_localities,
        retry_ignore_previous_hosts,
        backoff,
    } = &*written.value;
    unsupported(Severity::Warning, fields![retry_remote_localities = "retryRemoteLocalities"], sink);
    let default = Retry::default();
    let tries = number(attempts.as_ref(), i32::MAX.unsigned_abs(), sink);
    // Istio: `attempts` absent is 0, and 0 means that nothing is tried again.
    let idle = attempts.as_ref().is_none_or(|attempts| attempts.value == 0);
    let retry_on = retry_on.as_ref().filter(|on| !on.is_empty());
    let said = [per_try_timeout.key(), retry_on.and_then(At::key), retry_remote_localities.key()];
    if let (true, Some(key)) = (idle, said.into_iter().flatten().next()) {
        sink.schema(key, "it has no meaning with 0 attempts, which disable retries".into())
            .hints
            .push("say how many \"attempts\", or leave out \"retries\"".into());
    }
    let (on, codes) = match retry_on {
        None => (default.on, default.codes),
        Some(on) => conditions(on, sink),
    };
    Retry {
        attempts: tries.unwrap_or(0),
        // Envoy does not look at one that can not end before the route's.
        per_try: duration(per_try_timeout.as_ref(), sink)
            .filter(|time| timeout.is_none_or(|timeout| *time < timeout)),
        on,
        codes,
        other_endpoints: retry_ignore_previous_hosts.as_ref().is_none_or(|ignore| ignore.value),
        backoff: duration(backoff.as_ref(), sink).unwrap_or(default.backoff),
    }
}

/// Istio `retryOn`: words and statuses, with commas; a status means that the list of statuses counts.
fn conditions(written: &At<String>, sink: &mut Sink<'_>) -> (RetrySet, Vec<u16>) {
    let (mut set, mut codes) = (RetrySet::default(), Vec::new());
    for word in written.split(',') {
        if let Some((_, on)) = RetryOn::WORDS.iter().find(|(known, _)| *known == word) {
            set = set.with(*on);
            continue;
        }
        if let Some(code) = word.parse().ok().filter(|code| STATUSES.contains(code)) {
            set = set.with(RetryOn::Codes);
            codes.push(code);
            continue;
        }
        let known = || RetryOn::WORDS.iter().map(|(word, _)| *word);
        let meant = nearest(word.trim(), known()).map(|near| format!("; did you mean {near:?}?"));
        let message = format!("{word:?} is not a condition to try again on{}", meant.unwrap_or_default());
        let words: Vec<&str> = known().collect();
        sink.schema(written.pos, message)
            .hints
            .push(format!("they are {} and statuses, with commas and no spaces", words.join(", ")));
    }
    (set, codes)
}

/// The statuses that have a name (IANA's registry, as Go's `http.StatusText` knows it); Istio takes no others.
const STATUSES: [u16; 62] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307,
    308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421,
    422, 423, 424, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];
