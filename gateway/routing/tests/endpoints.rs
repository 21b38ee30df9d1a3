//! A cluster's Pods and EndpointSlices come, go and change one by one: what is compiled by that is what is compiled at once,
//! and no route is compiled but those of who asks for the host.

mod told;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use trysail_routing::compile::{Compiler, Dangling, Surroundings};
use trysail_routing::wire::{ConfigSet, Limits, Reader, Single};

use told::{assert_whole, difference, told};

const SEED: u64 = 7;

/// A cluster's objects in the order of their names, as it gives them.
struct Objects {
    reader: Reader,
    all: BTreeMap<(u8, String), (String, Single)>,
}

/// The place of a kind among all: a cluster's objects come kind by kind.
const KINDS: [(&str, &str); 9] = [
    ("Gateway", "networking.istio.io/v1"),
    ("VirtualService", "networking.istio.io/v1"),
    ("DestinationRule", "networking.istio.io/v1"),
    ("ServiceEntry", "networking.istio.io/v1"),
    ("WorkloadEntry", "networking.istio.io/v1"),
    ("WorkloadGroup", "networking.istio.io/v1"),
    ("Service", "v1"),
    ("EndpointSlice", "discovery.k8s.io/v1"),
    ("Pod", "v1"),
];

impl Objects {
    fn new() -> Self {
        Objects { reader: Reader::new("default", Limits::default()), all: BTreeMap::new() }
    }

    /// Puts an object there; what says the same is the same.
    fn put(&mut self, kind: &str, name: &str, rest: &str) {
        let rank = KINDS.iter().position(|(known, _)| *known == kind).expect("a kind that is known");
        let text = format!(
            "{{apiVersion: {}, kind: {kind}, metadata: {{namespace: shop, name: {name}, {rest}}}",
            KINDS[rank].1
        );
        let key = (u8::try_from(rank).expect("few"), name.to_owned());
        if self.all.get(&key).is_none_or(|(before, _)| *before != text) {
            let single = self.reader.read_single(&format!("{kind} shop/{name}"), &text);
            self.all.insert(key, (text, single));
        }
    }

    fn remove(&mut self, kind: &str, name: &str) {
        self.all.retain(|(rank, of), _| KINDS[usize::from(*rank)].0 != kind || of != name);
    }

    fn set(&self) -> ConfigSet {
        ConfigSet::of_singles(self.all.values().map(|(_, single)| single))
    }

    /// Services that are selected by a route, or by its subsets, and by nobody.
    fn fill(&mut self) {
        self.put(
            "Gateway",
            "edge",
            "}, spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
        );
        for app in APPS {
            self.put(
                "VirtualService",
                app,
                &format!("}}, spec: {{hosts: [{app}.test], gateways: [edge], http: [{{route: [{{destination: {{host: {app}}}}}]}}]}}"),
            );
            self.put(
                "Service",
                app,
                &format!("}}, spec: {{selector: {{app: {app}}}, ports: [{{name: http, port: 80, targetPort: web}}]}}"),
            );
            self.slice(app, 0, &[]);
        }
        self.put(
            "VirtualService",
            "split",
            "}, spec: {hosts: [split.test], gateways: [edge], http: [{match: [{uri: {prefix: /x}}], route: [{destination: {host: alias}}]}, \
             {route: [{destination: {host: a, subset: v1}, weight: 30}, {destination: {host: a, subset: v2}, weight: 70}]}]}",
        );
        self.put(
            "DestinationRule",
            "a",
            "}, spec: {host: a, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}",
        );
        self.put(
            "Service",
            "alias",
            "}, spec: {type: ExternalName, externalName: b.shop.svc.cluster.local, ports: [{port: 80}]}",
        );
        self.put(
            "WorkloadEntry",
            "machine",
            "}, spec: {address: 10.9.0.1, labels: {app: c}, ports: {web: 9090}}",
        );
    }

    /// A slice of a Service, with Pods by their numbers.
    fn slice(&mut self, app: &str, number: usize, endpoints: &[Place]) {
        let endpoints: Vec<String> = endpoints.iter().map(|place| place.text(number)).collect();
        self.put(
            "EndpointSlice",
            &format!("{app}-{number}"),
            &format!(
                "labels: {{kubernetes.io/service-name: {app}}}}}, addressType: IPv4, ports: [{{name: http, port: {}}}], endpoints: [{}]",
                8080 + number,
                endpoints.join(", ")
            ),
        );
    }

    fn pod(&mut self, number: u8, app: &str, version: u8, address: u8) {
        self.put(
            "Pod",
            &format!("p{number}"),
            &format!(
                "labels: {{app: {app}, version: v{version}}}}}, status: {{podIP: 10.0.0.{address}, phase: Running}}"
            ),
        );
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Pod { number, app, version, address } => self.pod(*number, APPS[*app], *version, *address),
            Change::NoPod { number } => self.remove("Pod", &format!("p{number}")),
            Change::Slice { app, number, endpoints } => self.slice(APPS[*app], *number, endpoints),
            Change::NoSlice { app, number } => {
                self.remove("EndpointSlice", &format!("{}-{number}", APPS[*app]));
            }
            Change::ByName { app } => self.put(
                "EndpointSlice",
                &format!("{}-0", APPS[*app]),
                &format!("labels: {{kubernetes.io/service-name: {}}}}}, addressType: FQDN", APPS[*app]),
            ),
            Change::Entry { app } => self.put(
                "ServiceEntry",
                "pods",
                &format!(
                    "}}, spec: {{hosts: [pods.test], location: MESH_INTERNAL, resolution: STATIC, ports: [{{number: 80, name: http, protocol: HTTP}}], \
                     workloadSelector: {{labels: {{app: {}}}}}}}",
                    APPS[*app]
                ),
            ),
            Change::NoEntry => self.remove("ServiceEntry", "pods"),
            Change::Weight { weight } => self.put(
                "VirtualService",
                "split",
                &format!(
                    "}}, spec: {{hosts: [split.test], gateways: [edge], http: [{{match: [{{uri: {{prefix: /x}}}}], route: [{{destination: {{host: alias}}}}]}}, \
                     {{route: [{{destination: {{host: a, subset: v1}}, weight: {weight}}}, \
                     {{destination: {{host: a, subset: v2}}, weight: {}}}]}}]}}",
                    100 - weight
                ),
            ),
            Change::Port { app, name } => self.put(
                "Service",
                APPS[*app],
                &format!("}}, spec: {{selector: {{app: {}}}, ports: [{{name: {name}, port: 80, targetPort: web}}]}}", APPS[*app]),
            ),
        }
    }
}

const APPS: [&str; 4] = ["a", "b", "c", "d"];

/// Where an endpoint is: at a Pod's address, naming the Pod or not.
#[derive(Clone, Debug)]
struct Place {
    pod: u8,
    address: u8,
    is_named: bool,
    ready: bool,
}

impl Place {
    fn text(&self, number: usize) -> String {
        let Place { pod, address, is_named, ready } = self;
        let target =
            if *is_named { format!(", targetRef: {{kind: Pod, name: p{pod}}}") } else { String::new() };
        let written =
            if number == 1 && *address == 7 { "no address".to_owned() } else { format!("10.0.0.{address}") };
        format!("{{addresses: [{written}], conditions: {{ready: {ready}}}{target}}}")
    }
}

#[derive(Clone, Debug)]
enum Change {
    Pod { number: u8, app: usize, version: u8, address: u8 },
    NoPod { number: u8 },
    Slice { app: usize, number: usize, endpoints: Vec<Place> },
    NoSlice { app: usize, number: usize },
    ByName { app: usize },
    Entry { app: usize },
    NoEntry,
    Weight { weight: u8 },
    Port { app: usize, name: &'static str },
}

fn changes() -> impl Strategy<Value = Change> {
    let place = (1..9u8, 1..9u8, any::<bool>(), any::<bool>())
        .prop_map(|(pod, address, is_named, ready)| Place { pod, address, is_named, ready });
    prop_oneof![
        8 => (1..9u8, 0..4usize, 1..3u8, 1..9u8)
            .prop_map(|(number, app, version, address)| Change::Pod { number, app, version, address }),
        3 => (1..9u8).prop_map(|number| Change::NoPod { number }),
        8 => (0..4usize, 0..2usize, vec(place, 0..4))
            .prop_map(|(app, number, endpoints)| Change::Slice { app, number, endpoints }),
        2 => (0..4usize, 0..2usize).prop_map(|(app, number)| Change::NoSlice { app, number }),
        1 => (0..4usize).prop_map(|app| Change::ByName { app }),
        1 => (0..4usize).prop_map(|app| Change::Entry { app }),
        1 => Just(Change::NoEntry),
        2 => (1..99u8).prop_map(|weight| Change::Weight { weight }),
        1 => (0..4usize, prop_oneof![Just("http"), Just("grpc")]).prop_map(|(app, name)| Change::Port { app, name }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn changes_one_by_one_give_what_compiling_everything_gives(all in vec(vec(changes(), 1..4), 1..16)) {
        let mut objects = Objects::new();
        objects.fill();
        let here = Surroundings { dangling: Dangling::Serve, ..Surroundings::default() };
        let mut compiler = Compiler::new(SEED);
        compiler.compile(&objects.set(), &here);
        for step in &all {
            step.iter().for_each(|change| objects.change(change));
            let set = objects.set();
            let by_edits = compiler.compile(&set, &here);
            let at_once = Compiler::new(SEED).compile(&set, &here);
            prop_assert!(told(&by_edits) == told(&at_once), "{:?}:\n{}", step, difference(&by_edits, &at_once));
            assert_whole(&by_edits);
        }
    }
}

#[test]
fn an_endpoint_compiles_the_rules_for_its_host_alone() {
    let named = |pod: u8, ready: bool| Place { pod, address: pod, is_named: true, ready };
    let slice = |app, endpoints: &[Place]| Change::Slice { app, number: 0, endpoints: endpoints.to_vec() };
    let pod = |number, app| Change::Pod { number, app, version: 1, address: number };
    let mut objects = Objects::new();
    objects.fill();
    let here = Surroundings { dangling: Dangling::Serve, ..Surroundings::default() };
    let mut compiler = Compiler::new(SEED);
    assert_eq!(compiler.compile(&objects.set(), &here).compiled, 5);
    for (what, change, compiled) in [
        ("a Pod that nothing leads to", pod(1, 3), 0),
        ("an endpoint", slice(3, &[named(1, false)]), 0),
        ("one that gets ready", slice(3, &[named(1, true)]), 1),
        ("a Pod that comes", pod(2, 3), 0),
        ("its endpoint", slice(3, &[named(1, true), named(2, true)]), 1),
        ("another slice", Change::Slice { app: 3, number: 1, endpoints: vec![named(1, true)] }, 1),
        ("a Pod's other version", Change::Pod { number: 2, app: 3, version: 2, address: 2 }, 1),
        ("a Pod that goes", Change::NoPod { number: 1 }, 1),
        ("a slice that goes", Change::NoSlice { app: 3, number: 1 }, 1),
        ("weights", Change::Weight { weight: 55 }, 1),
        ("a host with subsets", slice(0, &[named(2, true)]), 2),
        ("a host with another name", slice(1, &[named(2, true)]), 2),
    ] {
        objects.change(&change);
        assert_eq!(compiler.compile(&objects.set(), &here).compiled, compiled, "{what}");
    }
}
