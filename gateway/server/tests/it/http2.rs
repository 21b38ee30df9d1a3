//! HTTP/2 from the client, frame by frame: how streams end.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use trysail_testkit::wait::eventually;

use crate::gateway::PATIENCE;
use crate::timeout::{behind, talker};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A text of HPACK, without Huffman's code.
fn text(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat()
}

/// A GET on a connection of its own, and the frames of its stream: `HEADERS`, `DATA(some)`, `END`, `RESET`.
fn ask(address: SocketAddr, path: &str, content_type: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    // :method GET, :scheme http, then literals: :path, :authority, and a name of its own.
    let mut head = vec![0x82, 0x86, 0x04];
    head.extend(text(path));
    head.push(0x01);
    head.extend(text("shop.test"));
    head.push(0x00);
    head.extend([text("content-type"), text(content_type)].concat());
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &head));
    stream.write_all(&bytes).expect("sent");

    let mut seen = Vec::new();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("a frame");
        let mut payload =
            vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).expect("a payload");
        if head[8] != 1 {
            continue;
        }
        match head[3] {
            HEADERS => seen.push("HEADERS".to_owned()),
            DATA if !payload.is_empty() => seen.push(format!("DATA({})", String::from_utf8_lossy(&payload))),
            RESET => seen.push("RESET".to_owned()),
            _ => {}
        }
        if head[3] != RESET && head[4] & END_STREAM != 0 {
            seen.push("END".to_owned());
        }
        if seen.iter().any(|frame| frame == "END" || frame == "RESET") {
            return seen.join(" ");
        }
    }
}

#[test]
fn streams_end_whole_or_visibly_cut() {
    // The first says nothing at all, the second not all of it.
    for (answer, content_type, frames, flag, code) in [
        ("", "text/plain", "HEADERS DATA(upstream request timeout) END", "UT", 504),
        // A failure without a body ends as whole as one with it.
        ("", "application/grpc", "HEADERS END", "UT", 200),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome",
            "text/plain",
            "HEADERS DATA(some) RESET",
            "UT",
            200,
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsome",
            "text/plain",
            "HEADERS DATA(some) END",
            "-",
            200,
        ),
    ] {
        let (_folder, gateway) = behind(talker(answer));
        assert_eq!(ask(gateway.address(), "/short", content_type), frames, "{answer:?} {content_type}");
        let labels = [format!("response_flags=\"{flag}\""), format!("response_code=\"{code}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        eventually(PATIENCE.min(Duration::from_secs(20)), frames, || {
            gateway.sum("istio_requests_total", &labels) == 1.0
        });
    }
}
