//! A request is decided in one way: by the index, by asking every rule, and by who explains it.
//!
//! An input is a line each of method, scheme, authority and target, then fields. Of `explain` its first byte says which
//! configuration is asked, among those of the cases.

use std::ptr;
use std::sync::LazyLock;

use http::HeaderMap;
use trysail_routing::decide::{Decision, Explanation, Request, decide, describe, explain};
use trysail_routing::path::{Normalization, canonical};
use trysail_routing::snapshot::{Action, Listener, Redirect, Snapshot, VirtualHosts};

use crate::{documents, seeds};

/// Enough rules for an index, of every kind of condition.
const MANY: &str = include_str!("../../testdata/cases/many_rules_on_one_host/config.yaml");
const KINDS: &str = include_str!("rules.yaml");

/// One with an index, one with all kinds of conditions.
static FIXED: LazyLock<Vec<Snapshot>> =
    LazyLock::new(|| [MANY, KINDS].map(|text| documents::compile(text).snapshot).into());

static CASES: LazyLock<Vec<Snapshot>> = LazyLock::new(|| {
    seeds::documents()
        .iter()
        .filter_map(|text| std::str::from_utf8(text).ok())
        .map(|text| documents::compile(text).snapshot)
        .filter(|snapshot| !snapshot.listeners.is_empty())
        .collect()
});

pub(crate) fn decided(bytes: &[u8]) {
    Asked::read(bytes, |request| FIXED.iter().for_each(|snapshot| agree(snapshot, request)));
}

pub(crate) fn explained(bytes: &[u8]) {
    let [which, rest @ ..] = bytes else { return };
    let Some(snapshot) = CASES.get(usize::from(*which) % CASES.len().max(1)) else { return };
    Asked::read(rest, |request| agree(snapshot, request));
}

struct Asked;

impl Asked {
    fn read(bytes: &[u8], ask: impl Fn(&Request<'_>)) {
        let mut lines = crate::lines(bytes);
        let mut next = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let (method, scheme, authority, target) = (next(), next(), next(), next());
        // The connection says it, and of HTTP/2 `trysail_edge::fields` has looked at it.
        let scheme = if scheme == "https" { "https" } else { "http" };
        let headers: HeaderMap = crate::fields(lines);
        let Ok(target) = canonical(target.as_bytes(), Normalization::Base) else { return };
        let query = target.query.map(|query| String::from_utf8_lossy(query).into_owned());
        ask(&Request {
            authority: &authority,
            method: &method,
            scheme,
            path: &target.path,
            query: query.as_deref(),
            headers: &headers,
        });
    }
}

fn agree(snapshot: &Snapshot, request: &Request<'_>) {
    for listener in &snapshot.listeners {
        let names = [None, Some(request.authority), Some("shop.test")];
        for hosts in names.into_iter().filter_map(|name| listener.virtual_hosts(name)) {
            agree_on(snapshot, listener, hosts, request);
        }
    }
}

fn agree_on(snapshot: &Snapshot, listener: &Listener, hosts: &VirtualHosts, request: &Request<'_>) {
    let found = decide(hosts, request, &mut ());
    let Explanation { decision, host, considered } = explain(hosts, request);
    assert_eq!(place(&found), place(&decision), "{request:?}");
    if let (Some(host), Decision::Route(..) | Decision::NoRoute(_)) = (host, &found) {
        let scanned = host.scan(request, |_, _, _| {});
        let scanned = scanned.map(|(route, block)| Decision::Route(route, block));
        assert_eq!(place(&found), scanned.as_ref().map_or("no route".to_owned(), place), "{request:?}");
    }
    let took = considered.iter().filter(|rule| rule.took).count();
    assert_eq!(took, usize::from(matches!(found, Decision::Route(..))), "{request:?}");
    assert!(considered.iter().all(|rule| !rule.why.is_empty()));
    match found {
        Decision::ToHttps(_) => told(&Redirect::to_https(request), request),
        Decision::Route(route, block) => {
            if let Some(handling) = &route.handling {
                describe(handling, snapshot);
                handling.cors.as_ref().map(|cors| cors.preflight(request));
            }
            if let Action::Redirect(redirect) = &route.action {
                told(&redirect.location(request, block, listener.key.port).to_string(), request);
            }
        }
        Decision::NoHost | Decision::NoRoute(_) => {}
    }
}

/// Where a client is sent is a value that a field can have, if what was asked could be.
fn told(location: &str, request: &Request<'_>) {
    let clean = |text: &str| http::HeaderValue::from_str(text).is_ok();
    let asked = [request.authority, request.path, request.query.unwrap_or_default()];
    assert!(!asked.into_iter().all(clean) || clean(location), "{location:?} for {request:?}");
}

/// Where a decision leads, to be compared: which route, by which of its blocks.
fn place(decision: &Decision<'_>) -> String {
    match decision {
        Decision::NoHost => "no host".to_owned(),
        Decision::ToHttps(host) => format!("to https of {}", host.pattern),
        Decision::NoRoute(_) => "no route".to_owned(),
        Decision::Route(route, block) => {
            let at = |block| route.matches.iter().position(|own| ptr::eq(&raw const **own, block));
            format!(
                "{} {:p} {:?}",
                route.name,
                *route,
                block.map(|block| at(block).expect("one of the route's"))
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_has_answers() {
        for text in [MANY, KINDS] {
            let compiled = documents::compile(text);
            let findings: Vec<_> = compiled.findings.iter().map(|finding| &finding.message).collect();
            assert!(!compiled.findings.has_errors(), "{findings:?}");
            assert!(!compiled.snapshot.listeners.is_empty(), "{findings:?}");
        }
        assert!(CASES.len() > 30, "only {} cases", CASES.len());
    }
}
