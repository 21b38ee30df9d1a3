//! Copies of requests for other destinations.

use std::time::Duration;

use trysail_testkit::origin::Answer;
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews};

const RULES: &str = "  - match: [{uri: {prefix: /copied}}]
    rewrite: {uri: /new}
    headers: {request: {set: {x-rule: r}}}
    mirror: {host: reviews, subset: v2}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /never}}]
    mirror: {host: reviews, subset: v2}
    mirrorPercentage: {value: 0}
    route: [{destination: {host: reviews, subset: v1}}]
";

fn mirrored(gateway: &Gateway, result: &str, count: f64) {
    eventually(PATIENCE, result, || {
        gateway.sum("trysail_mirrored_requests_total", &[&format!("result=\"{result}\"")]) == count
    });
}

#[test]
fn copies_are_whole_and_cost_the_client_nothing() {
    let reviews = Reviews::start(&["v1", "v2"]);
    // The mirror's own answer is slow, wrong and nobody's business.
    let slow = Answer::version("v2").status(500).delay(Duration::from_millis(300));
    reviews.origins["v2"].set_answer(slow);
    let (_folder, gateway) = reviews.gateway(RULES, "mirrorBody: 200KiB\n");
    let mut client = gateway.client();
    let body = "x".repeat(100_000);
    let post = |client: &mut trysail_testkit::client::Client, body: &str| {
        let reply = client.request("POST", "shop.test:80", "/copied/a?q=1", &[], Some(body.as_bytes()));
        let reply = reply.expect("an answer");
        assert_eq!((reply.status, reply.version()), (200, Some("v1")));
    };
    post(&mut client, &body);
    client.get("shop.test:80", "/never", &[]).expect("an answer");
    client.get("shop.test:80", "/copied", &[]).expect("an answer");
    mirrored(&gateway, "sent", 2.0);
    let copies = reviews.origins["v2"].received();
    assert_eq!(copies.len(), 2);
    let copy = copies.iter().find(|copy| copy.head.starts_with("POST")).expect("the copy of the POST");
    assert_eq!(copy.body, body.as_bytes());
    let head = copy.head.to_lowercase();
    for line in [
        "post /new/a?q=1 http/1.1",
        "host: shop.test:80",
        "x-rule: r",
        "x-envoy-internal: true",
        "x-forwarded-for: 127.0.0.1,127.0.0.1",
        "x-envoy-original-path: /copied/a?q=1",
    ] {
        assert!(head.lines().any(|is| is == line), "{line}\n{head}");
    }
    let primary = reviews.origins["v1"].received();
    assert!(primary.iter().all(|request| !request.head.contains("x-envoy-internal")));
    assert_eq!(gateway.sum("istio_requests_total", &["\"v2\""]), 0.0);

    // A body that is too long is copied not at all, rather than in part.
    post(&mut client, &body.repeat(3));
    mirrored(&gateway, "dropped", 1.0);
    reviews.origins["v2"].stop();
    client.get("shop.test", "/copied", &[]).expect("an answer");
    mirrored(&gateway, "failed", 1.0);
}

#[test]
fn too_many_copies_are_dropped_and_hosts_get_their_suffix() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let settings = "mirrorRequests: 1\nmirrorHostSuffix: true\n";
    let (_folder, gateway) = reviews.gateway(RULES, settings);
    reviews.origins["v2"].set_answer(Answer::version("v2").delay(Duration::from_secs(60)));
    for _ in 0..3 {
        let reply = gateway.client().get("a.test:80", "/copied", &[]).expect("an answer");
        assert_eq!(reply.version(), Some("v1"));
    }
    mirrored(&gateway, "dropped", 2.0);
    eventually(PATIENCE, "the copy has come", || reviews.origins["v2"].requests() == 1);
    let head = reviews.origins["v2"].last_request().expect("a copy").to_lowercase();
    assert!(head.contains("host: a.test-shadow:80"), "{head}");
}
