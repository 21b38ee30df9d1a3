//! The end of a process: readiness first, then no more connections, then what runs ends or is cut; and what a service
//! manager is told of it all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use trysail_testkit::client::{Client, fetch};
use trysail_testkit::folder::Folder;
use trysail_testkit::frames::{self, END_HEADERS, END_STREAM, GOAWAY, HEADERS, frame};
use trysail_testkit::load::Plan;
use trysail_testkit::origin::Answer;
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews, SEED, service_entry, weighted};
use crate::timeout::talker;
use crate::websocket::{SWITCH, echo, websocket};

/// A frame of HTTP/2 that wants an answer, and the flag of that.
const PING: u8 = 6;
const ACK: u8 = 1;

/// A folder with the seed before this upstream.
fn before(upstream: SocketAddr) -> Folder {
    let folder = Folder::new();
    folder.write("seed.yaml", SEED);
    folder.write("endpoints.yaml", &service_entry(&[("v1", upstream), ("v2", upstream)]));
    folder
}

fn ready(gateway: Gateway) -> Gateway {
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
    gateway
}

fn start(folder: &Path, settings: &str) -> Gateway {
    ready(Gateway::spawn(folder, settings))
}

/// Waits until it has ended, with 0; and gives its last line.
pub(crate) fn end_of(gateway: &Gateway) -> String {
    let status = gateway.process.wait(PATIENCE);
    let lines = gateway.process.lines();
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", lines.join("\n"));
    lines.last().cloned().unwrap_or_default()
}

#[test]
fn readiness_says_no_before_connections_are_turned_away() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    // `drain` of the tests is five seconds: that it takes less is told below.
    let gateway = start(folder.path(), "preStopDelay: 1500ms\n");
    let health = gateway.logged("health on ");
    let load = Plan::new(gateway.address(), "a", "/reviews/0").threads(2).max_time(PATIENCE * 4).start();
    eventually(PATIENCE, "there is load", || load.so_far().total() > 10);
    let mut kept = gateway.client();
    let asked = Instant::now();
    gateway.process.signal_term().expect("a signal");
    let says_no = || fetch(health, "x", "/healthz/ready").is_ok_and(|reply| reply.status == 503);
    eventually(PATIENCE, "it is not ready", says_no);
    // Who has not noticed yet is served as ever, on connections old and new.
    for client in [&mut kept, &mut gateway.client()] {
        let reply = client.get("a", "/reviews/0", &[]).expect("an answer");
        assert_eq!((reply.status, reply.header("connection")), (200, Some("keep-alive")));
    }
    load.stop().assert_all_good();
    let draining = gateway.process.wait_for_line(|line| line.contains("draining: "), PATIENCE);
    assert!(draining.is_some() && asked.elapsed() >= Duration::from_millis(1400), "{:?}", asked.elapsed());
    assert!(end_of(&gateway).contains("stopped after"));
    assert!(Client::connect(gateway.address()).is_err());
    assert!(
        asked.elapsed() < Duration::from_secs(6),
        "an idle process leaves at once: {:?}",
        asked.elapsed()
    );
}

#[test]
fn http2_is_told_to_go_away_and_its_streams_end() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    http2_goes_away(&gateway, &reviews, || gateway.process.signal_term().expect("a signal"));
    assert!(!end_of(&gateway).contains("cut"));
}

/// Has a process end within a request of HTTP/2, which is answered; its connection is told beforehand.
pub(crate) fn http2_goes_away(gateway: &Gateway, reviews: &Reviews, end: impl FnOnce()) {
    for (name, origin) in &reviews.origins {
        origin.set_answer(Answer::version(name).delay(Duration::from_secs(1)));
    }
    let mut stream = TcpStream::connect(gateway.address()).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut bytes = frames::begin(&[]);
    bytes.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &frames::request("GET", "/reviews/0")));
    stream.write_all(&bytes).expect("sent");
    let arrived = || reviews.origins.values().map(|origin| origin.received().len()).sum::<usize>() > 0;
    eventually(PATIENCE, "the request arrives", arrived);
    end();
    let (mut told, mut ended) = (false, false);
    while let Ok(frame) = frames::read(&mut stream) {
        told |= frame.kind == GOAWAY && !ended;
        // By its answer to this it says that it has heard.
        if frame.kind == PING {
            stream.write_all(&frames::frame(PING, ACK, 0, &frame.payload)).expect("sent");
        }
        ended |= frame.stream == 1 && frame.flags & END_STREAM != 0;
    }
    assert!(told, "GOAWAY comes before the answer is over");
    assert!(ended, "the stream ends as it should");
}

#[test]
fn a_websocket_lives_until_the_deadline_and_no_longer() {
    let folder = before(talker(SWITCH));
    let gateway = start(folder.path(), "");
    // The setting drain of all tests is five seconds.
    let mut socket = websocket(&gateway, "/reviews/ws");
    let began = Instant::now();
    gateway.process.signal_term().expect("a signal");
    assert!(
        gateway.process.wait_for_line(|line| line.contains("draining: 1 connection"), PATIENCE).is_some()
    );
    echo(&mut socket);
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(began.elapsed() >= Duration::from_millis(4900), "cut after {:?}", began.elapsed());
    assert!(end_of(&gateway).contains("1 connection cut"));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = before(talker(SWITCH));
    for (settings, line) in [("", "draining: "), ("preStopDelay: 1h\n", "connections are accepted for")] {
        let gateway = start(folder.path(), settings);
        let mut socket = websocket(&gateway, "/reviews/ws");
        gateway.process.signal_term().expect("a signal");
        assert!(gateway.process.wait_for_line(|said| said.contains(line), PATIENCE).is_some());
        echo(&mut socket);
        let began = Instant::now();
        gateway.process.signal_int().expect("a signal");
        let last = end_of(&gateway);
        assert!(last.contains("by a second signal, 1 connection cut"), "{last}");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    }
}

/// What a service manager hears.
pub(crate) struct Manager {
    socket: UnixDatagram,
    folder: Folder,
}

impl Manager {
    pub(crate) fn start() -> Manager {
        let folder = Folder::new();
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time");
        Manager { socket, folder }
    }

    /// A gateway that tells it everything.
    pub(crate) fn gateway(&self, config: &Path, more: &[&str], settings: &str) -> Gateway {
        let address = format!("NOTIFY_SOCKET={}", self.folder.path().join("notify").display());
        let program: Vec<&str> = ["env", &address].into_iter().chain(more.iter().copied()).collect();
        ready(Gateway::spawn_by(&program, config, settings))
    }

    /// All that it hears until one of it has these words.
    pub(crate) fn until(&self, words: &str) -> Vec<String> {
        self.until_one(words, |told| told.contains(words))
    }

    fn until_one(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Ok(length) = self.socket.recv(&mut buffer) else { break };
            let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let found = wanted(&told);
            heard.push(told);
            if found {
                return heard;
            }
        }
        panic!("{what} is not told, but {heard:#?}");
    }
}

#[test]
fn a_service_manager_is_told_how_it_fares() {
    let manager = Manager::start();
    let upstream = talker(SWITCH);
    let folder = before(upstream);
    folder.write("endpoints.yaml", &service_entry(&[("v1", upstream)]));
    let gateway = manager.gateway(folder.path(), &[], "preStopDelay: 100ms\n");
    let heard = manager.until("READY=1");
    assert!(heard.iter().any(|told| told.trim_end().ends_with("; held: reviews v2")), "{heard:#?}");
    folder.write("endpoints.yaml", &service_entry(&[("v1", upstream), ("v2", upstream)]));
    manager.until_one("nothing is held", |told| told.trim_end().ends_with("on 1 port"));
    assert!(heard.iter().any(|told| told.contains("STATUS=revision ")), "{heard:#?}");
    assert!(heard.iter().any(|told| told.contains(", 1 route on 1 port")), "{heard:#?}");

    // Only who asks waits for an answer, and the time says which question it is to.
    gateway.process.signal_hup().expect("a signal");
    let heard = manager.until("READY=1");
    let reloading = heard.iter().find(|told| told.contains("RELOADING=1")).expect("it says that it reloads");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");

    folder.write("seed.yaml", &SEED.replacen("subset: v2", "subset: v9", 1));
    let heard = manager.until("newest refused");
    let told = heard.last().expect("it was found");
    assert!(told.contains("1 error, ") && told.contains("seed.yaml:36:17: "), "{told}");
    assert!(!told.trim_end().contains('\n'), "one line: {told:?}");
    gateway.process.signal_hup().expect("a signal");
    assert!(manager.until("READY=1").iter().any(|told| told.contains("newest refused")));
    folder.write("seed.yaml", &weighted(20, 80));
    manager.until_one("all is well", |told| told.contains("on 1 port") && !told.contains("refused"));

    let mut socket = websocket(&gateway, "/reviews/ws");
    gateway.process.signal_term().expect("a signal");
    let heard = manager.until("STOPPING=1");
    // A hundred milliseconds, five seconds, and five for the rest.
    assert!(heard.last().expect("it was found").contains("EXTEND_TIMEOUT_USEC=10100000"), "{heard:#?}");
    manager.until("STATUS=not ready any more, stops accepting in 1 s");
    manager.until("STATUS=draining: 1 connection left, 5 s until they are cut");
    manager.until("STATUS=draining: 1 connection left, 4 s until they are cut");
    echo(&mut socket);
    gateway.process.signal_term().expect("a signal");
    end_of(&gateway);
}

#[test]
fn the_watchdog_is_fed() {
    let manager = Manager::start();
    let folder = before(talker(SWITCH));
    let _gateway = manager.gateway(folder.path(), &["WATCHDOG_USEC=300000"], "");
    (0..3).for_each(|_| drop(manager.until("WATCHDOG=1")));
}
