//! Bodies in chunks on the express lane: which go by it, what the upstream gets of them, and when their connection is kept.

use trysail_testkit::client::Client;
use trysail_testkit::folder::Folder;
use trysail_testkit::recorder::{Recorder, Said};
use trysail_testkit::wait::eventually;

use crate::express::{by_express, ready};
use crate::gateway::{EXPRESS, Gateway, PATIENCE, Reviews};
use crate::limits::site;

const HEAD: &str = "POST / HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n";

fn start(upstream: &Recorder, rule: &str) -> (Folder, Gateway) {
    let folder = site(&[upstream.addr()], "", rule);
    let gateway = ready(&folder);
    (folder, gateway)
}

/// The bodies that came.
fn bodies(upstream: &Recorder) -> Vec<String> {
    let body =
        |request: String| request.split_once("\n\n").map_or(request.clone(), |(_, body)| body.to_owned());
    upstream.take().into_iter().map(body).collect()
}

#[test]
fn which_way_they_go() {
    let upstream = Recorder::start();
    let (_folder, gateway) = start(&upstream, "");
    let post = "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|";
    for (request, status, body, express) in [
        (format!("{post}|5|hello|0||"), 200, &["hello"][..], true),
        (format!("{post}|1|h|4;x=y|ello|0;z|X-T: 1||"), 200, &["hello"], true),
        (format!("{post}|0||"), 200, &[""], true),
        ("GET / HTTP/1.1|Host: a|Transfer-Encoding: Chunked||2|hi|0||".to_owned(), 200, &["hi"], true),
        (format!("{post}Trailer: X-T|TE: trailers||2|hi|0|X-T: 1||"), 200, &["hi"], true),
        (format!("{post}Connection: close||2|hi|0||"), 200, &["hi"], true),
        (format!("{post}Expect: 100-continue||2|hi|0||"), 200, &["hi"], false),
        (format!("{post}|2|hi|0||GET / HTTP/1.1|Host: a||"), 200, &["hi"], false),
        (format!("{post}Content-Length: 2||2|hi|0||"), 400, &[], false),
        (format!("{post}|2|hi|0|GET / HTTP/1.1|Host: a||"), 400, &[], false),
    ] {
        let before = by_express(&gateway);
        let mut client = Client::connect(gateway.address()).expect("the gateway accepts");
        let reply = client.send_raw(request.replace('|', "\r\n").as_bytes()).expect("an answer");
        assert_eq!(reply.status, status, "{request}");
        assert_eq!(bodies(&upstream), body, "{request}");
        assert_eq!(by_express(&gateway) - before, f64::from(u8::from(express)), "{request}");
    }
}

#[test]
fn a_connection_is_kept_behind_their_end() {
    let upstream = Recorder::start();
    let (_folder, gateway) = start(&upstream, "");
    let mut client = gateway.client();
    let text = format!("{HEAD}5;a\r\nhello\r\n6\r\n world\r\n0\r\nx-t: 1\r\n\r\n");
    // Its last byte is the next one's begin at the soonest.
    for bytes in [1, 2, 7, text.len()] {
        for piece in text.as_bytes().chunks(bytes) {
            client.send(piece).expect("it is taken");
        }
        let reply = client.read_reply(false).expect("an answer");
        assert_eq!((reply.status, reply.header("connection")), (200, Some("keep-alive")));
        assert_eq!(bodies(&upstream), ["hello world"]);
    }
    // The next one's begin comes with the end of one that is served already.
    client.send(format!("{HEAD}5\r\nhel").as_bytes()).expect("it is taken");
    eventually(PATIENCE, "it is there", || by_express(&gateway) == 5.0);
    client.send(b"lo\r\n0\r\n\r\nGET /next HTTP/1.1\r\nhost: shop.test\r\n\r\n").expect("it is taken");
    for _ in 0..2 {
        assert_eq!(client.read_reply(false).expect("an answer").status, 200);
    }
    assert_eq!(bodies(&upstream), ["hello", ""]);
    assert_eq!(by_express(&gateway), 6.0);
    // What is no chunk ends it, and the upstream has half a request.
    client.send(format!("{HEAD}5\r\nhello\r\n").as_bytes()).expect("it is taken");
    eventually(PATIENCE, "it is there", || by_express(&gateway) == 7.0);
    client.send(b"0\r\nGET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").expect("it is taken");
    let reply = client.read_reply(false).expect("an answer");
    assert_eq!((reply.status, reply.header("connection")), (400, Some("close")));
    assert!(client.read_reply(false).is_err(), "the connection ends");
    let seen = bodies(&upstream);
    assert!(matches!(&seen[..], [half] if half.starts_with("cut: ")), "{seen:?}");
    let reason = ["reason=\"chunk\""];
    eventually(PATIENCE, "why", || gateway.sum("trysail_refused_requests_total", &reason) == 1.0);
}

#[test]
fn little_ones_are_sent_once_more() {
    let upstream = Recorder::start();
    let bytes = b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno".to_vec();
    upstream.say(Said { bytes, close: false });
    let (_folder, gateway) = start(&upstream, "    retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}\n");
    for (chunks, tries) in [(0, 2), (1, 2), (16, 2), (17, 1)] {
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        let mut client = gateway.client();
        let request = format!("{HEAD}{}0\r\n\r\n", chunk.repeat(chunks));
        assert_eq!(client.send_raw(request.as_bytes()).expect("an answer").status, 503);
        let body = "x".repeat(0x1000 * chunks);
        assert!(bodies(&upstream) == vec![body; tries], "{chunks}");
    }
    assert_eq!(by_express(&gateway), 4.0);
}

#[test]
fn behind_half_of_one_nothing_follows() {
    let reviews = Reviews::start(&["v1"]);
    let rules = "  - route: [{destination: {host: reviews, subset: v2}}]\n";
    let (_folder, gateway) = reviews.gateway(rules, EXPRESS);
    let long = "x".repeat(1 << 20);
    for (bytes, rest, connection) in [
        ("5\r\nhello\r\n0\r\n\r\n", "", "keep-alive"),
        ("5\r\nhello\r\n0\r\n", "\r\n", "close"),
        ("100000\r\n", long.as_str(), "close"),
    ] {
        let mut client = gateway.client();
        let before = gateway.sum("istio_requests_total", &[]);
        client.send(format!("{HEAD}{bytes}").as_bytes()).expect("it is taken");
        eventually(PATIENCE, "it is answered", || gateway.sum("istio_requests_total", &[]) > before);
        // The answer is not lost by what is sent behind it.
        client.send(rest.as_bytes()).expect("it is taken");
        let reply = client.read_reply(false).expect("an answer");
        assert_eq!((reply.status, reply.header("connection")), (503, Some(connection)), "{bytes}");
        let next = client.send_raw(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").is_ok();
        assert_eq!(next, connection == "keep-alive", "{bytes}");
    }
    assert_eq!((by_express(&gateway), reviews.origins["v1"].requests()), (4.0, 0));
}
