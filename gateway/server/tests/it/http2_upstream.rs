//! Upstreams over HTTP/2 that reset, go away or speak nonsense, and many requests on one connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use trysail_testkit::client::Client;
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE};
use crate::limits::site;
use crate::protocols::runtime;

const H2: &str = "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}";

/// What an upstream does with each request.
#[derive(Clone, Copy)]
enum Manner {
    /// It answers after a while.
    Answer(Duration),
    /// It resets the stream.
    Reset(Reason),
    /// It answers, and takes no more requests on the connection.
    GoAway,
}

/// What an upstream saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

fn upstream(runtime: &tokio::runtime::Runtime, manner: Manner) -> (SocketAddr, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let counted = seen.clone();
    let address = runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::SeqCst);
                let counted = counted.clone();
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                    while let Some(Ok((_, respond))) = connection.accept().await {
                        counted.requests.fetch_add(1, Ordering::SeqCst);
                        if matches!(manner, Manner::GoAway) {
                            connection.graceful_shutdown();
                        }
                        tokio::spawn(behave(manner, respond));
                    }
                });
            }
        });
        address
    });
    (address, seen)
}

async fn behave(manner: Manner, mut respond: h2::server::SendResponse<Bytes>) {
    match manner {
        Manner::Reset(reason) => return respond.send_reset(reason),
        Manner::Answer(after) => tokio::time::sleep(after).await,
        Manner::GoAway => {}
    }
    if let Ok(mut body) = respond.send_response(http::Response::new(()), false) {
        let _ = body.send_data("good".into(), true);
    }
}

/// An upstream that reads a request and answers with what is no HTTP/2.
fn nonsense() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            // An empty frame of settings, so that the other side goes on; then its request; then nonsense.
            let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
            thread::sleep(Duration::from_millis(50));
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&[0xff; 64]);
        }
    });
    (address, seen)
}

/// `status body` of one request.
fn ask(gateway: &Gateway, method: &str) -> String {
    let body = (method == "POST").then_some(&b"once"[..]);
    let mut client = Client::connect(gateway.address()).expect("the gateway accepts");
    let reply = client.request(method, "shop.test", "/", &[], body).expect("an answer");
    format!("{} {}", reply.status, reply.text())
}

#[test]
fn a_stream_that_was_not_begun_goes_to_another_endpoint() {
    let runtime = runtime();
    let (refuses, refused) = upstream(&runtime, Manner::Reset(Reason::REFUSED_STREAM));
    let (answers, answered) = upstream(&runtime, Manner::Answer(Duration::ZERO));
    let folder = site(&[refuses, answers], H2, "");
    let gateway = Gateway::start(folder.path());
    for method in ["GET", "POST"].repeat(10) {
        assert_eq!(ask(&gateway, method), "200 good", "{method}");
    }
    assert!(refused.requests.load(Ordering::SeqCst) > 0);
    assert_eq!(answered.requests.load(Ordering::SeqCst), 20);
}

#[test]
fn a_stream_that_was_reset_is_not_sent_twice() {
    let runtime = runtime();
    let (address, seen) = upstream(&runtime, Manner::Reset(Reason::INTERNAL_ERROR));
    let folder = site(&[address], H2, "");
    let gateway = Gateway::start(folder.path());
    let before = "upstream connect error or disconnect/reset before headers. ";
    for method in ["GET", "POST"] {
        assert_eq!(ask(&gateway, method), format!("503 {before}reset reason: remote reset"), "{method}");
    }
    assert_eq!(seen.requests.load(Ordering::SeqCst), 2);
    eventually(PATIENCE, "UR", || {
        gateway.sum("istio_requests_total", &["response_code=\"503\"", "response_flags=\"UR\""]) == 2.0
    });
}

#[test]
fn a_post_that_was_answered_with_nonsense_is_not_sent_twice() {
    let (address, seen) = nonsense();
    let folder = site(&[address], H2, "");
    let gateway = Gateway::start(folder.path());
    let answer = ask(&gateway, "POST");
    assert!(answer.starts_with("502 ") || answer.starts_with("503 "), "{answer}");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn connections_that_go_away_cost_no_request() {
    let runtime = runtime();
    let (address, seen) = upstream(&runtime, Manner::GoAway);
    let folder = site(&[address], H2, "");
    let gateway = Gateway::start(folder.path());
    for _ in 0..20 {
        assert_eq!(ask(&gateway, "POST"), "200 good");
    }
    assert_eq!(seen.requests.load(Ordering::SeqCst), 20);
    assert!(seen.connections.load(Ordering::SeqCst) > 1);
}

#[test]
fn many_requests_share_a_connection() {
    let runtime = runtime();
    let (address, seen) = upstream(&runtime, Manner::Answer(Duration::from_millis(300)));
    let folder = site(&[address], H2, "");
    let gateway = Gateway::start(folder.path());
    assert_eq!(ask(&gateway, "GET"), "200 good");
    thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_eq!(ask(&gateway, "GET"), "200 good"));
        }
    });
    assert_eq!(seen.requests.load(Ordering::SeqCst), 41);
    // Those that come while a connection opens may each open one, and on a busy machine that takes a while.
    let connections = seen.connections.load(Ordering::SeqCst);
    assert!(connections <= 24, "{connections} connections");
}
