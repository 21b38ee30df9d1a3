//! The cluster as the source: objects by an API server, as teams and controllers write them, and what is written back.

mod access;
mod api;
mod bookinfo;
mod faults;
mod rollouts;
mod scale;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trysail_testkit::client::Client;
use trysail_testkit::folder::Folder;
use trysail_testkit::load::{Load, Plan};
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::process::Process;
use trysail_testkit::tls::{self, Authority};
use trysail_testkit::wait::eventually;

use self::api::{Api, NAMESPACE};
use crate::gateway::{Gateway, PATIENCE, Reviews, SEED, weighted};

/// A trysail that follows an API server, and that.
struct Site {
    api: Api,
    gateway: Gateway,
}

/// Patience of the gateway's that suits a test.
const QUICK: &str = "kubernetes: {retryMost: 200ms}\n";

impl Site {
    /// Starts both and waits until the gateway is ready.
    fn start(objects: &str) -> Site {
        let api = Api::start();
        api.apply(objects);
        Site::start_at(api, QUICK)
    }

    /// The same with what is there already.
    fn start_at(api: Api, settings: &str) -> Site {
        let gateway = spawn(&api, settings);
        let site = Site { api, gateway };
        site.said("ready after");
        site
    }

    /// Waits for a line of the log.
    fn said(&self, words: &str) {
        let line = self.gateway.process.wait_for_line(|line| line.contains(words), PATIENCE);
        assert!(line.is_some(), "no {words:?} in\n{}", self.gateway.process.lines().join("\n"));
    }

    /// Changes something and waits until it is in force.
    fn after(&self, change: impl FnOnce(&Api)) -> String {
        self.gateway.after(|| change(&self.api), "in force after")
    }

    fn load(&self) -> Load {
        Plan::new(self.gateway.address(), "reviews.test", "/reviews/0")
            .threads(2)
            .max_time(PATIENCE * 4)
            .start()
    }

    /// Waits until an object's condition is this, and gives its reason and message.
    fn told(&self, plural: &str, name: &str, status: &str) -> (String, String) {
        let is_told = || self.api.condition(plural, name).is_some_and(|[told, ..]| told == status);
        eventually(PATIENCE, "the condition is written", is_told);
        let [_, reason, message] = self.api.condition(plural, name).expect("it was there");
        (reason, message)
    }
}

fn spawn(api: &Api, settings: &str) -> Gateway {
    let folder = Folder::new();
    let kubeconfig = api.kubeconfig(&folder);
    spawn_in(folder, &kubeconfig, settings)
}

/// The same in a folder of its own.
fn spawn_in(folder: Folder, kubeconfig: &Path, settings: &str) -> Gateway {
    let own = "bind: 127.0.0.1\nmetrics: 127.0.0.1:0\nhealth: 127.0.0.1:0\nadmin: 127.0.0.1:0\nthreads: 2\ndrain: 5s\n";
    folder.write("settings.yaml", &format!("{own}namespace: {NAMESPACE}\n{settings}"));
    let settings = folder.path().join("settings.yaml");
    let text = |path: &Path| path.to_str().expect("paths of tests are UTF-8").to_owned();
    let arguments =
        ["run", "--kubernetes", "--port", "80=0", "--port", "443=0", "--port", "8080=0", "--settings"]
            .map(str::to_owned);
    let paths = [text(&settings), "--kubeconfig".to_owned(), text(kubeconfig)];
    let nothing: [(&str, &str); 0] = [];
    // What is measured is a release build, which others are not asked of.
    let binary = std::env::var_os("TRYSAIL").unwrap_or_else(|| env!("CARGO_BIN_EXE_trysail").into());
    let process = Process::spawn(Path::new(&binary), arguments.into_iter().chain(paths), nothing)
        .expect("trysail starts");
    Gateway { process, settings: folder }
}

/// What a command answers, and its exit code.
fn run(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_trysail")).args(words).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The seed and its endpoints.
fn seed(reviews: &Reviews) -> String {
    format!("{SEED}\n---\n{}", reviews.service_entry())
}

#[test]
fn the_seed_is_served_and_edits_are_in_force_at_once() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let site = Site::start(&seed(&reviews));
    let load = site.load();
    let mut took = Vec::new();
    for step in 0..20_u32 {
        let mut written = None;
        site.after(|api| {
            api.apply(&weighted(step + 1, 100 - step));
            written = Some(Instant::now());
        });
        took.extend(written.map(|written| written.elapsed()));
    }
    let tally = load.stop();
    tally.assert_all_good();
    assert!(tally.of("v1") > 0 && tally.of("v2") > 0);
    took.sort_unstable();
    assert!(took[17] < Duration::from_secs(1), "of 20 edits the slowest took {:?}", &took[18..]);
    let reply = Client::connect(site.gateway.address()).unwrap().get("x.test", "/other", &[]).unwrap();
    assert_eq!(reply.status, 404);
    assert_eq!(site.gateway.sum("trysail_kubernetes_connected", &["VirtualService"]), 1.0);
    assert_eq!(site.gateway.sum("trysail_kubernetes_lists_total", &["VirtualService"]), 1.0);
}

#[test]
fn an_endpoint_is_there_soon_and_what_says_nothing_new_is_no_change() {
    let origin = Origin::start(Answer::version("pod"));
    let port = origin.addr().port();
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: reviews}}\nspec:\n  hosts: [reviews.default.svc.cluster.local]\n  \
         resolution: STATIC\n  ports: [{{number: {port}, name: http, protocol: HTTP}}]\n  workloadSelector: {{labels: {{app: reviews}}}}\n"
    );
    let rules = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n  hosts: ['*']\n  gateways: [reviews-gateway]\n  \
                 http: [{route: [{destination: {host: reviews}}]}]\n";
    let gateway = SEED.split("\n---\n").next().expect("the Gateway");
    let site = Site::start(&format!("{gateway}\n---\n{rules}\n---\n{entry}"));
    let ask = || Client::connect(site.gateway.address()).unwrap().get("x.test", "/", &[]).unwrap().status;
    assert_eq!(ask(), 503);
    let began = Instant::now();
    site.api.put(pod("a", "127.0.0.1", &[("app", "reviews")]));
    eventually(PATIENCE, "the pod answers", || ask() == 200);
    assert!(began.elapsed() < Duration::from_secs(2), "it took {:?}", began.elapsed());
    // A heartbeat.
    let applied = || site.gateway.sum("trysail_config_reloads_total", &["applied"]);
    let (before, events) = (applied(), || site.gateway.sum("trysail_kubernetes_events_total", &["Pod"]));
    let heard = events();
    site.api.edit("pods", "a", |pod| pod["status"]["hostIP"] = "10.0.0.1".into());
    eventually(PATIENCE, "it is heard", || events() > heard);
    site.after(|api| api.delete("pods", "default", "a"));
    assert_eq!(ask(), 503);
    assert_eq!(applied(), before + 1.0);
}

/// A Pod that runs and is ready.
fn pod(name: &str, address: &str, labels: &[(&str, &str)]) -> Value {
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": labels},
        // For no node, so that nobody else writes its status.
        "spec": {"schedulerName": "nobody", "containers": [{"name": "pod", "image": "none"}]},
        "status": {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// Origins on one port of several addresses of loopback, as Pods are.
fn pods(names: &[&str]) -> Vec<Origin> {
    let first = Origin::start(Answer::version(names[0]));
    let port = first.addr().port();
    let address = |index: usize| IpAddr::V4(Ipv4Addr::new(127, 0, 0, u8::try_from(index + 1).expect("few")));
    let more = names.iter().enumerate().skip(1).map(|(index, name)| {
        Origin::start_at(SocketAddr::new(address(index), port), Answer::version(name))
            .expect("the port is free there")
    });
    std::iter::once(first).chain(more.collect::<Vec<_>>()).collect()
}

/// Istio's Bookinfo with its Services, slices and Pods, unchanged.
const BOOKINFO: &str = include_str!("../../../../testdata/cases/bookinfo_unchanged/config.yaml");

#[test]
fn bookinfo_and_the_seed_by_services_slices_and_pods() {
    // A real one takes no endpoints on loopback.
    let Some(api) = Api::with_switches() else { return };
    let origins = pods(&["v1", "v2", "v3"]);
    api.apply(BOOKINFO);
    // Its Pods are here.
    for slice in ["productpage-x7k2m", "reviews-x7k2m"] {
        api.edit("endpointslices", slice, |slice| {
            slice["ports"][0]["port"] = origins[0].addr().port().into();
            let endpoints = slice["endpoints"].as_array_mut().expect("endpoints");
            for (endpoint, origin) in endpoints.iter_mut().zip(&origins) {
                endpoint["addresses"] = json!([origin.addr().ip().to_string()]);
            }
        });
    }
    let site = Site::start_at(api, QUICK);
    let page =
        Client::connect(site.gateway.logged("listening 8080 → ")).unwrap().get("x.test", "/productpage", &[]);
    assert_eq!(page.unwrap().status, 200);
    // Rules for sidecars only are nobody's here.
    assert_eq!(site.api.condition("virtualservices", "ratings"), None);
    site.gateway.after(|| site.api.apply(SEED), "listening 80 → ");
    let load = site.load();
    eventually(PATIENCE, "both versions answer", || {
        let tally = load.so_far();
        tally.of("v1") > 20 && tally.of("v2") > 20
    });
    // A Pod that is not ready any more.
    site.after(|api| api.apply(&weighted(100, 0)));
    site.after(|api| {
        api.edit("endpointslices", "reviews-x7k2m", |slice| {
            slice["endpoints"][1]["conditions"]["ready"] = false.into();
        });
    });
    load.stop().assert_all_good();
    site.after(|api| api.apply(&weighted(0, 100)));
    assert_eq!(site.gateway.client().get("x.test", "/reviews/0", &[]).unwrap().status, 503);
    let applied = site.told("virtualservices", "bookinfo", "True");
    // The productpage's subsets are for sidecars.
    assert!(applied.0 == "AppliedWithWarnings" && applied.1.contains("IST0140"), "{applied:?}");
}

#[test]
fn only_the_namespaces_that_are_named_are_followed() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let api = Api::start();
    api.apply(&seed(&reviews));
    api.apply(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: other, namespace: other}\nspec:\n  hosts: [other.test]\n  \
         gateways: [default/reviews-gateway]\n  http: [{directResponse: {status: 204}}]\n",
    );
    let site = Site::start_at(api, "kubernetes: {retryMost: 200ms, namespaces: [default, more]}\n");
    let ask = |host: &str| site.gateway.client().get(host, "/reviews/0", &[]).unwrap().status;
    assert_eq!((ask("reviews.test"), site.gateway.sum("trysail_config_objects", &[])), (200, 4.0));
    site.after(|api| {
        api.apply(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: more, namespace: more}\nspec:\n  hosts: [more.test]\n  \
             gateways: [default/reviews-gateway]\n  http: [{directResponse: {status: 204}}]\n",
        );
    });
    assert_eq!(ask("more.test"), 204);
}

#[test]
fn a_broken_object_stops_no_other_and_is_told_so() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let site = Site::start(&seed(&reviews));
    assert_eq!(site.told("virtualservices", "reviews", "True").0, "Applied");
    let load = site.load();
    // Another team's, new and broken.
    let other = |retries: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: other}}\nspec:\n  hosts: [other.test]\n  gateways: [reviews-gateway]\n  \
             http: [{{retries: {{attempts: {retries}}}, route: [{{destination: {{host: reviews, subset: v1}}}}]}}]\n"
        )
    };
    site.gateway.after(
        || site.api.apply(&other("-1")),
        "VirtualService default/other (generation 1) is refused, it is left out, all else goes on: 1 error",
    );
    let (reason, message) = site.told("virtualservices", "other", "False");
    assert_eq!(reason, "LeftOut");
    assert!(message.contains("spec.http[0].retries.attempts: "), "{message}");
    let object = site.api.get("virtualservices", "other").unwrap();
    assert_eq!(object["status"]["validationMessages"][0]["level"], "ERROR");
    assert_eq!(object["status"]["observedGeneration"], 1);
    eventually(PATIENCE, "an Event", || {
        site.api
            .all("events")
            .iter()
            .any(|event| event["involvedObject"]["name"] == "other" && event["type"] == "Warning")
    });
    assert_eq!(site.gateway.sum("trysail_kubernetes_refused_objects", &[]), 1.0);
    let (code, status) = run(&["status", &site.gateway.logged("admin on ").to_string()]);
    assert_eq!(code, Some(0));
    for words in [
        "refused a change",
        "refused    VirtualService default/other: it is left out, for ",
        "changes are heard",
    ] {
        assert!(status.contains(words), "no {words:?} in\n{status}");
    }
    let mut admin = Client::connect(site.gateway.logged("admin on ")).expect("it accepts");
    let page = admin.get("localhost", "/", &[("accept", "text/html")]).expect("the page").text();
    for words in ["VirtualService default/other is refused", "it is left out", "retries.attempts"] {
        assert!(page.contains(words), "no {words:?} in\n{page}");
    }
    // The first team goes on.
    site.after(|api| api.apply(&weighted(90, 10)));
    // Its own slip costs it nothing but the edit.
    site.gateway.after(
        || site.api.apply(&SEED.replacen("weight: 50", "weight: -50", 1)),
        "VirtualService default/reviews (generation 3) is refused, the version before it stays in force",
    );
    assert_eq!(site.told("virtualservices", "reviews", "False").0, "LastGoodVersionKept");
    let weight = site.gateway.sum("trysail_route_configured_weight", &["subset=\"v1\""]);
    assert_eq!(weight, 90.0);
    // Mended, both are in force.
    site.gateway
        .after(|| site.api.apply(&other("1")), "VirtualService default/other is in force again as it is");
    site.after(|api| api.apply(SEED));
    assert_eq!(site.told("virtualservices", "reviews", "True").0, "Applied");
    assert_eq!(site.told("virtualservices", "other", "True").0, "Applied");
    assert_eq!(site.gateway.sum("trysail_kubernetes_refused_objects", &[]), 0.0);
    load.stop().assert_all_good();
}

#[test]
fn one_of_two_gateways_writes_and_only_what_is_another() {
    let Some(api) = Api::with_switches() else { return };
    let reviews = Reviews::start(&["v1", "v2"]);
    api.apply(&seed(&reviews));
    let site = Site::start_at(api, QUICK);
    let second = spawn(&site.api, QUICK);
    let ready = second.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "not ready:\n{}", second.process.lines().join("\n"));
    for plural in ["gateways", "virtualservices", "destinationrules", "serviceentries"] {
        let name = if plural == "gateways" { "reviews-gateway" } else { "reviews" };
        site.told(plural, name, "True");
    }
    site.after(|api| api.apply(&weighted(80, 20)));
    let observed =
        || site.api.get("virtualservices", "reviews").unwrap()["status"]["observedGeneration"] == 2;
    eventually(PATIENCE, "the new generation is told", observed);
    let writes = site.api.own().writes();
    let patches = writes.iter().filter(|write| write.starts_with("PATCH")).count();
    assert_eq!(patches, 5, "{writes:?}");
    let leads =
        |gateway: &Gateway| gateway.process.lines().iter().any(|line| line.contains("writes findings to"));
    assert_ne!(leads(&site.gateway), leads(&second), "one of them holds the Lease");
    // It goes, and when its Lease has run out the other one writes.
    let Site { api, gateway } = site;
    let (gone, left) = if leads(&gateway) { (gateway, second) } else { (second, gateway) };
    drop(gone);
    api.apply(&weighted(70, 30));
    let observed = || api.get("virtualservices", "reviews").unwrap()["status"]["observedGeneration"] == 3;
    eventually(PATIENCE, "the other one tells", observed);
    assert!(leads(&left));
}

#[test]
fn certificates_are_secrets_of_the_gateways_namespace_and_renewed() {
    let reviews = Reviews::start(&["v1"]);
    let authority = Authority::new("test root");
    let secret = |name: &str, kind: &str, host: &str| {
        use base64::Engine;
        let pair = authority.issue(&[host]);
        let code = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
        let (cert, key) = if kind == "Opaque" { ("cert", "key") } else { ("tls.crt", "tls.key") };
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": {"name": name, "namespace": "gw"},
            "data": {cert: code(&pair.certificate), key: code(&pair.key), "password": "c2VjcmV0"},
        })
    };
    let server = |name: &str| {
        format!(
            "  - {{port: {{number: 443, name: {name}, protocol: HTTPS}}, hosts: [{name}.test], tls: {{mode: SIMPLE, credentialName: {name}}}}}\n"
        )
    };
    let gateway = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: shop}}\nspec:\n  selector: {{istio: ingressgateway}}\n  servers:\n{}{}{}",
        server("typed"),
        server("named"),
        server("absent")
    );
    let rules = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: shop}\nspec:\n  hosts: ['*.test']\n  gateways: [shop]\n  \
                 http: [{route: [{destination: {host: reviews}}]}]\n";
    let api = Api::start();
    api.apply(&format!("{gateway}\n---\n{rules}\n---\n{}", reviews.service_entry()));
    api.put(secret("typed", "kubernetes.io/tls", "typed.test"));
    api.put(secret("named", "Opaque", "named.test"));
    let site = Site::start_at(api, QUICK);
    let client = authority.client(&["http/1.1"], None);
    let addr = site.gateway.logged("listening 443 → ");
    let ask = |name: &str| {
        let text = tls::connect(addr, name, &client).and_then(|mut client| tls::get(&mut client, name, "/"));
        text.is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
    };
    eventually(PATIENCE, "the Secret by its type", || ask("typed.test"));
    eventually(PATIENCE, "the Secret by its name", || ask("named.test"));
    assert!(!ask("absent.test"));
    // It comes, and is another: the old one is for another host.
    site.api.put(secret("absent", "kubernetes.io/tls", "other.test"));
    eventually(PATIENCE, "a Secret that came", || {
        tls::connect(addr, "absent.test", &client)
            .is_err_and(|e| e.to_string().contains("not valid for name"))
    });
    site.api.put(secret("absent", "kubernetes.io/tls", "absent.test"));
    eventually(PATIENCE, "a Secret that was renewed", || ask("absent.test"));
    // Gone, the server goes on with what it had.
    site.gateway.after(|| site.api.delete("secrets", "gw", "typed"), "is not there");
    assert!(ask("typed.test") && ask("named.test"));
    let lines = site.gateway.process.lines().join("\n");
    assert!(!lines.contains("c2VjcmV0") && !lines.contains("PRIVATE"), "no Secret in the log");
}

#[test]
fn a_port_of_our_own_service_leads_to_what_the_pod_calls_so() {
    let reviews = Reviews::start(&["v1", "v2"]);
    // Held for now, so that the port is nobody else's.
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("bound").port();
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: edge, namespace: gw}\nspec:\n  selector: {istio: ingressgateway}\n  \
                   ports: [{name: more, port: 81, targetPort: web}]\n";
    let slice = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: edge-1, namespace: gw, labels: {{kubernetes.io/service-name: edge}}}}\n\
         addressType: IPv4\nports: [{{name: more, port: {port}, protocol: TCP}}]\nendpoints: [{{addresses: [127.0.0.1], conditions: {{ready: false}}}}]\n"
    );
    let more = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: more}\nspec:\n  selector: {istio: ingressgateway}\n  \
                servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: ['more.test']}]\n";
    let site = Site::start(&format!("{}\n---\n{service}\n---\n{slice}\n---\n{more}", seed(&reviews)));
    site.said(&format!("mapped to {port},"));
    drop(held);
    site.gateway.after(|| site.api.apply(&weighted(60, 40)), &format!("listening 81 → 127.0.0.1:{port}"));
}

#[test]
fn check_and_explain_read_a_cluster() {
    let Some(api) = Api::with_switches() else { return };
    let reviews = Reviews::start(&["v1", "v2"]);
    api.apply(&seed(&reviews));
    let folder = Folder::new();
    let kubeconfig = api.kubeconfig(&folder);
    let kubeconfig = kubeconfig.to_str().expect("UTF-8");
    let ask = |words: &[&str]| run(&[words, &["--kubernetes", "--kubeconfig", kubeconfig]].concat());
    let (code, text) = ask(&["check"]);
    assert!(code == Some(0) && text.contains("4 objects, 1 route on 1 port. It would be applied."), "{text}");
    let (code, text) = ask(&["explain", "GET", "http://x.test/reviews/0"]);
    assert!(code == Some(0) && text.contains("VirtualService default/reviews"), "{text}");
    api.apply(&SEED.replacen("weight: 50", "weight: -50", 1));
    let (code, text) = ask(&["check"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("--> VirtualService default/reviews  spec.http[0].route[0].weight"), "{text}");
    assert!(text.contains("Objects with errors would stay as they were, or out"), "{text}");
    api.own().forbid("virtualservices");
    let (code, text) = ask(&["check", "--strict"]);
    assert!(code == Some(1) && text.contains("VirtualService is not read"), "{text}");
}
