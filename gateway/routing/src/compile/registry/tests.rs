//! What groups lend to entries, and where endpoints are, from YAML to the cluster.

use std::sync::Arc;
use std::time::Duration;

use crate::compile::{Addresses, Compiled, Compiler, Surroundings};
use crate::diagnostic::{Diagnostics, Severity};
use crate::snapshot::policy::{Balancer, ServerName};
use crate::snapshot::{Endpoint, Probe, ProbeKind};
use crate::wire::{Limits, Reader};

/// Objects in short: `Kind name: the rest of the object in one line of YAML`.
fn compile(objects: &[&str]) -> Compiled {
    compile_where(Addresses::default(), objects)
}

fn compile_where(addresses: Addresses, objects: &[&str]) -> Compiled {
    let always = [
        "Gateway shop: spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}",
        "VirtualService shop: spec: {hosts: ['*'], gateways: [shop], http: [{route: [{destination: {host: cart.test, port: {number: 80}}}]}]}",
    ];
    let document = |object: &&str| {
        let (name, rest) = object.split_once(": ").expect("a name");
        let (kind, name) = name.split_once(' ').expect("a kind");
        let (metadata, spec) = rest.split_once("spec: ").expect("a spec");
        format!(
            "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, {metadata}}}\nspec: {spec}\n"
        )
    };
    let documents: Vec<String> = always.iter().chain(objects).map(document).collect();
    let (name, text): (Arc<str>, Arc<str>) = ("test.yaml".into(), documents.join("---\n").into());
    let set = Reader::new("default", Limits::default()).read([(&name, &text)], Diagnostics::default());
    Compiler::new(1).compile(&set, &Surroundings { addresses, ..Surroundings::default() })
}

const SELECTS: &str = "ServiceEntry cart: spec: {hosts: [cart.test], resolution: STATIC, \
     ports: [{number: 80, name: http, targetPort: 8000}, {number: 81, name: other}], workloadSelector: {labels: {app: cart}}}";

fn told(endpoint: &Endpoint) -> String {
    let Endpoint { address, weight, locality, placement: _, workload, probe } = endpoint;
    let probe = if probe.is_some() { " probed" } else { "" };
    format!("{address} x{weight} {locality} {}/{}{probe}", workload.name, workload.version)
}

/// The endpoints of port 80, and what is found beside that probes are not executed, or that there are none.
fn check(objects: &[&str], endpoints: &[&str], findings: &[&str]) {
    let compiled = compile(objects);
    let cluster = compiled.snapshot.clusters.first().expect("a cluster");
    let found: Vec<String> = cluster.endpoints.iter().map(told).collect();
    assert_eq!(found, endpoints, "{objects:#?}");
    let known = |message: &str| message.starts_with("\"probe\"") || message.ends_with("has no endpoints");
    let beside = compiled.findings.iter().filter(|finding| !known(&finding.message));
    let said: Vec<&str> = beside.map(|finding| &*finding.message).collect();
    assert_eq!(said, findings, "{objects:#?}");
}

#[test]
fn groups_lend_what_entries_do_not_say() {
    let group = "WorkloadGroup carts: spec: {metadata: {labels: {app: cart}}, probe: {tcpSocket: {port: 5}}, \
         template: {ports: {http: 8080}, locality: us/a/1, weight: 3, labels: {version: v1}, serviceAccount: cart}}";
    // It carries the group's labels, and takes over all else.
    check(
        &[SELECTS, group, "WorkloadEntry a: spec: {address: 10.0.0.1, labels: {app: cart}}"],
        &["10.0.0.1:8080 x3 us/a/1 a/v1 probed"],
        &[],
    );
    // What it says itself counts; 0 is no weight, and one that is said.
    check(
        &[
            SELECTS,
            group,
            "WorkloadEntry a: labels: {app: cart}, spec: {address: 10.0.0.1, labels: {version: v2}, weight: 0, locality: eu, ports: {http: 9}}",
        ],
        &["10.0.0.1:9 x1 eu a/v2 probed"],
        &[],
    );
    // It names its group, whose labels it gets then, by which the service chooses it.
    check(
        &[
            SELECTS,
            group,
            "WorkloadEntry a: annotations: {istio.io/autoRegistrationGroup: carts}, spec: {address: 10.0.0.1}",
        ],
        &["10.0.0.1:8080 x3 us/a/1 carts/v1 probed"],
        &[],
    );
    // A name that no group has is no other group's.
    check(
        &[
            SELECTS,
            group,
            "WorkloadEntry a: annotations: {istio.io/autoRegistrationGroup: cart}, spec: {address: 10.0.0.1, labels: {app: cart}}",
        ],
        &["10.0.0.1:8000 x1  cart/"],
        &["there is no WorkloadGroup default/cart"],
    );
    // Another namespace's group, one for other labels, and one for none.
    check(
        &[
            SELECTS,
            "WorkloadGroup carts: namespace: far, spec: {metadata: {labels: {app: cart}}, template: {weight: 3}}",
            "WorkloadGroup other: spec: {metadata: {labels: {app: cart, tier: front}}, template: {weight: 4}}",
            "WorkloadGroup all: spec: {template: {weight: 5}}",
            "WorkloadEntry a: spec: {address: 10.0.0.1, labels: {app: cart}}",
        ],
        &["10.0.0.1:8000 x1  a/"],
        &[],
    );
    // Of several the oldest, which without times is the first by name.
    check(
        &[
            SELECTS,
            "WorkloadGroup b: spec: {metadata: {labels: {app: cart}}, template: {weight: 3}}",
            "WorkloadGroup a: spec: {metadata: {labels: {app: cart}}, template: {weight: 4}}",
            "WorkloadEntry a: spec: {address: 10.0.0.1, labels: {app: cart}}",
        ],
        &["10.0.0.1:8000 x4  a/"],
        &[],
    );
}

#[test]
fn endpoints_are_where_they_say() {
    let entry = "WorkloadEntry a: spec: {address: 10.0.0.1, labels: {app: cart, istio-locality: us.a.1}}";
    check(&[SELECTS, entry], &["10.0.0.1:8000 x1 us/a/1 a/"], &[]);
    let both = "WorkloadEntry a: spec: {address: 10.0.0.1, labels: {app: cart, istio-locality: us.a.1}, locality: eu}";
    check(&[SELECTS, both], &["10.0.0.1:8000 x1 eu a/"], &[]);
    let far = "it is in network \"far\", which needs a mesh's gateway there to be reached";
    check(
        &[SELECTS, entry, "WorkloadEntry b: spec: {address: 10.0.0.2, network: far, labels: {app: cart}}"],
        &["10.0.0.1:8000 x1 us/a/1 a/"],
        &[far],
    );
    check(
        &[
            SELECTS,
            "WorkloadGroup carts: spec: {metadata: {labels: {app: cart}}, template: {network: far}}",
            entry,
            "WorkloadEntry b: spec: {address: 10.0.0.2, network: \"\", labels: {app: cart}}",
        ],
        &["10.0.0.2:8000 x1  b/"],
        &[far],
    );
    check(
        &[SELECTS, "WorkloadEntry b: spec: {network: far, labels: {app: cart}}"],
        &[],
        &["an endpoint without an address is one of another network's gateway"],
    );
    // Two ServiceEntries of one host: each one's endpoints answer on its own ports.
    check(
        &[
            "ServiceEntry a: spec: {hosts: [cart.test], resolution: STATIC, ports: [{number: 80, name: http, targetPort: 8000}], endpoints: [{address: 10.0.0.1}]}",
            "ServiceEntry b: spec: {hosts: [CART.test], resolution: STATIC, ports: [{number: 80, name: web}, {number: 81, name: other}], \
             endpoints: [{address: 10.0.0.2, ports: {web: 9000}}, {address: 10.0.0.3}]}",
        ],
        &["10.0.0.1:8000 x1  cart/", "10.0.0.2:9000 x1  cart/", "10.0.0.3:80 x1  cart/"],
        &[],
    );
}

/// What names resolve to in the tests below.
fn known() -> Addresses {
    let names = [
        ("a.test", &["10.0.0.9", "10.0.0.2"][..]),
        ("b.test", &["::1", "10.0.0.2"]),
        ("cart.test", &["10.0.0.7", "10.0.0.8"]),
        ("gone.test", &[]),
    ];
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect();
    names.iter().map(|(name, texts)| ((*name).into(), addresses(texts))).collect()
}

#[test]
fn names_stand_for_all_their_addresses() {
    let service = |more: &str| {
        format!(
            "ServiceEntry cart: spec: {{hosts: [CART.test], ports: [{{number: 80, name: http, targetPort: 8000}}], {more}}}"
        )
    };
    let entry = "WorkloadEntry a: spec: {address: A.test, ports: {http: 81}, weight: 3, locality: eu, labels: {app: cart, version: v1}}";
    let group = "WorkloadGroup carts: spec: {metadata: {labels: {app: cart}}, template: {}, probe: {tcpSocket: {port: 5}}}";
    let dns = "resolution: DNS, workloadSelector: {labels: {app: cart}}";
    for (objects, names, endpoints) in [
        (
            vec![service("resolution: DNS")],
            &["cart.test"][..],
            &["10.0.0.7:8000 x1  cart/", "10.0.0.8:8000 x1  cart/"][..],
        ),
        (
            vec![service("resolution: DNS, endpoints: [{address: a.test, weight: 2, ports: {http: 82}}]")],
            &["a.test"],
            &["10.0.0.2:82 x2  cart/", "10.0.0.9:82 x2  cart/"],
        ),
        // One address of two names is there once; beside names there may be addresses.
        (
            vec![service(
                "resolution: DNS, endpoints: [{address: b.test}, {address: a.test}, {address: 10.1.0.1}]",
            )],
            &["a.test", "b.test"],
            &[
                "10.0.0.2:8000 x1  cart/",
                "10.0.0.9:8000 x1  cart/",
                "10.1.0.1:8000 x1  cart/",
                "[::1]:8000 x1  cart/",
            ],
        ),
        (
            vec![service("resolution: DNS, endpoints: [{address: gone.test}, {address: never.test}]")],
            &["gone.test", "never.test"],
            &[],
        ),
        (
            vec![service(dns), entry.into()],
            &["a.test"],
            &["10.0.0.2:81 x3 eu a/v1", "10.0.0.9:81 x3 eu a/v1"],
        ),
        (
            vec![service(dns), entry.into(), group.into()],
            &["a.test"],
            &["10.0.0.2:81 x3 eu a/v1 probed", "10.0.0.9:81 x3 eu a/v1 probed"],
        ),
        // Nothing is chosen, so nothing is looked up.
        (vec![service(dns)], &[], &[]),
        // An older ServiceEntry has the port already.
        (
            vec![
                service("resolution: DNS"),
                "ServiceEntry later: spec: {hosts: [cart.test], resolution: DNS_ROUND_ROBIN, \
                 ports: [{number: 80, name: http}], endpoints: [{address: a.test}]}"
                    .to_owned(),
            ],
            &["cart.test"],
            &["10.0.0.7:8000 x1  cart/", "10.0.0.8:8000 x1  cart/"],
        ),
    ] {
        let texts: Vec<&str> = objects.iter().map(String::as_str).collect();
        let compiled = compile_where(known(), &texts);
        let cluster = compiled.snapshot.clusters.first().expect("a cluster");
        let found: Vec<String> = cluster.endpoints.iter().map(told).collect();
        assert_eq!(found, endpoints, "{objects:#?}");
        let wanted: Vec<Arc<str>> = compiled.snapshot.names().into_iter().collect();
        assert_eq!(wanted, names.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>(), "{objects:#?}");
        assert!(!compiled.findings.has_errors(), "{:#?}", compiled.findings);
    }
}

#[test]
fn names_that_no_route_leads_to_are_not_wanted() {
    let compiled = compile_where(
        known(),
        &[
            "ServiceEntry cart: spec: {hosts: [cart.test], resolution: STATIC, ports: [{number: 80, name: http}], endpoints: [{address: 10.0.0.1}]}",
            "ServiceEntry other: spec: {hosts: [a.test], resolution: DNS, ports: [{number: 80, name: http}]}",
        ],
    );
    assert!(compiled.snapshot.names().is_empty());
}

#[test]
fn addresses_of_one_name_take_turns_where_no_rule_says_otherwise() {
    for (resolution, rule, balancer) in [
        ("DNS", "", Balancer::LeastRequest(None)),
        ("DNS_ROUND_ROBIN", "", Balancer::RoundRobin(None)),
        ("DNS_ROUND_ROBIN", "loadBalancer: {simple: RANDOM}", Balancer::Random),
    ] {
        let entry = format!(
            "ServiceEntry cart: spec: {{hosts: [cart.test], resolution: {resolution}, ports: [{{number: 80, name: http}}]}}"
        );
        let rule = format!("DestinationRule cart: spec: {{host: cart.test, trafficPolicy: {{{rule}}}}}");
        let compiled = compile_where(known(), &[&entry, &rule]);
        let cluster = compiled.snapshot.clusters.first().expect("a cluster");
        assert_eq!(cluster.policy.balancer, balancer, "{resolution} {rule}");
        assert_eq!(cluster.endpoints.len(), 2, "{resolution} {rule}");
    }
}

#[test]
fn probes_have_istios_defaults() {
    let probe = |written: &str| -> Option<Arc<Probe>> {
        let group = format!(
            "WorkloadGroup g: spec: {{metadata: {{labels: {{app: cart}}}}, template: {{}}, probe: {written}}}"
        );
        let compiled =
            compile(&[SELECTS, &group, "WorkloadEntry a: spec: {address: 10.0.0.1, labels: {app: cart}}"]);
        let errors = compiled.findings.count(Severity::Error);
        let probe = compiled.snapshot.clusters.first()?.endpoints.first()?.probe.clone();
        assert_eq!(errors == 0, probe.is_some(), "{written}: {:#?}", compiled.findings);
        probe
    };
    let seconds = Duration::from_secs;
    let tcp = ProbeKind::Tcp { host: None, port: 5 };
    let plain = Probe {
        kind: tcp.clone(),
        initial_delay: seconds(0),
        timeout: seconds(1),
        period: seconds(10),
        success_threshold: 1,
        failure_threshold: 3,
    };
    let http = ProbeKind::Http {
        tls: false,
        host: None,
        port: 5,
        path: http::uri::PathAndQuery::from_static("/"),
        headers: Box::new([]),
    };
    let full = Probe {
        kind: ProbeKind::Http {
            tls: true,
            host: Some("a.test".into()),
            port: 5,
            path: http::uri::PathAndQuery::from_static("/up?deep"),
            headers: Box::new([(http::header::HOST, http::HeaderValue::from_static("b.test"))]),
        },
        initial_delay: seconds(1),
        timeout: seconds(2),
        period: seconds(3),
        success_threshold: 4,
        failure_threshold: 5,
    };
    let grpc = ProbeKind::Grpc { port: 5, service: "".into() };
    for (written, expected) in [
        ("{tcpSocket: {port: 5}}", plain.clone()),
        ("{tcpSocket: {port: 5, host: \"\"}, periodSeconds: 0, failureThreshold: 0}", plain.clone()),
        ("{httpGet: {port: 5}}", Probe { kind: http, ..plain.clone() }),
        ("{grpc: {port: 5}}", Probe { kind: grpc, ..plain }),
        (
            "{httpGet: {port: 5, scheme: HTTPS, host: a.test, path: 'up?deep', httpHeaders: [{name: Host, value: b.test}]}, \
             initialDelaySeconds: 1, timeoutSeconds: 2, periodSeconds: 3, successThreshold: 4, failureThreshold: 5}",
            full,
        ),
    ] {
        assert_eq!(probe(written).as_deref(), Some(&expected), "{written}");
    }
    for wrong in ["{exec: {command: [x]}}", "{grpc: {}}", "{httpGet: {port: 5, path: 'a b'}}"] {
        assert_eq!(probe(wrong), None, "{wrong}");
    }
}

#[test]
fn names_of_services_stand_in_where_rules_have_none() {
    let given = |name: &str| Some(ServerName::Given { name: name.into(), verified: true });
    for (names, tls, looked_for) in [
        ("[]", "mode: SIMPLE", Some(ServerName::OfRequest)),
        ("[a.test]", "mode: SIMPLE", given("a.test")),
        ("[a.test]", "mode: SIMPLE, subjectAltNames: [b.test]", given("b.test")),
        ("[a.test]", "mode: SIMPLE, sni: a.test", given("a.test")),
        ("[a.test]", "mode: SIMPLE, insecureSkipVerify: true", Some(ServerName::OfRequest)),
        ("[a.test]", "mode: SIMPLE, sni: b.test", None),
        ("[a.test, b.test]", "mode: SIMPLE", None),
    ] {
        let entry = format!(
            "ServiceEntry cart: spec: {{hosts: [cart.test], resolution: STATIC, ports: [{{number: 80, name: http}}], \
             endpoints: [{{address: 10.0.0.1}}], subjectAltNames: {names}}}"
        );
        let rule =
            format!("DestinationRule cart: spec: {{host: cart.test, trafficPolicy: {{tls: {{{tls}}}}}}}");
        let compiled = compile(&[&entry, &rule]);
        let cluster = compiled.snapshot.clusters.first().expect("a cluster");
        let name = cluster.policy.tls.as_ref().expect("TLS").server_name();
        assert_eq!(name, looked_for, "{names}, {tls}");
        assert_eq!(compiled.findings.has_errors(), looked_for.is_none(), "{names}, {tls}");
    }
}
