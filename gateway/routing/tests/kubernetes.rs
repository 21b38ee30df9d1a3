//! Kubernetes' own objects: who answers for a Service's port, over what, and as whom.

use std::sync::Arc;

use trysail_routing::compile::{Compiler, Surroundings};
use trysail_routing::diagnostic::{Diagnostics, Severity};
use trysail_routing::snapshot::policy::Protocol;
use trysail_routing::snapshot::{Cluster, Locality, Snapshot};
use trysail_routing::wire::{Limits, Reader};

const ROUTES: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec: {hosts: ["*"], gateways: [shop], http: [{route: [{destination: {host: reviews, port: {number: 80}}}]}]}
"#;

/// The cluster of `reviews` on port 80, of these objects.
fn cluster(objects: &str) -> Arc<Cluster> {
    let text: Arc<str> = format!("{ROUTES}---\n{objects}").into();
    let set = Reader::new("default", Limits::default())
        .read([(&"config.yaml".into(), &text)], Diagnostics::default());
    let here = Surroundings { locality: Locality::parse("eu/zone-a"), ..Surroundings::default() };
    let compiled = Compiler::new(1).compile(&set, &here);
    let errors = compiled.findings.iter().filter(|finding| finding.severity == Severity::Error);
    let errors: Vec<&str> = errors.map(|finding| finding.message.as_str()).collect();
    assert!(errors.is_empty(), "{objects}\n{errors:?}");
    let Snapshot { clusters, .. } = compiled.snapshot;
    clusters.into_iter().next().expect("one cluster")
}

/// `port` is the Service's, `endpoint` its slice's, `pod` the metadata of Pod `a` beside its name.
fn objects(port: &str, endpoint: &str, pod: &str) -> String {
    let meta = |name: &str| format!("name: {name}, namespace: default");
    [
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{{}}}\nspec: {{ports: [{{port: 80, name: http{port}}}]}}\n",
            meta("reviews")
        ),
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
             metadata: {{{}, labels: {{kubernetes.io/service-name: reviews}}}}\n\
             ports: [{{name: admin, port: 1}}, {{name: http, port: 53, protocol: UDP}}, {{name: http, port: 8080}}]\n\
             endpoints: [{{addresses: [10.0.0.1]{endpoint}}}]\n",
            meta("reviews-1")
        ),
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{{}{pod}}}\nstatus: {{podIP: 10.0.0.1}}\n", meta("a")),
    ]
    .join("---\n")
}

#[test]
fn readiness_is_the_slices_conditions() {
    for (conditions, ready) in [
        ("", true),
        (", conditions: null", true),
        (", conditions: {}", true),
        (", conditions: {ready: true}", true),
        (", conditions: {ready: null, serving: false}", true),
        (", conditions: {ready: true, serving: true, terminating: true}", true),
        (", conditions: {ready: false}", false),
        (", conditions: {ready: false, serving: true, terminating: true}", false),
    ] {
        let cluster = cluster(&objects("", conditions, ""));
        let addresses: Vec<String> = cluster.endpoints.iter().map(|e| e.address.to_string()).collect();
        let wanted: &[&str] = if ready { &["10.0.0.1:8080"] } else { &[] };
        assert_eq!(addresses, wanted, "{conditions}");
    }
}

#[test]
fn workloads_are_named_as_their_controllers() {
    const POD: &str = ", targetRef: {kind: Pod, name: a, namespace: default}";
    let owned = |kind: &str, name: &str, labels: &str| {
        format!(
            ", labels: {{{labels}}}, ownerReferences: [{{kind: Other, name: other}}, {{kind: {kind}, name: {name}, controller: true}}]"
        )
    };
    let hash = "app: reviews, version: v1, pod-template-hash: 7d8c9";
    for (endpoint, pod, workload) in [
        (POD, owned("ReplicaSet", "reviews-v1-7d8c9", hash), "reviews-v1 reviews v1"),
        (POD, owned("ReplicaSet", "reviews-v1-7d8c9", "app: reviews"), "reviews-v1-7d8c9 reviews "),
        (
            POD,
            owned("ReplicaSet", "reviews-6f5", "app: reviews, rollouts-pod-template-hash: 6f5"),
            "reviews reviews ",
        ),
        (POD, owned("ReplicaSet", "other-name", hash), "other-name reviews v1"),
        (POD, owned("StatefulSet", "reviews", "app: reviews"), "reviews reviews "),
        (POD, ", labels: {app: reviews}".to_owned(), "a reviews "),
        (POD, ", ownerReferences: [{kind: ReplicaSet, name: r}]".to_owned(), "a a "),
        (POD, owned("Job", "j", "service.istio.io/workload-name: named"), "named j "),
        // Endpoints by hand are of the Pod with their address, if there is one.
        ("", owned("ReplicaSet", "reviews-v1-7d8c9", hash), "reviews-v1 reviews v1"),
        (", targetRef: {kind: Node, name: a}", owned("Job", "j", ""), "j j "),
        // A Pod that is not here has no labels and no name.
        (", targetRef: {kind: Pod, name: b}", owned("Job", "j", ""), "reviews reviews "),
        (", targetRef: {kind: Pod, name: a, namespace: other}", owned("Job", "j", ""), "reviews reviews "),
    ] {
        let cluster = cluster(&objects("", endpoint, &pod));
        let who = &cluster.endpoints.first().expect("an endpoint").workload;
        let told = format!("{} {} {}", who.name, who.canonical_service, who.version);
        assert_eq!((told.as_str(), &*who.namespace), (workload, "default"), "{endpoint} {pod}");
    }
}

#[test]
fn localities_are_the_pods_label_or_the_slices_zone() {
    for (endpoint, pod, locality) in [
        ("", "", ""),
        // The gateway's own zone is in the gateway's own region.
        (", zone: zone-a", "", "eu/zone-a"),
        (", zone: zone-b", "", "/zone-b"),
        (
            ", deprecatedTopology: {topology.kubernetes.io/region: us, topology.kubernetes.io/zone: z}",
            "",
            "us/z",
        ),
        (", zone: zone-a", ", labels: {istio-locality: us.west.1}", "us/west/1"),
    ] {
        let cluster = cluster(&objects("", endpoint, pod));
        let found = cluster.endpoints.first().expect("an endpoint").locality.to_string();
        assert_eq!(found, locality, "{endpoint} {pod}");
    }
}

#[test]
fn what_is_spoken_is_the_ports_unless_a_rule_says_it() {
    let rule = |http: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: reviews}}\n\
             spec: {{host: reviews, trafficPolicy: {{connectionPool: {{http: {{{http}}}}}}}}}\n"
        )
    };
    let entry = |protocol: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: reviews}}\n\
             spec: {{hosts: [reviews.default.svc.cluster.local], resolution: STATIC, endpoints: [{{address: 10.0.0.1}}], \
             ports: [{{number: 80, name: any, protocol: {protocol}}}]}}\n"
        )
    };
    let service = |port: &str| objects(port, "", "");
    for (objects, protocol) in [
        (service(""), Protocol::Http1),
        (service(", appProtocol: kubernetes.io/h2c"), Protocol::Http2),
        (service(", appProtocol: http"), Protocol::Http1),
        (entry("HTTP"), Protocol::Http1),
        (entry("HTTP2"), Protocol::Http2),
        (entry("grpc"), Protocol::Http2),
        (entry("GRPC") + &rule("useClientProtocol: true"), Protocol::Client),
        (entry("GRPC") + &rule("maxRetries: 1"), Protocol::Http2),
        (entry("HTTP") + &rule("h2UpgradePolicy: UPGRADE"), Protocol::Http2),
    ] {
        assert_eq!(cluster(&objects).policy.protocol, protocol, "{objects}");
    }
}
