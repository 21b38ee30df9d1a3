//! What status tells: what share each version really got, how it fares, and what became of revisions.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use trysail_testkit::client::fetch;
use trysail_testkit::folder::Folder;
use trysail_testkit::load::Plan;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews, service_entry, weighted};

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

/// The command, with these arguments: exit code, standard output, standard error.
fn trysail(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_trysail")).args(arguments).output().expect("trysail runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A short body that comes after a while, so that a request is under way in between.
fn slow(version: &str) -> Answer {
    Answer::version(version).delay(Duration::from_secs(3))
}

#[test]
fn errors_of_one_version_show_beside_the_other() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    folder.write("seed-reviews.yaml", &weighted(80, 20));
    let gateway = Gateway::start(folder.path());
    let admin = gateway.logged("admin on ").to_string();
    let expect = |what: &str| trysail(&["status", &admin, "--expect", what]);
    let (code, said, _) = expect("default/reviews:v2=20");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("not enough data yet: 0 of 62 requests"), "{said}");
    send(&gateway, 300);
    for (what, code, words) in [
        ("default/reviews:v2=20", 0, "v2: 20 % expected, and it has 20.0 % of 300 requests, "),
        ("default/reviews http[0]:v1=80", 0, "it has 80.0 % of 300 requests"),
        ("default/reviews:v2=10", 1, "10 % expected, and 20 % is in force ("),
        ("default/review:v2=10", 2, "did you mean"),
        ("default/reviews:v4=10", 2, "has no subset \"v4\"; it has v1, v2"),
        ("v2", 2, "write for example default/reviews:v2=10"),
    ] {
        let (is, out, err) = expect(what);
        assert_eq!(is, Some(code), "{what}: {out}{err}");
        assert!(format!("{out}{err}").contains(words), "{what}: {out}{err}");
    }
    reviews.origins["v2"].set_answer(Answer::version("v2").status(500));
    let before = ended(&gateway);
    let mut client = gateway.client();
    (0..100).for_each(|_| _ = client.get("a", "/reviews/0", &[]).expect("an answer"));
    eventually(PATIENCE, "all are counted", || ended(&gateway) == before + 100);
    let status = json(&gateway, "/status");
    assert_eq!((&target(&status, "v2")["errors"], &target(&status, "v1")["errors"]), (&20.into(), &0.into()));
    let against = &status["splits"][0]["against"][0];
    assert_eq!((&against["target"], &against["baseline"]), (&"v2".into(), &"v1".into()));
    assert_eq!(against["errors"]["value"], 25.0);
    assert!(against["errors"]["low"].as_f64().is_some_and(|low| low > 10.0), "{against:#}");
    let (code, page, _) = trysail(&["status", &admin]);
    assert_eq!(code, Some(0));
    for words in [
        "v2 against v1: errors +25.0 points (",
        "on-ratio",
        "held       nothing",
        "80 %",
        "seed-reviews.yaml:",
    ] {
        assert!(page.contains(words), "{words}\n{page}");
    }
    let (code, text, _) = trysail(&["status", &admin, "-o", "json", "--route", "default/reviews"]);
    let told: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &told["splits"][0]["route"]), (Some(0), &"default/reviews http[0]".into()));
}

#[test]
fn who_is_no_admin_port_is_told_from_one() {
    let other = Origin::start(Answer::version("v1").body("{\"who\": \"another program\"}"));
    let silent = Origin::start(Answer::version("v1").status(404).body(""));
    let (other, silent) = (other.addr().to_string(), silent.addr().to_string());
    for (address, said) in [
        ("127.0.0.1:1", "nobody answers on 127.0.0.1:1: "),
        (&*other, "is another program or version: missing field `revision`"),
        (&*silent, "answers 404, so it is no admin port"),
        ("15000", "\"15000\" is not an address: "),
        ("http://127.0.0.1:15000/", "\"http://127.0.0.1:15000/\" is not an address: "),
    ] {
        for command in
            [&["status", address][..], &["reload", address], &["wait", address, "--revision", "12345678"]]
        {
            let (code, told, error) = trysail(command);
            assert_eq!((code, &*told), (Some(2), ""), "{command:?}: {error}");
            assert!(error.contains(said), "{command:?}: {error}");
        }
    }
}

#[test]
fn a_held_subset_is_told_and_takes_its_share_later() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = Folder::new();
    folder.write("seed.yaml", &weighted(90, 10));
    folder.write("endpoints.yaml", &service_entry(&[("v1", reviews.origins["v1"].addr())]));
    let gateway = Gateway::start(folder.path());
    send(&gateway, 40);
    let status = json(&gateway, "/status");
    let v2 = target(&status, "v2");
    assert_eq!(
        (&v2["verdict"], &v2["effective"], &v2["configured"]),
        (&"held".into(), &0.0.into(), &10.0.into())
    );
    assert_eq!(v2["states"][0], "held");
    assert_eq!(
        (&status["held"][0]["name"], &status["held"][0]["to"][0]),
        (&"reviews v2".into(), &"reviews v1".into())
    );
    assert_eq!(target(&status, "v1")["verdict"], "on-ratio");
    let admin = gateway.logged("admin on ").to_string();
    assert_eq!(trysail(&["status", &admin, "--expect", "default/reviews:v2=10"]).0, Some(1));
    gateway.after(|| folder.write("endpoints.yaml", &reviews.service_entry()), "ready (");
    send(&gateway, 200);
    let v2 = target(&json(&gateway, "/status"), "v2");
    assert_eq!((&v2["requests"], &v2["verdict"]), (&20.into(), &"on-ratio".into()));
    let endpoints = json(&gateway, "/endpoints?q=v2");
    assert_eq!(endpoints["items"][0]["endpoints"][0]["state"], "healthy", "{endpoints:#}");
}

#[test]
fn waiting_is_for_the_last_request_of_the_revision_before() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let admin = gateway.logged("admin on ").to_string();
    let hash = || json(&gateway, "/status")["revision"]["hash"].as_str().expect("a hash").to_owned();
    let first = hash();
    assert_eq!(first.len(), 64);
    assert_eq!(gateway.sum("trysail_config_revision_info", &[&first]), 1.0);
    for version in ["v1", "v2"] {
        reviews.origins[version].set_answer(slow(version));
    }
    thread::scope(|scope| {
        let running = scope.spawn(|| gateway.client().get("a", "/reviews/0", &[]).expect("an answer"));
        let asked = || reviews.origins.values().map(|origin| origin.requests()).sum::<u64>() == 1;
        eventually(PATIENCE, "a request is under way", asked);
        gateway.after(|| folder.write("seed-reviews.yaml", &weighted(70, 30)), "in force after");
        let second = hash();
        let (code, _, said) = trysail(&["wait", &admin, "--revision", &second, "--timeout", "200ms"]);
        let still = format!("still 1 request of {}", &first[..8]);
        assert!(code == Some(1) && said.contains(&still), "{code:?} {said}");
        let (code, said, error) = trysail(&["wait", &admin, "--revision", &second[..8]]);
        assert_eq!(code, Some(0), "{said}{error}");
        let words = format!("{} serves everywhere; the last request of {} ended ", &second[..8], &first[..8]);
        assert!(said.starts_with(&words), "{said}");
        assert_eq!(running.join().expect("a reply").status, 200);
    });
    let (code, _, said) = trysail(&["wait", &admin, "--revision", &"0".repeat(8), "--timeout", "1ms"]);
    assert!(code == Some(1) && said.contains("is in force, not 00000000"), "{said}");
    for wrong in ["nonsense", "1234567", &"0".repeat(65)] {
        let (code, _, said) = trysail(&["wait", &admin, "--revision", wrong]);
        assert!(code == Some(2) && said.contains("write eight or more digits of its hash"), "{said}");
    }
}

#[test]
fn history_tells_what_was_applied_and_refused() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let admin = gateway.logged("admin on ").to_string();
    gateway.after(|| folder.write("seed-reviews.yaml", &weighted(60, 40)), "in force after");
    let good = weighted(60, 40);
    let bad = good.replacen("subset: v2", "subset: v9", 1);
    assert_ne!(good, bad);
    gateway.after(|| folder.write("seed-reviews.yaml", &bad), "revision refused");
    let status = json(&gateway, "/status");
    let since = status["revision"]["since"].clone();
    assert_eq!(status["state"], "refused a change");
    let refused = &status["refused"];
    assert_eq!((&refused["outcome"], &refused["source"]), (&"refused".into(), &"files".into()));
    let finding = &refused["findings"][0];
    assert!(
        finding["code"] == "IST0101"
            && finding["place"].as_str().is_some_and(|it| it.contains("seed-reviews.yaml:"))
    );
    let hash = refused["hash"].as_str().expect("a hash");
    let (code, _, said) = trysail(&["wait", &admin, "--revision", hash, "--timeout", "10s"]);
    assert!(code == Some(1) && said.contains("was refused") && said.contains("IST0101"), "{said}");
    let (code, _, said) = trysail(&["reload", &admin]);
    assert!(code == Some(1) && said.contains("IST0101") && said.contains("refused, "), "{said}");
    assert!(trysail(&["status", &admin]).1.contains("error[IST0101]"));
    // What serves while others are refused does not begin anew once the files say it again.
    gateway.after(|| folder.write("seed-reviews.yaml", &good), "and in force");
    let status = json(&gateway, "/status");
    assert_eq!((&status["state"], &status["revision"]["since"]), (&"serving".into(), &since));
    // Put right, it is in force before the command ends, whoever was the first to see the file.
    folder.write("seed-reviews.yaml", &weighted(55, 45));
    let (code, said, error) = trysail(&["reload", &admin]);
    assert_eq!(code, Some(0), "{said}{error}");
    assert_eq!(target(&json(&gateway, "/status"), "v1")["weight"], 55);
    let revisions = json(&gateway, "/revisions");
    let revisions = revisions.as_array().expect("a list");
    let found: Vec<&str> = revisions.iter().rev().filter_map(|entry| entry["outcome"].as_str()).collect();
    assert_eq!(found, ["applied", "applied", "refused", "applied", "applied"], "{revisions:#?}");
    assert_eq!(revisions[4]["source"], "start");
    assert_eq!(revisions[3]["changes"], "default/reviews http[0] v1 50 → 60, v2 50 → 40");
    assert_eq!(json(&gateway, "/status")["state"], "serving");
}

#[test]
fn lists_are_searched_and_events_tell_what_moves() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let routes = json(&gateway, "/routes?q=REVIEWS+seed");
    assert_eq!(
        (&routes["total"], &routes["items"][0]["matches"][0]),
        (&1.into(), &"/reviews*".into()),
        "{routes:#}"
    );
    assert_eq!(json(&gateway, "/routes?q=nothing-like-it")["total"], 0);
    assert_eq!(json(&gateway, "/routes?from=1")["items"].as_array().map(Vec::len), Some(0));
    assert_eq!(json(&gateway, "/listeners")[0]["port"], 80);
    for (path, status) in [
        ("/weights?route=default/reviews&subset=v7", 404),
        ("/weights?route=default/reviews", 400),
        ("/status?colour=red", 400),
        ("/routes?from=x", 400),
        ("/wait?revision=123", 400),
        ("/reload", 405),
        ("/nothing", 404),
    ] {
        assert_eq!(asked(&gateway, path).0, status, "{path}");
    }
    let mut stream = TcpStream::connect(gateway.logged("admin on ")).expect("the admin port accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut lines = BufReader::new(stream).lines();
    let mut until = |words: &str| {
        let found =
            lines.by_ref().take(2_000).find(|line| line.as_ref().map_or(true, |line| line.contains(words)));
        found.and_then(Result::ok).unwrap_or_else(|| panic!("no {words:?} in the events"))
    };
    until("text/event-stream");
    until("event: status");
    send(&gateway, 64);
    until("\"requests\":64");
    gateway.after(|| folder.write("seed-reviews.yaml", &weighted(60, 40)), "in force after");
    until("event: status");
    until("\"weight\":60");
}
