//! HTTP/2 from the client, frame by frame: how streams end.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use trysail_testkit::h2::{
    DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PREFACE, RESET, SETTINGS, frame, text,
};
use trysail_testkit::wait::eventually;

use crate::gateway::PATIENCE;
use crate::timeout::{behind, talker};

/// A GET on a connection of its own, and the frames of its stream: `HEADERS`, `DATA(some)`, `END`, `RESET`.
fn ask(address: SocketAddr, path: &str, content_type: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    // :method GET, :scheme http, then literals: :path, :authority, and a name of its own.
    let mut head = vec![0x82, 0x86, 0x04];
    head.extend(text(path.as_bytes()));
    head.push(0x01);
    head.extend(text(b"shop.test"));
    head.push(0x00);
    head.extend([text(b"content-type"), text(content_type.as_bytes())].concat());
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &head));
    stream.write_all(&bytes).expect("sent");

    let mut seen = Vec::new();
    loop {
        let frame = Frame::read(&mut stream).expect("a frame");
        if frame.stream != 1 {
            continue;
        }
        match frame.kind {
            HEADERS => seen.push("HEADERS".to_owned()),
            DATA if !frame.payload.is_empty() => {
                seen.push(format!("DATA({})", String::from_utf8_lossy(&frame.payload)));
            }
            RESET => seen.push("RESET".to_owned()),
            _ => {}
        }
        if frame.kind != RESET && frame.flags & END_STREAM != 0 {
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
