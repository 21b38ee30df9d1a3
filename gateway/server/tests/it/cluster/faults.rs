//! An API server in trouble: whatever it is, traffic goes on, it is said, and when it is over the next edit is in force.

use trysail_testkit::folder::Folder;
use trysail_testkit::wait::eventually;

use super::api_server::State;
use super::{QUICK, Site, run, seed, spawn};
use crate::cluster::api_server::ApiServer;
use crate::gateway::{Gateway, PATIENCE, Reviews, SEED, weighted};

#[test]
fn who_starts_before_the_api_server_waits_for_it() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let api = ApiServer::start();
    api.set(|state| state.down = true);
    let site = Site { gateway: spawn(&api, QUICK), api };
    site.said("the API server can't be reached");
    site.said("not ready: ");
    let lines = site.gateway.process.lines().join("\n");
    assert!(!lines.contains("ready after"), "{lines}");
    site.api.apply(&seed(&reviews));
    site.api.set(|state| state.down = false);
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
    let api = ApiServer::start();
    api.apply(&seed(&reviews));
    let site = Site { gateway: spawn(&api, &settings("")), api };
    site.said("ready after");
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

    api.set(|state| state.down = true);
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
            site.api.set(|state| {
                state.down = false;
                state.answer("virtualservices", 403);
            });
        },
        "what the cluster says is in force, in place of the last good revision",
    );
    assert_eq!((weight(&site), age(&site.gateway)), (70.0, 0.0));
    site.after(|api| api.set(|state| state.answers.clear()));
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
        let api = ApiServer::start();
        api.set(|state| state.down = true);
        let settings =
            format!("state: {}\nkubernetes: {{retryMost: 200ms, keptAfter: 0s}}\n", kept.path().display());
        let site = Site { gateway: spawn(&api, &settings), api };
        site.said("the last good revision is");
        site.said("not ready: ");
        site.api.apply(&seed(&reviews));
        site.api.set(|state| state.down = false);
        site.said("ready after");
    }
}

#[test]
fn who_is_told_to_end_while_it_waits_ends() {
    let api = ApiServer::start();
    api.set(|state| state.down = true);
    let gateway = spawn(&api, QUICK);
    let waits = gateway.process.wait_for_line(|line| line.contains("can't be reached"), PATIENCE);
    assert!(waits.is_some());
    gateway.process.signal_term().expect("it runs");
    let ended = gateway.process.wait(PATIENCE);
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

/// Trouble: what it is, how the log tells of it (where it does), and whether edits are heard in spite of it.
type Trouble = (&'static str, fn(&mut State), Option<&'static str>, bool);

#[test]
fn traffic_goes_on_through_all_trouble() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let site = Site::start(&seed(&reviews));
    let load = site.load();
    let troubles: [Trouble; 8] = [
        ("watches that end", |_| {}, None, true),
        ("nobody answers", |state| state.down = true, Some("the API server can't be reached"), false),
        (
            "429",
            |state| state.answer("virtualservices", 429),
            Some("VirtualService is not heard: the API server is too busy"),
            false,
        ),
        (
            "500",
            |state| state.answer("virtualservices", 500),
            Some("VirtualService is not heard: the API server answers 500"),
            false,
        ),
        (
            "403",
            |state| state.answer("virtualservices", 403),
            Some("get, list and watch on virtualservices.networking.istio.io"),
            false,
        ),
        (
            "another kind is forbidden",
            |state| state.answer("pods", 403),
            Some("get, list and watch on pods"),
            true,
        ),
        (
            "another kind is gone",
            |state| state.miss("workloadgroups"),
            Some("the cluster has no workloadgroups.networking.istio.io"),
            true,
        ),
        ("it hangs", |state| state.hangs = true, None, false),
    ];
    let mut weight = 50;
    let mut edit = || {
        weight += 1;
        weighted(weight, 100 - weight)
    };
    for (what, trouble, words, is_heard) in troubles {
        let seen = site.gateway.process.lines().len();
        site.api.set(trouble);
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
        let over = |state: &mut State| {
            (state.down, state.hangs) = (false, false);
            state.answers.clear();
            state.missing.clear();
        };
        if is_heard {
            site.api.set(over);
        } else {
            site.after(|api| api.set(over));
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
    let reviews = Reviews::start(&["v1", "v2"]);
    let site = Site::start(&seed(&reviews));
    let load = site.load();
    let listed = site.api.lists("virtualservices");
    // What happens in between is in the list.
    site.after(|api| {
        api.set(|state| state.answer("virtualservices", 500));
        api.apply(&weighted(70, 30));
        api.forget();
        api.set(|state| state.answers.clear());
    });
    eventually(PATIENCE, "a new list", || site.api.lists("virtualservices") > listed);
    let weight = || site.gateway.sum("trysail_route_configured_weight", &["subset=\"v1\""]);
    eventually(PATIENCE, "the weights of the list", || weight() == 70.0);
    load.stop().assert_all_good();
}

#[test]
fn watches_that_say_nothing_are_asked_for_anew() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let api = ApiServer::start();
    api.apply(&seed(&reviews));
    // A connection that nobody ends and nobody serves.
    api.set(|state| state.silent = true);
    let site = Site { gateway: spawn(&api, "kubernetes: {retryMost: 200ms, watch: 1s}\n"), api };
    site.said("ready after");
    let begun = site.api.watches();
    site.api.apply(&weighted(70, 30));
    eventually(PATIENCE, "new watches", || site.api.watches() > begun + 10);
    site.api.set(|state| state.silent = false);
    let weight = || site.gateway.sum("trysail_route_configured_weight", &["subset=\"v1\""]);
    eventually(PATIENCE, "what was missed", || weight() == 70.0);
    assert_eq!(site.gateway.sum("trysail_kubernetes_lists_total", &["Gateway"]), 1.0);
}

#[test]
fn kinds_come_and_go() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let api = ApiServer::start();
    api.set(|state| state.missing.extend(["virtualservices", "workloadgroups"]));
    api.apply(&seed(&reviews));
    let site = Site { gateway: spawn(&api, QUICK), api };
    site.said("ready after");
    let lines = site.gateway.process.lines();
    let told =
        lines.iter().filter(|line| line.contains("the cluster has no virtualservices.networking.istio.io"));
    assert_eq!(told.count(), 1);
    // Installed, and of an older version.
    site.after(|api| {
        api.set(|state| {
            state.missing.clear();
            state.versions = vec!["v1beta1", "v1alpha3"];
        });
    });
    let load = site.load();
    site.after(|api| api.apply(&weighted(60, 40)));
    load.stop().assert_all_good();
    // Gone for good, its objects are gone.
    let weight = || site.gateway.sum("trysail_route_configured_weight", &["subset=\"v1\""]);
    site.api.set(|state| state.miss("virtualservices"));
    eventually(PATIENCE, "its routes are gone", || weight() == 0.0);
    site.api.set(|state| state.missing.clear());
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
