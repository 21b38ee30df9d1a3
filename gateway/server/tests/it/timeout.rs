//! The time of a whole request: before its answer a 504, within it a cut, and never on a WebSocket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use trysail_testkit::folder::Folder;
use trysail_testkit::origin::Answer;
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews, ruled, service_entry};

const RULES: &str = "  - match: [{uri: {exact: /short}}]
    timeout: 200ms
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {exact: /never}}]
    route: [{destination: {host: reviews, subset: v1}}]
";

#[test]
fn an_answer_that_is_late_is_a_504() {
    let reviews = Reviews::start(&["v1"]);
    reviews.origins["v1"].set_answer(Answer::version("v1").delay(Duration::from_millis(800)));
    let (_folder, gateway) = reviews.gateway(RULES, "");
    let grpc = ("content-type", "application/grpc");
    for (path, headers, body, status, grpc_status, text) in [
        ("/short", &[][..], None, 504, None, "upstream request timeout"),
        ("/short", &[], Some(&b"body"[..]), 504, None, "upstream request timeout"),
        ("/never", &[], None, 200, None, "v1"),
        ("/never", &[grpc, ("grpc-timeout", "100m")], None, 200, Some("14"), ""),
        // No more than the rule lets it.
        ("/short", &[grpc, ("grpc-timeout", "10S")], None, 200, Some("14"), ""),
    ] {
        let began = Instant::now();
        let method = if body.is_some() { "POST" } else { "GET" };
        let reply = gateway.client().request(method, "a", path, headers, body).expect("an answer");
        let took = began.elapsed();
        assert_eq!((reply.status, reply.text().as_str()), (status, text), "{path} after {took:?}");
        assert_eq!(reply.header("grpc-status"), grpc_status, "{path}");
        if path == "/short" {
            assert!(took >= Duration::from_millis(190), "{took:?}");
        }
    }
    let labels = ["response_flags=\"UT\""];
    eventually(PATIENCE, "four timeouts", || gateway.sum("istio_requests_total", &labels) == 4.0);
    let head = reviews.origins["v1"].received().remove(0).head.to_lowercase();
    let told = head.lines().find_map(|line| line.strip_prefix("x-envoy-expected-rq-timeout-ms: "));
    let told: u64 = told.expect("the time that is left").parse().expect("a number");
    assert!((1..=200).contains(&told), "{told}");
}

/// An upstream that answers each connection with `answer`, and then echoes what it gets.
pub(crate) fn talker(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    line.clear();
                }
                let _ = reader.get_mut().write_all(answer.as_bytes());
                let mut bytes = [0; 64];
                while let Ok(read @ 1..) = reader.read(&mut bytes) {
                    if reader.get_mut().write_all(&bytes[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

pub(crate) fn behind(address: SocketAddr) -> (Folder, Gateway) {
    let folder = Folder::new();
    folder.write("seed.yaml", &ruled(RULES));
    folder.write("endpoints.yaml", &service_entry(&[("v1", address)]));
    let gateway = Gateway::start(folder.path());
    (folder, gateway)
}

#[test]
fn an_answer_that_stalls_is_cut() {
    let (_folder, gateway) = behind(talker("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome of it"));
    let mut stream = TcpStream::connect(gateway.address()).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let began = Instant::now();
    stream.write_all(b"GET /short HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    // A reset is as good an end as any.
    let _ = stream.read_to_end(&mut answer);
    let took = began.elapsed();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("some of it"), "{answer:?}");
    assert!(took >= Duration::from_millis(190) && took < Duration::from_secs(10), "{took:?}");
    let labels = ["response_flags=\"UT\"", "response_code=\"200\""];
    eventually(PATIENCE, "it is counted once", || gateway.sum("istio_requests_total", &labels) == 1.0);
    assert_eq!(gateway.sum("istio_requests_total", &[]), 1.0);
}
