//! Endpoints that fail again and again are left out for a while, and come back.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use trysail_testkit::folder::Folder;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, ruled, service_entry};

const RULES: &str = "  - match: [{uri: {prefix: /v1}}]
    timeout: 1s
    retries: {attempts: 0}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /fault}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /retried}}]
    retries: {attempts: 3, retryOn: 5xx, backoff: 1ms}
    route: [{destination: {host: reviews, subset: v1}}]
";

/// A gateway for some endpoints of v1, by turns, with this `outlierDetection`.
fn start(endpoints: &[SocketAddr], detection: &str) -> (Folder, Gateway) {
    let folder = Folder::new();
    folder.write("seed.yaml", &seed(detection));
    let endpoints: Vec<(&str, SocketAddr)> = endpoints.iter().map(|address| ("v1", *address)).collect();
    folder.write("endpoints.yaml", &service_entry(&endpoints));
    let gateway = Gateway::start(folder.path());
    (folder, gateway)
}

fn seed(detection: &str) -> String {
    let policy =
        format!("  trafficPolicy:\n    loadBalancer: {{simple: ROUND_ROBIN}}\n    {detection}\n  subsets:\n");
    ruled(RULES).replacen("  subsets:\n", &policy, 1)
}

fn statuses(gateway: &Gateway, path: &str, count: usize) -> Vec<u16> {
    let ask = |_| gateway.client().get("a", path, &[]).expect("an answer").status;
    (0..count).map(ask).collect()
}

fn endpoints(gateway: &Gateway, state: &str) -> f64 {
    let state = format!("state=\"{state}\"");
    gateway.sum("trysail_endpoints", &["subset=\"v1\"", "reviews", &state])
}

#[test]
fn who_fails_in_a_row_is_left_out_and_comes_back() {
    let good = Origin::start(Answer::version("good"));
    let bad = Origin::start(Answer::version("bad").status(500));
    let detection = "outlierDetection: {consecutive5xxErrors: 3, maxEjectionPercent: 50, baseEjectionTime: 2s, interval: 100ms}";
    let (_folder, gateway) = start(&[good.addr(), bad.addr()], detection);
    let line = gateway.after(
        || {
            let failed = statuses(&gateway, "/v1", 8).iter().filter(|status| **status == 500).count();
            assert_eq!(failed, 3, "of its four turns it got three");
        },
        "ejected",
    );
    let words = format!("ejected {} (reviews v1) for 2 s: 3 consecutive 5xx", bad.addr());
    assert!(line.contains("WARN") && line.ends_with(&words), "{line}");
    assert_eq!((bad.requests(), good.requests()), (3, 5));
    assert_eq!((endpoints(&gateway, "ejected"), endpoints(&gateway, "healthy")), (1.0, 1.0));
    let labels = ["reason=\"consecutive_5xx\"", "subset=\"v1\""];
    assert_eq!(gateway.sum("trysail_ejections_total", &labels), 1.0);
    bad.set_answer(Answer::version("bad"));
    let back = gateway.process.wait_for_line(|line| line.contains("returned"), PATIENCE).expect("it returns");
    assert!(back.contains(&format!("returned {} (reviews v1)", bad.addr())), "{back}");
    assert_eq!((endpoints(&gateway, "ejected"), endpoints(&gateway, "healthy")), (0.0, 2.0));
    assert_eq!(statuses(&gateway, "/v1", 8), [200; 8]);
    assert_eq!(bad.requests(), 3 + 4);
}

#[test]
fn an_ejection_outlives_reloads_but_not_its_policy() {
    let good = Origin::start(Answer::version("good"));
    let bad = Origin::start(Answer::version("bad").status(503));
    let detection =
        "outlierDetection: {consecutiveGatewayErrors: 2, maxEjectionPercent: 50, baseEjectionTime: 1h}";
    let (folder, gateway) = start(&[good.addr(), bad.addr()], detection);
    let line = gateway.after(|| _ = statuses(&gateway, "/v1", 4), "ejected");
    assert!(line.ends_with("for 3,600 s: 2 consecutive gateway errors"), "{line}");
    gateway.after(|| folder.write("seed.yaml", &seed(&format!("{detection} # again"))), "in force after");
    assert_eq!(statuses(&gateway, "/v1", 6), [200; 6]);
    gateway.after(|| folder.write("seed.yaml", &seed("tls: {mode: DISABLE}")), "in force after");
    assert!(statuses(&gateway, "/v1", 4).contains(&503), "it has its turns again");
}

#[test]
fn failures_to_get_an_answer_count_and_everybody_out_is_503() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let slow = Origin::start(Answer::version("slow").delay(Duration::from_secs(20)));
    let cut = Origin::start(Answer::version("cut").cut_after(0));
    let detection =
        "outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 100, baseEjectionTime: 1h}";
    for (address, status) in [(nobody, 503), (slow.addr(), 504), (cut.addr(), 503)] {
        let (_folder, gateway) = start(&[address], detection);
        gateway.after(|| assert_eq!(statuses(&gateway, "/v1", 2), [status; 2]), "ejected");
        let reply = gateway.client().get("a", "/v1", &[]).expect("an answer");
        assert_eq!((reply.status, reply.text().as_str()), (503, "no healthy upstream"), "{address}");
        eventually(PATIENCE, "UH", || gateway.sum("istio_requests_total", &["response_flags=\"UH\""]) == 1.0);
    }
    // A connection that breaks under what may not be sent twice is a failure, also if it was kept.
    let kept = Origin::start(Answer::version("kept"));
    let (_folder, gateway) = start(&[kept.addr()], &detection.replacen("Errors: 2", "Errors: 1", 1));
    let ask = || gateway.client().request("POST", "a", "/v1", &[], None).expect("an answer").status;
    assert_eq!(ask(), 200);
    kept.set_answer(Answer::version("kept").cut_after(0));
    gateway.after(|| assert_eq!(ask(), 503), "ejected");
    assert_eq!(kept.requests(), 2);
    // With a floor for health, all are used when too few are left.
    let floor = detection.replacen('{', "{minHealthPercent: 50, ", 1);
    let (_folder, gateway) = start(&[cut.addr()], &floor);
    gateway.after(|| _ = statuses(&gateway, "/v1", 2), "ejected");
    let before = cut.requests();
    statuses(&gateway, "/v1", 2);
    assert_eq!(cut.requests(), before + 2);
}

#[test]
fn each_try_counts_and_what_the_gateway_makes_does_not() {
    let good = Origin::start(Answer::version("good"));
    let bad = Origin::start(Answer::version("bad").status(500));
    let detection =
        "outlierDetection: {consecutive5xxErrors: 4, maxEjectionPercent: 50, baseEjectionTime: 1h}";
    let (_folder, gateway) = start(&[good.addr(), bad.addr()], detection);
    assert_eq!(statuses(&gateway, "/fault", 20), [503; 20]);
    assert_eq!(endpoints(&gateway, "ejected"), 0.0);
    gateway.after(|| assert_eq!(statuses(&gateway, "/retried", 20), [200; 20]), "ejected");
    assert_eq!(bad.requests(), 4, "each failed try is one");
}

#[test]
fn fewer_than_the_percentage_stay_in_whatever_they_do() {
    let bad = [(); 3].map(|()| Origin::start(Answer::version("bad").status(500)));
    let addresses: Vec<SocketAddr> = bad.iter().map(Origin::addr).collect();
    let (_folder, gateway) = start(&addresses, "outlierDetection: {}");
    let warned = gateway.process.lines().join("\n");
    assert!(warned.contains("TRY0015") && warned.contains("maxEjectionPercent: 34 lets one go"), "{warned}");
    statuses(&gateway, "/v1", 60);
    assert_eq!((endpoints(&gateway, "ejected"), endpoints(&gateway, "healthy")), (0.0, 3.0));
    assert_eq!(bad.iter().map(Origin::requests).sum::<u64>(), 60);
}

#[test]
fn of_grpc_its_own_status_counts() {
    let good = Origin::start(Answer::version("good"));
    let bad = Origin::start(Answer::version("bad").header("grpc-status", "14"));
    let detection =
        "outlierDetection: {consecutiveGatewayErrors: 3, maxEjectionPercent: 50, baseEjectionTime: 1h}";
    let (_folder, gateway) = start(&[good.addr(), bad.addr()], detection);
    let ask = |kind: &str| {
        let fields = [("content-type", kind)];
        (0..8).for_each(|_| {
            let reply = gateway.client().request("POST", "a", "/v1", &fields, None).expect("an answer");
            assert_eq!(reply.status, 200);
        });
    };
    ask("text/plain");
    assert_eq!(endpoints(&gateway, "ejected"), 0.0);
    let line = gateway.after(|| ask("application/grpc"), "ejected");
    assert!(line.ends_with("3 consecutive gateway errors"), "{line}");
    assert_eq!(bad.requests(), 4 + 3);
}

#[test]
fn connections_of_tcp_that_fail_eject_too() {
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let good = Origin::start(Answer::version("good"));
    let folder = Folder::new();
    let tcp = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: reviews-gateway}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: ['*']
  gateways: [reviews-gateway]
  tcp: [{route: [{destination: {host: reviews}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 50, baseEjectionTime: 1h}
";
    folder.write("tcp.yaml", tcp);
    folder.write("endpoints.yaml", &service_entry(&[("v1", nobody), ("v1", good.addr())]));
    let gateway = Gateway::start(folder.path());
    let line = gateway.after(
        || {
            let answered = (0..12).filter(|_| gateway.client().get("a", "/", &[]).is_ok()).count();
            assert_eq!(answered, 10, "two connections were passed to nobody");
        },
        "ejected",
    );
    assert!(line.contains(&format!("ejected {nobody} (reviews) for 3,600 s: 2 consecutive 5xx")), "{line}");
}

#[test]
fn a_rewrite_that_no_target_may_hold_is_escaped_and_ejects_nobody() {
    let origin = Origin::start(Answer::version("v1"));
    let detection =
        "outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100, baseEjectionTime: 1h}";
    let (folder, gateway) = start(&[origin.addr()], detection);
    let rules = "  - match: [{uri: {prefix: /plain}}]
    rewrite: {uri: \"x y?k=é\"}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /regex}}]
    rewrite: {uriRegexRewrite: {match: '^/regex/(.*)', rewrite: '/<\\1>#\\\\'}}
    route: [{destination: {host: reviews, subset: v1}}]
";
    gateway.after(
        || {
            let seed = seed(detection).replacen("  http:\n", &format!("  http:\n{rules}"), 1);
            folder.write("seed.yaml", &seed);
        },
        "in force after",
    );
    let admin = gateway.logged("admin on ").to_string();
    for (path, sent) in [("/plain", "/x%20y?k=%C3%A9"), ("/regex/a%20b", "/%3Ca%20b%3E%23%5C")] {
        assert_eq!(statuses(&gateway, path, 2), [200; 2], "{path}");
        let head = origin.last_request().expect("a request");
        assert_eq!(head.split(' ').nth(1), Some(sent), "{path}");
        let url = format!("http://a{path}");
        let page = crate::explain::explain(&["--live", &admin, "GET", &url]).stdout;
        let page = String::from_utf8_lossy(&page).into_owned();
        assert!(page.contains(&format!("GET {sent}, Host: a")), "{page}");
    }
    assert_eq!(endpoints(&gateway, "ejected"), 0.0);
}
