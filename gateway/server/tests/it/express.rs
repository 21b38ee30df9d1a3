//! The express lane: which requests go by it, and what becomes of connections behind answers of every kind.
//!
//! What goes over the wire on both lanes alike is in `tests/wire`; every other test here is asked of this lane, and
//! by `make pingora` of the other.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use trysail_testkit::client::Client;
use trysail_testkit::folder::Folder;
use trysail_testkit::wait::eventually;

use crate::gateway::{EXPRESS, Gateway, HTTP, PATIENCE, service_entry, shop};
use crate::limits::site;

/// An upstream that says what it is told to, and counts its connections.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    pub(crate) state: Arc<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// What it says to a request; nothing to leave it waiting.
    says: Mutex<String>,
    /// Said once more, behind an answer, when it was heard.
    unasked: Mutex<Option<String>>,
    pub(crate) opened: AtomicUsize,
    pub(crate) ended: AtomicUsize,
    /// Bytes of bodies that came.
    pub(crate) bodies: AtomicUsize,
    pub(crate) asked: AtomicUsize,
}

/// It says nothing for now.
pub(crate) const HOLD: &str = "HOLD";

pub(crate) const GOOD: &str = "HTTP/1.1 200 OK|Content-Length: 4||good";

impl Upstream {
    pub(crate) fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port can be bound");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State::default());
        state.say(GOOD);
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                state.opened.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    let _ = state.serve(&stream);
                    state.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Upstream { addr, state }
    }

    pub(crate) fn opened(&self) -> usize {
        self.state.opened.load(Ordering::SeqCst)
    }
}

impl State {
    pub(crate) fn say(&self, text: &str) {
        *self.says.lock().expect("no panic") = text.to_owned();
    }

    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let (mut length, mut line) = (0, String::new());
            while line != "\r\n" {
                line.clear();
                if reader.read_line(&mut line)? == 0 {
                    return Ok(());
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
            }
            self.asked.fetch_add(1, Ordering::SeqCst);
            let says = || self.says.lock().expect("no panic").clone();
            eventually(PATIENCE, "it may speak", || says() != HOLD);
            let says = says();
            let early = says.starts_with("EARLY ");
            let mut say = || {
                let text = says.trim_start_matches("EARLY ");
                let (text, close) = text.strip_suffix("<close>").map_or((text, false), |text| (text, true));
                stream.write_all(text.replace('|', "\r\n").as_bytes()).map(|()| close)
            };
            let mut close = early && say()?;
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            self.bodies.fetch_add(length, Ordering::SeqCst);
            close |= !early && say()?;
            if close {
                return Ok(());
            }
            if let Some(unasked) = self.unasked.lock().expect("no panic").take() {
                stream.write_all(unasked.replace('|', "\r\n").as_bytes())?;
            }
        }
    }
}

/// A gateway with the lane open before one upstream.
pub(crate) fn start(upstream: &Upstream) -> (Folder, Gateway) {
    let folder = site(&[upstream.addr], "", "    timeout: 10s\n    retries: {attempts: 0}\n");
    let gateway = ready(&folder);
    (folder, gateway)
}

pub(crate) fn ready(folder: &Folder) -> Gateway {
    let gateway = Gateway::spawn(folder.path(), EXPRESS);
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
    gateway
}

pub(crate) fn by_express(gateway: &Gateway) -> f64 {
    gateway.sum("trysail_express_requests_total", &[])
}

/// `status body`, or `cut` where an answer did not come whole.
fn ask(gateway: &Gateway, method: &str) -> String {
    let reply = gateway.client().request(method, "shop.test", "/", &[], None);
    match reply {
        Ok(reply) => format!("{} {}", reply.status, reply.text()),
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
            "cut".to_owned()
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_connection_is_used_again_only_behind_an_answer_that_has_ended() {
    answers_of_every_kind(ask);
}

/// An answer that did not come whole is told as `cut`.
pub(crate) fn answers_of_every_kind(ask: fn(&Gateway, &str) -> String) {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    assert_eq!(ask(&gateway, "GET"), "200 good");
    let long = format!("HTTP/1.1 200 OK|X: {}|Content-Length: 2||ok", "x".repeat(1 << 21));
    let interim = format!("{}{GOOD}", "HTTP/1.1 102 Processing||".repeat(16));
    let endless = format!("{}{GOOD}", "HTTP/1.1 102 Processing||".repeat(17));
    let wrong = "502 upstream connect error or disconnect/reset before headers. reset reason: protocol error";
    let mut asked = 1.0;
    for (method, answer, seen, again) in [
        ("GET", GOOD, "200 good", true),
        ("GET", "HTTP/1.1 200 OK|Content-Length: 0||", "200 ", true),
        ("GET", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||4;x=y|good|0||", "200 good", true),
        ("GET", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||4|good|0|x-trailer: 1||", "200 good", true),
        ("GET", "HTTP/1.1 204 No Content||", "204 ", true),
        ("GET", "HTTP/1.1 304 Not Modified|Content-Length: 4||", "304 ", true),
        ("HEAD", "HTTP/1.1 200 OK|Content-Length: 4||", "200 ", true),
        ("HEAD", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||", "200 ", true),
        (
            "GET",
            "HTTP/1.1 103 Early Hints|Link: </a>||HTTP/1.1 200 OK|Content-Length: 4||good",
            "200 good",
            true,
        ),
        ("GET", &interim, "200 good", true),
        // It says that it ends, or does.
        ("GET", "HTTP/1.1 200 OK|Content-Length: 4|Connection: close||good", "200 good", false),
        ("GET", "HTTP/1.1 200 OK|Content-Length: 4|Connection: x, Close||good", "200 good", false),
        ("GET", "HTTP/1.0 200 OK|Content-Length: 4||good", "200 good", false),
        ("GET", "HTTP/1.1 200 OK||good<close>", "200 good", false),
        ("GET", "HTTP/1.1 200 OK|Content-Length: 4||good<close>", "200 good", false),
        // More than the answer.
        ("GET", "HTTP/1.1 200 OK|Content-Length: 4||good!", "200 good", false),
        (
            "GET",
            "HTTP/1.1 200 OK|Content-Length: 4||goodHTTP/1.1 200 OK|Content-Length: 4||evil",
            "200 good",
            false,
        ),
        ("GET", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||4|good|0||HTTP/1.1 200 OK||", "200 good", false),
        ("GET", "HTTP/1.1 204 No Content|Content-Length: 4||good", "204 ", false),
        ("GET", "HTTP/1.1 304 Not Modified|Content-Length: 4||good", "304 ", false),
        ("HEAD", "HTTP/1.1 200 OK|Content-Length: 4||good", "200 ", false),
        // Two ends: by the coding, and no further.
        (
            "GET",
            "HTTP/1.1 200 OK|Content-Length: 9|Transfer-Encoding: chunked||4|good|0||",
            "200 good",
            false,
        ),
        // Not whole, or not to be understood.
        ("GET", "HTTP/1.1 200 OK|Content-Length: 5||good<close>", "cut", false),
        ("GET", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||4|good|<close>", "cut", false),
        ("GET", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||4|good+0||", "cut", false),
        ("GET", "HTTP/1.1 200 OK|Transfer-Encoding: chunked||-4|good|0||", "cut", false),
        ("GET", "HTTP/1.1 200 OK|Transfer-Encoding: gzip||good<close>", wrong, false),
        ("GET", "HTTP/1.1 200 OK|Content-Length: 4|Content-Length: 5||good", wrong, false),
        ("GET", "HTTP/1.1 200 OK|Content-Length: -4||good", wrong, false),
        ("GET", "HTTP/1.1 101 Switching Protocols|Upgrade: websocket|Connection: Upgrade||", wrong, false),
        ("GET", "HTTP/3 200 OK||", wrong, false),
        ("GET", &long, wrong, false),
        ("GET", &endless, wrong, false),
    ] {
        let before = upstream.opened();
        upstream.state.say(answer);
        assert_eq!(ask(&gateway, method), seen, "{answer:.80}");
        upstream.state.say(GOOD);
        assert_eq!(ask(&gateway, "GET"), "200 good", "after {answer:.80}");
        assert_eq!(upstream.opened() == before, again, "after {answer:.80}");
        asked += 2.0;
    }
    assert_eq!(by_express(&gateway), asked);
}

#[test]
fn what_is_said_unasked_ends_a_connection_that_waits() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    *upstream.state.unasked.lock().expect("no panic") =
        Some("HTTP/1.1 200 OK|Content-Length: 4||evil".to_owned());
    assert_eq!(ask(&gateway, "GET"), "200 good");
    eventually(PATIENCE, "it is closed", || upstream.state.ended.load(Ordering::SeqCst) == 1);
    assert_eq!(ask(&gateway, "GET"), "200 good");
    assert_eq!(upstream.opened(), 2);
}

#[test]
fn a_client_that_goes_takes_its_upstream_connection_with_it() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    upstream.state.say("");
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").expect("it takes a request");
    eventually(PATIENCE, "the upstream is asked", || upstream.state.asked.load(Ordering::SeqCst) == 1);
    drop(client);
    eventually(PATIENCE, "its connection ends", || upstream.state.ended.load(Ordering::SeqCst) == 1);
    let labels = ["response_code=\"0\"", "response_flags=\"DC\""];
    eventually(PATIENCE, "it is counted", || gateway.sum("istio_requests_total", &labels) == 1.0);
}

#[test]
fn a_request_that_comes_while_another_is_served_is_the_next() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    upstream.state.say(HOLD);
    let mut client = gateway.client();
    client.send(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").expect("it takes a request");
    eventually(PATIENCE, "the upstream is asked", || upstream.state.asked.load(Ordering::SeqCst) == 1);
    client.send(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").expect("it takes another");
    upstream.state.say(GOOD);
    for connection in ["keep-alive", "close"] {
        let reply = client.read_reply(false).expect("an answer");
        assert_eq!((reply.status, reply.header("connection")), (200, Some(connection)));
    }
    assert!(client.read_reply(false).is_err(), "the connection ends");
    assert_eq!(by_express(&gateway), 2.0);
}

#[test]
fn an_answer_that_comes_before_the_body_is_passed_on_at_once() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    upstream.state.say(&format!("EARLY {GOOD}"));
    let mut client = gateway.client();
    client.send(b"POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 100000\r\n\r\n").expect("a head");
    let reply = client.read_reply(false).expect("an answer");
    assert_eq!((reply.status, reply.text().as_str()), (200, "good"));
    // What is still to come has no place behind it.
    assert_eq!(reply.header("connection"), Some("close"));
    client.send(&vec![b'x'; 100_000]).expect("the body is taken");
    eventually(PATIENCE, "it goes on", || upstream.state.bodies.load(Ordering::SeqCst) == 100_000);
    assert!(client.read_reply(false).is_err(), "the connection ends");
}

#[test]
fn bodies_of_a_known_length_go_with_their_heads() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    let mut sent = 0;
    for size in [0, 1, 1024, 8 * 1024, 8 * 1024 + 1, 300_000] {
        let mut client = gateway.client();
        let body = vec![b'x'; size];
        for _ in 0..2 {
            let reply = client.request("POST", "shop.test", "/", &[], Some(&body)).expect("an answer");
            assert_eq!((reply.status, reply.text().as_str()), (200, "good"), "{size}");
        }
        sent += 2 * size;
        assert_eq!(upstream.state.bodies.load(Ordering::SeqCst), sent, "{size}");
    }
    assert_eq!(by_express(&gateway), 12.0);
    assert_eq!(upstream.opened(), 1);
    eventually(PATIENCE, "they are counted", || gateway.sum("istio_request_bytes_count", &[]) == 12.0);
    assert!(gateway.sum("istio_request_bytes_sum", &[]) > sent as f64);
}

#[test]
fn who_meets_a_ceiling_waits_or_is_refused() {
    let upstream = Upstream::start();
    let policy = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}";
    let folder = site(&[upstream.addr], policy, "    timeout: 10s\n    retries: {attempts: 0}\n");
    let timed = "  http:\n  - match: [{uri: {exact: /timed}}]\n    timeout: 20ms\n    route: [{destination: {host: reviews}}]\n";
    let route = std::fs::read_to_string(folder.path().join("route.yaml")).expect("it was written");
    folder.write("route.yaml", &route.replacen("  http:\n", timed, 1));
    let gateway = ready(&folder);
    // One more is refused where somebody waits, and waits in vain where nobody does.
    let waits = |somebody| {
        let status = if somebody { 503 } else { 504 };
        let asked = || gateway.client().get("shop.test", "/timed", &[]).expect("an answer").status;
        eventually(PATIENCE, "the queue is as it should be", || asked() == status);
    };
    // Who asks before it is there would take its place.
    let send = |client: &mut Client, bytes: &[u8]| {
        let before = by_express(&gateway);
        client.send(bytes).expect("it takes a request");
        eventually(PATIENCE, "it is there", || by_express(&gateway) > before);
    };
    upstream.state.say(HOLD);
    let get = b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";
    let post = b"POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\n\r\n";
    let [mut busy, mut leaver, mut refused, mut next] = [(); 4].map(|()| gateway.client());
    busy.send(get).expect("it takes a request");
    eventually(PATIENCE, "the upstream is asked", || upstream.state.asked.load(Ordering::SeqCst) == 1);
    // One that waits for the rest of its body can be seen to go too.
    send(&mut leaver, post);
    waits(true);
    refused.send(post).expect("it takes a head");
    let reply = refused.read_reply(false).expect("an answer");
    assert_eq!((reply.status, reply.header("x-envoy-overloaded")), (503, Some("true")));
    assert_eq!(reply.header("connection"), Some("close"), "half a request");
    assert!(reply.text().ends_with("reset reason: overflow"), "{}", reply.text());
    drop(leaver);
    waits(false);
    let gone = ["response_flags=\"DC\""];
    eventually(PATIENCE, "it has left", || gateway.sum("istio_requests_total", &gone) == 1.0);
    // Who was refused with all of its request may ask again.
    send(&mut next, &[&post[..], b"hello"].concat());
    waits(true);
    let mut refused = gateway.client();
    refused.send(&[&post[..], b"hello"].concat()).expect("it takes a request");
    let reply = refused.read_reply(false).expect("an answer");
    assert_eq!((reply.status, reply.header("connection")), (503, Some("keep-alive")));
    upstream.state.say(GOOD);
    for client in [&mut busy, &mut next] {
        assert_eq!(client.read_reply(false).expect("an answer").text(), "good");
    }
    refused.send(get).expect("it takes another");
    assert_eq!(refused.read_reply(false).expect("an answer").text(), "good");
    assert_eq!((upstream.opened(), upstream.state.bodies.load(Ordering::SeqCst)), (1, 5));
    eventually(PATIENCE, "all are counted", || {
        gateway.sum("istio_requests_total", &[]) == by_express(&gateway)
    });
}

#[test]
fn the_kernel_looks_after_connections_that_are_to_be_probed() {
    let upstream = Upstream::start();
    let policy = "connectionPool: {tcp: {tcpKeepalive: {time: 60s, interval: 10s, probes: 3}}}";
    let folder = site(&[upstream.addr], policy, "");
    let gateway = ready(&folder);
    assert_eq!(ask(&gateway, "GET"), "200 good");
    assert_eq!((by_express(&gateway), upstream.opened()), (1.0, 1));
    // Its line ends on the upstream's port; a timer of kind 2 is a probe's.
    let remote = format!(":{:04X}", upstream.addr.port());
    let probed = || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the kernel tells");
        sockets.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields.get(2).is_some_and(|to| to.ends_with(&remote))
                && fields.get(5).is_some_and(|timer| timer.starts_with("02:"))
        })
    };
    eventually(PATIENCE, "it is probed", probed);
}

#[test]
fn what_needs_more_goes_the_other_way() {
    let upstream = Upstream::start();
    let folder = Folder::new();
    let route = "route: [{destination: {host: reviews}}]";
    let rule = |path: &str, more: &str| {
        format!("  - match: [{{uri: {{prefix: {path}}}}}]\n    {route}\n    {more}\n")
    };
    let rules = [
        rule("/fault", "fault: {abort: {httpStatus: 418, percentage: {value: 0.0001}}}"),
        rule("/cors", "corsPolicy: {allowOrigins: [{exact: https://a.test}]}"),
        rule("/mirror", "mirror: {host: reviews}"),
        rule("/headers", "headers: {request: {set: {x-a: \"1\"}}, response: {add: {x-b: \"2\"}}}"),
        rule("/rewrite", "rewrite: {uri: /b, authority: other.test}"),
        rule("/retries", "retries: {attempts: 3, retryOn: 5xx, perTryTimeout: 2s}"),
        "  - match: [{uri: {prefix: /redirect}}]\n    redirect: {uri: /a}\n".to_owned(),
        "  - match: [{uri: {prefix: /direct}}]\n    directResponse: {status: 299}\n".to_owned(),
        format!("  - {route}\n"),
    ];
    folder.write("route.yaml", &shop(HTTP, &format!("  http:\n{}", rules.concat())));
    folder.write("endpoints.yaml", &service_entry(&[("v1", upstream.addr)]));
    let gateway = ready(&folder);
    for (request, status, express) in [
        ("GET / HTTP/1.1|Host: a||", 200, true),
        ("HEAD / HTTP/1.1|Host: a||", 200, true),
        ("GET /headers HTTP/1.1|Host: a||", 200, true),
        ("GET /rewrite HTTP/1.1|Host: a||", 200, true),
        ("GET /cors HTTP/1.1|Host: a||", 200, true),
        ("GET /cors HTTP/1.1|Host: a|Origin: https://a.test||", 200, true),
        ("GET /cors HTTP/1.1|Host: a|Origin: https://b.test||", 200, true),
        (
            "OPTIONS /cors HTTP/1.1|Host: a|Origin: https://a.test|Access-Control-Request-Method: PUT||",
            200,
            true,
        ),
        ("GET /retries HTTP/1.1|Host: a||", 200, true),
        ("GET /a/../b?c HTTP/1.1|Host: a||", 200, true),
        ("GET http://a/b HTTP/1.1|Host: a||", 200, true),
        ("GET / HTTP/1.1|Host: a|Connection: keep-alive, X-A|Keep-Alive: 5|TE: trailers|X-A: 1||", 200, true),
        ("POST / HTTP/1.1|Host: a|Content-Length: 2||hi", 200, true),
        ("GET /fault HTTP/1.1|Host: a||", 200, false),
        ("GET /mirror HTTP/1.1|Host: a||", 200, false),
        ("GET /redirect HTTP/1.1|Host: a||", 301, true),
        ("GET /direct HTTP/1.1|Host: a||", 299, true),
        ("POST /direct HTTP/1.1|Host: a|Content-Length: 2||hi", 299, true),
        ("GET / HTTP/1.0|Host: a||", 200, false),
        ("POST / HTTP/1.1|Host: a|Expect: 100-continue|Content-Length: 2||hi", 200, false),
        ("POST / HTTP/1.1|Host: a|Content-Type: application/grpc|Content-Length: 0||", 200, false),
        ("GET / HTTP/1.1|Host: a|X-Trysail-Explain: 1||", 200, false),
        ("GET /%00 HTTP/1.1|Host: a||", 400, false),
        ("OPTIONS * HTTP/1.1|Host: a||", 404, false),
    ] {
        let before = by_express(&gateway);
        let mut client = Client::connect(gateway.address()).expect("the gateway accepts");
        let reply = client.send_raw(request.replace('|', "\r\n").as_bytes()).expect("an answer");
        assert_eq!(reply.status, status, "{request}");
        assert_eq!(by_express(&gateway) - before, f64::from(u8::from(express)), "{request}");
    }
}
