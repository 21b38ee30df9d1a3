//! The way through Istio's documentation: the seed, then Bookinfo, applied file by file and edited as its tasks do, with
//! requests under way. But for the faults that an edit asks for, none of them may go wrong.
//!
//! The tasks' rules are written for sidecars. Here each has one line more, by which a gateway carries it out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trysail_testkit::client::{Client, Reply};
use trysail_testkit::kubernetes::{ApiServer, Kubectl};
use trysail_testkit::load::{Load, Plan, Tally};
use trysail_testkit::origin::Origin;
use trysail_testkit::wait::eventually;

use super::api::Api;
use super::{QUICK, Site, pods};
use crate::gateway::{PATIENCE, Reviews, SEED};

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../../../../testdata/bookinfo/", $name, ".yaml"))
    };
}

const NAMESPACE: &str = "bookinfo";

#[test]
fn bookinfo_by_kubectl() {
    let Some(api) = Api::with_switches() else { return };
    let Some(kubectl) = Kubectl::find(&api.own().kubeconfig("default")) else { return };
    walk(api, &|namespace, text| {
        let told = kubectl.feed(&["apply", "-n", namespace, "-f", "-"], text);
        told.unwrap_or_else(|error| panic!("{error}"));
    });
}

#[test]
fn bookinfo_by_server_side_apply() {
    let Some(api) = Api::with_switches() else { return };
    let address = api.own().addr();
    walk(api, &|namespace, text| text.split("\n---").for_each(|document| send(address, namespace, document)));
}

/// Applies a document, unless it is empty.
fn send(address: SocketAddr, namespace: &str, document: &str) {
    let object: Value = serde_yaml::from_str(document).expect("YAML");
    if object.is_null() {
        return;
    }
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let version = text(&object["apiVersion"]);
    let root = if version.contains('/') { "apis" } else { "api" };
    let plural = format!("{}s", text(&object["kind"]).to_ascii_lowercase()).replace("entrys", "entries");
    let place = match plural.as_str() {
        "namespaces" => plural,
        _ => format!("namespaces/{namespace}/{plural}"),
    };
    let name = text(&object["metadata"]["name"]);
    let path =
        format!("/{root}/{version}/{place}/{name}?fieldManager=people&force=true&fieldValidation=Strict");
    let headers = [("content-type", "application/apply-patch+yaml")];
    let mut client = Client::connect(address).expect("the API server accepts");
    let reply = client.request("PATCH", "kubernetes", &path, &headers, Some(document.as_bytes()));
    let reply = reply.expect("an answer");
    assert!([200, 201].contains(&reply.status), "{path}: {} {}", reply.status, reply.text());
}

/// All of it; `apply` has a file applied to a namespace.
fn walk(api: Api, apply: &dyn Fn(&str, &str)) {
    let site = Site::start_at(api, QUICK);
    // The seed, and two versions of its reviews.
    let reviews = Reviews::start(&["v1", "v2"]);
    apply("default", &reviews.service_entry());
    apply("default", SEED);
    eventually(PATIENCE, "port 80", || {
        site.gateway.process.lines().iter().any(|line| line.contains("listening 80 → "))
    });
    let first = answered(|| site.gateway.client().get("shop.test", "/reviews/0", &[]).ok());
    let seed = site.load();

    // Bookinfo, and what a cluster's controllers make of it.
    apply(NAMESPACE, &format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n"));
    apply(NAMESPACE, sample!("bookinfo"));
    let origins = run_deployments(site.api.own());
    apply(NAMESPACE, sample!("bookinfo-gateway"));
    eventually(PATIENCE, "port 8080", || {
        site.gateway.process.lines().iter().any(|line| line.contains("listening 8080 → "))
    });
    let address = site.gateway.logged("listening 8080 → ");
    let ask = |host: &str, path: &str, headers: &[(&str, &str)]| {
        Client::connect(address).and_then(|mut client| client.get(host, path, headers)).ok()
    };
    answered(|| ask("bookinfo.test", "/productpage", &[]));
    let page = plan(address, "bookinfo.test", "/productpage").threads(2).start();
    apply(NAMESPACE, sample!("destination-rule-all"));

    // As it is shipped this is for sidecars, and changes nothing here.
    apply(NAMESPACE, sample!("virtual-service-all-v1"));
    let service = |name: &str| format!("{name}.{NAMESPACE}.svc.cluster.local");
    assert_eq!(ask(&service("reviews"), "/reviews/0", &[]).expect("an answer").status, 404);
    apply(NAMESPACE, &by_gateway(sample!("virtual-service-all-v1")));
    let loads: BTreeMap<&str, Load> = ["reviews", "ratings", "details"]
        .into_iter()
        .map(|name| {
            answered(|| ask(&service(name), "/0", &[]));
            (name, plan(address, &service(name), "/0").start())
        })
        .collect();
    for name in loads.keys() {
        assert_eq!(window(&loads[name], 50), [(format!("{name}-v1"), 50)].into(), "{name}");
    }

    // Shifting traffic: half to v3, then all.
    let edit = |text: &str| site.gateway.after(|| apply(NAMESPACE, &by_gateway(text)), "in force after");
    edit(sample!("virtual-service-reviews-50-v3"));
    let half = window(&loads["reviews"], 400);
    let (v1, v3) = (half["reviews-v1"], half["reviews-v3"]);
    assert!(
        half.len() == 2 && v1.abs_diff(v3) <= 2,
        "{half:?}: each is within one of its half at any moment"
    );
    edit(sample!("virtual-service-reviews-v3"));
    assert_eq!(window(&loads["reviews"], 50), [("reviews-v3".to_owned(), 50)].into());

    // Routing by who somebody is: jason sees v2.
    let jason = [("end-user", "jason")];
    edit(sample!("virtual-service-reviews-test-v2"));
    let his = plan(address, &service("reviews"), "/0").header("end-user", "jason").start();
    assert_eq!(window(&his, 50), [("reviews-v2".to_owned(), 50)].into());
    assert_eq!(window(&loads["reviews"], 50), [("reviews-v1".to_owned(), 50)].into());

    // Faults: for jason ratings take seven seconds, then there are none.
    edit(sample!("virtual-service-ratings-test-delay"));
    let began = Instant::now();
    let late = ask(&service("ratings"), "/0", &jason).expect("an answer");
    assert_eq!((late.status, late.version()), (200, Some("ratings-v1")));
    assert!(began.elapsed() >= Duration::from_secs(7), "{:?}", began.elapsed());
    window(&loads["ratings"], 50);
    edit(sample!("virtual-service-ratings-test-abort"));
    let none = plan(address, &service("ratings"), "/0").header("end-user", "jason").expect(500).start();
    assert_eq!(window(&none, 50), [("-".to_owned(), 50)].into());
    assert_eq!(window(&loads["ratings"], 50), [("ratings-v1".to_owned(), 50)].into());
    none.stop().assert_all_good();
    // Mended, he has them again.
    edit(sample!("virtual-service-all-v1"));
    eventually(PATIENCE, "ratings for jason", || {
        ask(&service("ratings"), "/0", &jason).is_some_and(|reply| reply.status == 200)
    });

    page.stop().assert_all_good();
    his.stop().assert_all_good();
    for load in loads.into_values() {
        load.stop().assert_all_good();
    }
    // All the while the seed was split, over every revision: the first answer was asked for by itself.
    let tally: Tally = seed.stop();
    tally.assert_all_good();
    let count = |version: &str| tally.of(version) + u64::from(first.version() == Some(version));
    assert!(count("v1").abs_diff(count("v2")) <= 1 && tally.ok.len() == 2, "{tally:?}");
    assert!(site.gateway.sum("trysail_kubernetes_refused_objects", &[]) == 0.0);
    drop(origins);
}

/// What the documentation's rules lack here.
fn by_gateway(text: &str) -> String {
    text.replace("\nspec:\n", "\nspec:\n  gateways: [bookinfo-gateway, mesh]\n")
}

fn plan(address: SocketAddr, host: &str, path: &str) -> Plan {
    Plan::new(address, host, path).max_time(PATIENCE * 4)
}

/// Asks until the answer is 200.
fn answered(mut ask: impl FnMut() -> Option<Reply>) -> Reply {
    let mut answer = None;
    eventually(PATIENCE, "an answer", || {
        answer = ask().filter(|reply| reply.status == 200);
        answer.is_some()
    });
    answer.expect("it was there")
}

/// Who answers so many requests of one client, from the next but one on.
fn window(load: &Load, requests: u64) -> BTreeMap<String, u64> {
    let reach = |total: u64| {
        let mut tally = load.so_far();
        eventually(PATIENCE, "more answers", || {
            tally = load.so_far();
            tally.total() >= total
        });
        tally
    };
    let from = reach(load.so_far().total() + 2);
    let to = reach(from.total() + requests);
    let mut counts = to.ok.clone();
    counts.retain(|version, count| {
        *count -= from.of(version);
        *count > 0
    });
    // What came beyond was of the same kind: it is left out, so that numbers can be compared.
    if let (1, Some(count)) = (counts.len(), counts.values_mut().next()) {
        *count = (*count).min(requests);
    }
    counts
}

/// What controllers and kubelets do: a Pod for each Deployment, which is an origin here, and a slice for each Service.
fn run_deployments(api: &ApiServer) -> Vec<Origin> {
    let deployments = api.all("deployments");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let names: Vec<String> =
        deployments.iter().map(|deployment| text(&deployment["metadata"]["name"])).collect();
    let origins = pods(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut made = Vec::new();
    for ((deployment, name), origin) in deployments.iter().zip(&names).zip(&origins) {
        let labels = deployment["spec"]["template"]["metadata"]["labels"].clone();
        let metadata = json!({"name": name, "namespace": NAMESPACE, "labels": labels});
        let status = json!({
            "phase": "Running", "podIP": origin.addr().ip().to_string(),
            "conditions": [{"type": "Ready", "status": "True"}],
        });
        let spec = deployment["spec"]["template"]["spec"].clone();
        made.push(api.put(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}),
        ));
    }
    for service in api.all("services") {
        let selector = service["spec"]["selector"].as_object().expect("a selector");
        let is_selected =
            |pod: &&Value| selector.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value);
        let endpoint = |pod: &Value| {
            json!({
                "addresses": [pod["status"]["podIP"]], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"], "namespace": NAMESPACE},
            })
        };
        let endpoints: Vec<Value> = made.iter().filter(is_selected).map(endpoint).collect();
        let name = text(&service["metadata"]["name"]);
        api.put(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("{name}-x7k2m"), "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": name},
            },
            "ports": [{"name": "http", "port": origins[0].addr().port(), "protocol": "TCP"}],
            "endpoints": endpoints,
        }));
    }
    origins
}
