//! Edits: in force within a second, never an error, and nothing changed by one that is broken.

use std::time::{Duration, Instant};

use trysail_testkit::load::Plan;
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews, SEED, weighted};

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let load =
        Plan::new(gateway.address(), "reviews.test", "/reviews/0").threads(3).max_time(PATIENCE * 4).start();
    let mut took = Vec::new();
    for reload in 0..100_u32 {
        let weights = weighted(reload + 1, 100 - reload);
        let began = Instant::now();
        gateway.after(|| folder.write("seed-reviews.yaml", &weights), "in force after");
        took.push(began.elapsed());
    }
    let tally = load.stop();
    tally.assert_all_good();
    assert!(tally.total() > 1000, "the load was no load: {}", tally.total());
    // A machine that is shared may stop for a moment; an edit that waits for something does so every time.
    took.sort_unstable();
    assert!(took[94] < Duration::from_secs(1), "of 100 edits the slowest took {:?}", &took[95..]);
    let counted = || gateway.sum("istio_requests_total", &["response_code=\"200\""]) as u64;
    eventually(PATIENCE, "every answered request is counted", || counted() >= tally.total());
    assert_eq!(gateway.sum("trysail_config_reloads_total", &["applied"]), 101.0);
}

#[test]
fn a_broken_edit_changes_nothing_and_says_where() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let load =
        Plan::new(gateway.address(), "reviews.test", "/reviews/0").threads(1).max_time(PATIENCE * 4).start();
    for (broken, words) in [
        (SEED.replacen("subset: v2", "subset: v9", 1), "seed-reviews.yaml:36:17"),
        (SEED.replacen("weight: 50", "wieght: 50", 1), "did you mean \"weight\"?"),
        (SEED.replacen("  hosts:\n  - \"*\"", "  hosts: [\"*\"", 1), "error[TRY0001]"),
        (SEED.replacen("weight: 50", "weight: 0", 2), "all weights are zero"),
    ] {
        gateway.after(|| folder.write("seed-reviews.yaml", &broken), words);
        assert_eq!(gateway.sum("trysail_config_last_reload_successful", &[]), 0.0);
    }
    assert!(
        gateway
            .process
            .lines()
            .iter()
            .any(|line| line.contains("revision refused") && line.contains("stays in force"))
    );
    gateway.after(|| folder.write("seed-reviews.yaml", &weighted(100, 0)), "in force after");
    assert_eq!(gateway.sum("trysail_config_last_reload_successful", &[]), 1.0);
    load.stop().assert_all_good();
}

#[test]
fn files_added_removed_swapped_and_gone() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = trysail_testkit::folder::Folder::new();
    let endpoints = reviews.service_entry();
    folder.publish(&[("seed.yaml", SEED), ("endpoints.yaml", &endpoints)]);
    let gateway = Gateway::start(folder.path());
    let load =
        Plan::new(gateway.address(), "reviews.test", "/reviews/0").threads(2).max_time(PATIENCE * 4).start();

    // As Kubernetes swaps a mounted ConfigMap.
    for (v1, v2) in [(80, 20), (60, 40)] {
        let seed = weighted(v1, v2);
        let swap = || folder.publish(&[("seed.yaml", &seed), ("endpoints.yaml", &endpoints)]);
        gateway.after(swap, &format!("→ {v2}"));
    }
    let other = SEED.replace("reviews-gateway", "other-gateway").replace("name: reviews\n", "name: other\n");
    let other =
        other.replace("prefix: /reviews", "prefix: /other").replace("  name: reviews", "  name: other");
    gateway.after(|| folder.write("other.yaml", &other), "default/other http[0] added");
    gateway.after(|| folder.remove("other.yaml"), "default/other http[0] removed");

    // Emptied, then gone: what was in force stays.
    gateway.after(|| folder.publish(&[]), "error[TRY0011]");
    let path = folder.path().to_owned();
    gateway.after(|| std::fs::remove_dir_all(&path).expect("removed"), "revision refused");
    let aside = trysail_testkit::folder::Folder::new();
    aside.write("seed.yaml", &weighted(10, 90));
    aside.write("endpoints.yaml", &endpoints);
    let back = || {
        std::fs::create_dir(&path).expect("made again");
        for file in ["seed.yaml", "endpoints.yaml"] {
            std::fs::copy(aside.path().join(file), path.join(file)).expect("copied");
        }
    };
    gateway.after(back, "→ 90");
    load.stop().assert_all_good();
}

#[test]
fn sighup_reads_again_and_an_unchanged_directory_is_read_once() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    gateway.after(|| gateway.process.signal_hup().expect("a signal"), "and in force");
    gateway.after(|| folder.write("seed-reviews.yaml", &weighted(1, 2)), "in force after");
    let seen = gateway.process.lines().len();
    let more = gateway.process.wait_for_line_after(seen, |_| true, Duration::from_secs(3));
    assert_eq!(more, None, "one edit, one line");
}

#[test]
fn descriptors_stay_flat_over_reloads() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let reload =
        |n: u32| gateway.after(|| folder.write("seed-reviews.yaml", &weighted(n, 1)), "in force after");
    (1..=5).for_each(|n| drop(reload(n)));
    let before = gateway.process.fds().expect("a running process");
    (6..=60).for_each(|n| drop(reload(n)));
    let after = gateway.process.fds().expect("a running process");
    assert!(after <= before + 2, "{before} descriptors became {after}");
}
