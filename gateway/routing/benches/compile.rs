//! What a revision costs to read and compile: 10,000 VirtualServices on one port, one weight edited; and many rules on
//! one host.
//!
//! `cargo bench -p trysail-routing --bench compile`.
#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::fmt::Write;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use trysail_routing::compile::{Compiler, Surroundings};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::wire::{ConfigSet, Limits, Reader};

const BACKEND: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.default.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";

/// So many VirtualServices, each for a host of its own; the first sends `weight` percent to version 1.
fn services(count: usize, weight: usize) -> String {
    let mut text = BACKEND.to_owned();
    for number in 0..count {
        let weight = if number == 0 { weight } else { 90 };
        let _ = write!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v{number}}}\nspec:\n  \
             hosts: [s{number}.shop.test]\n  gateways: [g]\n  http:\n  - route:\n    \
             - {{destination: {{host: shop, subset: v1}}, weight: {weight}}}\n    \
             - {{destination: {{host: shop, subset: v2}}, weight: {}}}\n",
            100 - weight
        );
    }
    text
}

/// One VirtualService with so many rules.
fn rules(count: usize) -> String {
    let mut text = format!(
        "{BACKEND}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec:\n  \
         hosts: [shop.test]\n  gateways: [g]\n  http:\n"
    );
    for number in 0..count {
        let _ = write!(
            text,
            "  - match: [{{uri: {{prefix: /shop/items/{number}/}}}}]\n    \
             route: [{{destination: {{host: shop, subset: v1}}}}]\n"
        );
    }
    text
}

/// So many hosts of one VirtualService.
fn hosts(count: usize) -> String {
    let hosts: Vec<String> = (0..count).map(|number| format!("s{number}.shop.test")).collect();
    format!("[{}]", hosts.join(", "))
}

fn read(reader: &mut Reader, text: &str) -> ConfigSet {
    let (name, text): (Arc<str>, Arc<str>) = ("a.yaml".into(), text.into());
    reader.read([(&name, &text)], Diagnostics::default())
}

fn edits(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group.sample_size(10);
    let texts = [services(10_000, 90), services(10_000, 80)];
    let (mut reader, mut compiler) = (Reader::new("default", Limits::default()), Compiler::new(1));
    let mut turn = 0;
    group.bench_function("10,000 VirtualServices, one weight edited: read and compiled", |b| {
        b.iter(|| {
            turn += 1;
            let set = read(&mut reader, &texts[turn % 2]);
            compiler.compile(&set, &Surroundings::default()).snapshot.routes
        });
    });
    let set = read(&mut reader, &texts[0]);
    group.bench_function("10,000 VirtualServices: compiled", |b| {
        b.iter(|| compiler.compile(&set, &Surroundings::default()).snapshot.routes);
    });
    let set = read(&mut reader, &rules(10_000));
    group.bench_function("10,000 rules on one host: compiled", |b| {
        b.iter(|| compiler.compile(&set, &Surroundings::default()).snapshot.routes);
    });
    let set = read(&mut reader, &rules(1_000).replace("[shop.test]", &hosts(1_000)));
    group.bench_function("1,000 rules on each of 1,000 hosts: compiled", |b| {
        b.iter(|| compiler.compile(&set, &Surroundings::default()).snapshot.routes);
    });
    group.finish();
}

criterion_group!(benches, edits);
criterion_main!(benches);
