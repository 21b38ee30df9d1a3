//! Ceilings of connection pools: who waits, who is refused, and what connections may carry.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use trysail_testkit::client::{Client, Reply};
use trysail_testkit::folder::Folder;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, HTTP, PATIENCE, service_entry, shop};

/// Everything to one host, with this policy.
pub(crate) fn site(endpoints: &[SocketAddr], policy: &str, rule: &str) -> Folder {
    let folder = Folder::new();
    let rules = format!("  http:\n  - route: [{{destination: {{host: reviews}}}}]\n{rule}");
    folder.write("route.yaml", &shop(HTTP, &rules));
    let endpoints: Vec<(&str, SocketAddr)> = endpoints.iter().map(|address| ("v1", *address)).collect();
    folder.write("endpoints.yaml", &service_entry(&endpoints));
    if !policy.is_empty() {
        folder.write("rule.yaml", &self::rule(policy));
    }
    folder
}

const SLOW: Duration = Duration::from_millis(400);

fn slow() -> Answer {
    Answer::version("v1").delay(SLOW)
}

/// Several GETs at a time, each on a connection of its own.
fn at_once(address: SocketAddr, requests: usize) -> Vec<Reply> {
    let ask = || Client::connect(address)?.get("shop.test", "/", &[]);
    thread::scope(|scope| {
        let asked: Vec<_> = (0..requests).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|one| one.join().expect("no panic").expect("an answer")).collect()
    })
}

#[test]
fn over_the_ceilings_requests_wait_or_are_refused() {
    let origin = Origin::start(slow());
    let folder = site(&[origin.addr()], "", "");
    // (policy, requests at once, answered, refused, limit)
    let rows = [
        ("connectionPool: {http: {http2MaxRequests: 2}}", 5, 2, 3, "requests"),
        (
            "connectionPool: {tcp: {maxConnections: 2}, http: {http1MaxPendingRequests: 1}}",
            5,
            3,
            2,
            "pending",
        ),
        ("connectionPool: {tcp: {maxConnections: 2}}", 5, 5, 0, "pending"),
        ("connectionPool: {http: {http1MaxPendingRequests: 1}}", 5, 5, 0, "pending"),
    ];
    folder.write("rule.yaml", &rule(rows[0].0));
    let gateway = Gateway::start(folder.path());
    let mut refused_before = 0.0;
    for (n, (policy, requests, answered, refused, limit)) in rows.into_iter().enumerate() {
        if n > 0 {
            gateway.after(|| folder.write("rule.yaml", &rule(policy)), "in force");
        }
        let (opened, before) = (origin.accepts(), origin.requests());
        let began = Instant::now();
        let replies = at_once(gateway.address(), requests);
        let good = replies.iter().filter(|reply| reply.status == 200).count();
        assert_eq!((good, replies.len() - good), (answered, refused), "{policy}");
        for reply in replies.iter().filter(|reply| reply.status != 200) {
            assert_eq!((reply.status, reply.header("x-envoy-overloaded")), (503, Some("true")));
            assert!(reply.text().ends_with("reset reason: overflow"), "{}", reply.text());
        }
        assert_eq!((origin.requests() - before) as usize, answered, "the refused go nowhere");
        if policy.contains("maxConnections") {
            assert!(origin.accepts() - opened <= 2 && origin.open() <= 5, "{policy}");
            assert!(began.elapsed() >= SLOW * 2, "the third waits for the first");
        }
        refused_before += refused as f64;
        let flagged = ["response_flags=\"UO\"", "response_code=\"503\""];
        eventually(PATIENCE, "UO", || gateway.sum("istio_requests_total", &flagged) == refused_before);
        if refused > 0 {
            let limit = format!("limit=\"{limit}\"");
            let service = "destination_service=\"reviews.default.svc.cluster.local\"";
            assert_eq!(gateway.sum("trysail_overflow_total", &[&limit, service]), refused as f64);
        }
    }
}

fn rule(policy: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: reviews}}\nspec:\n  host: reviews\n  trafficPolicy: {{{policy}}}\n"
    )
}

#[test]
fn who_waits_has_its_time_and_may_leave() {
    let origin = Origin::start(Answer::version("v1").delay(Duration::from_secs(4)));
    let policy = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}";
    let folder = site(&[origin.addr()], policy, "");
    let timed = "  http:\n  - match: [{uri: {exact: /timed}}]\n    timeout: 600ms\n    route: [{destination: {host: reviews}}]\n";
    let route = std::fs::read_to_string(folder.path().join("route.yaml")).expect("it was written");
    folder.write("route.yaml", &route.replacen("  http:\n", timed, 1));
    let gateway = Gateway::start(folder.path());
    let address = gateway.address();
    let ask = move |path: &str| Client::connect(address)?.get("shop.test", path, &[]);
    let busy = thread::spawn(move || ask("/"));
    eventually(PATIENCE, "one is under way", || origin.requests() == 1);
    let late = ask("/timed").expect("an answer");
    assert_eq!((late.status, late.text().as_str()), (504, "upstream request timeout"));

    let mut leaver = TcpStream::connect(address).expect("the gateway accepts");
    std::io::Write::write_all(&mut leaver, b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").expect("sent");
    // It has no answer, so it waits; and then there is no place for another.
    leaver.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
    assert!(leaver.peek(&mut [0]).is_err());
    assert_eq!(ask("/timed").expect("an answer").status, 503);
    drop(leaver);
    let gone = ["response_flags=\"DC\""];
    eventually(PATIENCE, "it has left", || gateway.sum("istio_requests_total", &gone) == 1.0);
    assert_eq!(ask("/").expect("an answer").status, 200);
    assert_eq!(busy.join().expect("no panic").expect("an answer").status, 200);
    assert_eq!(origin.requests(), 2, "who left or was late never went on");
}

#[test]
fn every_endpoint_has_one_connection_over_the_ceiling() {
    let origins = [Origin::start(slow()), Origin::start(slow())];
    let policy = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}, loadBalancer: {simple: ROUND_ROBIN}";
    let folder = site(&[origins[0].addr(), origins[1].addr()], policy, "");
    let gateway = Gateway::start(folder.path());
    let began = Instant::now();
    let replies = at_once(gateway.address(), 2);
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert!(began.elapsed() < SLOW * 2, "both at once");
}

#[test]
fn retries_are_held_back() {
    // Whoever asks is refused with what the policy would try again.
    let origin = Origin::start(Answer::version("v1").status(503).delay(Duration::from_millis(200)));
    let folder = site(
        &[origin.addr()],
        "connectionPool: {http: {maxRetries: 1}}",
        "    retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}\n",
    );
    let gateway = Gateway::start(folder.path());
    assert_eq!(gateway.sum("trysail_retries_allowed", &["subset=\"\""]), 1.0);
    let replies = thread::scope(|scope| {
        let asked = scope.spawn(|| at_once(gateway.address(), 4));
        eventually(PATIENCE, "a retry under way", || gateway.sum("trysail_retries_active", &[]) == 1.0);
        asked.join().expect("no panic")
    });
    assert!(replies.iter().all(|reply| reply.status == 503));
    assert!(replies.iter().all(|reply| reply.header("x-envoy-overloaded").is_none()), "an upstream's own");
    let of = |flag: &str| gateway.sum("istio_requests_total", &[&format!("response_flags=\"{flag}\"")]);
    eventually(PATIENCE, "four answers", || of("UO") + of("URX") == 4.0);
    let (made, held) = (of("URX"), of("UO"));
    assert!(made >= 1.0 && held >= 1.0, "{made} {held}");
    let retries = |result: &str| {
        let subset = "subset=\"\"";
        gateway.sum("trysail_retries_total", &[&format!("result=\"{result}\""), subset])
    };
    assert_eq!([retries("made"), retries("exhausted"), retries("overflow")], [made, made, held]);
    assert_eq!(gateway.sum("trysail_overflow_total", &["limit=\"retries\""]), held);
    assert_eq!(origin.requests() as f64, 4.0 + made);
}

#[test]
fn connections_end_when_they_have_carried_enough() {
    let origin = Origin::start(Answer::version("v1"));
    let folder = site(&[origin.addr()], "connectionPool: {http: {maxRequestsPerConnection: 1}}", "");
    let gateway = Gateway::start(folder.path());
    for (policy, requests, connections) in [
        ("", 6, 6),
        ("connectionPool: {http: {maxRequestsPerConnection: 3}}", 9, 3),
        ("connectionPool: {tcp: {maxConnectionDuration: 1h}}", 5, 1),
    ] {
        if !policy.is_empty() {
            gateway.after(|| folder.write("rule.yaml", &rule(policy)), "in force");
        }
        let before = origin.accepts();
        // One client, whose next request is not read before the last has given its connection back.
        let mut client = gateway.client();
        for _ in 0..requests {
            assert_eq!(client.get("shop.test", "/", &[]).expect("an answer").status, 200);
        }
        assert_eq!(origin.accepts() - before, connections, "{policy}");
    }
    // One that is too old carries one more at most.
    let old = rule("connectionPool: {tcp: {maxConnectionDuration: 1ms}}");
    gateway.after(|| folder.write("rule.yaml", &old), "in force");
    for _ in 0..4 {
        assert_eq!(gateway.client().get("shop.test", "/", &[]).expect("an answer").status, 200);
    }
    eventually(PATIENCE, "all are closed", || origin.open() == 0);
}

#[test]
fn bytes_over_the_ceiling_are_not_passed_on() {
    let echo = crate::timeout::talker("");
    let folder = site(&[echo], "connectionPool: {tcp: {maxConnections: 1}}", "");
    let tcp = "port: {number: 80, name: tcp, protocol: TCP}";
    let rules = "  tcp: [{route: [{destination: {host: reviews}}]}]\n";
    folder.write("route.yaml", &shop(tcp, rules));
    let gateway = Gateway::start(folder.path());
    let connect = || {
        let mut stream = TcpStream::connect(gateway.address()).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        // One that is closed at once may not even take it.
        let sent = std::io::Write::write_all(&mut stream, b"\r\necho").is_ok();
        let mut bytes = [0; 4];
        let echoed = sent && stream.read_exact(&mut bytes).is_ok() && &bytes == b"echo";
        (stream, echoed)
    };
    let (first, echoed) = connect();
    assert!(echoed);
    assert!(!connect().1, "there is one");
    assert_eq!(gateway.sum("trysail_overflow_total", &["limit=\"connections\""]), 1.0);
    drop(first);
    eventually(PATIENCE, "the place is free again", || connect().1);
}
