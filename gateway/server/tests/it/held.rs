//! A new subset takes traffic once an endpoint of it is there; until then its share goes to its siblings.

use trysail_testkit::folder::Folder;
use trysail_testkit::origin::{Answer, Origin};

use crate::gateway::{Gateway, PATIENCE, Reviews, service_entry, weighted};

/// How often v1 and v2 answered, and how many requests nobody answered.
pub(crate) fn shares(gateway: &Gateway, requests: usize) -> (usize, usize, usize) {
    let mut client = gateway.client();
    let (mut v1, mut v2, mut nobody) = (0, 0, 0);
    for _ in 0..requests {
        let reply = client.get("a", "/reviews/0", &[]).expect("an answer");
        match (reply.status, reply.version()) {
            (200, Some("v1")) => v1 += 1,
            (200, Some("v2")) => v2 += 1,
            (503, None) => nobody += 1,
            _ => panic!("{reply:?}"),
        }
    }
    (v1, v2, nobody)
}

#[test]
fn a_subset_is_held_until_it_has_an_endpoint_and_is_on_its_own_then() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let (v1, v2) = (reviews.origins["v1"].addr(), reviews.origins["v2"].addr());
    let folder = Folder::new();
    folder.write("seed.yaml", &weighted(90, 10));
    folder.write("endpoints.yaml", &service_entry(&[("v1", v1)]));
    let gateway = Gateway::start(folder.path());
    let words = "held: reviews v2 has had no ready endpoint yet; its share goes to v1";
    assert!(gateway.process.wait_for_line(|line| line.ends_with(words), PATIENCE).is_some());
    let held = ["subset=\"v2\"", "destination_service=\"reviews.default.svc.cluster.local\""];
    assert_eq!(gateway.sum("trysail_held", &held), 1.0);
    assert_eq!(shares(&gateway, 40), (40, 0, 0));
    // It goes on so over edits of the weights.
    gateway.after(|| folder.write("seed.yaml", &weighted(80, 20)), "in force after");
    assert_eq!(shares(&gateway, 20), (20, 0, 0));
    let both = service_entry(&[("v1", v1), ("v2", v2)]);
    let line = gateway.after(|| folder.write("endpoints.yaml", &both), "ready (");
    assert!(line.ends_with(&format!("reviews v2 ready ({v2}), takes its 20 % now")), "{line}");
    assert_eq!(shares(&gateway, 50), (40, 10, 0));
    assert!(gateway.metric("trysail_held").is_empty());
    // Once it was ready, Istio's rule applies.
    gateway.after(|| folder.write("endpoints.yaml", &service_entry(&[("v1", v1)])), "in force after");
    assert_eq!(shares(&gateway, 50), (40, 0, 10));
    assert!(gateway.metric("trysail_held").is_empty());
}

#[test]
fn where_nobody_is_ready_requests_are_answered_503() {
    let folder = Folder::new();
    folder.write("seed.yaml", &weighted(50, 50));
    folder.write("endpoints.yaml", &service_entry(&[("v3", ([127, 0, 0, 1], 1).into())]));
    let gateway = Gateway::start(folder.path());
    let words = "held: reviews v1 has had no ready endpoint yet; nobody of its split is ready, so requests are answered 503 (UH)";
    assert!(gateway.process.wait_for_line(|line| line.ends_with(words), PATIENCE).is_some());
    assert_eq!(gateway.sum("trysail_held", &[]), 2.0);
    assert_eq!(shares(&gateway, 10), (0, 0, 10));
    let v2 = Origin::start(Answer::version("v2"));
    gateway.after(|| folder.write("endpoints.yaml", &service_entry(&[("v2", v2.addr())])), "ready (");
    assert_eq!(shares(&gateway, 10), (0, 10, 0));
}
