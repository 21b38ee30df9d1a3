//! HTTPRetry → when and how often a request is tried again.

use std::time::Duration;

use super::support::{fields, unsupported};
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
    // A block without attempts has none.
    let tries = attempts.as_ref().map_or(Some(0), |attempts| u32::try_from(attempts.value).ok());
    if let (None, Some(attempts)) = (tries, attempts) {
        sink.schema(attempts.pos, format!("attempts {} is not within 0 to {}", attempts.value, i32::MAX));
    }
    let (on, codes) = match retry_on.as_ref().filter(|on| !on.is_empty()) {
        None => (default.on, default.codes),
        Some(on) => conditions(on, sink),
    };
    let per_try = per_try_timeout.as_ref().map(|time| time.value).filter(|time| !time.is_zero());
    Retry {
        attempts: tries.unwrap_or(0),
        // Envoy does not look at one that can not end before the route's.
        per_try: per_try.filter(|time| timeout.is_none_or(|timeout| *time < timeout)),
        on,
        codes,
        other_endpoints: retry_ignore_previous_hosts.as_ref().is_none_or(|ignore| ignore.value),
        backoff: backoff.as_ref().map_or(default.backoff, |backoff| backoff.value),
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
        if let Some(code) = word.parse().ok().filter(|code| (100..600).contains(code)) {
            set = set.with(RetryOn::Codes);
            codes.push(code);
            continue;
        }
        let known = || RetryOn::WORDS.iter().map(|(word, _)| *word);
        let meant = nearest(word, known()).map(|near| format!("; did you mean {near:?}?"));
        let message = format!("retryOn does not know {word:?}{}", meant.unwrap_or_default());
        let words: Vec<&str> = known().collect();
        sink.schema(written.pos, message)
            .hints
            .push(format!("statuses, and {}, with commas and without spaces", words.join(", ")));
    }
    (set, codes)
}
