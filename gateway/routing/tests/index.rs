//! The index of a host's rules gives what a scan gives, and explain agrees with both, whatever rules and requests.

use std::fmt::Write;
use std::ptr;

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use trysail_routing::compile::{Compiler, Surroundings};
use trysail_routing::decide::{Decision, Explanation, Request, decide, explain};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::{Limits, Reader};

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: ['*']
  gateways: [g]
  http:
";

const PATHS: &[&str] = &["/", "/a", "/A", "/a/", "/a/b", "/a/b/c", "/ab", "/b", "/B/a", "/c/d/e"];
const NAMES: &[&str] = &["x-a", "x-b", "x-c"];
const VALUES: &[&str] = &["1", "2", "one", "1,2", ""];
const METHODS: &[&str] = &["GET", "POST"];
const AUTHORITIES: &[&str] = &["shop.test", "shop.test:8080", "*"];

/// A StringMatch over some words.
fn words(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let word = || prop::sample::select(words);
    prop_oneof![
        4 => word().prop_map(|word| format!("{{exact: '{word}'}}")),
        2 => word().prop_map(|word| format!("{{prefix: '{}'}}", if word.is_empty() { "o" } else { word })),
        1 => word().prop_map(|word| format!("{{regex: '{}.*'}}", word.replace('*', "x"))),
    ]
}

/// The same, or that it is there.
fn values() -> impl Strategy<Value = String> {
    prop_oneof![6 => words(VALUES), 1 => Just("{}".to_owned())]
}

fn block() -> impl Strategy<Value = String> {
    let fields = || prop::option::weighted(0.4, (prop::sample::select(NAMES), values()));
    let path = prop::option::weighted(0.7, (words(PATHS), any::<bool>()));
    let method = prop::option::weighted(0.2, words(METHODS));
    let authority = prop::option::weighted(0.1, words(AUTHORITIES));
    let without = prop::option::weighted(0.1, (prop::sample::select(NAMES), values()));
    (path, fields(), fields(), without, method, authority).prop_map(
        |(path, field, parameter, without, method, authority)| {
            let mut text = String::from("{");
            if let Some((path, ignore)) = path {
                let _ = write!(text, "uri: {path}, ignoreUriCase: {ignore}, ");
            }
            for (key, pair) in [("headers", field), ("queryParams", parameter), ("withoutHeaders", without)] {
                if let Some((name, value)) = pair {
                    let _ = write!(text, "{key}: {{{name}: {value}}}, ");
                }
            }
            for (key, value) in [("method", method), ("authority", authority)] {
                if let Some(value) = value {
                    let _ = write!(text, "{key}: {value}, ");
                }
            }
            text.push('}');
            text
        },
    )
}

fn rules() -> impl Strategy<Value = String> {
    let blocks = prop_oneof![19 => prop::collection::vec(block(), 1..4), 1 => Just(Vec::new())];
    prop::collection::vec(blocks, 1..40).prop_map(|rules| {
        let mut text = String::new();
        for blocks in rules {
            let _ = write!(text, "  - directResponse: {{status: 200}}\n    match: [{}]\n", blocks.join(", "));
        }
        text
    })
}

#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    authority: &'static str,
    path: &'static str,
    query: Option<String>,
    headers: Vec<(&'static str, &'static str)>,
}

fn asked() -> impl Strategy<Value = Asked> {
    let pairs = || prop::collection::vec((prop::sample::select(NAMES), prop::sample::select(VALUES)), 0..4);
    let method = prop::sample::select(METHODS);
    let authority = prop::sample::select(AUTHORITIES);
    let path = prop::sample::select(PATHS);
    (method, authority, path, prop::option::of(pairs()), pairs()).prop_map(
        |(method, authority, path, query, headers)| {
            let pair = |(name, value): (&str, &str)| match value {
                "" => name.to_owned(),
                value => format!("{name}={value}"),
            };
            let query = query.map(|pairs| pairs.into_iter().map(pair).collect::<Vec<String>>().join("&"));
            Asked { method, authority, path, query, headers }
        },
    )
}

fn compile(rules: &str) -> Snapshot {
    let text = format!("{GATEWAY}{rules}");
    let set = Reader::new("default", Limits::default())
        .read([(&"a.yaml".into(), &text.as_str().into())], Diagnostics::default());
    let compiled = Compiler::new(1).compile(&set, &Surroundings::default());
    let errors: Vec<_> = compiled.findings.iter().map(|finding| &finding.message).collect();
    assert!(!compiled.findings.has_errors(), "{errors:?}\n{text}");
    compiled.snapshot
}

/// Where a decision leads, to be compared: which route, by which of its blocks.
fn place(decision: &Decision<'_>) -> Option<(String, Option<usize>)> {
    let Decision::Route(route, block) = decision else { return None };
    let at = |block| route.matches.iter().position(|own| ptr::eq(&raw const **own, block));
    Some((format!("{} {:p}", route.name, *route), block.map(|block| at(block).expect("one of the route's"))))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, ..ProptestConfig::default() })]

    #[test]
    fn index_scan_and_explain_agree(rules in rules(), requests in prop::collection::vec(asked(), 1..30)) {
        let snapshot = compile(&rules);
        let hosts = snapshot.listeners[0].virtual_hosts(None).expect("plain HTTP");
        for asked in &requests {
            let mut headers = HeaderMap::new();
            for (name, value) in &asked.headers {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let request = Request {
                authority: asked.authority,
                method: asked.method,
                scheme: "http",
                path: asked.path,
                query: asked.query.as_deref(),
                headers: &headers,
            };
            let host = hosts.find(asked.authority).expect("a host for all");
            let found = decide(hosts, &request, &mut ());
            let scanned = host.scan(&request, |_, _, _| {}).map(|(route, block)| Decision::Route(route, block));
            prop_assert_eq!(place(&found), scanned.as_ref().and_then(place), "{:?}", asked);
            let Explanation { decision, considered, .. } = explain(hosts, &request);
            prop_assert_eq!(place(&found), place(&decision), "{:?}", asked);
            // Each rule up to the one that took it is told, once for each block, in written order.
            let blocks = host.routes.iter().flat_map(|route| {
                std::iter::repeat_n(route.name.clone(), route.matches.len().max(1))
            });
            let told: Vec<_> = considered.iter().map(|rule| rule.route.clone()).collect();
            prop_assert_eq!(&told, &blocks.take(told.len()).collect::<Vec<_>>());
            let took = considered.iter().position(|rule| rule.took);
            prop_assert_eq!(took, place(&found).map(|_| told.len() - 1));
        }
    }
}
