//! The main job: the seed, unchanged, splits real requests, exactly, from the first one on.

use crate::gateway::{Gateway, Reviews, weighted};

/// Sends requests one after another and asserts at each that every version is within one of its share.
fn assert_exact(gateway: &Gateway, weights: &[(&str, u64)], requests: u64) {
    let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut got = vec![0_u64; weights.len()];
    let mut client = gateway.client();
    for sent in 1..=requests {
        let reply = client.get("reviews.test", "/reviews/0", &[]).expect("an answer");
        let version = reply.version().expect("an answer from a version").to_owned();
        let which = weights.iter().position(|(name, _)| *name == version).expect("a version of the route");
        got[which] += 1;
        for ((name, weight), count) in weights.iter().zip(&got) {
            let off = (count * sum).abs_diff(sent * weight);
            assert!(off < sum, "after {sent} requests {name} has {count}");
        }
    }
}

#[test]
fn the_seed_unchanged_splits_exactly_and_counts_every_request() {
    let reviews = Reviews::start(&["v1", "v2", "v3"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    assert_exact(&gateway, &[("v1", 50), ("v2", 50)], 500);
    for (version, count) in [("v1", 250.0), ("v2", 250.0)] {
        let label = format!("destination_version=\"{version}\"");
        assert_eq!(
            gateway.sum("istio_requests_total", &[&label, "response_code=\"200\""]),
            count,
            "{version}"
        );
    }
    assert_eq!(gateway.sum("istio_requests_total", &[]), 500.0);
    assert_eq!(reviews.origins["v3"].requests(), 0);
    let weight = gateway
        .sum("trysail_route_configured_weight", &["subset=\"v1\"", "route=\"default/reviews http[0]\""]);
    assert_eq!(weight, 50.0);
}

#[test]
fn an_edit_of_the_weights_is_exact_from_its_first_request() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    assert_exact(&gateway, &[("v1", 50), ("v2", 50)], 7);
    for (v1, v2) in [(90, 10), (1, 99), (0, 3), (997, 4)] {
        let line = gateway.after(|| folder.write("seed-reviews.yaml", &weighted(v1, v2)), "in force after");
        assert!(line.contains(&format!("→ {v2}")), "{line}");
        assert_exact(&gateway, &[("v1", v1.into()), ("v2", v2.into())], 120);
    }
}

#[test]
fn reloads_that_leave_the_weights_alone_move_nothing() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    folder.write("seed-reviews.yaml", &weighted(70, 30));
    let gateway = Gateway::start(folder.path());
    let mut client = gateway.client();
    let mut v2 = 0_u64;
    for sent in 1..=300_u64 {
        if sent % 3 == 0 {
            // A comment before, a rule in front: the rule's place in the file moves, its identity does not.
            let rule = format!(
                "  http:\n  - match:\n    - uri:\n        exact: /other{sent}\n    route:\n    - destination:\n        host: reviews\n        subset: v1\n"
            );
            let text = format!("# edit {sent}\n{}", weighted(70, 30).replacen("  http:\n", &rule, 1));
            gateway.after(|| folder.write("seed-reviews.yaml", &text), "in force after");
        }
        let reply = client.get("reviews.test", "/reviews/0", &[]).expect("an answer");
        v2 += u64::from(reply.version() == Some("v2"));
        assert!(
            (v2 * 10).abs_diff(sent * 3) < 10,
            "after {sent} requests and {} reloads v2 has {v2}",
            sent / 3
        );
    }
    for (version, origin) in &reviews.origins {
        assert!(
            origin.accepts() <= 2,
            "{version} was connected to {} times over 100 reloads",
            origin.accepts()
        );
    }
}
