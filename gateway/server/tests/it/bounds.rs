//! What clients may have in size and number: what is over it is answered and closed, and the process stays.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use trysail_testkit::client::{Client, fetch};
use trysail_testkit::folder::Folder;
use trysail_testkit::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, frame, request};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, HTTP, PATIENCE, Reviews, shop};

/// A gateway that answers itself, but for `/up`, which has an upstream.
fn start(program: &[&str], settings: &str) -> ((Folder, Reviews), Gateway) {
    let (folder, reviews) = (Folder::new(), Reviews::start(&["v1"]));
    let rules = "  http:
  - {match: [{uri: {prefix: /up}}], route: [{destination: {host: reviews}}]}
  - {directResponse: {status: 200, body: {string: here}}}";
    folder.write("shop.yaml", &shop(HTTP, rules));
    folder.write("endpoints.yaml", &reviews.service_entry());
    let gateway = Gateway::spawn_by(program, folder.path(), settings);
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
    ((folder, reviews), gateway)
}

/// The status of an answer over HTTP/2, or how the stream or the connection ended without one.
fn ask2(address: SocketAddr, head: &[u8], body: &[u8]) -> String {
    let mut client = TcpStream::connect(address).expect("the gateway accepts");
    client.set_read_timeout(Some(PATIENCE)).expect("a time");
    let flags = END_HEADERS | if body.is_empty() { END_STREAM } else { 0 };
    let mut sent = [frames::begin(&[]), frame(HEADERS, flags, 1, head)].concat();
    if !body.is_empty() {
        sent.extend(frame(DATA, END_STREAM, 1, body));
    }
    client.write_all(&sent).expect("sent");
    loop {
        match frames::read(&mut client) {
            Err(error) => return format!("closed: {error}"),
            Ok(frame) if frame.kind == frames::GOAWAY => return "goaway".to_owned(),
            Ok(frame) if frame.kind == frames::RESET => return "reset".to_owned(),
            Ok(frame) if frame.kind == HEADERS => return status(&frame.payload),
            Ok(_) => {}
        }
    }
}

/// The status that a list of fields begins with: of the static table, or three digits in Huffman's code (RFC 7541
/// appendix B).
fn status(fields: &[u8]) -> String {
    if fields.first() == Some(&0x88) {
        return "200".to_owned();
    }
    let mut bits =
        fields[2..].iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let mut take = |count| (0..count).fold(0, |value, _| value * 2 + bits.next().expect("more bits"));
    let mut digit = || match take(5) {
        small @ 0..=2 => small,
        large => (large * 2 + take(1)).wrapping_sub(0x16),
    };
    format!("{}{}{}", digit(), digit(), digit())
}

#[test]
fn heads_and_bodies_have_a_size() {
    let settings = "limits: {headers: 4KiB, fields: 10, target: 100B, body: 1KiB}\n";
    let (_ground, gateway) = start(&[], settings);
    let fields = |count: usize| "a: b\r\n".repeat(count);
    let long = "x".repeat(5000);
    let body = "x".repeat(1025);
    for (head, rest, status) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n".to_owned(), fields(9), 200),
        ("GET / HTTP/1.1\r\nhost: a\r\n".to_owned(), fields(10), 431),
        ("GET / HTTP/1.1\r\nhost: a\r\n".to_owned(), format!("x: {long}\r\n"), 431),
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n", "p".repeat(99)), String::new(), 200),
        (format!("GET /{} HTTP/1.1\r\nhost: a\r\n", "p".repeat(100)), String::new(), 414),
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n"), String::new(), 414),
        (
            "POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 1024\r\n".to_owned(),
            format!("\r\n{}", &body[1..]),
            200,
        ),
        ("POST /up HTTP/1.1\r\nhost: a\r\ncontent-length: 1025\r\n".to_owned(), format!("\r\n{body}"), 413),
        (
            "POST /up HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n".to_owned(),
            format!("\r\n200\r\n{}\r\n202\r\n{}\r\n", &body[..0x200], &body[..0x202]),
            413,
        ),
    ] {
        let end = if head.starts_with("GET") { "\r\n" } else { "" };
        let bytes = format!("{head}{rest}{end}");
        let mut client = gateway.client();
        let reply = client.send_raw(bytes.as_bytes());
        assert_eq!(reply.map(|reply| reply.status).map_err(|error| error.to_string()), Ok(status), "{head}");
        assert_eq!(client.is_open(), status == 200, "{head}");
    }
    let address = gateway.address();
    let many: Vec<(&str, &str)> = vec![("a", "b"); 11];
    let path = format!("/{}", "p".repeat(100));
    let with = |more: &[(&str, &str)]| [request("GET", "/"), frames::fields(more)].concat();
    assert_eq!(ask2(address, &with(&many[..5]), b""), "200");
    assert_eq!(ask2(address, &with(&many), b""), "431");
    assert_eq!(ask2(address, &with(&[("x", &long)]), b""), "431");
    assert_eq!(ask2(address, &request("GET", &path), b""), "414");
    assert_eq!(ask2(address, &request("POST", "/up"), &body.as_bytes()[1..]), "200");
    assert_eq!(ask2(address, &request("POST", "/up"), body.as_bytes()), "413");
    // A list of fields of HTTP/2 that is too long is refused by h2 itself, uncounted.
    for (reason, count) in [("head_size", 3.0), ("target", 3.0), ("body_size", 3.0)] {
        let labels = format!("reason=\"{reason}\"");
        assert_eq!(gateway.sum("trysail_cut_connections_total", &[&labels]), count, "{reason}");
    }
}

#[test]
fn fields_that_grow_as_they_are_unpacked_do_not_grow_memory() {
    let (_ground, gateway) = start(&[], "");
    let before = gateway.process.rss_bytes().expect("its memory");
    // A field of 4,000 bytes is put into the table once, and asked for 12,000 times: 48 MB of 16 KB.
    let mut bomb = [request("GET", "/"), vec![0x40, 1, b'x', 0x7f, 0xa1, 0x1e], vec![b'y'; 4000]].concat();
    bomb.extend(vec![0xbe; 12_000]);
    for _ in 0..10 {
        let end = ask2(gateway.address(), &bomb, b"");
        assert!(["431", "reset", "goaway"].contains(&end.as_str()), "{end}");
    }
    let grown = gateway.process.rss_bytes().expect("its memory").saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

/// How many of some connections are answered; those that are stay open.
fn answered(address: SocketAddr, connections: usize) -> (Vec<Client>, Vec<u16>) {
    let mut kept = Vec::new();
    let ask = |_| {
        let mut client = Client::connect(address).expect("the kernel accepts");
        let status = client.get("shop.test", "/", &[]).map_or(0, |reply| reply.status);
        kept.extend((status == 200).then_some(client));
        status
    };
    let statuses = (0..connections).map(ask).collect();
    (kept, statuses)
}

#[test]
fn a_port_and_an_address_have_so_many_connections() {
    for (limit, reason) in [("listenerConnections", "listener"), ("clientConnections", "client")] {
        let (_ground, gateway) = start(&[], &format!("limits: {{{limit}: 3}}\n"));
        let (kept, statuses) = answered(gateway.address(), 5);
        assert_eq!(statuses, [200, 200, 200, 503, 503], "{limit}");
        let labels = format!("reason=\"{reason}\"");
        assert_eq!(gateway.sum("trysail_refused_connections_total", &[&labels]), 2.0);
        let line = |line: &str| line.contains("refused 1: ") && line.contains(&format!("limits.{limit}"));
        assert!(gateway.process.wait_for_line(line, PATIENCE).is_some());
        drop(kept);
        eventually(PATIENCE, "there is room again", || {
            fetch(gateway.address(), "shop.test", "/").is_ok_and(|reply| reply.status == 200)
        });
    }
}

#[test]
fn a_process_that_has_enough_connections_pauses() {
    let (_ground, gateway) = start(&[], "limits: {connections: 4}\n");
    let (mut kept, statuses) = answered(gateway.address(), 3);
    assert_eq!(statuses, [200; 3]);
    // Two loops accept, so that there may be one more than there may be.
    let mut waiting: Vec<TcpStream> = (0..6)
        .map(|_| {
            let mut stream = TcpStream::connect(gateway.address()).expect("the kernel accepts");
            stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
            stream
        })
        .collect();
    let mut open = Vec::new();
    let mut answers = || {
        // Those that were answered stay.
        let (come, still): (Vec<_>, Vec<_>) = std::mem::take(&mut waiting)
            .into_iter()
            .partition(|mut stream: &TcpStream| stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0));
        waiting = still;
        open.extend(come);
        open.len()
    };
    let at_once = answers();
    assert!((1..=2).contains(&at_once), "{at_once} of them are answered");
    assert!(gateway.sum("trysail_refused_connections_total", &["reason=\"connections\""]) >= 1.0);
    kept.clear();
    // Each that ends lets another in.
    eventually(PATIENCE, "others are answered", || answers() >= at_once + 2);
}

#[test]
fn a_process_without_descriptors_goes_on_once_it_has_some() {
    let shell = ["/bin/sh", "-c", "ulimit -n 60; exec \"$0\" \"$@\""];
    let (_ground, gateway) = start(&shell, "limits: {connections: 1000}\n");
    let address = gateway.address();
    let metrics = gateway.logged("metrics on ");
    let held: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(address).expect("a place in the queue")).collect();
    let line = |line: &str| line.contains("no descriptors are left") && line.contains("limits.connections");
    assert!(gateway.process.wait_for_line(line, PATIENCE).is_some(), "{:?}", gateway.process.lines());
    let before = gateway.process.cpu_time().expect("its time");
    std::thread::sleep(Duration::from_secs(1));
    let spent = gateway.process.cpu_time().expect("its time") - before;
    assert!(spent < Duration::from_millis(300), "it spins: {spent:?} of a second");
    drop(held);
    eventually(PATIENCE, "it answers again", || {
        fetch(address, "shop.test", "/").is_ok_and(|reply| reply.status == 200)
    });
    eventually(PATIENCE, "and counts", || fetch(metrics, "metrics", "/metrics").is_ok());
    let lines = gateway.process.lines();
    assert_eq!(lines.iter().filter(|said| line(said)).count(), 1, "{lines:?}");
}
