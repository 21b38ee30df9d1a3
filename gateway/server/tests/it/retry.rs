//! Requests that failed are tried again as the rule says.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use trysail_testkit::folder::Folder;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews, ruled, service_entry};

const RULES: &str = "  - match: [{uri: {exact: /status}}]
    retries: {attempts: 2, retryOn: '503', backoff: 1ms}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /never}}]
    retries: {attempts: 0}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /per-try}}]
    timeout: 10s
    retries: {attempts: 1, perTryTimeout: 150ms, retryOn: 5xx, backoff: 1ms}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /connect}}]
    retries: {attempts: 10, retryOn: connect-failure, backoff: 1ms}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /default}}]
    route: [{destination: {host: reviews, subset: v1}}]
";

fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address")
}

#[test]
fn the_statuses_that_are_named_are_tried_again_with_their_bodies() {
    let reviews = Reviews::start(&["v1"]);
    let v1 = &reviews.origins["v1"];
    let (_folder, gateway) = reviews.gateway(RULES, "");
    let body = "x".repeat(50_000);
    let long = "x".repeat(200_000);
    let grpc = Answer::version("v1").header("grpc-status", "14");
    let unavailable = || Answer::version("v1").status(503);
    let mut seen = 0;
    for (answer, path, body, status, tries, flag) in [
        (unavailable(), "/status", None, 503, 3, "URX"),
        (unavailable(), "/status", Some(&body), 503, 3, "URX"),
        // What is no longer there can not be sent again.
        (unavailable(), "/status", Some(&long), 503, 1, "-"),
        (unavailable(), "/never", None, 503, 1, "-"),
        // Istio's default does not name it.
        (unavailable(), "/default", None, 503, 1, "-"),
        (Answer::version("v1"), "/status", None, 200, 1, "-"),
        (grpc, "/default", None, 200, 3, "URX"),
        (Answer::version("v1").delay(Duration::from_secs(2)), "/per-try", None, 504, 2, "URX,UT"),
    ] {
        v1.set_answer(answer);
        let method = if body.is_some() { "POST" } else { "GET" };
        let bytes = body.map(|body| body.as_bytes());
        let reply = gateway.client().request(method, "a", path, &[], bytes).expect("an answer");
        assert_eq!(reply.status, status, "{path}");
        eventually(PATIENCE, path, || v1.requests() == seen + tries);
        seen += tries;
        let received = v1.received();
        let last = received.last().expect("a request");
        assert_eq!(last.body.len(), body.map_or(0, String::len), "{path}");
        assert!(last.head.contains(&format!("x-envoy-attempt-count: {tries}")), "{}", last.head);
        let labels = [format!("response_flags=\"{flag}\""), format!("response_code=\"{status}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        eventually(PATIENCE, flag, || gateway.sum("istio_requests_total", &labels) >= 1.0);
    }
    assert_eq!(gateway.sum("istio_requests_total", &[]), 8.0, "each is counted once");
}

#[test]
fn another_endpoint_takes_what_one_could_not() {
    let origin = Origin::start(Answer::version("v1"));
    let folder = Folder::new();
    folder.write("seed.yaml", &ruled(RULES));
    folder.write("endpoints.yaml", &service_entry(&[("v1", nobody()), ("v1", origin.addr())]));
    let gateway = Gateway::start(folder.path());
    // A connection that is refused was not a request, so a POST goes on too.
    for n in 0..20 {
        let method = if n % 2 == 0 { "GET" } else { "POST" };
        let reply = gateway.client().request(method, "a", "/connect", &[], None).expect("an answer");
        assert_eq!(reply.status, 200, "{method} {n}");
    }
    assert_eq!(origin.requests(), 20);
    let mut refused = 0;
    for _ in 0..20 {
        refused += u32::from(gateway.client().get("a", "/never", &[]).expect("an answer").status == 503);
    }
    assert!(refused > 0, "without retries the refusals are seen");
}

#[test]
fn a_request_that_may_have_been_executed_is_not_sent_twice() {
    let reviews = Reviews::start(&["v1"]);
    let v1 = &reviews.origins["v1"];
    let (_folder, gateway) = reviews.gateway(RULES, "");
    // What the upstream sees of a request that it breaks off: how often, and on how many new connections.
    let broken = |method: &str, kept: bool| {
        if kept {
            v1.set_answer(Answer::version("v1"));
            assert_eq!(gateway.client().get("a", "/default", &[]).expect("an answer").status, 200);
        }
        let before = (v1.requests(), v1.accepts());
        v1.set_answer(Answer::version("v1").cut_after(0));
        let reply = gateway.client().request(method, "a", "/default", &[], None).expect("an answer");
        assert_eq!(reply.status, 503, "{method}");
        (v1.requests() - before.0, v1.accepts() - before.1)
    };
    let mut counted = 0;
    // A kept connection may have been closed already, so what may be sent twice is; a new one that breaks is a failure
    // of the request's own.
    for (method, kept, seen) in
        [("GET", false, (1, 1)), ("POST", false, (1, 1)), ("GET", true, (2, 1)), ("POST", true, (1, 0))]
    {
        // A connection is back in the pool a moment after its answer, so it may be missed.
        let tries = if kept { 50 } else { 1 };
        let met = (0..tries)
            .map(|_| broken(method, kept))
            .inspect(|_| counted += 1)
            .find(|met| *met == seen || *met != (1, 1));
        assert_eq!(met, Some(seen), "{method}, kept: {kept}");
    }
    let labels = ["response_flags=\"UC\"", "response_code=\"503\""];
    eventually(PATIENCE, "UC", || gateway.sum("istio_requests_total", &labels) == f64::from(counted));
}
