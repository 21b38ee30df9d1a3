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
                    Head { length: new.len(), rewritten: None, chunked: head.chunked },
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
    assert_eq!(read, Head { length: head.len(), rewritten: None, chunked: true });
}

#[test]
fn the_end_is_found_wherever_reading_went_on() {
    for (bytes, is) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\nHost: a\n\n", true),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r", false),
        ("GET / HTTP/1.1\r\nHost: a\r\n", false),
        ("\r\nGET", false),
        ("", false),
    ] {
        for from in 0..bytes.len().min(23) {
            assert_eq!(ends(bytes.as_bytes(), from), is, "{bytes:?} from {from}");
        }
    }
}
