//! What a decision costs, from few hosts and rules to very many.
//!
//! `cargo bench -p trysail-routing --bench decide`. `random` asks for each rule alike, `last` for the last one
//! written, `none` for one that no rule takes; each by the walk that routes. `scan` asks the rules one by one, as
//! a list would.
#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use trysail_routing::compile::{Compiler, Surroundings};
use trysail_routing::decide::{Decision, Request, decide};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::snapshot::{Listener, Snapshot, VirtualHosts};
use trysail_routing::wire::{Limits, Reader};

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
";

fn hosts_of(listener: &Listener) -> &VirtualHosts {
    listener.virtual_hosts(None).expect("a listener of plain HTTP")
}

fn compile(text: &str) -> Snapshot {
    let set = Reader::new("default", Limits::default())
        .read([(&"a.yaml".into(), &text.into())], Diagnostics::default());
    let compiled = Compiler::new(1).compile(&set, &Surroundings::default());
    assert!(!compiled.findings.has_errors(), "{:?}", compiled.findings.iter().next());
    compiled.snapshot
}

/// So many hosts, each with a VirtualService of one rule.
fn hosts(count: usize) -> Snapshot {
    let mut text = GATEWAY.to_owned();
    for number in 0..count {
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{number}}}\nspec:\n  \
             hosts: [s{number}.shop.test]\n  gateways: [g]\n  http:\n  - directResponse: {{status: 200}}\n"
        );
    }
    compile(&text)
}

/// One host with so many rules.
fn rules(count: usize, condition: impl Fn(usize) -> String) -> Snapshot {
    let mut text = format!(
        "{GATEWAY}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec:\n  \
         hosts: [shop.test]\n  gateways: [g]\n  http:\n"
    );
    for number in 0..count {
        let _ = write!(text, "  - directResponse: {{status: 200}}\n    match: [{}]\n", condition(number));
    }
    compile(&text)
}

/// A request that a person would call plain: a browser's fields.
struct Asked {
    authority: String,
    path: String,
    headers: HeaderMap,
}

impl Asked {
    fn new(authority: String, path: String, user: &str) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", authority.as_str()),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
            ("accept", "text/html,application/xhtml+xml"),
            ("accept-language", "en"),
            ("accept-encoding", "gzip, br"),
            ("x-user", user),
        ] {
            headers.insert(name, HeaderValue::from_str(value).expect("plain text"));
        }
        Asked { authority, path, headers }
    }

    fn request(&self) -> Request<'_> {
        Request {
            authority: &self.authority,
            method: "GET",
            scheme: "http",
            path: &self.path,
            query: None,
            headers: &self.headers,
        }
    }
}

/// Numbers below `count` in an order without a pattern.
fn numbers(count: usize) -> impl Iterator<Item = usize> {
    (0..256_usize).map(move |at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) % count)
}

fn measure(c: &mut Criterion, name: &str, count: usize, listener: &Listener, asked: &[Asked], takes: bool) {
    let mut at = 0;
    c.benchmark_group("decide").bench_function(BenchmarkId::new(name, count), |b| {
        b.iter(|| {
            at = (at + 1) % asked.len();
            let decision = decide(hosts_of(listener), black_box(&asked[at].request()), &mut ());
            assert_eq!(matches!(decision, Decision::Route(..)), takes);
        });
    });
}

fn by_host(c: &mut Criterion) {
    for count in [10, 1_000, 10_000, 100_000] {
        let snapshot = hosts(count);
        let listener = &snapshot.listeners[0];
        let ask = |number| Asked::new(format!("s{number}.shop.test"), "/cart".to_owned(), "ann");
        let random: Vec<Asked> = numbers(count).map(ask).collect();
        measure(c, "host/random", count, listener, &random, true);
        measure(c, "host/none", count, listener, &[ask(count)], false);
    }
}

/// How rules differ on one host, and the request that the rule of a number takes.
type Kind = (&'static str, fn(usize) -> String, fn(usize) -> Asked);

fn by_rule(c: &mut Criterion) {
    let kinds: [Kind; 3] = [
        (
            "path",
            |n| format!("{{uri: {{exact: /shop/items/{n}}}}}"),
            |n| Asked::new("shop.test".to_owned(), format!("/shop/items/{n}"), "ann"),
        ),
        (
            "prefix",
            |n| format!("{{uri: {{prefix: /shop/items/{n}/}}}}"),
            |n| Asked::new("shop.test".to_owned(), format!("/shop/items/{n}/reviews"), "ann"),
        ),
        (
            "header",
            |n| format!("{{uri: {{prefix: /shop}}, headers: {{x-user: {{exact: user-{n}}}}}}}"),
            |n| Asked::new("shop.test".to_owned(), "/shop/items".to_owned(), &format!("user-{n}")),
        ),
    ];
    for (name, condition, ask) in kinds {
        for count in [10, 1_000, 10_000] {
            let snapshot = rules(count, condition);
            let listener = &snapshot.listeners[0];
            let random: Vec<Asked> = numbers(count).map(ask).collect();
            measure(c, &format!("{name}/random"), count, listener, &random, true);
            measure(c, &format!("{name}/last"), count, listener, &[ask(count - 1)], true);
            measure(c, &format!("{name}/none"), count, listener, &[ask(count)], false);
            let host = hosts_of(listener).find("shop.test").expect("the host");
            let last = ask(count - 1);
            c.benchmark_group("scan").bench_function(BenchmarkId::new(format!("{name}/last"), count), |b| {
                b.iter(|| host.scan(black_box(&last.request()), |_, _, _| {}).is_some());
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1_000));
    targets = by_host, by_rule
}
criterion_main!(benches);
