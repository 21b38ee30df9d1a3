//! Ports open and close while the process runs, as Gateways say.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use trysail_testkit::client::{Client, fetch};
use trysail_testkit::load::Plan;
use trysail_testkit::origin::Answer;

use crate::gateway::{Gateway, PATIENCE, Reviews, SEED};

/// The seed with a second server on port 81.
fn with_second_port() -> String {
    let server =
        "  - port:\n      number: 81\n      name: http-81\n      protocol: HTTP\n    hosts:\n    - \"*\"\n";
    SEED.replacen("    hosts:\n    - \"*\"\n", &format!("    hosts:\n    - \"*\"\n{server}"), 1)
}

#[test]
fn a_port_comes_and_goes_under_load_on_another() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let load =
        Plan::new(gateway.address(), "reviews.test", "/reviews/0").threads(2).max_time(PATIENCE * 4).start();
    for _ in 0..10 {
        gateway.after(|| folder.write("seed-reviews.yaml", &with_second_port()), "in force after");
        let second: SocketAddr = gateway.logged("listening 81 → ");
        let mut kept = Client::connect(second).expect("the second port accepts");
        assert_eq!(kept.get("a", "/reviews/0", &[]).expect("an answer").status, 200);
        gateway.after(|| folder.write("seed-reviews.yaml", SEED), "in force after");
        // On a connection that outlived its port the new revision decides: there is no such port.
        let reply = kept.get("a", "/reviews/0", &[]).expect("an answer");
        assert_eq!((reply.status, reply.header("connection")), (404, Some("close")));
        trysail_testkit::wait::eventually(PATIENCE, "the port is closed", || {
            Client::connect(second).is_err()
        });
    }
    load.stop().assert_all_good();
}

#[test]
fn a_port_in_use_is_a_finding_at_start_and_at_reload() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::spawn(folder.path(), &format!("ports: {{82: {port}}}\n"));
    assert!(gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE).is_some());
    let second = with_second_port().replace("81", "82");
    gateway.after(|| folder.write("seed-reviews.yaml", &second), "error[TRY0008]");
    let said = gateway.process.lines().join("\n");
    assert!(
        said.contains(&format!(
            "port 82, mapped to {port}, can't be opened on 127.0.0.1:{port}: address already in use"
        )),
        "{said}"
    );
    let hint = |line: &str| line.contains("stop what has it, or map it to another: --port 82=PORT");
    assert!(gateway.process.wait_for_line(hint, PATIENCE).is_some());
    assert_eq!(gateway.client().get("a", "/reviews/0", &[]).expect("an answer").status, 200);

    let late = Gateway::spawn(folder.path(), &format!("ports: {{82: {port}}}\n"));
    assert_eq!(late.process.wait(PATIENCE).and_then(|status| status.code()), Some(1));
    drop(taken);
    gateway.after(|| gateway.process.signal_hup().expect("a signal"), "listening 82 → ");
}

#[test]
fn a_process_that_opens_no_port_says_so() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::spawn(folder.path(), "labels: {istio: another}\n");
    let line = |line: &str| line.contains("no port is open, as no Gateway opens one here");
    assert!(gateway.process.wait_for_line(line, PATIENCE).is_some(), "{:?}", gateway.process.lines());
}

#[test]
fn readiness_and_metrics_answer_on_ports_of_their_own() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let (health, metrics) = (gateway.logged("health on "), gateway.logged("metrics on "));
    for (address, path, status) in [
        (health, "/healthz/ready", 200),
        (health, "/metrics", 404),
        (metrics, "/metrics", 200),
        (metrics, "/stats/prometheus", 200),
        (metrics, "/", 404),
    ] {
        assert_eq!(fetch(address, "x", path).expect("an answer").status, status, "{path}");
    }
    let mut client = Client::connect(metrics).expect("metrics accept");
    assert_eq!(client.request("POST", "x", "/metrics", &[], Some(b"")).expect("an answer").status, 405);
}

#[test]
fn sigterm_lets_running_requests_end() {
    let reviews = Reviews::start(&["v1", "v2"]);
    for (name, origin) in &reviews.origins {
        origin.set_answer(Answer::version(name).delay(Duration::from_secs(1)));
    }
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let mut idle = gateway.client();
    assert_eq!(idle.get("a", "/nowhere", &[]).expect("an answer").status, 404);
    let mut slow = gateway.client();
    let waiting = std::thread::spawn(move || slow.get("a", "/reviews/0", &[]));
    let arrived = || reviews.origins.values().map(|origin| origin.received().len()).sum::<usize>() > 0;
    trysail_testkit::wait::eventually(PATIENCE, "the request arrives", arrived);
    let address = gateway.address();
    gateway.process.signal_term().expect("a signal");
    let reply = waiting.join().expect("no panic").expect("the slow request is answered");
    assert_eq!(reply.status, 200);
    assert_eq!(gateway.process.wait(PATIENCE).and_then(|status| status.code()), Some(0));
    assert!(Client::connect(address).is_err());
    assert!(gateway.process.lines().iter().any(|line| line.contains("stopped after")));
}

#[test]
fn a_stop_under_load_cuts_no_connection_that_is_in_use() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let health = gateway.logged("health on ");
    let mut clients: Vec<Client> = (0..8).map(|_| gateway.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("a", "/reviews/0", &[]).expect("an answer").status, 200);
    }
    gateway.process.signal_term().expect("a signal");
    let drains = || fetch(health, "x", "/healthz/ready").is_ok_and(|reply| reply.status == 503);
    trysail_testkit::wait::eventually(PATIENCE, "it says that it drains", drains);
    // Kept connections get one more answer, which says that it is the last.
    for client in &mut clients {
        let reply = client.get("a", "/reviews/0", &[]).expect("an answer");
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    }
    assert_eq!(gateway.process.wait(PATIENCE).and_then(|status| status.code()), Some(0));
}

#[test]
fn a_reload_asked_for_during_the_start_is_not_the_end() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::spawn(folder.path(), "");
    assert!(gateway.process.wait_for_line(|line| line.contains("revision"), PATIENCE).is_some());
    gateway.process.signal_hup().expect("a signal");
    assert!(gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE).is_some());
    assert_eq!(gateway.client().get("a", "/reviews/0", &[]).expect("an answer").status, 200);
}
