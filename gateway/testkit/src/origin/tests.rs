//! An origin and a client speaking with each other.

use super::*;
use crate::client::{Client, fetch};
use crate::wait::eventually;

#[test]
fn one_connection_serves_many_requests() {
    let origin = Origin::start(Answer::version("v1").header("x-more", "yes"));
    let mut client = Client::connect(origin.addr()).unwrap();
    for _ in 0..3 {
        let reply = client.get("shop.test", "/cart?a=1", &[("x-canary", "yes")]).unwrap();
        assert_eq!((reply.status, reply.version(), reply.text().as_str()), (200, Some("v1"), "v1"));
        assert_eq!(reply.header("x-more"), Some("yes"));
    }
    assert_eq!((origin.accepts(), origin.requests(), origin.open()), (1, 3, 1));
    assert_eq!(origin.last_request().unwrap(), "GET /cart?a=1 HTTP/1.1\nhost: shop.test\nx-canary: yes\n");
    drop(client);
    eventually(Duration::from_secs(10), "the connection is gone", || origin.open() == 0);
}

#[test]
fn each_ending_arrives_whole() {
    let body: Vec<u8> = (0..5000_u32).map(|index| index as u8).collect();
    let answer = || Answer::version("v1");
    for (answer, open) in [
        (answer(), true),
        (answer().chunked(), true),
        (answer().closing(), false),
        (answer().until_close(), false),
    ] {
        for body in [&body[..], b""] {
            let origin = Origin::start(answer.clone().body(body));
            let mut client = Client::connect(origin.addr()).unwrap();
            assert_eq!(client.get("shop.test", "/", &[]).unwrap().body, body, "{answer:?}");
            assert_eq!(client.is_open(), open, "{answer:?}");
            let head = client.request("HEAD", "shop.test", "/", &[], None);
            assert_eq!(head.is_ok_and(|reply| reply.body.is_empty()), open, "{answer:?}");
        }
    }
}

#[test]
fn request_bodies_are_read_whole() {
    let origin = Origin::start(Answer::version("v1"));
    let mut client = Client::connect(origin.addr()).unwrap();
    client.request("POST", "shop.test", "/", &[], Some(b"by length")).unwrap();
    client
        .send_raw(b"POST / HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nby\r\n7\r\n chunks\r\n0\r\n\r\n")
        .unwrap();
    client.request("PUT", "shop.test", "/", &[("expect", "100-continue")], Some(b"after 100")).unwrap();
    let bodies: Vec<_> =
        origin.received().into_iter().map(|request| String::from_utf8(request.body).unwrap()).collect();
    assert_eq!(bodies, ["by length", "by chunks", "after 100"]);
    assert_eq!(origin.accepts(), 1);
}

#[test]
fn a_request_framed_twice_is_refused_and_remembered() {
    let origin = Origin::start(Answer::version("v1"));
    let mut client = Client::connect(origin.addr()).unwrap();
    let reply = client
        .send_raw(b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    assert_eq!((reply.status, client.is_open(), origin.requests()), (400, false, 0));
    assert!(origin.last_request().unwrap().contains("transfer-encoding"));
}

#[test]
fn answers_change_while_it_runs() {
    let origin = Origin::start(Answer::version("v1"));
    let mut client = Client::connect(origin.addr()).unwrap();
    assert_eq!(client.get("shop.test", "/", &[]).unwrap().status, 200);
    origin.set_answer(Answer::version("v1").status(503));
    assert_eq!(client.get("shop.test", "/", &[]).unwrap().status, 503);
    origin.set_answer(Answer::version("v1").status(204));
    assert_eq!(client.get("shop.test", "/", &[]).unwrap().body, b"");
    origin.set_answer(Answer::version("v1").delay(Duration::from_millis(30)));
    let begun = std::time::Instant::now();
    assert_eq!(client.get("shop.test", "/", &[]).unwrap().status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(30));
}

#[test]
fn old_clients_are_closed_upon() {
    let origin = Origin::start(Answer::version("v1"));
    let mut client = Client::connect(origin.addr()).unwrap();
    assert_eq!(client.send_raw(b"GET / HTTP/1.0\r\n\r\n").unwrap().status, 200);
    assert!(!client.is_open());
}

#[test]
fn stopping_ends_all_and_frees_the_port() {
    let origin = Origin::start(Answer::version("v1").delay(Duration::from_secs(60)));
    let addr = origin.addr();
    let idle = Client::connect(addr).unwrap();
    let waiting = thread::spawn(move || fetch(addr, "shop.test", "/"));
    eventually(Duration::from_secs(10), "the request is in flight", || origin.requests() == 1);
    origin.stop();
    assert!(waiting.join().unwrap().is_err());
    assert_eq!((origin.open(), origin.state.live().threads), (0, 0));
    assert!(fetch(addr, "shop.test", "/").is_err());
    drop(idle);

    let again = Origin::start_at(addr, Answer::version("v2")).unwrap();
    assert_eq!(fetch(addr, "shop.test", "/").unwrap().version(), Some("v2"));
    assert_eq!(again.accepts(), 1);
    assert_eq!(origin.accepts(), 2, "the call that wakes the acceptor is not counted");
}
