//! Clusters of size: how soon a gateway is ready, how soon a change is served, and what a burst of changes costs.
//!
//! In every run it is small; at full size it is measured: `TRYSAIL=target/release/trysail cargo test -p trysail --test it
//! cluster::scale -- --ignored --nocapture`, which prints what it found.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trysail_testkit::client::Client;
use trysail_testkit::origin::Origin;
use trysail_testkit::wait::eventually;

use super::api::Api;
use super::{Site, pods, spawn};
use crate::gateway::{Gateway, PATIENCE, SEED};

/// How large a cluster is, and what is done to it.
struct Size {
    /// Services, each with a VirtualService, an EndpointSlice and Pods.
    services: usize,
    pods_each: usize,
    /// Changes of one kind, one after another.
    changes: usize,
    /// Slices that change at once.
    burst: usize,
}

/// Patience of the gateway's that suits a test, and what is said of objects is not written: each would be an edit.
const QUIET: &str = "kubernetes: {retryMost: 200ms, status: false}\n";

/// Hosts, namespaces, labels and addresses of service `turn`.
fn names(turn: usize) -> (String, String) {
    (format!("team-{}", turn % 50), format!("app-{turn}"))
}

fn object(api: &str, kind: &str, (namespace, name): (&str, &str), labels: &Value, spec: &Value) -> Value {
    let mut object = json!({"apiVersion": api, "kind": kind});
    object["metadata"] = json!({"namespace": namespace, "name": name, "labels": labels});
    for (field, value) in spec.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    object
}

fn pod_of(namespace: &str, app: &str, name: &str, address: &str) -> Value {
    let labels = json!({"app": app, "pod-template-hash": "5d4c9b7f6", "version": "v1", "team": namespace});
    let conditions: Vec<Value> = ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .iter()
        .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}))
        .collect();
    let mut pod = object(
        "v1",
        "Pod",
        (namespace, name),
        &labels,
        &json!({
            "spec": {"containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 8080, "name": "http"}]}],
                     "nodeName": "node-1", "serviceAccountName": "default"},
            "status": {"phase": "Running", "podIP": address, "hostIP": "10.0.0.1", "conditions": conditions},
        }),
    );
    pod["metadata"]["ownerReferences"] =
        json!([{"kind": "ReplicaSet", "name": format!("{app}-5d4c9b7f6"), "controller": true}]);
    pod
}

fn endpoint(namespace: &str, pod: &str, address: &str, ready: bool) -> Value {
    json!({
        "addresses": [address], "nodeName": "node-1", "zone": "a",
        "conditions": {"ready": ready, "serving": ready, "terminating": false},
        "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace},
    })
}

fn slice_of(namespace: &str, app: &str, port: u16, endpoints: &[Value]) -> Value {
    let labels = json!({"kubernetes.io/service-name": app});
    object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        (namespace, &format!("{app}-x7k2m")),
        &labels,
        &json!({"addressType": "IPv4", "ports": [{"name": "http", "port": port, "protocol": "TCP"}], "endpoints": endpoints}),
    )
}

fn service_of(namespace: &str, app: &str) -> Value {
    object(
        "v1",
        "Service",
        (namespace, app),
        &json!({"app": app}),
        &json!({"spec": {"selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}),
    )
}

fn rules_of(namespace: &str, app: &str, answer: &str) -> Value {
    object(
        "networking.istio.io/v1",
        "VirtualService",
        (namespace, app),
        &json!({}),
        &json!({"spec": {
            "hosts": [format!("{app}.test")], "gateways": ["default/reviews-gateway"],
            "http": [
                {"match": [{"uri": {"prefix": "/answer"}}], "directResponse": {"status": 200, "body": {"string": answer}}},
                {"route": [{"destination": {"host": app, "port": {"number": 80}}}]},
            ],
        }}),
    )
}

/// Services of this many, and the one that answers.
struct Fleet {
    origins: Vec<Origin>,
    size: Size,
}

impl Fleet {
    /// Puts all of it in a cluster.
    fn fill(&self, api: &Api) {
        let size = &self.size;
        api.apply(SEED.split("\n---\n").next().expect("the Gateway"));
        for turn in 0..size.services {
            let (namespace, app) = names(turn);
            api.put(rules_of(&namespace, &app, "first"));
            api.put(service_of(&namespace, &app));
            let addresses: Vec<String> = (0..size.pods_each).map(|pod| address(turn, pod)).collect();
            let pods: Vec<String> =
                (0..size.pods_each).map(|pod| format!("{app}-5d4c9b7f6-{pod:05}")).collect();
            for (name, address) in pods.iter().zip(&addresses) {
                api.put(pod_of(&namespace, &app, name, address));
            }
            let endpoints: Vec<Value> = pods
                .iter()
                .zip(&addresses)
                .map(|(name, address)| endpoint(&namespace, name, address, true))
                .collect();
            api.put(slice_of(&namespace, &app, 8080, &endpoints));
        }
        api.put(rules_of("live", "live", "first"));
        api.put(service_of("live", "live"));
        api.put(pod_of("live", "live", "live-0", &self.at(0).to_string()));
        api.put(self.slice(&[("live-0", 0)]));
    }

    fn at(&self, turn: usize) -> IpAddr {
        self.origins[turn % self.origins.len()].addr().ip()
    }

    /// The slice of the service that answers, with these Pods.
    fn slice(&self, pods: &[(&str, usize)]) -> Value {
        let endpoints: Vec<Value> = (pods.iter())
            .map(|(name, turn)| endpoint("live", name, &self.at(*turn).to_string(), true))
            .collect();
        slice_of("live", "live", self.origins[0].addr().port(), &endpoints)
    }

    fn objects(&self) -> usize {
        self.size.services * (3 + self.size.pods_each) + 5
    }
}

fn address(turn: usize, pod: usize) -> String {
    format!("10.{}.{}.{}", 1 + pod, turn / 250, 1 + turn % 250)
}

/// How long changes took, the quickest first.
struct Took(Vec<Duration>);

impl Took {
    /// Does each of these and waits until its answer is served.
    fn of(changes: usize, mut change: impl FnMut(usize), mut answers: impl FnMut(usize) -> bool) -> Took {
        let mut took: Vec<Duration> = (1..=changes)
            .map(|turn| {
                change(turn);
                let began = Instant::now();
                while !answers(turn) {
                    assert!(began.elapsed() < PATIENCE, "change {turn} is not served");
                    // Another process of the two on this machine is the one that is waited for.
                    std::thread::yield_now();
                }
                began.elapsed()
            })
            .collect();
        took.sort_unstable();
        Took(took)
    }

    fn most(&self) -> Duration {
        self.within(100)
    }

    /// Within which time so many in a hundred were served.
    fn within(&self, share: usize) -> Duration {
        self.0
            .get((self.0.len() * share / 100).min(self.0.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

/// Milliseconds: half of them, nine in ten, and all.
impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |share: usize| self.within(share).as_millis();
        write!(f, "{} ms, {} ms, {} ms", at(50), at(90), at(100))
    }
}

/// What was found.
struct Figures {
    endpoints: Took,
    pods: Took,
    rules: Took,
    burst: Duration,
}

/// `None` where the API server is another's: its slices are not on loopback, and it would be measured too.
#[expect(clippy::print_stdout, reason = "whoever measures reads it")]
fn measure(size: Size) -> Option<Figures> {
    let (fleet, api) = (Fleet { origins: pods(&["one", "two"]), size }, Api::with_switches()?);
    fleet.fill(&api);
    let began = Instant::now();
    let gateway = spawn(&api, QUIET);
    let patience = PATIENCE * 4;
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), patience);
    let ready = ready.unwrap_or_else(|| panic!("not ready:\n{}", gateway.process.lines().join("\n")));
    let start = began.elapsed();
    let site = Site { gateway, api };
    println!("{} objects; ready after {} ms ({})", fleet.objects(), start.as_millis(), ready.trim());
    let mut client = Client::connect(site.gateway.address()).expect("it accepts");
    let mut ask = |path: &str| client.get("live.test", path, &[]).expect("it answers");
    assert_eq!(ask("/").version(), Some("one"));
    let cost = || Cost::of(&site.gateway);
    let (before, changes) = (cost(), fleet.size.changes);

    let version = |turn: usize| ["one", "two"][turn % 2];
    let endpoints = Took::of(
        changes,
        |turn| site.api.put(fleet.slice(&[("live-0", turn)])),
        |turn| ask("/").version() == Some(version(turn)),
    );
    println!("an endpoint changes: {endpoints}; each {}", before.each(&cost(), changes));

    // As a rollout does it: a Pod comes, its slice follows, the Pod before it goes.
    let before = cost();
    let mut served = "live-0".to_owned();
    let pods = Took::of(
        changes,
        |turn| {
            let (turn, name) = (turn + changes, format!("live-{turn}"));
            site.api.put(pod_of("live", "live", &name, &fleet.at(turn).to_string()));
            site.api.put(fleet.slice(&[(&name, turn)]));
            site.api.delete("pods", "live", &std::mem::replace(&mut served, name));
        },
        |turn| ask("/").version() == Some(version(turn + changes)),
    );
    println!("a Pod takes another's place: {pods}; each {}", before.each(&cost(), changes));

    let before = cost();
    let rules = Took::of(
        changes,
        |turn| site.api.put(rules_of("live", "live", &turn.to_string())),
        |turn| ask("/answer").text().trim() == turn.to_string(),
    );
    println!("a VirtualService changes: {rules}; each {}", before.each(&cost(), changes));

    let applied = || site.gateway.sum("trysail_config_reloads_total", &["applied"]);
    let (before, swaps, began) = (cost(), applied(), Instant::now());
    for turn in 0..fleet.size.burst {
        let (namespace, app) = names(turn % fleet.size.services);
        let name = format!("{app}-5d4c9b7f6-00000");
        let gone = [endpoint(&namespace, &name, &address(turn, 0), false)];
        site.api.put(slice_of(&namespace, &app, 8080, &gone));
    }
    let written = began.elapsed();
    site.api.put(fleet.slice(&[("live-0", changes)]));
    let last = if version(changes) == "one" { "two" } else { "one" };
    site.api.put(fleet.slice(&[("live-0", changes + 1)]));
    eventually(PATIENCE, "the last of the burst is served", || ask("/").version() == Some(last));
    let burst = began.elapsed();
    println!(
        "{} slices change within {} ms: served after {} ms, by {} swaps; {}; {} MB in all",
        fleet.size.burst,
        written.as_millis(),
        burst.as_millis(),
        applied() - swaps,
        before.each(&cost(), 1),
        site.gateway.process.rss_bytes().expect("it runs") / 1_000_000,
    );
    // Told at once when all is quiet, and at the latest after the ceiling; never each by itself.
    let most = burst.as_millis() / 20 + 2;
    let swaps = applied() - swaps;
    assert!((1.0..=most as f64).contains(&swaps), "{swaps} swaps in {burst:?}");
    Some(Figures { endpoints, pods, rules, burst })
}

/// What the gateway has spent.
struct Cost {
    cpu: Duration,
    /// From when changes were told of until they were in force, in seconds.
    applying: f64,
}

impl Cost {
    fn of(gateway: &Gateway) -> Cost {
        Cost {
            cpu: gateway.process.cpu_time().expect("it runs"),
            applying: gateway.sum("trysail_config_reload_duration_seconds_sum", &[]),
        }
    }

    /// What came to it for each of some changes.
    fn each(&self, now: &Cost, changes: usize) -> String {
        let cpu = (now.cpu - self.cpu).as_millis() / changes.max(1) as u128;
        let applying = (now.applying - self.applying) * 1000.0 / changes.max(1) as f64;
        format!("{applying:.0} ms to apply, {cpu} ms of CPU")
    }
}

#[test]
fn changes_in_a_small_cluster_are_served_soon() {
    let Some(found) = measure(Size { services: 60, pods_each: 2, changes: 8, burst: 100 }) else { return };
    for took in [&found.endpoints, &found.pods, &found.rules] {
        assert!(took.most() < Duration::from_secs(2), "{took}");
    }
    assert!(found.burst < Duration::from_secs(10));
}

#[test]
#[ignore = "35,000 objects: takes a minute, and its times mean something of a release build only"]
fn changes_in_a_large_cluster_are_served_soon() {
    let Some(found) = measure(Size { services: 5_000, pods_each: 4, changes: 40, burst: 1_000 }) else {
        return;
    };
    for took in [&found.endpoints, &found.pods, &found.rules] {
        // Of a machine that others work on too, a few may take longer.
        assert!(took.within(90) < Duration::from_millis(100), "{took}");
    }
}
