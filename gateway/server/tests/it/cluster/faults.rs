//! An API server in trouble: whatever it is, traffic goes on, it is said, and when it is over the next edit is in force.

use std::time::Duration;

use trysail_testkit::folder::Folder;
use trysail_testkit::kubernetes::ApiServer;
use trysail_testkit::wait::eventually;

use super::api::Api;
use super::{QUICK, Site, run, seed, spawn};
use crate::gateway::{Gateway, PATIENCE, Reviews, SEED, weighted};

#[test]
fn who_starts_before_the_api_server_waits_for_it() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let Some(api) = Api::with_switches() else { return };
    api.own().refuse_connections();
    let site = Site { gateway: spawn(&api, QUICK), api };
    site.said("the API server can't be reached");
    site.said("not ready: ");
    let lines = site.gateway.process.lines().join("\n");
    assert!(!lines.contains("ready after"), "{lines}");
    site.api.apply(&seed(&reviews));
    site.api.own().heal();
    site.said("ready after");
    // What it began with was in force before it was ready.
    let lines = site.gateway.process.lines();
    let at = |words: &str| lines.iter().position(|line| line.contains(words)).expect(words);
    assert!(at("listening 80") < at("ready after"));
    let load = site.load();
    eventually(PATIENCE, "answers", || load.so_far().total() > 10);
    load.stop().assert_all_good();
}

#[test]
fn who_restarts_without_an_api_server_serves_what_was_kept() {
    let (reviews, kept) = (Reviews::start(&["v1", "v2"]), Folder::new());
    let settings =
        |more: &str| format!("state: {}\nkubernetes: {{retryMost: 200ms{more}}}\n", kept.path().display());
    let Some(api) = Api::with_switches() else { return };
    api.apply(&seed(&reviews));
    let site = Site::start_at(api, &settings(""));
    let age = |gateway: &Gateway| gateway.sum("trysail_config_kept_timestamp_seconds", &[]);
    assert_eq!(age(&site.gateway), 0.0);
    let is_kept = || kept.path().join("last-good.json").is_file();
    eventually(PATIENCE, "what it began with is kept", is_kept);
    // What came later is kept at the end.
    site.after(|api| api.apply(&weighted(70, 30)));
    let Site { gateway, api } = site;
    gateway.process.signal_term().expect("it runs");
    assert!(gateway.process.wait(PATIENCE).is_some_and(|status| status.success()));
    drop(gateway);

    api.own().refuse_connections();
    let site = Site { gateway: spawn(&api, &settings(", keptAfter: 300ms")), api };
    site.said("the API server says nothing, and the last good revision");
    site.said("ready after");
    let weight = |site: &Site| site.gateway.sum("trysail_route_configured_weight", &["subset=\"v1\""]);
    assert_eq!(weight(&site), 70.0);
    assert_eq!(site.gateway.client().get("x.test", "/reviews/0", &[]).unwrap().status, 200);
    assert!(age(&site.gateway) > 0.0);
    assert_eq!(site.gateway.sum("trysail_config_last_reload_successful", &[]), 0.0);
    let (_, status) = run(&["status", &site.gateway.logged("admin on ").to_string()]);
    assert!(status.contains("from disk  the last good revision, kept at"), "{status}");
    // It answers again, but of VirtualServices: those that were kept stay, and all else is the cluster's.
    let load = site.load();
    site.gateway.after(
        || {
            site.api.apply(&weighted(20, 80));
            site.api.own().forbid("virtualservices");
            site.api.own().take_connections();
        },
        "what the cluster says is in force, in place of the last good revision",
    );
    assert_eq!((weight(&site), age(&site.gateway)), (70.0, 0.0));
    site.after(|api| api.own().heal());
    assert_eq!(weight(&site), 20.0);
    assert_eq!(site.gateway.sum("trysail_config_last_reload_successful", &[]), 1.0);
    load.stop().assert_all_good();
    // What there is no more is not served.
    site.after(|api| api.delete("virtualservices", "default", "reviews"));
    assert_eq!(weight(&site), 0.0);
}

#[test]
fn what_is_not_a_clusters_is_not_served_and_waited_with() {
    let (reviews, kept) = (Reviews::start(&["v1"]), Folder::new());
    for page in [
        "",
        r#"{"format":1,"revision":"","pieces":[{"file":"conf/a.yaml","line":0,"text":"a: b"}]}"#,
        r#"{"format":1,"revision":"0","pieces":[{"file":"Service a/b","line":0,"text":"{}"}]}"#,
    ] {
        kept.write("last-good.json", page);
        let Some(api) = Api::with_switches() else { return };
        api.own().refuse_connections();
        let settings =
            format!("state: {}\nkubernetes: {{retryMost: 200ms, keptAfter: 0s}}\n", kept.path().display());
        let site = Site { gateway: spawn(&api, &settings), api };
        site.said("the last good revision is");
        site.said("not ready: ");
        site.api.apply(&seed(&reviews));
        site.api.own().heal();
        site.said("ready after");
    }
}

#[test]
fn who_is_told_to_end_while_it_waits_ends() {
    let Some(api) = Api::with_switches() else { return };
    api.own().refuse_connections();
    let gateway = spawn(&api, QUICK);
    let waits = gateway.process.wait_for_line(|line| line.contains("can't be reached"), PATIENCE);
    assert!(waits.is_some());
    gateway.process.signal_term().expect("it runs");
    let ended = gateway.process.wait(PATIENCE);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

/// Trouble: what it is, how the log tells of it (where it does), and whether edits are heard in spite of it.
type Trouble = (&'static str, fn(&ApiServer), Option<&'static str>, bool);

#[test]
fn traffic_goes_on_through_all_trouble() {
    let Some(api) = Api::with_switches() else { return };
    let reviews = Reviews::start(&["v1", "v2"]);
    api.apply(&seed(&reviews));
    let site = Site::start_at(api, QUICK);
    let load = site.load();
    let troubles: [Trouble; 12] = [
        ("watches that end", |api| api.close_watches(), None, true),
        ("connections that are cut", |api| api.cut_connections(), None, true),
        ("nobody listens", |api| api.refuse_connections(), Some("the API server can't be reached"), false),
        ("nobody answers", |api| api.drop_connections(), Some("the API server can't be reached"), false),
        (
            "429",
            |api| api.fail("virtualservices", 429),
            Some("VirtualService is not heard: the API server is too busy"),
            false,
        ),
        (
            "429 once, and when to ask again",
            |api| api.throttle("virtualservices", 1, 1),
            Some("VirtualService is not heard: the API server is too busy"),
            true,
        ),
        (
            "500",
            |api| api.fail("virtualservices", 500),
            Some("VirtualService is not heard: the API server answers 500"),
            false,
        ),
        (
            "403",
            |api| api.forbid("virtualservices"),
            Some("get, list and watch on virtualservices.networking.istio.io"),
            false,
        ),
        ("another kind is forbidden", |api| api.forbid("pods"), Some("get, list and watch on pods"), true),
        (
            "another kind is gone",
            |api| api.uninstall("workloadgroups"),
            Some("the cluster has no workloadgroups.networking.istio.io"),
            true,
        ),
        ("it hangs", |api| api.hang(true), None, false),
        ("it is slow", |api| api.delay_events(Duration::from_millis(300)), None, true),
    ];
    let mut weight = 50;
    let mut edit = || {
        weight += 1;
        weighted(weight, 100 - weight)
    };
    for (what, trouble, words, is_heard) in troubles {
        let seen = site.gateway.process.lines().len();
        trouble(site.api.own());
        // Whoever watches looks again, and meets it.
        site.api.own().close_watches();
        if let Some(words) = words {
            let line = site.gateway.process.wait_for_line_after(seen, |line| line.contains(words), PATIENCE);
            assert!(
                line.is_some(),
                "{what}: no {words:?} in\n{}",
                site.gateway.process.lines()[seen..].join("\n")
            );
        }
        if is_heard {
            site.after(|api| api.apply(&edit()));
        } else {
            // It was written while nobody heard of it.
            site.api.apply(&edit());
        }
        let answered = load.so_far().total();
        eventually(PATIENCE, what, || load.so_far().total() > answered + 100);
        if is_heard {
            site.api.own().heal();
        } else {
            site.after(|api| api.own().heal());
        }
        let connected = || site.gateway.sum("trysail_kubernetes_connected", &[]) == 10.0;
        eventually(PATIENCE, "every kind is heard again", connected);
    }
    let tally = load.stop();
    tally.assert_all_good();
    assert_eq!(
        site.gateway.sum("trysail_kubernetes_lists_total", &["Gateway"]),
        1.0,
        "no watch was listed anew"
    );
}

#[test]
fn what_is_too_long_ago_is_listed_anew() {
    let Some(api) = Api::with_switches() else { return };
    let reviews = Reviews::start(&["v1", "v2"]);
    api.apply(&seed(&reviews));
    let site = Site::start_at(api, QUICK);
    let load = site.load();
    let api = site.api.own();
    let listed = api.count("list", "virtualservices");
    // What happens in between is in the list.
    site.after(|_| {
        api.fail("virtualservices", 500);
        api.close_watches();
        api.apply(&weighted(70, 30));
        api.forget_events();
        api.heal();
    });
    eventually(PATIENCE, "a new list", || api.count("list", "virtualservices") > listed);
    let weight = || site.gateway.sum("trysail_route_configured_weight", &["subset=\"v1\""]);
    eventually(PATIENCE, "the weights of the list", || weight() == 70.0);
    load.stop().assert_all_good();
}

#[test]
fn bookmarks_keep_a_quiet_kind_from_falling_behind() {
    let Some(api) = Api::with_switches() else { return };
    let reviews = Reviews::start(&["v1", "v2"]);
    api.apply(&seed(&reviews));
    // Nobody but the test writes.
    let site = Site::start_at(api, "kubernetes: {retryMost: 200ms, status: false}\n");
    let api = site.api.own();
    let connected = || site.gateway.sum("trysail_kubernetes_connected", &[]) == 10.0;
    eventually(PATIENCE, "every kind is heard", connected);
    // Another kind changes, until what the Gateways' watch has seen is long ago; a bookmark tells it how far all is.
    for (has_bookmark, lists) in [(true, 1.0), (false, 2.0)] {
        for weight in 1..5 {
            site.after(|api| api.apply(&weighted(weight, 100 - weight)));
        }
        if has_bookmark {
            api.send_bookmarks();
            eventually(PATIENCE, "it is sent", || api.count("bookmark", "gateways") == 1);
        }
        let watches = api.count("watch", "gateways");
        api.compact();
        api.close_watches();
        eventually(PATIENCE, "it watches again", || api.count("watch", "gateways") > watches);
        let listed = || site.gateway.sum("trysail_kubernetes_lists_total", &["Gateway"]);
        eventually(PATIENCE, "it is listed where it has to be", || listed() == lists);
        eventually(PATIENCE, "every kind is heard", connected);
    }
}

#[test]
fn watches_that_say_nothing_are_asked_for_anew() {
    let Some(api) = Api::with_switches() else { return };
    let reviews = Reviews::start(&["v1", "v2"]);
    api.apply(&seed(&reviews));
    // A connection that nobody ends and nobody serves.
    api.own().silence_watches(true);
    let site = Site::start_at(api, "kubernetes: {retryMost: 200ms, watch: 1s}\n");
    let api = site.api.own();
    let begun = api.count("watch", "*");
    api.apply(&weighted(70, 30));
    eventually(PATIENCE, "new watches", || api.count("watch", "*") > begun + 10);
    api.silence_watches(false);
    let weight = || site.gateway.sum("trysail_route_configured_weight", &["subset=\"v1\""]);
    eventually(PATIENCE, "what was missed", || weight() == 70.0);
    assert_eq!(site.gateway.sum("trysail_kubernetes_lists_total", &["Gateway"]), 1.0);
}

#[test]
fn kinds_come_and_go() {
    let Some(api) = Api::with_switches() else { return };
    let reviews = Reviews::start(&["v1", "v2"]);
    for kind in ["virtualservices", "workloadgroups"] {
        api.own().uninstall(kind);
    }
    api.apply(&seed(&reviews));
    let site = Site::start_at(api, QUICK);
    let lines = site.gateway.process.lines();
    let told =
        lines.iter().filter(|line| line.contains("the cluster has no virtualservices.networking.istio.io"));
    assert_eq!(told.count(), 1);
    // Installed, and of an older version.
    site.after(|api| {
        api.own().serve_versions("networking.istio.io", &["v1beta1", "v1alpha3"]);
        api.own().install("workloadgroups");
        api.own().install("virtualservices");
    });
    let load = site.load();
    site.after(|api| api.apply(&weighted(60, 40)));
    load.stop().assert_all_good();
    // Gone for good, its objects are gone.
    let weight = || site.gateway.sum("trysail_route_configured_weight", &["subset=\"v1\""]);
    site.api.own().uninstall("virtualservices");
    eventually(PATIENCE, "its routes are gone", || weight() == 0.0);
    site.api.own().install("virtualservices");
    site.api.apply(&weighted(60, 40));
    eventually(PATIENCE, "its routes are back", || weight() == 60.0);
}

#[test]
fn a_port_that_is_taken_stops_no_other() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let reviews = Reviews::start(&["v1", "v2"]);
    let more = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: more}}\nspec:\n  selector: {{istio: ingressgateway}}\n  \
         servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['more.test']}}]\n"
    );
    let site = Site::start(&format!("{}\n---\n{more}", seed(&reviews)));
    site.said("warning[TRY0008]");
    let load = site.load();
    site.after(|api| api.apply(&weighted(60, 40)));
    load.stop().assert_all_good();
    assert_eq!(site.told("gateways", "more", "True").0, "AppliedWithWarnings");
    drop(taken);
    site.gateway.after(|| site.api.apply(SEED), &format!("listening {port} → "));
}
