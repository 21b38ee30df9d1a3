//! The PROXY protocol: whose connection it is, said by who may say so, before everything else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use trysail_testkit::folder::Folder;
use trysail_testkit::tls::{self, Authority};

use crate::gateway::{Gateway, HTTP, PATIENCE, Reviews, service_entry, shop};

const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 80\r\n";

/// A header of the second version: `command` (LOCAL or PROXY), family, addresses, and whatever follows them.
fn binary(command: u8, family: u8, told: &[u8]) -> Vec<u8> {
    let length = u16::try_from(told.len()).expect("short").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, told].concat()
}

const FOUR: [u8; 12] = [203, 0, 113, 8, 198, 51, 100, 1, 0x12, 0x67, 0, 80];

/// What comes back on a connection, until it ends or has a whole answer.
fn answer(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut space = [0; 4096];
    while !bytes.ends_with(b"v1") {
        match stream.read(&mut space) {
            Ok(read @ 1..) => bytes.extend_from_slice(&space[..read]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream
}

/// The status of what comes back for these bytes; `closed` where nothing does.
fn status(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).expect("sent");
    answer(&mut stream).split(' ').nth(1).unwrap_or("closed").to_owned()
}

const GET: &[u8] = b"GET /reviews/0 HTTP/1.1\r\nhost: shop.test\r\n\r\n";

/// The line of the last request that upstreams got.
fn told(reviews: &Reviews, name: &str) -> String {
    let head = reviews.origins["v1"].last_request().expect("a request came");
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_default().to_owned()
}

const FIELDS: &str = "  - headers:
      request:
        set:
          x-client: '%DOWNSTREAM_REMOTE_ADDRESS%'
          x-direct: '%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%'
    route: [{destination: {host: reviews, subset: v1}}]
";

#[test]
fn a_listed_network_says_whose_its_connections_are() {
    let reviews = Reviews::start(&["v1"]);
    let (_folder, gateway) = reviews.gateway(FIELDS, "proxyProtocol: {from: [127.0.0.0/8]}\n");
    let address = gateway.address();
    let six = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[9], &[0; 16], &[0x12, 0x67, 0, 80]].concat();
    for (header, client) in [
        (LINE.to_vec(), "203.0.113.7:4711"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n".to_vec(), "[2001:db8::7]:4711"),
        (binary(0x21, 0x11, &FOUR), "203.0.113.8:4711"),
        (binary(0x21, 0x11, &[&FOUR[..], &[4, 0, 2, 1, 2]].concat()), "203.0.113.8:4711"),
        (binary(0x21, 0x21, &six), "[2001:db8::9]:4711"),
    ] {
        assert_eq!(status(address, &[&header, GET].concat()), "200", "{client}");
        let ip = client.parse::<SocketAddr>().expect("an address").ip().to_string();
        assert_eq!(told(&reviews, "x-client"), client);
        assert_eq!(told(&reviews, "x-direct"), "127.0.0.1");
        assert_eq!(told(&reviews, "x-forwarded-for"), ip);
        assert_eq!(told(&reviews, "x-envoy-external-address"), ip);
    }
    // A balancer's own connection is its own.
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x20, 0, b""), binary(0x20, 0x11, &FOUR)] {
        assert_eq!(status(address, &[&header, GET].concat()), "200", "{header:?}");
        assert_eq!(told(&reviews, "x-forwarded-for"), "127.0.0.1", "{header:?}");
    }
    let before = reviews.origins["v1"].requests();
    for (header, why) in [
        (&b""[..], "none"),
        (b"PROXY TCP4 203.0.113.7 198.51.100.1 4711\r\n", "cut"),
        (b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 80\n", "no CR"),
        (&binary(0x21, 0x11, &FOUR[..8]), "too short for its addresses"),
        (&binary(0x21, 0x12, &FOUR), "UDP"),
        (&binary(0x21, 0x11, &[0; 9000]), "too long"),
    ] {
        assert_eq!(status(address, &[header, GET].concat()), "closed", "{why}");
    }
    assert_eq!(reviews.origins["v1"].requests(), before);
    assert_eq!(gateway.sum("trysail_cut_connections_total", &["reason=\"proxy_header\""]), 6.0);
    let line = |line: &str| line.contains("cut 1: ") && line.contains("proxyProtocol.optional");
    assert!(gateway.process.wait_for_line(line, PATIENCE).is_some());
    // A second header is no request.
    assert_eq!(status(address, &[LINE, LINE, GET].concat()), "400");
}

#[test]
fn clients_behind_a_balancer_have_so_many_connections_each() {
    let reviews = Reviews::start(&["v1"]);
    let settings = "proxyProtocol: {from: [127.0.0.0/8]}\nlimits: {clientConnections: 2}\n";
    let (_folder, gateway) = reviews.gateway(FIELDS, settings);
    let mut kept = Vec::new();
    for (client, answered) in
        [(7, "200"), (7, "200"), (7, "503"), (8, "200"), (8, "200"), (8, "503"), (9, "200")]
    {
        let mut stream = connect(gateway.address());
        let header = format!("PROXY TCP4 203.0.113.{client} 198.51.100.1 4711 80\r\n");
        stream.write_all(&[header.as_bytes(), GET].concat()).expect("sent");
        assert_eq!(answer(&mut stream).split(' ').nth(1), Some(answered), "{client} after {}", kept.len());
        kept.push(stream);
    }
    assert_eq!(gateway.sum("trysail_refused_connections_total", &["reason=\"client\""]), 2.0);
}

#[test]
fn a_header_may_come_byte_by_byte_and_says_so_once_for_all_requests() {
    let reviews = Reviews::start(&["v1"]);
    let (_folder, gateway) = reviews.gateway(FIELDS, "proxyProtocol: {from: ['127.0.0.1']}\n");
    for header in [LINE.to_vec(), binary(0x21, 0x11, &FOUR)] {
        let mut stream = connect(gateway.address());
        stream.set_nodelay(true).expect("no delay");
        for byte in header.iter().chain(GET) {
            stream.write_all(&[*byte]).expect("sent");
        }
        for _ in 0..2 {
            assert!(answer(&mut stream).starts_with("HTTP/1.1 200"));
            assert!(told(&reviews, "x-forwarded-for").starts_with("203.0.113."), "{header:?}");
            stream.write_all(GET).expect("sent");
        }
    }
}

#[test]
fn nobody_else_is_believed() {
    let reviews = Reviews::start(&["v1"]);
    for settings in
        ["", "proxyProtocol: {from: [192.0.2.0/24]}\n", "proxyProtocol: {from: [127.0.0.1], ports: [81]}\n"]
    {
        let (_folder, gateway) = reviews.gateway(FIELDS, settings);
        assert_eq!(status(gateway.address(), GET), "200", "{settings}");
        assert_eq!(told(&reviews, "x-forwarded-for"), "127.0.0.1");
        let before = reviews.origins["v1"].requests();
        for header in [LINE.to_vec(), binary(0x21, 0x11, &FOUR)] {
            assert_eq!(status(gateway.address(), &[&header, GET].concat()), "400", "{settings} {header:?}");
        }
        assert_eq!(reviews.origins["v1"].requests(), before, "{settings}");
    }
}

#[test]
fn a_header_that_is_not_needed_may_be_there_or_not() {
    let reviews = Reviews::start(&["v1"]);
    let settings = "proxyProtocol: {from: [127.0.0.1], ports: [80], optional: true}\n";
    let (_folder, gateway) = reviews.gateway(FIELDS, settings);
    for (header, client) in [(LINE, "203.0.113.7"), (b"", "127.0.0.1")] {
        assert_eq!(status(gateway.address(), &[header, GET].concat()), "200", "{client}");
        assert_eq!(told(&reviews, "x-forwarded-for"), client);
    }
    // What begins as a header has to be one.
    assert_eq!(status(gateway.address(), &[b"PROXY /", GET].concat()), "closed");
}

#[test]
fn a_header_has_the_time_of_a_handshake() {
    let reviews = Reviews::start(&["v1"]);
    let settings = "proxyProtocol: {from: [127.0.0.1]}\ndownstream: {handshakeTimeout: 300ms}\n";
    let (_folder, gateway) = reviews.gateway(FIELDS, settings);
    for part in [&b""[..], b"PRO", &LINE[..20], &binary(0x21, 0x11, &FOUR)[..20]] {
        let began = Instant::now();
        let mut stream = connect(gateway.address());
        stream.write_all(part).expect("sent");
        assert_eq!(answer(&mut stream), "", "{part:?}");
        let took = began.elapsed();
        // Well before the first request would have had to begin.
        assert!((Duration::from_millis(290)..PATIENCE).contains(&took), "{part:?} {took:?}");
    }
}

/// TLS after a header.
fn tls_after(
    address: SocketAddr,
    header: &[u8],
    name: &str,
    config: &Arc<ClientConfig>,
) -> Option<tls::TlsClient> {
    let mut stream = connect(address);
    stream.write_all(header).ok()?;
    let name = ServerName::try_from(name.to_owned()).ok()?;
    let mut client = StreamOwned::new(ClientConnection::new(config.clone(), name).ok()?, stream);
    client.conn.complete_io(&mut client.sock).ok()?;
    Some(client)
}

#[test]
fn a_header_stands_before_tls_and_before_bytes_that_are_passed_on() {
    let authority = Authority::new("root");
    let (own, pair) = (authority.issue(&["pass.test"]), authority.issue(&["shop.test"]));
    let certificates = Folder::new();
    certificates.write("shop/tls.crt", &pair.certificate);
    certificates.write("shop/tls.key", &pair.key);
    let reviews = Reviews::start(&["v1"]);
    let folder = Folder::new();
    let ended =
        "port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: shop}";
    let rules = "  http:\n  - route: [{destination: {host: reviews}}]\n";
    folder.write("shop.yaml", &shop(ended, rules).replacen("hosts: [\"*\"]", "hosts: [shop.test]", 1));
    folder.write("endpoints.yaml", &reviews.service_entry());
    let passed = "port: {number: 81, name: tls, protocol: TLS}, tls: {mode: PASSTHROUGH}";
    let rules = "  tls:\n  - match: [{sniHosts: [pass.test]}]\n    route: [{destination: {host: pass}}]\n";
    folder.write(
        "pass.yaml",
        &shop(passed, rules).replace("shop", "pass").replace("hosts: [\"*\"]", "hosts: [pass.test]"),
    );
    let entry = service_entry(&[("v1", tls::echo("own", &own))]).replace("reviews", "pass");
    folder.write(
        "entry.yaml",
        &entry.replace("name: http, protocol: HTTP", "name: tls, protocol: TLS").replace("http: ", "tls: "),
    );
    let certificates = certificates.path().display();
    let settings =
        format!("ports: {{443: 0}}\ncertificates: {certificates}\nproxyProtocol: {{from: [127.0.0.1]}}\n");
    let gateway = Gateway::spawn(folder.path(), &settings);
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
    let client = authority.client(&[], None);

    let ended = gateway.logged("listening 443 → ");
    for header in [LINE.to_vec(), binary(0x21, 0x11, &FOUR)] {
        let mut stream = tls_after(ended, &header, "shop.test", &client).expect("a handshake");
        assert!(tls::get(&mut stream, "shop.test", "/").expect("an answer").starts_with("HTTP/1.1 200"));
        assert!(told(&reviews, "x-forwarded-for").starts_with("203.0.113."));
        assert_eq!(told(&reviews, "x-forwarded-proto"), "https");
    }
    assert!(tls_after(ended, b"", "shop.test", &client).is_none(), "TLS without a header is refused");

    let passed = gateway.logged("listening 81 → ");
    let mut stream = tls_after(passed, LINE, "pass.test", &client).expect("a handshake");
    stream.write_all(b"hello").expect("sent");
    let mut said = [0; 9];
    stream.read_exact(&mut said).expect("an echo");
    assert_eq!(&said, b"own hello");
    assert!(tls_after(passed, b"", "pass.test", &client).is_none(), "bytes without a header are refused");
}

#[test]
fn the_address_that_is_told_is_what_clients_are_hashed_by() {
    let reviews = Reviews::start(&["v1"]);
    let other = Reviews::start(&["v1"]);
    let folder = Folder::new();
    folder.write("shop.yaml", &shop(HTTP, "  http:\n  - route: [{destination: {host: reviews}}]\n"));
    let endpoints = [("v1", reviews.origins["v1"].addr()), ("v1", other.origins["v1"].addr())];
    folder.write("endpoints.yaml", &service_entry(&endpoints));
    folder.write(
        "rule.yaml",
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: reviews}\nspec:\n  host: reviews\n  trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}\n",
    );
    let gateway = Gateway::spawn(folder.path(), "proxyProtocol: {from: [127.0.0.1]}\n");
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
    let counts = || [reviews.origins["v1"].requests(), other.origins["v1"].requests()];
    let mut homes = Vec::new();
    for last in 1..=16 {
        let before = counts();
        let header = format!("PROXY TCP4 203.0.113.{last} 198.51.100.1 4711 80\r\n");
        for _ in 0..3 {
            assert_eq!(status(gateway.address(), &[header.as_bytes(), GET].concat()), "200");
        }
        let after = counts();
        let got: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        assert!(got == [3, 0] || got == [0, 3], "client {last} goes to one endpoint: {got:?}");
        homes.push(got);
    }
    assert!(homes.iter().any(|home| *home != homes[0]), "16 clients have both endpoints");
}
