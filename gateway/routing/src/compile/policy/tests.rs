//! Composition of levels, and the places of localities, from YAML to the cluster.

use std::sync::Arc;
use std::time::Duration;

use crate::compile::{Compiler, Surroundings};
use crate::diagnostic::Diagnostics;
use crate::snapshot::policy::{Balancer, ConsistentHash, HashKey, HashTable, Policy, Protocol, Warmup};
use crate::snapshot::{Cluster, Locality};
use crate::wire::{Limits, Reader};

/// The cluster of `reviews`, whose rule is `rule`, as a destination with subset `v1` and this port has it.
fn cluster(rule: &str, endpoints: &str, port: u16, surroundings: &Surroundings) -> Arc<Cluster> {
    let text: Arc<str> = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: shop}}\nspec:\n  selector: {{istio: ingressgateway}}\n  \
         servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: reviews}}\nspec:\n  \
         hosts: [reviews.default.svc.cluster.local]\n  resolution: STATIC\n  \
         ports: [{{number: 80, name: http}}, {{number: 81, name: other}}]\n  endpoints:\n{endpoints}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: reviews}}\nspec:\n  host: reviews\n{rule}\n---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: shop}}\nspec:\n  hosts: ['*']\n  gateways: [shop]\n  \
         http: [{{route: [{{destination: {{host: reviews, subset: v1, port: {{number: {port}}}}}}}]}}]\n"
    )
    .into();
    let name: Arc<str> = "test.yaml".into();
    let set = Reader::new("default", Limits::default()).read([(&name, &text)], Diagnostics::default());
    let compiled = Compiler::new(1).compile(&set, surroundings);
    let errors: Vec<_> = compiled.findings.iter().filter(|f| f.code.id == "IST0106").collect();
    assert!(errors.is_empty(), "{errors:?}");
    compiled.snapshot.clusters[0].clone()
}

const ONE: &str = "  - {address: 10.0.0.1, labels: {version: v1}}";

#[test]
fn levels_override_each_other_block_by_block() {
    let host = "  trafficPolicy:\n    loadBalancer: {simple: RANDOM}\n    retryBudget: {percent: 50}\n    \
                connectionPool: {tcp: {maxConnections: 7}}\n    outlierDetection: {consecutive5xxErrors: 3}\n    \
                portLevelSettings: [{port: {number: 81}, connectionPool: {http: {maxRetries: 9}}}]\n";
    let random = (Balancer::Random, Some(7), None, Some(3), Some(50.0));
    let plain = Balancer::default();
    for (subset, port, expected) in [
        ("", 80, random),
        // The port's entry stands alone.
        ("", 81, (plain.clone(), None, Some(9), None, None)),
        // A block replaces all of a block, and nothing beside it.
        (
            "connectionPool: {http: {maxRetries: 1}}",
            80,
            (Balancer::Random, None, Some(1), Some(3), Some(50.0)),
        ),
        ("outlierDetection: {}", 81, (plain.clone(), None, Some(9), Some(5), None)),
        ("retryBudget: {}", 80, (Balancer::Random, Some(7), None, Some(3), Some(20.0))),
        // A subset's entry for the port takes back also what it does not say.
        (
            "loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 80}, outlierDetection: {}}]",
            80,
            (plain.clone(), None, None, Some(5), Some(50.0)),
        ),
    ] {
        let own = if subset.is_empty() { String::new() } else { format!(", trafficPolicy: {{{subset}}}") };
        let rule = format!("{host}  subsets: [{{name: v1, labels: {{version: v1}}{own}}}]");
        let cluster = cluster(&rule, ONE, port, &Surroundings::default());
        let Policy { balancer, connection_pool: pool, outlier, tls: _, protocol: _, retry_budget } =
            (*cluster.policy).clone();
        let outlier = outlier.map(|outlier| outlier.consecutive_5xx);
        let budget = retry_budget.map(|budget| budget.percent);
        let found = (balancer, pool.max_connections, pool.max_retries, outlier, budget);
        assert_eq!(found, expected, "{subset} {port}");
    }
}

#[test]
fn balancers_and_protocols_as_run() {
    let hash = |key, table| Balancer::Hash(ConsistentHash { key, table });
    let ring = |minimum| HashTable::Ring { minimum };
    let warmup = |seconds, minimum, aggression| {
        Some(Warmup { window: Duration::from_secs(seconds), minimum, aggression })
    };
    for (written, balancer) in [
        ("{}", Balancer::default()),
        ("{simple: ROUND_ROBIN, warmup: {duration: 60s}}", Balancer::RoundRobin(warmup(60, 0.1, 1.0))),
        (
            "{warmup: {duration: 1m, minimumPercent: 0, aggression: 2.5}, warmupDurationSecs: 5s}",
            Balancer::LeastRequest(warmup(60, 0.0, 2.5)),
        ),
        ("{simple: LEAST_CONN, warmupDurationSecs: 5s}", Balancer::LeastRequest(warmup(5, 0.1, 1.0))),
        ("{consistentHash: {useSourceIp: true}}", hash(Some(HashKey::SourceIp), ring(1024))),
        ("{consistentHash: {useSourceIp: false, ringHash: {}}}", hash(None, ring(1024))),
        (
            "{consistentHash: {httpHeaderName: X-User, ringHash: {minimumRingSize: 7}}}",
            hash(Some(HashKey::Header(http::HeaderName::from_static("x-user"))), ring(7)),
        ),
        (
            "{consistentHash: {httpQueryParameterName: user, maglev: {tableSize: 11}}}",
            hash(Some(HashKey::QueryParameter("user".into())), HashTable::Maglev { size: 11 }),
        ),
    ] {
        let rule = format!(
            "  trafficPolicy: {{loadBalancer: {written}}}\n  subsets: [{{name: v1, labels: {{version: v1}}}}]"
        );
        assert_eq!(cluster(&rule, ONE, 80, &Surroundings::default()).policy.balancer, balancer, "{written}");
    }
    for (written, protocol) in [
        ("{h2UpgradePolicy: UPGRADE}", Protocol::Http2),
        ("{h2UpgradePolicy: DO_NOT_UPGRADE, useClientProtocol: true}", Protocol::Client),
        ("{h2UpgradePolicy: DEFAULT}", Protocol::Http1),
    ] {
        let rule = format!(
            "  trafficPolicy: {{connectionPool: {{http: {written}}}}}\n  subsets: [{{name: v1, labels: {{version: v1}}}}]"
        );
        assert_eq!(cluster(&rule, ONE, 80, &Surroundings::default()).policy.protocol, protocol, "{written}");
    }
}

#[test]
fn a_cookie_that_is_made_is_written_as_envoy_writes_it() {
    for (written, ttl, attributes) in [
        ("{name: user}", None, "; HttpOnly"),
        ("{name: user, ttl: 0s}", Some(0), "; HttpOnly"),
        (
            "{name: user, ttl: 1h, path: /shop, attributes: [{name: SameSite, value: Strict}, {name: Secure}]}",
            Some(3600),
            "; Max-Age=3600; Path=/shop; SameSite=Strict; Secure; HttpOnly",
        ),
    ] {
        let rule = format!(
            "  trafficPolicy: {{loadBalancer: {{consistentHash: {{httpCookie: {written}}}}}}}\n  subsets: [{{name: v1, labels: {{version: v1}}}}]"
        );
        let cluster = cluster(&rule, ONE, 80, &Surroundings::default());
        let Balancer::Hash(ConsistentHash { key: Some(HashKey::Cookie(cookie)), .. }) =
            &cluster.policy.balancer
        else {
            panic!("{written}: {:?}", cluster.policy)
        };
        assert_eq!(cookie.ttl, ttl.map(Duration::from_secs), "{written}");
        assert_eq!(&*cookie.attributes, attributes, "{written}");
    }
}

/// Five endpoints, `a` to `e` as their last octet 1 to 5.
const SPREAD: &str = "  - {address: 10.0.0.1, locality: us/a/1, weight: 3, labels: {version: v1, rack: r1}}\n  \
                      - {address: 10.0.0.2, locality: us/a/2, labels: {version: v1, rack: r1}}\n  \
                      - {address: 10.0.0.3, locality: us/b/1, labels: {version: v1, rack: r2}}\n  \
                      - {address: 10.0.0.4, locality: eu/a/1, labels: {version: v1, rack: r2}}\n  \
                      - {address: 10.0.0.5, labels: {version: v1}}";

#[test]
fn localities_are_placed_as_istio_places_them() {
    let outlier = ", outlierDetection: {}";
    for (setting, outlier, expected) in [
        // Endpoint, priority and group: without outlier detection there is no fail-over.
        ("{}", "", "1:0/0 2:0/0 3:0/0 4:0/0 5:0/0"),
        ("{}", outlier, "1:0/0 2:1/0 3:2/0 4:3/0 5:3/0"),
        ("{enabled: false}", outlier, "1:0/0 2:0/0 3:0/0 4:0/0 5:0/0"),
        ("{failover: [{from: us, to: eu}]}", outlier, "1:0/0 2:1/0 3:2/0 4:3/0 5:4/0"),
        ("{failover: [{from: eu, to: us}]}", outlier, "1:0/0 2:1/0 3:2/0 4:3/0 5:3/0"),
        // Labels: what the gateway's own are not is further away; gaps are closed.
        ("{failoverPriority: [rack]}", outlier, "1:0/0 2:0/0 3:1/0 4:1/0 5:1/0"),
        ("{failoverPriority: [rack=r2]}", outlier, "1:1/0 2:1/0 3:0/0 4:0/0 5:1/0"),
        (
            "{failoverPriority: [topology.kubernetes.io/region, topology.kubernetes.io/zone]}",
            outlier,
            "1:0/0 2:0/0 3:1/0 4:2/0 5:2/0",
        ),
        // Shares: the first that covers an endpoint; who is not named gets nothing.
        ("{distribute: [{from: us/*, to: {us/a/1: 70, us/*: 30}}]}", "", "1:0/0x70 2:0/1x30 3:0/1x30"),
        ("{distribute: [{from: eu/*, to: {eu/*: 100}}]}", "", "1:0/0 2:0/0 3:0/0 4:0/0 5:0/0"),
        ("{distribute: [{from: us/a/1, to: {eu: 100}}]}", outlier, "4:0/0x100"),
    ] {
        let rule = format!(
            "  trafficPolicy: {{loadBalancer: {{localityLbSetting: {setting}}}{outlier}}}\n  \
             subsets: [{{name: v1, labels: {{version: v1}}}}]"
        );
        let mut here = Surroundings { locality: Locality::parse("us/a/1"), ..Surroundings::default() };
        here.labels.insert("rack".into(), "r1".into());
        let cluster = cluster(&rule, SPREAD, 80, &here);
        let place = |endpoint: &crate::snapshot::Endpoint| {
            let crate::snapshot::Placement { priority, group, group_weight } = endpoint.placement;
            let weight = if group_weight == 1 { String::new() } else { format!("x{group_weight}") };
            let address = endpoint.address.ip().to_string();
            format!("{}:{priority}/{group}{weight}", address.rsplit('.').next().unwrap_or_default())
        };
        let found: Vec<String> = cluster.endpoints.iter().map(place).collect();
        assert_eq!(found.join(" "), expected, "{setting} {outlier}");
        let weights: Vec<u32> = cluster.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        assert!(weights.iter().skip(1).all(|&weight| weight == 1) && matches!(weights[0], 1 | 3));
    }
}
