//! Kubernetes' own objects in files, as `kubectl get … -o yaml` prints them, are endpoints.

use std::net::SocketAddr;

use trysail_testkit::folder::Folder;
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews, SEED};
use crate::upstream::h2_origin;

/// What a Service's controllers made for one version: a slice with a port of its own, and a Pod of a ReplicaSet.
fn version(name: &str, endpoint: SocketAddr, ready: bool) -> String {
    format!(
        r#"- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata:
    name: reviews-{name}
    namespace: default
    labels: {{kubernetes.io/service-name: reviews}}
  addressType: IPv4
  ports: [{{name: http, port: {port}, protocol: TCP}}]
  endpoints:
  - addresses: [{address}]
    conditions: {{ready: {ready}, serving: {ready}, terminating: false}}
    targetRef: {{kind: Pod, name: reviews-{name}-7d8c9-x2f4k, namespace: default}}
- apiVersion: v1
  kind: Pod
  metadata:
    name: reviews-{name}-7d8c9-x2f4k
    namespace: default
    labels: {{app: reviews, version: {name}, pod-template-hash: 7d8c9}}
    ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: reviews-{name}-7d8c9, controller: true}}]
  spec: {{nodeName: node-1, containers: [{{name: reviews, image: "reviews:{name}"}}]}}
  status: {{podIP: {address}, phase: Running}}
"#,
        port = endpoint.port(),
        address = endpoint.ip(),
    )
}

/// A List with the Service and its versions.
fn list(port: &str, versions: &[String]) -> String {
    let service = format!(
        "apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {{name: reviews, namespace: default, labels: {{app: reviews}}}}
  spec:
    clusterIP: 10.96.12.7
    ports: [{{name: http, port: 9080, protocol: TCP, targetPort: http{port}}}]
    selector: {{app: reviews}}
    type: ClusterIP
"
    );
    service + &versions.concat()
}

fn folder(list: &str) -> Folder {
    let folder = Folder::new();
    folder.write("seed-reviews.yaml", SEED);
    folder.write("list.yaml", list);
    folder
}

#[test]
fn a_list_as_kubectl_prints_it_splits_exactly() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let at = |name: &str| reviews.origins[name].addr();
    let both = |ready| list("", &[version("v1", at("v1"), true), version("v2", at("v2"), ready)]);
    let folder = folder(&both(true));
    let gateway = Gateway::start(folder.path());
    let mut client = gateway.client();
    let mut answers = |requests: usize| -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for _ in 0..requests {
            let reply = client.get("shop.test", "/reviews/0", &[]).expect("an answer");
            match (reply.status, reply.text().trim()) {
                (200, "v1") => counts.0 += 1,
                (200, "v2") => counts.1 += 1,
                (503, _) => counts.2 += 1,
                (status, text) => panic!("{status} {text}"),
            }
        }
        counts
    };
    assert_eq!(answers(100), (50, 50, 0));
    for workload in ["reviews-v1", "reviews-v2"] {
        let labels = [
            &*format!("destination_workload=\"{workload}\""),
            "destination_workload_namespace=\"default\"",
            "destination_service=\"reviews.default.svc.cluster.local\"",
            "destination_canonical_service=\"reviews\"",
            "reporter=\"source\"",
        ];
        // A request is counted when it is over, which may be after its answer has come.
        eventually(PATIENCE, "every request is counted", || {
            gateway.sum("istio_requests_total", &labels) == 50.0
        });
    }
    // A Pod that is not ready any more gets nothing, and its subset's share is nobody else's.
    gateway.after(|| folder.write("list.yaml", &both(false)), "in force");
    assert_eq!(answers(100), (50, 0, 50));
    gateway.after(|| folder.write("list.yaml", &both(true)), "in force");
    assert_eq!(answers(100), (50, 50, 0));
}

#[test]
fn a_port_that_speaks_http2_is_spoken_to_in_http2() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let origin = h2_origin(&runtime);
    let both = [version("v1", origin, true), version("v2", origin, true)];
    let folder = folder(&list(", appProtocol: kubernetes.io/h2c", &both));
    let gateway = Gateway::start(folder.path());
    for _ in 0..2 {
        let reply = gateway.client().get("shop.test", "/reviews/0", &[]).expect("an answer");
        assert_eq!((reply.status, reply.text().as_str()), (200, "shop.test /reviews/0"));
    }
}
