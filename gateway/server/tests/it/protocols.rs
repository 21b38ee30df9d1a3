//! What passes through whole: gRPC with its trailers, events as they come, bodies of any size.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use trysail_testkit::raw::{BODY, Raw, Script};

use crate::gateway::{Gateway, PATIENCE, service_entry};
use crate::limits::site;
use crate::upstream_faults::held_by;

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A gRPC server over HTTP/2 with prior knowledge: echoes the request's messages, as often as `/echo/N` says, with
/// `grpc-status` behind them; `/refuse` says it at once.
pub(crate) async fn grpc_server() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(echo(request, respond));
                }
            });
        }
    });
    address
}

async fn echo(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Option<()> {
    assert_eq!(request.headers()["te"], "trailers");
    let answer = http::Response::builder().header("content-type", "application/grpc");
    let path = request.uri().path().to_owned();
    if path == "/refuse" {
        let answer = answer.header("grpc-status", "7").header("grpc-message", "no").body(()).ok()?;
        return respond.send_response(answer, true).map(drop).ok();
    }
    let mut stream = respond.send_response(answer.body(()).ok()?, false).ok()?;
    let times: usize = path.rsplit('/').next()?.parse().ok()?;
    let mut body = request.into_body();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        let _ = body.flow_control().release_capacity(piece.len());
        for _ in 0..times {
            stream.send_data(piece.clone(), false).ok()?;
        }
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().ok()?);
    trailers.insert("x-tail", path.parse().ok()?);
    stream.send_trailers(trailers).ok()
}

#[test]
fn grpc_passes_with_its_trailers() {
    let runtime = runtime();
    let endpoint = runtime.block_on(grpc_server());
    let folder = site(&[endpoint], "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}", "");
    let gateway = Gateway::start(folder.path());
    let address = gateway.address();
    let message = Bytes::from_static(b"\0\0\0\0\x05hello");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("the gateway accepts");
        let (mut sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        // (path, messages sent, messages that come back, status, where it stands)
        for (path, sent, echoed, status, in_head) in [
            ("/echo/1", 1, 1, "0", false),
            ("/echo/50", 1, 50, "0", false),
            ("/echo/1", 20, 20, "0", false),
            ("/refuse", 0, 0, "7", true),
        ] {
            let request = http::Request::post(format!("http://shop.test{path}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())
                .expect("a request");
            sender = sender.ready().await.expect("a stream");
            let (answer, mut body) = sender.send_request(request, false).expect("sent");
            for _ in 0..sent {
                body.send_data(message.clone(), false).expect("sent");
            }
            body.send_data(Bytes::new(), true).expect("sent");
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status(), 200, "{path}");
            let head = answer.headers().get("grpc-status").cloned();
            let mut body = answer.into_body();
            let mut length = 0;
            while let Some(piece) = body.data().await {
                let piece = piece.expect("a piece");
                let _ = body.flow_control().release_capacity(piece.len());
                length += piece.len();
            }
            let trailers = body.trailers().await.expect("an end");
            assert_eq!(length, echoed * message.len(), "{path}");
            let status_seen =
                if in_head { head } else { trailers.as_ref().and_then(|t| t.get("grpc-status").cloned()) };
            assert_eq!(status_seen.expect("a status"), status, "{path}");
            if !in_head {
                assert_eq!(trailers.expect("trailers")["x-tail"], path);
            }
        }
    });
}

#[test]
fn events_arrive_as_they_are_sent() {
    for chunked in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (go, gone) = mpsc::channel::<String>();
        thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let framing = if chunked { "transfer-encoding: chunked\r\n" } else { "" };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n");
            reader.get_mut().write_all(head.as_bytes()).expect("sent");
            for event in gone {
                let event = if chunked { format!("{:x}\r\n{event}\r\n", event.len()) } else { event };
                reader.get_mut().write_all(event.as_bytes()).expect("sent");
            }
        });
        let folder = site(&[address], "", "");
        let gateway = Gateway::start(folder.path());
        let mut stream = TcpStream::connect(gateway.address()).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
        let mut reader = BufReader::new(stream);
        // The next is not sent before the last was seen, so none can wait for another.
        for n in 0..20 {
            go.send(format!("data: {n}\n\n")).expect("the upstream listens");
            let mut line = String::new();
            while !line.starts_with("data:") {
                line.clear();
                assert!(reader.read_line(&mut line).expect("an event") > 0, "{n}, chunked: {chunked}");
            }
            assert_eq!(line, format!("data: {n}\n"), "chunked: {chunked}");
        }
    }
}

#[test]
fn bodies_of_any_size_pass_without_being_held() {
    const SIZE: usize = 96 << 20;
    static PIECE: [u8; 65536] = [b'x'; 65536];
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let (mut line, mut body) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(length) = line.to_lowercase().strip_prefix("content-length: ") {
                    body = length.trim().parse().expect("a length");
                }
                line.clear();
            }
            let took = std::io::copy(&mut (&mut reader).take(body), &mut std::io::sink()).expect("a body");
            assert_eq!(took, body);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\nconnection: close\r\n\r\n");
            reader.get_mut().write_all(head.as_bytes()).expect("sent");
            for _ in 0..SIZE / PIECE.len() {
                reader.get_mut().write_all(&PIECE).expect("sent");
            }
        }
    });
    let folder = site(&[address], "", "");
    let gateway = Gateway::start(folder.path());
    let (_, before) = held_by(&gateway.process);
    let mut stream = TcpStream::connect(gateway.address()).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream
        .write_all(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes())
        .expect("sent");
    let mut most = before;
    for n in 0..SIZE / PIECE.len() {
        stream.write_all(&PIECE).expect("sent");
        if n % 256 == 0 {
            most = most.max(held_by(&gateway.process).1);
        }
    }
    // A reader that lags is what would fill a buffer.
    let (mut got, mut piece) = (0, vec![0; 65536]);
    let head = {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.extend(byte);
        }
        String::from_utf8_lossy(&head).into_owned()
    };
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    while got < SIZE {
        let read = stream.read(&mut piece).expect("a piece");
        assert!(read > 0, "{got}");
        got += read;
        if got % (4 << 20) < read {
            most = most.max(held_by(&gateway.process).1);
        }
    }
    assert!(most < before + 24 * 1024, "from {before} to {most} kB");
}

#[test]
fn a_client_that_waits_for_100_gets_it_from_its_upstream() {
    let origin = trysail_testkit::origin::Origin::start(trysail_testkit::origin::Answer::version("v1"));
    let folder = site(&[origin.addr()], "", "");
    let gateway = Gateway::start(folder.path());
    let mut stream = TcpStream::connect(gateway.address()).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .expect("sent");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("an interim answer");
    assert!(line.starts_with("HTTP/1.1 100"), "{line:?}");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("a field");
    }
    reader.get_mut().write_all(b"body").expect("sent");
    line.clear();
    reader.read_line(&mut line).expect("an answer");
    assert!(line.starts_with("HTTP/1.1 200"), "{line:?}");
    assert_eq!(origin.received().last().expect("a request").body, b"body");
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() {
    let raw = Raw::start(Script::Early);
    let folder = site(&[raw.addr()], "", "");
    let gateway = Gateway::start(folder.path());
    let mut stream = TcpStream::connect(gateway.address()).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nsome").expect("sent");
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.ends_with(BODY.as_bytes()) {
        let read = stream.read(&mut piece).expect("an answer");
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    // And nothing of the half request is left for the next.
    let good = service_entry(&[("v1", raw.addr())]);
    raw.set(Script::Good);
    gateway.after(|| folder.write("endpoints.yaml", &format!("{good}# once more\n")), "in force");
    assert_eq!(gateway.client().get("a", "/", &[]).expect("an answer").text(), BODY);
}
