//! Balancers over reloads: what goes on where it was, what begins anew, and who warms up.

#![expect(clippy::disallowed_methods, reason = "only differences of time count")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use trysail_routing::compile::{Compiler, Surroundings};
use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::{Limits, Reader};
use trysail_upstream::Upstreams;
use trysail_upstream::balance::PickInput;

/// A service with so many endpoints, and a rule that sends all to it by this `loadBalancer`.
fn snapshot(balancer: &str, endpoints: usize) -> Snapshot {
    let addresses: Vec<String> = (1..=endpoints).map(|n| format!("{{address: 10.0.0.{n}}}")).collect();
    let text: Arc<str> = format!(
        "{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: g}}, spec: {{selector: {{istio: ingressgateway}}, \
         servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]}}}}\n---\n\
         {{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: s}}, spec: {{hosts: [s.test], \
         resolution: STATIC, ports: [{{number: 80, name: http}}], endpoints: [{}]}}}}\n---\n\
         {{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: s}}, spec: {{host: s.test, \
         trafficPolicy: {{loadBalancer: {balancer}}}}}}}\n---\n\
         {{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: s}}, spec: {{hosts: ['*'], \
         gateways: [g], http: [{{route: [{{destination: {{host: s.test}}}}]}}]}}}}\n",
        addresses.join(", ")
    )
    .into();
    let name: Arc<str> = "s.yaml".into();
    let set = Reader::new("default", Limits::default()).read([(&name, &text)], Diagnostics::default());
    let compiled = Compiler::new(1).compile(&set, &Surroundings::default());
    assert!(!compiled.findings.has_errors(), "{:?}", compiled.findings);
    compiled.snapshot
}

fn take(upstreams: &Upstreams, snapshot: &Snapshot, key: Option<u64>) -> usize {
    let cluster = upstreams.cluster(snapshot.splits[0].targets[0].cluster);
    let input = PickInput { key, roll: 7, tried: &[], now: cluster.warm_at() };
    cluster.pick(input).expect("there are endpoints")
}

#[test]
fn turns_go_on_over_a_reload_and_begin_anew_with_other_endpoints() {
    let mut now = Instant::now();
    let five = snapshot("{simple: ROUND_ROBIN}", 5);
    let mut upstreams = Upstreams::reconcile(&Upstreams::default(), &five, 1, now);
    let first = take(&upstreams, &five, None);
    for turn in 1..20 {
        now += Duration::from_secs(1);
        let again = snapshot("{simple: ROUND_ROBIN}", 5);
        upstreams = Upstreams::reconcile(&upstreams, &again, 1, now);
        assert_eq!(take(&upstreams, &again, None), (first + turn) % 5, "after reload {turn}");
    }
    let six = snapshot("{simple: ROUND_ROBIN}", 6);
    upstreams = Upstreams::reconcile(&upstreams, &six, 1, now);
    let mut met: Vec<usize> = (0..6).map(|_| take(&upstreams, &six, None)).collect();
    met.sort_unstable();
    assert_eq!(met, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn keys_keep_their_endpoints_over_reloads_and_restarts() {
    let hash = "{consistentHash: {useSourceIp: true}}";
    let before = snapshot(hash, 5);
    let keys = || (0..100_u64).map(|key| key.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let upstreams = Upstreams::reconcile(&Upstreams::default(), &before, 1, Instant::now());
    let chosen: Vec<usize> = keys().map(|key| take(&upstreams, &before, Some(key))).collect();
    for (before, seed) in [(&upstreams, 1), (&Upstreams::default(), 99)] {
        let after = snapshot(hash, 5);
        let upstreams = Upstreams::reconcile(before, &after, seed, Instant::now());
        assert!(keys().map(|key| take(&upstreams, &after, Some(key))).eq(chosen.iter().copied()));
    }
}

#[test]
fn who_joins_a_cluster_that_is_known_warms_up() {
    let start = Instant::now();
    let warmup = "{warmup: {duration: 60s}}";
    let (two, three) = (snapshot(warmup, 2), snapshot(warmup, 3));
    let id = three.splits[0].targets[0].cluster;
    let first = Upstreams::reconcile(&Upstreams::default(), &two, 1, start);
    assert_eq!(first.cluster(two.splits[0].targets[0].cluster).warm_at(), None);
    let joined = start + Duration::from_secs(100);
    let second = Upstreams::reconcile(&first, &three, 1, joined);
    let ages = |upstreams: &Upstreams| {
        upstreams.cluster(id).endpoints.iter().map(|endpoint| endpoint.joined()).collect::<Vec<_>>()
    };
    assert_eq!(ages(&second), [None, None, Some(joined)]);
    assert_eq!(second.cluster(id).warm_at(), Some(joined + Duration::from_secs(60)));
    // A reload does not make it young again, and after the window nobody asks for the time.
    let third = Upstreams::reconcile(&second, &three, 1, joined + Duration::from_secs(60));
    assert_eq!(ages(&third), [None, None, Some(joined)]);
    assert_eq!(third.cluster(id).warm_at(), None);
}
