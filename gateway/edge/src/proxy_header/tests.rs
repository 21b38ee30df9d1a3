//! Headers of both versions as tables, and cut at every byte.

use proptest::prelude::*;

use super::*;

fn whole(length: usize, client: &str) -> Header {
    Header::Whole { length, client: (!client.is_empty()).then(|| client.parse().unwrap()) }
}

/// A header of the second version.
fn binary(command: u8, family: u8, addresses: &[u8], more: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len() + more.len()).unwrap();
    [&SIGNATURE[..], &[command, family], &length.to_be_bytes(), addresses, more].concat()
}

const FOUR: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0, 80];

fn six() -> [u8; 36] {
    let mut addresses = [0; 36];
    addresses[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    addresses[15] = 7;
    addresses[32..].copy_from_slice(&[0x12, 0x67, 0, 80]);
    addresses
}

#[test]
fn lines() {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n";
    for (text, header) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\n", whole(43, "192.0.2.1:4711")),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 0 65535\r\nGET /", whole(43, "192.0.2.1:0")),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n", whole(44, "[2001:db8::7]:4711")),
        (longest, whole(longest.len(), "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
        ("PROXY UNKNOWN\r\n", whole(15, "")),
        ("PROXY UNKNOWN 1 2 3 whatever\r\n", whole(30, "")),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\n", Header::Broken),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n", Header::Broken),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80 1\r\n", Header::Broken),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 4711 80 \r\n", Header::Broken),
        ("PROXY  TCP4 192.0.2.1 198.51.100.1 4711 80\r\n", Header::Broken),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 +471 80\r\n", Header::Broken),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 65536 80\r\n", Header::Broken),
        ("PROXY TCP4 192.0.2.1 198.51.100.1  80\r\n", Header::Broken),
        ("PROXY TCP4 2001:db8::7 2001:db8::1 4711 80\r\n", Header::Broken),
        ("PROXY TCP6 192.0.2.1 198.51.100.1 4711 80\r\n", Header::Broken),
        ("PROXY TCP4 192.0.2.1 2001:db8::1 4711 80\r\n", Header::Broken),
        ("PROXY TCP4 192.0.2.256 198.51.100.1 4711 80\r\n", Header::Broken),
        ("PROXY UDP4 192.0.2.1 198.51.100.1 4711 80\r\n", Header::Broken),
        ("PROXY TCP4 \u{e9} 198.51.100.1 4711 80\r\n", Header::Broken),
        ("PROXY \r\n", Header::Broken),
        ("proxy TCP4 192.0.2.1 198.51.100.1 4711 80\r\n", Header::Absent),
        ("PUT / HTTP/1.1\r\n", Header::Absent),
        ("PRI * HTTP/2.0\r\n", Header::Absent),
        ("GET", Header::Absent),
        ("P", Header::Partial),
        ("", Header::Partial),
    ] {
        assert_eq!(read(text.as_bytes()), header, "{text:?}");
    }
    let endless = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    assert_eq!(read(&endless[..LONGEST_LINE - 1]), Header::Partial);
    assert_eq!(read(&endless), Header::Broken);
}

#[test]
fn binary_headers() {
    for (bytes, header) in [
        (binary(0x21, 0x11, &FOUR, b""), whole(28, "192.0.2.1:4711")),
        (binary(0x21, 0x11, &FOUR, &[4, 0, 1, 9]), whole(32, "192.0.2.1:4711")),
        (binary(0x21, 0x21, &six(), b""), whole(52, "[2001:db8::7]:4711")),
        (binary(0x20, 0x00, b"", b""), whole(16, "")),
        (binary(0x20, 0x11, &FOUR, b""), whole(28, "")),
        (binary(0x20, 0xff, b"", b"xx"), whole(18, "")),
        (binary(0x21, 0x00, b"", b"xx"), whole(18, "")),
        (binary(0x21, 0x31, &[0; 216], b""), whole(232, "")),
        (binary(0x21, 0x11, &FOUR, &[0; LONGEST - 28]), whole(LONGEST, "192.0.2.1:4711")),
        (binary(0x21, 0x11, &FOUR, &[0; LONGEST - 27]), Header::Broken),
        (binary(0x21, 0x11, &FOUR[..11], b""), Header::Broken),
        (binary(0x21, 0x21, &six()[..35], b""), Header::Broken),
        (binary(0x21, 0x31, &[0; 215], b""), Header::Broken),
        (binary(0x21, 0x12, &FOUR, b""), Header::Broken),
        (binary(0x21, 0x41, &FOUR, b""), Header::Broken),
        (binary(0x22, 0x11, &FOUR, b""), Header::Broken),
        (binary(0x11, 0x11, &FOUR, b""), Header::Broken),
        ([&SIGNATURE[..], &[0x31]].concat(), Header::Broken),
        (b"\r\n\r\nGET /".to_vec(), Header::Absent),
    ] {
        assert_eq!(read(&bytes), header, "{bytes:?}");
    }
}

fn headers() -> impl Strategy<Value = (Vec<u8>, Option<SocketAddr>)> {
    let four = any::<([u8; 4], [u8; 4], u16, u16)>();
    let six = any::<([u8; 16], [u8; 16], u16, u16)>();
    let more = proptest::collection::vec(any::<u8>(), 0..64);
    prop_oneof![
        (four, more.clone()).prop_map(|((from, to, port, other), more)| {
            let addresses = [&from[..], &to, &port.to_be_bytes(), &other.to_be_bytes()].concat();
            (binary(0x21, 0x11, &addresses, &more), Some((from, port).into()))
        }),
        (six, more.clone()).prop_map(|((from, to, port, other), more)| {
            let addresses = [&from[..], &to, &port.to_be_bytes(), &other.to_be_bytes()].concat();
            (binary(0x21, 0x21, &addresses, &more), Some((from, port).into()))
        }),
        (any::<u8>(), more).prop_map(|(family, more)| (binary(0x20, family, b"", &more), None)),
        four.prop_map(|(from, to, port, other)| {
            let (from, to) = (Ipv4Addr::from(from), Ipv4Addr::from(to));
            (format!("PROXY TCP4 {from} {to} {port} {other}\r\n").into(), Some((from, port).into()))
        }),
        six.prop_map(|(from, to, port, other)| {
            let (from, to) = (Ipv6Addr::from(from), Ipv6Addr::from(to));
            (format!("PROXY TCP6 {from} {to} {port} {other}\r\n").into(), Some((from, port).into()))
        }),
    ]
}

proptest! {
    /// Whatever comes after it, a header is read as what it says; and cut at any byte it is waited for.
    #[test]
    fn a_header_is_whole_or_waited_for((bytes, client) in headers(), after in proptest::collection::vec(any::<u8>(), 0..32)) {
        let length = bytes.len();
        prop_assert_eq!(read(&[&bytes[..], &after].concat()), Header::Whole { length, client });
        for cut in 0..length {
            prop_assert_eq!(read(&bytes[..cut]), Header::Partial, "cut at {}", cut);
        }
    }

    /// No bytes make it panic, none are counted that did not come, and what was decided stays so.
    #[test]
    fn anything_is_read_as_something(signed in any::<bool>(), line in any::<bool>(), rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        let begin: &[u8] = if signed { SIGNATURE } else if line { b"PROXY " } else { b"" };
        let bytes = [begin, &rest].concat();
        let all = read(&bytes);
        if let Header::Whole { length, .. } = all {
            prop_assert!(length <= bytes.len());
        }
        for cut in 0..bytes.len() {
            let before = read(&bytes[..cut]);
            prop_assert!(before == Header::Partial || before == all, "{:?} at {}, then {:?}", before, cut, all);
        }
    }
}
