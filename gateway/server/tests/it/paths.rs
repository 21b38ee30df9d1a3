//! One canonical path: what was matched is what the upstream gets.

use std::time::{Duration, Instant};

use trysail_testkit::client::Client;
use trysail_testkit::folder::Folder;

use crate::gateway::{Gateway, PATIENCE, Reviews, SEED};

/// The seed, one version, with a rule before it that answers itself.
fn folder(reviews: &Reviews) -> Folder {
    let folder = reviews.folder();
    let rule = "  - match: [{uri: {prefix: /admin}}]\n    directResponse: {status: 403}\n";
    let seed = crate::gateway::weighted(1, 0).replacen("  http:\n", &format!("  http:\n{rule}"), 1);
    assert_ne!(seed, SEED);
    folder.write("seed-reviews.yaml", &seed);
    folder
}

/// The status of a request with this target, and the target that the upstream got if it got one.
fn ask(gateway: &Gateway, reviews: &Reviews, target: &str) -> (u16, Option<String>) {
    let origin = &reviews.origins["v1"];
    let before = origin.received().len();
    let head = format!("GET {target} HTTP/1.1\r\nhost: shop.test\r\n\r\n");
    let mut client = Client::connect(gateway.address()).expect("the gateway accepts");
    let status = client.send_raw(head.as_bytes()).expect("an answer").status;
    let head = (origin.received().len() > before).then(|| origin.last_request().expect("a request"));
    let target = head.map(|head| head.split(' ').nth(1).expect("a target").to_owned());
    (status, target)
}

#[test]
fn what_is_matched_is_what_is_forwarded() {
    let reviews = Reviews::start(&["v1"]);
    let folder = folder(&reviews);
    let gateway = Gateway::start(folder.path());
    for (target, status, forwarded) in [
        ("/reviews/0?q=%2e/../x", 200, Some("/reviews/0?q=%2e/../x")),
        ("/x/../reviews/0", 200, Some("/reviews/0")),
        ("/x/%2e%2E\\reviews/./0?q", 200, Some("/reviews/0?q")),
        ("/reviews//a%2Fb%5C", 200, Some("/reviews//a%2Fb%5C")),
        ("/reviews/%72", 200, Some("/reviews/r")),
        ("/reviews/0#there/../x", 200, Some("/reviews/0")),
        ("http://shop.test/x/../reviews/1?q", 200, Some("/reviews/1?q")),
        // What looks like reviews and is admin's goes where admin goes.
        ("/reviews/../admin/users", 403, None),
        ("/reviews/..%2e/../../admin", 403, None),
        ("/%61dmin", 403, None),
        ("/reviews/%2e%2e", 404, None),
        ("/reviews/%00", 400, None),
        ("*", 404, None),
    ] {
        let (is, got) = ask(&gateway, &reviews, target);
        assert_eq!((is, got.as_deref()), (status, forwarded), "{target}");
    }
}

#[test]
fn requests_without_a_host_or_a_path_are_answered() {
    let reviews = Reviews::start(&["v1"]);
    let folder = folder(&reviews);
    let gateway = Gateway::start(folder.path());
    for (head, status) in [
        ("OPTIONS * HTTP/1.1\r\nhost: shop.test\r\n\r\n", 404),
        ("GET /reviews/0 HTTP/1.1\r\nhost:\r\n\r\n", 400),
        ("GET /reviews/0 HTTP/1.1\r\n\r\n", 400),
    ] {
        let reply = gateway.client().send_raw(head.as_bytes()).expect("an answer");
        assert_eq!(reply.status, status, "{head}");
    }
    assert!(reviews.origins["v1"].received().is_empty());
}

#[test]
fn the_setting_has_istios_other_levels() {
    let reviews = Reviews::start(&["v1"]);
    let folder = folder(&reviews);
    for (level, target, status, forwarded) in [
        ("NONE", "/x/../reviews/0", 404, None),
        ("NONE", "/reviews/../a", 200, Some("/reviews/../a")),
        ("MERGE_SLASHES", "//reviews///0%2F", 200, Some("/reviews/0%2F")),
        ("DECODE_AND_MERGE_SLASHES", "/reviews%2F%2f0%5C..%5cadmin?a//b", 200, Some("/reviews/admin?a//b")),
    ] {
        let gateway = Gateway::spawn(folder.path(), &format!("pathNormalization: {level}\n"));
        assert!(gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE).is_some());
        let (is, got) = ask(&gateway, &reviews, target);
        assert_eq!((is, got.as_deref()), (status, forwarded), "{level} {target}");
    }
}

/// What a backtracking engine would think about for longer than the universe has been there.
#[test]
fn a_pattern_that_is_cruel_to_others_takes_no_time() {
    let reviews = Reviews::start(&["v1"]);
    let cruel = "  - match: [{headers: {x-long: {regex: '(a+)+b'}}}, {uri: {regex: '/(a+)+b'}}]\n    directResponse: {status: 418}\n";
    let (_folder, gateway) = reviews.gateway(cruel, "");
    let (path, field) = (format!("/{}", "a".repeat(16_000)), "a".repeat(40_000));
    let mut client = gateway.client();
    let begun = Instant::now();
    for _ in 0..20 {
        let reply = client.get("shop.test", &path, &[("x-long", &field)]).expect("an answer");
        assert_eq!(reply.status, 404);
    }
    let one = begun.elapsed() / 20;
    // Measured of a build without optimisation; it is to tell linear time from the other kind.
    assert!(one < Duration::from_millis(250), "{one:?} for one request");
}
