//! A rule of `http`: what excludes what, and every block of it judged.

use super::super::support::Written;
use super::{Role, cors, deprecated, faults, headers, matches, mirrors, retries, values, warn};
use crate::origin::At;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{Body, DirectResponse, HttpDestination, HttpRoute, RegexRewrite, Rewrite};

/// A direct response over this size weighs on Istio's control plane, which warns of it.
const LARGE_BODY: usize = 100 << 10;

pub(super) fn check(route: &At<HttpRoute>, role: Role, sink: &mut Sink<'_>) {
    let HttpRoute {
        name: _,
        matches,
        route: destinations,
        redirect,
        direct_response,
        delegate,
        rewrite,
        headers: operations,
        timeout,
        retries,
        fault,
        mirror,
        mirrors,
        mirror_percent,
        mirror_percent_snake,
        mirror_percentage,
        cors_policy,
    } = &route.value;
    if let (Role::Delegate, Some(key)) = (role, delegate.key()) {
        sink.schema(key, "a delegate's rule can't delegate again".into());
    }
    if role == Role::Root {
        let acts = [(redirect.key(), "redirect"), (destinations.key(), "route")];
        for (key, field) in acts.into_iter().filter_map(|(key, field)| Some((key?, field))) {
            sink.schema(key, format!("{field:?} and \"delegate\" exclude each other"));
        }
    } else if let Some(key) = fault.key().filter(|_| redirect.is_some() || direct_response.is_some()) {
        sink.schema(key, "\"fault\" has no place in a rule that has no route".into());
    }
    if let (Some(_), Some(key)) = (mirror, mirrors.key()) {
        sink.schema(key, "mirror and mirrors exclude each other".into());
    }
    matches::check(matches, sink);
    for HttpDestination { destination, weight: _, headers } in destinations.iter().map(|at| &at.value) {
        values::destination(destination, sink);
        headers::check(headers.as_ref(), sink);
    }
    if let Some(response) = direct_response {
        check_response(response, sink);
    }
    headers::check(operations.as_ref(), sink);
    if let Some(rewrite) = rewrite {
        check_rewrite(rewrite, sink);
    }
    if let Some(timeout) = timeout {
        values::duration(timeout, sink);
    }
    if let Some(retries) = retries {
        retries::check(retries, sink);
    }
    if let Some(fault) = fault {
        faults::check(fault, sink);
    }
    for (percent, written) in [(mirror_percent, "mirrorPercent"), (mirror_percent_snake, "mirror_percent")] {
        if let (Some(percent), Some(key)) = (percent, percent.key()) {
            if !(0..=100).contains(&percent.value) {
                sink.schema(percent.pos, format!("{} is not within 0 to 100", percent.value));
            }
            deprecated(key, written, "mirrorPercentage", sink);
        }
    }
    mirrors::check(mirror.as_ref(), mirrors, mirror_percentage.as_ref(), sink);
    if let Some(policy) = cors_policy {
        cors::check(policy, sink);
    }
}

fn check_response(response: &DirectResponse, sink: &mut Sink<'_>) {
    let DirectResponse { status: _, body } = response;
    let Some(Body { string, bytes }) = body.as_ref().map(|body| &body.value) else { return };
    if let (Some(_), Some(key)) = (string, bytes.key()) {
        sink.schema(key, "string and bytes exclude each other".into());
    }
    if let Some(text) = string.as_ref().filter(|text| (LARGE_BODY + 1..=1 << 20).contains(&text.len())) {
        warn(text.pos, format!("a body of {} bytes is large for a configuration", text.len()), sink);
    }
}

fn check_rewrite(rewrite: &Rewrite, sink: &mut Sink<'_>) {
    let Rewrite { uri: _, authority: _, uri_regex_rewrite } = rewrite;
    let Some(RegexRewrite { matches, rewrite: _ }) = uri_regex_rewrite.as_ref().map(|regex| &regex.value)
    else {
        return;
    };
    if let Some(pattern) = matches {
        matches::check_length(pattern, sink);
    }
}
