//! WebSockets: not cut by reloads, time-outs or an upstream that is quick, and closed when nobody says a word.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use trysail_testkit::raw::refused;
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, service_entry};
use crate::timeout::{behind, talker};

/// A WebSocket through a gateway, on which something was said and echoed.
pub(crate) fn websocket(gateway: &Gateway, path: &str) -> BufReader<TcpStream> {
    let mut reader = switched(gateway, path);
    echo(&mut reader);
    reader
}

/// Says something, and hears it.
pub(crate) fn echo(reader: &mut BufReader<TcpStream>) {
    let mut echo = [0; 5];
    reader.get_mut().write_all(b"hello").expect("sent");
    reader.read_exact(&mut echo).expect("an echo");
    assert_eq!(&echo, b"hello");
}

/// A connection after its 101.
fn switched(gateway: &Gateway, path: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(gateway.address()).expect("the gateway accepts");
    stream.set_read_timeout(Some(Duration::from_secs(90))).expect("a time");
    let ask = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).expect("sent");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a status");
    assert!(line.contains(" 101 "), "{line:?}");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("a field");
    }
    reader
}

pub(crate) const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";

#[test]
fn a_websocket_whose_upstream_answers_at_once_is_not_cut() {
    let (_folder, gateway) = behind(talker(SWITCH));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250).for_each(|_| drop(websocket(&gateway, "/never"))));
        }
    });
}

#[test]
fn a_websocket_outlives_reloads() {
    let (folder, gateway) = behind(talker(SWITCH));
    let mut reader = websocket(&gateway, "/never");
    let entry = |name: &str| service_entry(&[("v1", refused())]).replace("reviews", name);
    for edit in 0..136 {
        gateway.after(|| folder.write("other.yaml", &entry(&format!("other-{edit}"))), "in force");
        echo(&mut reader);
    }
}

#[test]
fn waiting_for_a_revision_tells_of_websockets_and_does_not_wait_for_them() {
    let (folder, gateway) = behind(talker(SWITCH));
    let mut reader = websocket(&gateway, "/never");
    let other = service_entry(&[("v1", refused())]).replace("reviews", "other");
    let line = gateway.after(|| folder.write("other.yaml", &other), "in force after");
    let revision =
        line.split("revision ").nth(1).and_then(|rest| rest.get(..8)).expect("a revision").to_owned();
    let admin = gateway.logged("admin on ").to_string();
    let wait = || {
        let arguments = ["wait", &admin, "--revision", &revision, "--timeout", "10s"];
        let output =
            Command::new(env!("CARGO_BIN_EXE_trysail")).args(arguments).output().expect("trysail runs");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let said = wait();
    assert!(said.contains("1 WebSocket or passed-on connection of ") && said.contains(" left"), "{said}");
    echo(&mut reader);
    drop(reader);
    eventually(PATIENCE, "it is the last", || wait().contains("; the last request of "));
}

#[test]
fn a_silent_websocket_lives_as_long_as_the_setting_says() {
    let (folder, _first) = behind(talker(SWITCH));
    let gateway = Gateway::spawn(folder.path(), "downstream: {idleTimeout: 700ms}\n");
    assert!(gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE).is_some());
    let mut reader = websocket(&gateway, "/never");
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = reader.read_to_end(&mut rest);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(650) && took < Duration::from_secs(20), "{took:?}");
}

#[test]
#[ignore = "takes a minute: what cuts silent connections where nobody sets it otherwise does so after 60 s"]
fn a_silent_websocket_outlives_a_minute() {
    let (_folder, gateway) = behind(talker(SWITCH));
    let mut reader = websocket(&gateway, "/never");
    let (_silent, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(Duration::from_secs(63));
    echo(&mut reader);
}

#[test]
fn a_websocket_outlives_the_timeout() {
    let (_folder, gateway) = behind(talker(SWITCH));
    let mut reader = websocket(&gateway, "/short");
    // Longer than the timeout: nobody says a word for it, so a channel without a sender is what is waited for.
    let (_silent, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(Duration::from_millis(500));
    echo(&mut reader);
}
