//! The express lane for HTTP/2: which streams go by it, and how they end, with bodies of every size either way.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use trysail_testkit::folder::Folder;
use trysail_testkit::wait::eventually;

use crate::express::{GOOD, HOLD, Upstream, answers_of_every_kind, by_express, ready, start};
use crate::gateway::{Gateway, HTTP, PATIENCE, service_entry, shop};
use crate::limits::site;

/// A connection of a client's.
struct Client {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

impl Client {
    async fn connect(gateway: &Gateway) -> Client {
        let stream = TcpStream::connect(gateway.address()).await.expect("the gateway accepts");
        let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let connection = tokio::spawn(async move { drop(connection.await) });
        Client { requests, connection }
    }

    /// Sends a head, `METHOD /path` and fields.
    async fn send(&mut self, request: &str, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut parts = request.split('|');
        let (method, path) = parts.next().and_then(|line| line.split_once(' ')).expect("a line");
        let mut head = Request::builder().method(method).uri(format!("http://shop.test{path}"));
        for (name, value) in parts.filter_map(|field| field.split_once(": ")) {
            head = head.header(name, value);
        }
        let head = head.body(()).expect("a request");
        self.requests = self.requests.clone().ready().await.expect("the connection is good");
        self.requests.send_request(head, ends).expect("it goes out")
    }

    /// Sends a request whose body is as long as it says, and reads its answer.
    async fn ask(&mut self, request: &str, body: &[u8]) -> String {
        let told = format!("{request}|content-length: {}", body.len());
        let request = if body.is_empty() { request } else { &told };
        let (answer, mut upload) = self.send(request, body.is_empty()).await;
        if !body.is_empty() {
            give(&mut upload, body).await;
        }
        told_of(answer).await
    }
}

/// Sends a body to its end, as there is room for it.
async fn give(upload: &mut SendStream<Bytes>, body: &[u8]) {
    let mut rest = Bytes::copy_from_slice(body);
    while !rest.is_empty() {
        upload.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|cx| upload.poll_capacity(cx)).await;
        let room = room.expect("its stream is good").expect("its stream is good");
        let piece = rest.split_to(room.min(rest.len()));
        upload.send_data(piece, rest.is_empty()).expect("it goes out");
    }
}

/// `status body`, or `cut` where an answer did not come whole.
async fn told_of(answer: ResponseFuture) -> String {
    match answer.await {
        Ok(answer) => match whole(answer).await {
            (status, Ok(body)) => format!("{status} {}", String::from_utf8_lossy(&body)),
            (_, Err(Some(Reason::CANCEL))) => "cut".to_owned(),
            (_, Err(other)) => format!("{other:?}"),
        },
        Err(error) => format!("{:?}", error.reason()),
    }
}

async fn whole(answer: Response<RecvStream>) -> (u16, Result<Vec<u8>, Option<Reason>>) {
    let (head, mut body) = answer.into_parts();
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
        assert!(!head.headers.contains_key(name), "{name}");
    }
    assert_eq!(head.headers.get_all("date").iter().count(), 1);
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => {
                bytes.extend_from_slice(&piece);
                let _ = body.flow_control().release_capacity(piece.len());
            }
            Err(error) => return (head.status.as_u16(), Err(error.reason())),
        }
    }
    (head.status.as_u16(), Ok(bytes))
}

fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(PATIENCE, test).await.expect("it ends") })
}

fn ended(upstream: &Upstream) -> usize {
    upstream.state.ended.load(Ordering::SeqCst)
}

fn wait_until_asked(upstream: &Upstream, times: usize) {
    eventually(PATIENCE, "the upstream is asked", || upstream.state.asked.load(Ordering::SeqCst) == times);
}

#[test]
fn streams_end_as_their_answers_do() {
    answers_of_every_kind(|gateway, method| {
        run(async { Client::connect(gateway).await.ask(&format!("{method} /"), &[]).await })
    });
}

#[test]
fn bodies_of_a_known_length_are_taken_as_they_come() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    let mut sent = 0;
    run(async {
        let mut client = Client::connect(&gateway).await;
        for size in [0, 1, 1024, 16 * 1024, 16 * 1024 + 1, 300_000, 4_000_000] {
            for _ in 0..2 {
                assert_eq!(client.ask("POST /", &vec![b'x'; size]).await, "200 good", "{size}");
            }
            sent += 2 * size;
            assert_eq!(upstream.state.bodies.load(Ordering::SeqCst), sent, "{size}");
        }
        // Its end comes by itself, behind its last byte.
        let (answer, mut upload) = client.send("POST /|content-length: 4", false).await;
        upload.send_data("some".into(), false).expect("it goes out");
        let answer = answer.await.expect("an answer");
        assert_eq!(whole(answer).await, (200, Ok(b"good".to_vec())));
        upload.send_data(Bytes::new(), true).expect("nobody told it to stop");
    });
    assert_eq!(by_express(&gateway), 15.0);
    assert_eq!(upstream.opened(), 1);
}

#[test]
fn a_client_that_gives_up_a_stream_takes_its_upstream_connection_with_it() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    // Before an answer, within one, and within a body.
    for (nth, request, says) in [
        (1, "GET /", ""),
        (2, "GET /", "HTTP/1.1 200 OK|Content-Length: 9||some"),
        (3, "POST /|content-length: 9", "EARLY "),
    ] {
        upstream.state.say(says);
        run(async {
            let mut client = Client::connect(&gateway).await;
            let (answer, mut upload) = client.send(request, nth < 3).await;
            wait_until_asked_beside(&upstream, nth).await;
            if nth == 2 {
                let mut answer = answer.await.expect("a head");
                assert_eq!(answer.body_mut().data().await.expect("a piece").expect("a piece"), "some");
            }
            upload.send_reset(Reason::CANCEL);
            tokio::task::spawn_blocking({
                let state = upstream.state.clone();
                move || eventually(PATIENCE, "it ends", || state.ended.load(Ordering::SeqCst) == nth)
            })
            .await
            .expect("no panic");
            // Its connection is as good as before.
            upstream.state.say(GOOD);
            assert!(!client.connection.is_finished());
        });
    }
    eventually(PATIENCE, "they are counted", || {
        gateway.sum("istio_requests_total", &["response_flags=\"DC\""]) == 3.0
    });
}

/// The connection goes on meanwhile.
async fn wait_until_asked_beside(upstream: &Upstream, times: usize) {
    let state = upstream.state.clone();
    let wait = move || eventually(PATIENCE, "it is asked", || state.asked.load(Ordering::SeqCst) == times);
    tokio::task::spawn_blocking(wait).await.expect("no panic");
}

#[test]
fn of_streams_that_meet_a_ceiling_one_waits_and_may_leave() {
    let upstream = Upstream::start();
    let policy = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}";
    let folder = site(&[upstream.addr], policy, "    retries: {attempts: 0}\n");
    let gateway = Arc::new(ready(&folder));
    upstream.state.say(HOLD);
    run(async {
        let mut client = Client::connect(&gateway).await;
        let (busy, _) = client.send("GET /", true).await;
        wait_until_asked_beside(&upstream, 1).await;
        let (first, mut of_first) = client.send("POST /|content-length: 5", false).await;
        let (second, mut of_second) = client.send("POST /|content-length: 5", false).await;
        // Which of them comes first is theirs.
        let (refused, waiting) = tokio::select! {
            refused = told_of(first) => (refused, &mut of_second),
            refused = told_of(second) => (refused, &mut of_first),
        };
        assert!(refused.starts_with("503 ") && refused.ends_with("reset reason: overflow"), "{refused}");
        waiting.send_reset(Reason::CANCEL);
        let asked = gateway.clone();
        let left = move || asked.sum("istio_requests_total", &["response_flags=\"DC\""]) == 1.0;
        let left = move || eventually(PATIENCE, "it has left", left);
        tokio::task::spawn_blocking(left).await.expect("no panic");
        upstream.state.say(GOOD);
        assert_eq!(told_of(busy).await, "200 good");
        assert_eq!(client.ask("POST /", b"hello").await, "200 good");
    });
    assert_eq!((by_express(&gateway), upstream.opened()), (4.0, 1));
}

#[test]
fn a_client_that_goes_takes_all_of_its_streams_with_it() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    upstream.state.say("");
    run(async {
        let mut client = Client::connect(&gateway).await;
        let _first = client.send("GET /", true).await;
        let _second = client.send("GET /", true).await;
        wait_until_asked_beside(&upstream, 2).await;
        client.connection.abort();
    });
    eventually(PATIENCE, "both end", || ended(&upstream) == 2);
    wait_until_asked(&upstream, 2);
}

#[test]
fn an_early_answer_is_passed_on_and_the_rest_of_the_body_taken() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    upstream.state.say(&format!("EARLY {GOOD}"));
    run(async {
        let mut client = Client::connect(&gateway).await;
        let (answer, mut upload) = client.send("POST /|content-length: 300000", false).await;
        assert_eq!(told_of(answer).await, "200 good");
        give(&mut upload, &vec![b'x'; 300_000]).await;
        wait_until_asked_beside(&upstream, 1).await;
        upstream.state.say(GOOD);
        assert_eq!(client.ask("GET /", &[]).await, "200 good", "on the same connection");
    });
    eventually(PATIENCE, "it goes on", || upstream.state.bodies.load(Ordering::SeqCst) == 300_000);
}

#[test]
fn a_long_answer_waits_for_whoever_reads_slowly_and_holds_up_nobody() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    let long: String = (0..4_000_000).map(|n: u32| char::from(b'a' + (n % 23) as u8)).collect();
    for framing in [
        format!("Content-Length: {}||{long}", long.len()),
        format!("Transfer-Encoding: chunked||{:x}|{long}|0||", long.len()),
        format!("Connection: close||{long}<close>"),
    ] {
        upstream.state.say(&format!("HTTP/1.1 200 OK|{framing}"));
        run(async {
            let mut client = Client::connect(&gateway).await;
            let (answer, _) = client.send("GET /", true).await;
            let mut answer = answer.await.expect("an answer");
            let first = answer.body_mut().data().await.expect("a piece").expect("a piece");
            upstream.state.say(GOOD);
            // It holds a window, and its connection's is nearly as wide: of that there is still some.
            let _ = answer.body_mut().flow_control().release_capacity(first.len());
            let (status, rest) = whole(answer).await;
            assert_eq!(status, 200);
            let rest = rest.expect("all of it");
            assert_eq!(first.len() + rest.len(), long.len(), "{framing:.40}");
            assert!(long.as_bytes().ends_with(&rest), "{framing:.40}");
            assert_eq!(client.ask("GET /", &[]).await, "200 good");
        });
    }
    assert_eq!(by_express(&gateway), 6.0);
}

#[test]
fn a_closed_window_holds_up_its_own_stream_only() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    let long = "x".repeat(1_000_000);
    run(async {
        let stream = TcpStream::connect(gateway.address()).await.expect("the gateway accepts");
        let mut settings = h2::client::Builder::new();
        settings.initial_window_size(20_000).initial_connection_window_size(1 << 20);
        let (requests, connection) = settings.handshake::<_, Bytes>(stream).await.expect("HTTP/2");
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut client = Client { requests, connection };
        upstream.state.say(&format!("HTTP/1.1 200 OK|Content-Length: {}||{long}", long.len()));
        let (answer, _) = client.send("GET /", true).await;
        let answer = answer.await.expect("an answer");
        upstream.state.say(GOOD);
        for _ in 0..10 {
            assert_eq!(client.ask("GET /", &[]).await, "200 good");
        }
        let (_, body) = whole(answer).await;
        assert_eq!(body.expect("all of it").len(), long.len());
    });
}

#[test]
fn a_body_is_sent_again_to_another_endpoint() {
    let (good, bad) = (Upstream::start(), Upstream::start());
    bad.state.say("HTTP/1.1 503 Service Unavailable|Content-Length: 0||");
    let rule = "    retries: {attempts: 2, retryOn: \"5xx,retriable-status-codes\"}\n";
    let folder = site(&[good.addr, bad.addr], "", rule);
    let gateway = ready(&folder);
    run(async {
        let mut client = Client::connect(&gateway).await;
        for _ in 0..6 {
            assert_eq!(client.ask("PUT /", &vec![b'x'; 50_000]).await, "200 good");
        }
    });
    assert_eq!(good.state.bodies.load(Ordering::SeqCst), 300_000);
    assert!(bad.state.bodies.load(Ordering::SeqCst) >= 50_000, "it was asked too");
    assert_eq!(by_express(&gateway), 6.0);
}

#[test]
fn a_hundred_streams_are_served_side_by_side() {
    let upstream = Upstream::start();
    let (_folder, gateway) = start(&upstream);
    run(async {
        let mut client = Client::connect(&gateway).await;
        for _ in 0..3 {
            let mut answers = Vec::new();
            for _ in 0..100 {
                answers.push(client.send("GET /", true).await.0);
            }
            for answer in answers {
                assert_eq!(told_of(answer).await, "200 good");
            }
        }
    });
    assert_eq!(by_express(&gateway), 300.0);
    let labels = ["response_code=\"200\"", "response_flags=\"-\""];
    eventually(PATIENCE, "all are counted", || gateway.sum("istio_requests_total", &labels) == 300.0);
}

#[test]
fn a_stream_that_ends_late_is_cut() {
    let upstream = Upstream::start();
    let folder = site(&[upstream.addr], "", "    timeout: 1s\n    retries: {attempts: 0}\n");
    let gateway = ready(&folder);
    upstream.state.say(HOLD);
    run(async {
        let mut client = Client::connect(&gateway).await;
        assert_eq!(client.ask("GET /", &[]).await, "504 upstream request timeout");
        upstream.state.say("HTTP/1.1 200 OK|Content-Length: 9||some");
        assert_eq!(client.ask("GET /", &[]).await, "cut");
    });
    assert_eq!(by_express(&gateway), 2.0);
}

#[test]
fn what_needs_more_goes_the_other_way() {
    let upstream = Upstream::start();
    let folder = Folder::new();
    let route = "route: [{destination: {host: reviews}}]";
    let rules = format!(
        "  http:\n  - match: [{{uri: {{prefix: /cors}}}}]\n    {route}\n    corsPolicy: {{allowOrigins: [{{exact: https://a.test}}]}}\n  \
         - match: [{{uri: {{prefix: /moved}}}}]\n    redirect: {{uri: /a}}\n  \
         - match: [{{uri: {{prefix: /changed}}}}]\n    {route}\n    rewrite: {{uri: /b, authority: other.test}}\n    headers: {{request: {{set: {{x-a: \"1\"}}}}, response: {{add: {{connection: close}}}}}}\n  \
         - {route}\n"
    );
    folder.write("route.yaml", &shop(HTTP, &rules));
    folder.write("endpoints.yaml", &service_entry(&[("v1", upstream.addr)]));
    let gateway = ready(&folder);
    run(async {
        let mut client = Client::connect(&gateway).await;
        for (request, ends, status, express) in [
            ("GET /", true, 200, true),
            ("HEAD /", true, 200, true),
            ("DELETE /", true, 200, true),
            ("GET /changed", true, 200, true),
            ("GET /a/../b?c", true, 200, true),
            ("GET /|te: trailers|cookie: a=1|cookie: b=2|proxy: x|trailer: y", true, 200, true),
            ("GET /|host: shop.test", true, 200, true),
            ("POST /|content-length: 0", true, 200, true),
            ("POST /|content-length: 0", false, 200, true),
            ("POST /", false, 200, false),
            ("GET /cors|origin: https://a.test", true, 200, true),
            ("GET /moved", true, 301, true),
            ("GET /|expect: 100-continue", true, 200, false),
            ("GET /|x-trysail-explain: 1", true, 200, false),
            ("POST /|content-type: application/grpc", true, 200, false),
            ("GET /%00", true, 400, false),
        ] {
            let before = by_express(&gateway);
            let (answer, mut upload) = client.send(request, ends).await;
            if !ends {
                upload.send_data(Bytes::new(), true).expect("it goes out");
            }
            assert_eq!(whole(answer.await.expect("an answer")).await.0, status, "{request}");
            assert_eq!(by_express(&gateway) - before, f64::from(u8::from(express)), "{request}");
        }
    });
}

#[test]
fn an_endpoint_that_is_asked_by_http2_is_left_to_the_other_lane() {
    let upstream = Upstream::start();
    let folder = site(&[upstream.addr], "connectionPool: {http: {useClientProtocol: true}}", "");
    let gateway = ready(&folder);
    run(async {
        let asked = async { Client::connect(&gateway).await.ask("GET /", &[]).await };
        // The upstream does not speak it, which only the other lane finds out.
        let _ = timeout(Duration::from_secs(20), asked).await;
    });
    assert_eq!(by_express(&gateway), 0.0);
    assert_eq!(gateway.client().get("shop.test", "/", &[]).expect("an answer").status, 200);
    assert_eq!(by_express(&gateway), 1.0);
}
