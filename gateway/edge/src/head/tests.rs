//! Heads as a person would write them: `|` stands for CR and LF.

use super::*;

/// What becomes of a head: `=` as it is, the new one, or why not.
fn of(text: &str) -> String {
    let bytes = text.replace('|', "\r\n");
    match read(bytes.as_bytes()) {
        Err(reason) => reason.as_str().to_owned(),
        Ok(None) => "more".to_owned(),
        Ok(Some(head)) => {
            assert_eq!(head.length, bytes.len(), "{text}");
            head.rewritten.map_or("=".to_owned(), |new| {
                let again = read(&new).unwrap().unwrap();
                assert_eq!(
                    again,
                    Head { length: new.len(), rewritten: None, chunked: head.chunked, plain: head.plain },
                    "{text}"
                );
                String::from_utf8(new).unwrap().replace("\r\n", "|")
            })
        }
    }
}

#[test]
fn heads_pass_are_written_anew_or_are_refused() {
    for (head, comes_to) in [
        ("GET / HTTP/1.1|Host: a||", "="),
        ("GET / HTTP/1.0||", "="),
        ("GET / HTTP/1.1|Host: a|Connection: keep-alive, TE|TE: trailers||", "="),
        ("GET / HTTP/1.1|Host: a|X: \u{f6}\t ||", "="),
        ("", "more"),
        ("|", "more"),
        ("GET", "more"),
        ("GET / HTTP/1.1|Host: a|", "more"),
        ("||GET / HTTP/1.1|Host: a||", "GET / HTTP/1.1|Host: a||"),
        ("|||GET / HTTP/1.1|Host: a||", "request_line"),
        ("GET /|", "request_line"),
        ("GET  / HTTP/1.1|", "request_line"),
        ("GET / HTTP/1.1 |", "request_line"),
        ("GET\t/ HTTP/1.1|", "request_line"),
        (" GET / HTTP/1.1|", "request_line"),
        ("G@T / HTTP/1.1|", "request_line"),
        ("GET / http/1.1|", "request_line"),
        ("GET /\x01 HTTP/1.1|Host: a||", "control_character"),
        ("GET /\t HTTP/1.1|", "request_line"),
        ("GET / x HTTP/1.1|", "request_line"),
        ("GET / HTTP/1.2|", "version"),
        ("PRI * HTTP/2.0|", "request_line"),
        ("CONNECT a:80 HTTP/1.1|", "connect"),
        ("GET @a HTTP/1.1|", "target"),
        ("GET a/b HTTP/1.1|", "target"),
        ("GET ftp://a/ HTTP/1.1|", "target"),
        ("GET http:/a HTTP/1.1|", "target"),
        ("OPTIONS * HTTP/1.1|Host: a||", "="),
        ("GET / HTTP/1.1||", "authority"),
        ("GET / HTTP/1.1|Host:||", "authority"),
        ("GET / HTTP/1.1|Host: a|Host: a||", "authority"),
        ("GET / HTTP/1.1|Host: a@b||", "authority"),
        ("GET http://a:81/x?y HTTP/1.1|Host: b|X: z||", "GET /x?y HTTP/1.1|Host: a:81|X: z||"),
        ("GET HTTP://a?y HTTP/1.1|Host: b||", "GET /?y HTTP/1.1|Host: a||"),
        ("GET https://a HTTP/1.0||", "GET / HTTP/1.0|Host: a||"),
        ("GET http://u@a/ HTTP/1.1|Host: a||", "authority"),
        ("GET http:///x HTTP/1.1|Host: a||", "authority"),
        ("GET http://a/ HTTP/1.1||", "authority"),
        ("GET / HTTP/1.1|Host: a|X||", "field_name"),
        ("GET / HTTP/1.1|Host: a|X : y||", "field_name"),
        ("GET / HTTP/1.1|Host: a|: y||", "field_name"),
        ("GET / HTTP/1.1|Host: a| X: y||", "folded_line"),
        ("GET / HTTP/1.1|Host: a|X: y|\tz||", "folded_line"),
        ("GET / HTTP/1.1\nHost: a||", "control_character"),
        ("GET / HTTP/1.1|Host: a|X: a\nY: b||", "control_character"),
        ("GET / HTTP/1.1|Host: a|X: a\rY: b||", "control_character"),
        ("GET / HTTP/1.1|Host: a|X: a\0||", "control_character"),
        ("GET / HTTP/1.1|Host: a|X: a\x7f||", "control_character"),
        ("GET / HTTP/1.1|Host: a|Content-Length: 1, 1||", "content_length"),
        ("GET / HTTP/1.0|Transfer-Encoding: chunked||", "transfer_encoding"),
        ("GET / HTTP/1.1|Host: a|Proxy: x|X: y||", "GET / HTTP/1.1|Host: a|X: y||"),
        (
            "GET / HTTP/1.1|Host: a|Cookie: a=1|X: y|cookie: b=2||",
            "GET / HTTP/1.1|Host: a|Cookie: a=1; b=2|X: y||",
        ),
        ("GET / HTTP/1.1|Host: a|Connection: close, X|X: y||", "GET / HTTP/1.1|Host: a|Connection: close||"),
        ("GET / HTTP/1.1|Host: a|Connection: host||", "connection"),
        ("GET / HTTP/1.1|Host: a|Connection: X-Forwarded-Anything||", "connection"),
        ("GET / HTTP/1.1|Host: a|Connection: \"x\"||", "connection"),
        ("GET / HTTP/1.1|Host: a|Connection: Upgrade|Upgrade: WebSocket||", "="),
        (
            "GET / HTTP/1.1|Host: a|Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: x||",
            "GET / HTTP/1.1|Host: a||",
        ),
        ("GET / HTTP/1.1|Host: a|Upgrade: websocket||", "GET / HTTP/1.1|Host: a||"),
        ("POST / HTTP/1.1|Host: a|Connection: Upgrade|Upgrade: websocket||", "POST / HTTP/1.1|Host: a||"),
        (
            "GET / HTTP/1.1|Host: a|Connection: x, Upgrade|Upgrade: websocket|X: y||",
            "GET / HTTP/1.1|Host: a|Upgrade: websocket|Connection: Upgrade||",
        ),
    ] {
        assert_eq!(of(head), comes_to, "{head:?}");
    }
    let many: String = (0..17).map(|n| format!("x{n},")).collect();
    assert_eq!(of(&format!("GET / HTTP/1.1|Host: a|Connection: {many}||")), "connection");
}

#[test]
fn chunked_bodies_and_what_follows_a_head() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let read = read(&[head, &b"0\r\n\r\nGET"[..]].concat()).unwrap().unwrap();
    assert_eq!(
        read,
        Head { length: head.len(), rewritten: None, chunked: true, plain: Some(Plain::default()) }
    );
}

/// Heads with something changed somewhere, many times over: none panics, and what is let through means one thing.
#[test]
fn mutated_heads_are_refused_or_mean_one_thing() {
    const SEEDS: [&str; 4] = [
        "POST http://a:81/x?y HTTP/1.1|Host: b|Content-Length: 5|Connection: close, x|X: y||",
        "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked|Cookie: a=1|Cookie: b=2||",
        "GET / HTTP/1.1|Host: a|Connection: Upgrade|Upgrade: websocket|Proxy: x||",
        "GET /a HTTP/1.0|Connection: keep-alive||",
    ];
    const PIECES: [&[u8]; 16] = [
        b"\r",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\0",
        b",",
        b":",
        b"@",
        b"Host: c\r\n",
        b"Content-Length: 1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"chunked",
        b"\r\n\r\n",
        b"\xff",
        b"http://",
    ];
    let mut chance = fastrand::Rng::with_seed(30);
    let (mut passed, mut refused) = (0, 0);
    for turn in 0..40_000 {
        let mut bytes = SEEDS[turn % SEEDS.len()].replace('|', "\r\n").into_bytes();
        for _ in 0..chance.usize(1..=3) {
            let at = chance.usize(..bytes.len());
            match chance.u8(..4) {
                0 => drop(bytes.remove(at)),
                1 => bytes[at] = chance.u8(..),
                2 => drop(bytes.splice(at..at, PIECES[chance.usize(..PIECES.len())].iter().copied())),
                _ => {
                    let end = chance.usize(at..bytes.len());
                    bytes.extend_from_within(at..end);
                }
            }
        }
        let told = || String::from_utf8_lossy(&bytes).into_owned();
        match read(&bytes) {
            Err(_) => refused += 1,
            Ok(None) => {}
            Ok(Some(head)) => {
                passed += 1;
                let made = head.rewritten.unwrap_or_else(|| bytes[..head.length].to_vec());
                let again =
                    Head { length: made.len(), rewritten: None, chunked: head.chunked, plain: head.plain };
                assert_eq!(read(&made), Ok(Some(again)), "{}", told());
                means_one_thing(&made).unwrap_or_else(|what| panic!("{what}: {}", told()));
            }
        }
    }
    assert!(passed > 4_000 && refused > 4_000, "{passed} passed, {refused} were refused");
}

/// Looked at in the plainest way there is.
fn means_one_thing(head: &[u8]) -> Result<(), &'static str> {
    let text: String = head.iter().map(|byte| char::from(*byte)).collect();
    let Some((lines, "")) = text.split_once("\r\n\r\n") else { return Err("not one head") };
    let mut lines = lines.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [_, target, "HTTP/1.1" | "HTTP/1.0"] = first[..] else { return Err("a request line") };
    let fields: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim()))
        .collect();
    let all = |wanted: &str| -> Vec<&str> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let checks = [
        (
            !text.chars().any(|char| char.is_ascii_control() && !"\r\n\t".contains(char)),
            "a control character",
        ),
        (text.matches('\r').count() == text.matches('\n').count(), "a line's end"),
        (target.starts_with('/') || target == "*", "a target"),
        (all("host").len() <= 1, "hosts"),
        (!text.contains("HTTP/1.1\r\n") || all("host").len() == 1, "no host"),
        (lengths.len() + codings.len() <= 1, "lengths"),
        (lengths.iter().all(|length| length.bytes().all(|byte| byte.is_ascii_digit())), "a length"),
        (codings.iter().all(|coding| coding.eq_ignore_ascii_case("chunked")), "a coding"),
        (all("cookie").len() <= 1 && all("proxy").is_empty(), "fields"),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
}

#[test]
fn plain_is_what_asks_for_nothing_special() {
    let plain = |length, close| Some(Plain { length: Some(length), close });
    let chunked = |close| Some(Plain { length: None, close });
    for (head, is) in [
        ("GET / HTTP/1.1|Host: a||", plain(0, false)),
        ("GET / HTTP/1.1|Host: a|Connection: close||", plain(0, true)),
        ("GET / HTTP/1.1|Host: a|Connection: keep-alive, Close||", plain(0, true)),
        ("POST / HTTP/1.1|Host: a|Content-Length: 0017||", plain(17, false)),
        ("POST / HTTP/1.1|Host: a|Content-Length: 9223372036854775807||", plain(i64::MAX as u64, false)),
        // Taken off: what is left asks for nothing.
        ("GET / HTTP/1.1|Host: a|Connection: Upgrade|Upgrade: h2c||", plain(0, false)),
        ("GET / HTTP/1.1|Host: a|Connection: Upgrade|Upgrade: websocket||", None),
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||", chunked(false)),
        ("GET / HTTP/1.1|Host: a|Transfer-Encoding: CHUNKED|Connection: close||", chunked(true)),
        (
            "POST / HTTP/1.1|Host: a|Upgrade: websocket|Connection: upgrade|Transfer-Encoding: chunked||",
            chunked(false),
        ),
        ("POST / HTTP/1.1|Host: a|Expect: 100-continue|Transfer-Encoding: chunked||", None),
        ("POST / HTTP/1.1|Host: a|Expect: 100-continue|Content-Length: 2||", None),
        ("POST / HTTP/1.1|Host: a|expect:|Content-Length: 2||", None),
        ("GET / HTTP/1.0|Host: a||", None),
    ] {
        let read = read(head.replace('|', "\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!(read.plain, is, "{head}");
    }
}
