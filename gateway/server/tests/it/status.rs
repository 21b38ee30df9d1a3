//! What status tells: what share each version really got, how it fares, and what became of revisions.

use serde_json::Value;
use trysail_testkit::client::fetch;
use trysail_testkit::load::Plan;
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews, weighted};

/// What the admin port answers on a path.
fn asked(gateway: &Gateway, path: &str) -> (u16, String) {
    let reply = fetch(gateway.logged("admin on "), "localhost", path).expect("the admin port answers");
    (reply.status, reply.text())
}

fn json(gateway: &Gateway, path: &str) -> Value {
    let (status, text) = asked(gateway, path);
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

/// The target of a name in the first split.
fn target(status: &Value, name: &str) -> Value {
    let targets = status["splits"][0]["targets"].as_array().expect("targets");
    let found = targets.iter().find(|target| target["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {status:#}")).clone()
}

/// Sends requests by four clients at once; all are answered well, and have been counted.
fn send(gateway: &Gateway, requests: u64) {
    let before = ended(gateway);
    let load =
        Plan::new(gateway.address(), "shop.test", "/reviews/0").threads(4).max_requests(requests).start();
    load.finish().assert_all_good();
    // A request is counted a moment after its answer.
    eventually(PATIENCE, "all are counted", || ended(gateway) == before + requests);
}

fn ended(gateway: &Gateway) -> u64 {
    let targets = json(gateway, "/status")["splits"][0]["targets"].as_array().cloned().unwrap_or_default();
    targets.iter().filter_map(|target| target["total"]["requests"].as_u64()).sum()
}

#[test]
fn shares_are_exact_and_begin_anew_with_other_weights() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let before = json(&gateway, "/status");
    assert_eq!(before["state"], "serving");
    assert_eq!(target(&before, "v1")["verdict"], "not-enough-data");
    assert!(target(&before, "v1")["observed"].is_null() && target(&before, "v1")["p50"].is_null());
    send(&gateway, 400);
    let even = json(&gateway, "/status");
    for name in ["v1", "v2"] {
        let target = target(&even, name);
        assert_eq!(
            (target["requests"].as_u64(), target["assigned"].as_u64()),
            (Some(200), Some(200)),
            "{target:#}"
        );
        assert_eq!(target["observed"]["value"], 50.0);
        assert_eq!(target["verdict"], "on-ratio");
        assert_eq!(target["errorRate"]["value"], 0.0);
        assert!(
            target["p50"].as_f64().is_some_and(|p50| p50 > 0.0 && p50 <= target["p99"].as_f64().unwrap())
        );
        let label = format!("subset=\"{name}\"");
        assert_eq!(gateway.sum("trysail_route_assigned_total", &[&label]), 200.0);
    }
    gateway.after(|| folder.write("seed-reviews.yaml", &weighted(90, 10)), "in force after");
    let edited = json(&gateway, "/status");
    assert_eq!(target(&edited, "v2")["requests"], 0);
    assert_eq!(target(&edited, "v2")["total"]["requests"], 200);
    assert_eq!(target(&edited, "v2")["verdict"], "not-enough-data");
    assert!(edited["splits"][0]["since"].as_str() > even["splits"][0]["since"].as_str());
    send(&gateway, 500);
    let canary = json(&gateway, "/status");
    assert_eq!(
        (target(&canary, "v1")["requests"].as_u64(), target(&canary, "v2")["requests"].as_u64()),
        (Some(450), Some(50))
    );
    assert_eq!(target(&canary, "v2")["configured"], 10.0);
    assert_eq!(target(&canary, "v2")["verdict"], "on-ratio");
    assert_eq!(gateway.sum("trysail_route_assigned_total", &["subset=\"v2\""]), 250.0);
    // An edit that leaves the weights alone goes on counting.
    let text = format!("# again\n{}", weighted(90, 10));
    gateway.after(|| folder.write("seed-reviews.yaml", &text), "in force after");
    send(&gateway, 100);
    assert_eq!(target(&json(&gateway, "/status"), "v2")["requests"], 60);
    let weight = json(&gateway, "/weights?route=default/reviews&subset=v2");
    assert_eq!((weight["weight"].as_u64(), &weight["since"]), (Some(10), &canary["splits"][0]["since"]));
}
