//! Slow clients: each kind is cut in time, many at once, and nobody else waits for them; what is meant to be slow is not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use trysail_testkit::client::fetch;
use trysail_testkit::folder::Folder;
use trysail_testkit::frames::{
    self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PREFACE, RESET, frame, request,
};
use trysail_testkit::raw::{Raw, Script};
use trysail_testkit::tls::{self, Authority};
use trysail_testkit::wait::eventually;

use crate::floods::bulk;
use crate::gateway::{Gateway, HTTP, PATIENCE, service_entry, shop};
use crate::timeout::talker;

/// Each limit is this, but for those of connections without a request.
const LIMIT: Duration = Duration::from_secs(1);
const SETTINGS: &str = "downstream: {firstRequestTimeout: 2s, idleTimeout: 3s, handshakeTimeout: 1s, headTimeout: 1s, \
                        bodyTimeout: 1s, sendTimeout: 1s}\nlimits: {connections: 100000}\n";

/// How much later than its limit a client may be cut, on a machine that does other things too.
const LATER: Duration = Duration::from_secs(15);

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";

/// A gateway, and what is behind it.
struct Site {
    gateway: Gateway,
    _folders: [Folder; 2],
    _stalled: Raw,
    authority: Authority,
}

impl Site {
    fn start() -> Site {
        let (folder, certificates, stalled) = (Folder::new(), Folder::new(), Raw::start(Script::Stall));
        let authority = Authority::new("test root");
        let pair = authority.issue(&["shop.test"]);
        certificates.write("shop/tls.key", &pair.key);
        certificates.write("shop/tls.crt", &pair.certificate);
        let rules = "  http:
  - {match: [{uri: {exact: /wait}}], route: [{destination: {host: wait}}]}
  - {match: [{uri: {exact: /talk}}], route: [{destination: {host: talk}}]}
  - {match: [{uri: {exact: /pause}}], route: [{destination: {host: pause}}]}
  - {match: [{uri: {exact: /bulk}}], route: [{destination: {host: bulk}}]}
  - {directResponse: {status: 200, body: {string: here}}}";
        folder.write("shop.yaml", &shop(HTTP, rules));
        let https =
            "port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: shop}";
        folder.write(
            "https.yaml",
            &shop(https, "  http: [{directResponse: {status: 200}}]")
                .replace("name: shop}", "name: https}")
                .replace("gateways: [shop]", "gateways: [https]"),
        );
        let upgraded =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        for (name, address) in [
            ("wait", stalled.addr()),
            ("talk", talker(upgraded)),
            ("pause", pausing()),
            ("bulk", bulk(1 << 20)),
        ] {
            folder
                .write(&format!("{name}.yaml"), &service_entry(&[("v1", address)]).replace("reviews", name));
        }
        let ports = format!("ports: {{443: 0}}\ncertificates: {}\n", certificates.path().display());
        let gateway = Gateway::spawn(folder.path(), &format!("{SETTINGS}{ports}"));
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        Site { gateway, _folders: [folder, certificates], _stalled: stalled, authority }
    }

    fn cut(&self, reason: &str) -> f64 {
        self.gateway.sum("trysail_cut_connections_total", &[&format!("reason=\"{reason}\"")])
    }
}

/// An upstream whose answers pause for longer than any limit, and are whole.
fn pausing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n");
                for piece in [b"a", b"b", b"c", b"d"] {
                    thread::sleep(LIMIT * 3 / 2);
                    let _ = stream.write_all(piece);
                }
            });
        }
    });
    address
}

/// How a kind of slow client ends.
enum End {
    /// It is told so, and closed.
    Told(&'static str),
    /// It is closed.
    Closed,
    /// It does not read, or hardly, so that only the gateway knows.
    Counted(&'static str),
}

/// A kind of slow client: what it sends at first, and then, again and again, a little of something.
struct Kind {
    name: &'static str,
    first: Vec<u8>,
    /// What it sends once it has been told something.
    second: &'static [u8],
    drip: &'static [u8],
    /// Whether it reads a little, again and again, where it does not read else.
    sips: bool,
    after: Duration,
    end: End,
}

fn kinds() -> Vec<Kind> {
    let kind = |name, first: &[&[u8]], drip: &'static [u8], end| Kind {
        name,
        first: first.concat(),
        second: b"",
        drip,
        sips: false,
        after: LIMIT,
        end,
    };
    let h2 = frames::begin(&[]);
    let wide = [frames::begin(&[(4, 0x7fff_ffff)]), frame(8, 0, 0, &0x7000_0000_u32.to_be_bytes())].concat();
    let open = frame(HEADERS, 0, 3, &request("GET", "/"));
    let wait = frame(HEADERS, END_STREAM | END_HEADERS, 1, &request("GET", "/wait"));
    let bulk = frame(HEADERS, END_STREAM | END_HEADERS, 1, &request("GET", "/bulk"));
    let posted = b"POST /wait HTTP/1.1\r\nhost: shop.test\r\n";
    let late = End::Told("HTTP/1.1 408 ");
    vec![
        kind("a head in drips", &[b"GET / HTTP/1.1\r\nhost: shop.test\r\nx: "], b"x", late),
        kind("a head that stops", &[b"GET / HTT"], b"", End::Told("HTTP/1.1 408 ")),
        Kind {
            second: b"GET / HTTP/1.1\r\nx: ",
            ..kind("a second head in drips", &[GET], b"x", End::Told("HTTP/1.1 408 "))
        },
        kind(
            "a body that stops",
            &[posted, b"content-length: 9\r\n\r\nsome"],
            b"",
            End::Told("HTTP/1.1 408 "),
        ),
        kind(
            "chunks that stop",
            &[posted, b"transfer-encoding: chunked\r\n\r\n4\r\nsome\r\n"],
            b"",
            End::Told("HTTP/1.1 408 "),
        ),
        Kind { after: LIMIT * 2, ..kind("nothing", &[], b"", End::Closed) },
        Kind { after: LIMIT * 3, ..kind("nothing more", &[GET], b"", End::Told("here")) },
        kind("a preface in drips", &[&PREFACE[..5]], b"", End::Closed),
        Kind { after: LIMIT * 2, ..kind("a preface and no request", &[&h2], b"", End::Closed) },
        kind("fields that do not end", &[&h2, &open], b"", End::Closed),
        kind("fields in drips", &[&h2, &open, &[0, 3, 0, CONTINUATION, 0, 0, 0, 0, 3]], b"x", End::Closed),
        kind("fields that do not end, beside a stream", &[&h2, &wait, &open], b"", End::Closed),
        kind("half a frame, beside a stream", &[&h2, &wait, &[0, 0, 8, 6]], b"", End::Closed),
        kind(
            "an answer that nobody reads",
            &[b"GET /bulk HTTP/1.1\r\nhost: a\r\n\r\n"],
            b"",
            End::Counted("send_time"),
        ),
        Kind {
            sips: true,
            ..kind(
                "an answer in sips",
                &[b"GET /bulk HTTP/1.1\r\nhost: a\r\n\r\n"],
                b"",
                End::Counted("send_time"),
            )
        },
        kind("answers of HTTP/2 that nobody reads", &[&wide, &bulk], b"", End::Counted("send_time")),
        kind(
            "a stream's window that stays closed",
            &[&frames::begin(&[(4, 0)]), &bulk],
            b"",
            End::Counted("stream_time"),
        ),
    ]
}

/// A client that takes little at a time.
fn connect(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect_timeout(&address.into(), PATIENCE).expect("the gateway accepts");
    socket.set_nonblocking(true).expect("no waiting");
    socket.into()
}

/// One slow client.
struct Slow<S> {
    stream: S,
    /// What is still to be sent once it has been told something.
    second: &'static [u8],
    said: Vec<u8>,
    ended: Option<Duration>,
}

/// Drips to many clients, and reads what they are told, until all of them are closed.
fn watch<S: Read + Write>(
    streams: Vec<S>,
    second: &'static [u8],
    drip: &[u8],
    began: Instant,
    within: Duration,
) -> Vec<Slow<S>> {
    let slow = |stream| Slow { stream, second, said: Vec::new(), ended: None };
    let mut clients: Vec<Slow<S>> = streams.into_iter().map(slow).collect();
    while began.elapsed() < within && clients.iter().any(|client| client.ended.is_none()) {
        for client in clients.iter_mut().filter(|client| client.ended.is_none()) {
            let mut space = [0; 1024];
            match client.stream.read(&mut space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => client.ended = Some(began.elapsed()),
                Ok(read) => client.said.extend_from_slice(&space[..read]),
            }
            // A connection that is closing takes it or does not; reading tells which.
            if client.second.is_empty() {
                let _ = client.stream.write(drip);
            } else if !client.said.is_empty() {
                let _ = client.stream.write_all(std::mem::take(&mut client.second));
            }
        }
        thread::sleep(Duration::from_millis(250));
    }
    clients
}

/// So many clients of one kind; an error says what became of them in place of what should. Of those that are only
/// counted there are `least` by then.
fn check(site: &Site, kind: &Kind, clients: usize, least: usize) -> Result<Duration, String> {
    let began = Instant::now();
    let open = |_| {
        let mut stream = connect(site.gateway.address());
        stream.write_all(&kind.first).expect("it takes so much at once");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..clients).map(open).collect();
    // Those that came last began so much later.
    let within = began.elapsed() + kind.after + LATER;
    let fault = |what: String| Err(format!("{}: {what} after {:?}", kind.name, began.elapsed()));
    if let End::Counted(reason) = kind.end {
        while site.cut(reason) < least as f64 {
            for sip in streams.iter_mut().filter(|_| kind.sips) {
                let _ = sip.read(&mut [0; 64]);
            }
            if began.elapsed() > within + kind.after {
                return fault(format!("{} of {least} are cut", site.cut(reason)));
            }
            thread::sleep(Duration::from_millis(50));
        }
        streams.clear();
        return Ok(began.elapsed());
    }
    let watched = watch(streams, kind.second, kind.drip, began, within);
    for client in &watched {
        let Some(ended) = client.ended else {
            return fault(format!("still open, told {:?}", String::from_utf8_lossy(&client.said)));
        };
        if ended + Duration::from_millis(100) < kind.after {
            return fault(format!("closed too early, told {:?}", String::from_utf8_lossy(&client.said)));
        }
        if let End::Told(words) = kind.end
            && !String::from_utf8_lossy(&client.said).contains(words)
        {
            return fault(format!("told {:?}", String::from_utf8_lossy(&client.said)));
        }
    }
    Ok(watched.iter().filter_map(|client| client.ended).max().unwrap_or_default())
}

/// Somebody who asks again and again, and how long the longest answer took.
fn somebody(address: SocketAddr, done: &AtomicBool) -> (u32, Duration) {
    let (mut answers, mut longest) = (0, Duration::ZERO);
    while !done.load(Ordering::SeqCst) {
        let began = Instant::now();
        let reply = fetch(address, "shop.test", "/").expect("an answer");
        assert_eq!((reply.status, reply.text().as_str()), (200, "here"));
        longest = longest.max(began.elapsed());
        answers += 1;
        thread::sleep(Duration::from_millis(5));
    }
    (answers, longest)
}

/// All kinds, `together` or one after another, beside somebody who is not slow.
#[expect(clippy::print_stdout, reason = "its figures are what it is run for")]
fn torture(clients: usize, together: bool) {
    let site = Site::start();
    let done = Arc::new(AtomicBool::new(false));
    let (address, other) = (site.gateway.address(), done.clone());
    let normal = thread::spawn(move || somebody(address, &other));
    let kinds = kinds();
    let of_reason = |kinds: &[Kind], reason: &str| {
        let alike = |kind: &&Kind| matches!(kind.end, End::Counted(counted) if counted == reason);
        kinds.iter().filter(alike).count() * clients
    };
    let run = |index: usize| {
        let (kind, before) = (&kinds[index], if together { &kinds[..] } else { &kinds[..=index] });
        let least = if let End::Counted(reason) = kind.end { of_reason(before, reason) } else { 0 };
        (kind.name, check(&site, kind, clients, least))
    };
    let found: Vec<_> = if together {
        thread::scope(|scope| {
            let run = &run;
            let running: Vec<_> = (0..kinds.len()).map(|index| scope.spawn(move || run(index))).collect();
            running.into_iter().map(|one| one.join().expect("no panic")).collect()
        })
    } else {
        (0..kinds.len()).map(run).collect()
    };
    done.store(true, Ordering::SeqCst);
    let (answers, longest) = normal.join().expect("no fault");
    println!("{clients} clients of each kind; others had {answers} answers, the slowest after {longest:?}");
    for (name, found) in &found {
        println!("  {name}: {found:?}");
    }
    let faults: Vec<&String> = found.iter().filter_map(|(_, found)| found.as_ref().err()).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(longest < Duration::from_secs(8), "{longest:?}");
    for reason in ["send_time", "stream_time", "head_time", "body_time"] {
        let kinds =
            kinds.iter().filter(|kind| matches!(kind.end, End::Counted(counted) if counted == reason));
        let least = kinds.count().max(1) * clients;
        assert!(site.cut(reason) >= least as f64, "{reason}: {} of {least}", site.cut(reason));
        let line = |line: &&String| line.contains("WARN") && line.contains("cut ") && line.contains("(see ");
        assert!(
            site.gateway.process.lines().iter().filter(line).count() <= 8,
            "a line a minute for each reason"
        );
    }
}

/// The descriptors that a process here may have.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("their line");
    line.split_whitespace().next().and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}

#[test]
fn slow_clients_are_cut_and_nobody_waits_for_them() {
    // Each may take two of this process's, and of the gateway's.
    torture((descriptors() / 40).clamp(20, 200), true);
}

#[test]
#[ignore = "takes minutes and 10,000 descriptors: make torture"]
fn five_thousand_slow_clients_of_each_kind() {
    assert!(descriptors() > 12_000, "it takes more descriptors: ulimit -n 20000");
    torture(5000, false);
}

#[test]
fn slow_clients_of_tls_are_cut() {
    let site = Site::start();
    let address = site.gateway.logged("listening 443 → ");
    let config = site.authority.client(&["http/1.1"], None);
    for (name, first, drip, after) in [
        ("no hello", &b""[..], &b""[..], LIMIT * 2),
        ("half a hello", b"\x16\x03\x01\x02\x00\x01", b"", LIMIT),
        ("a hello in drips", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"x", LIMIT),
    ] {
        let began = Instant::now();
        let streams = (0..20).map(|_| {
            let mut stream = connect(address);
            stream.write_all(first).expect("sent");
            stream
        });
        for client in watch(streams.collect(), b"", drip, began, after + LATER) {
            let ended = client.ended.unwrap_or_else(|| panic!("{name}: still open"));
            assert!(ended + Duration::from_millis(100) >= after, "{name}: {ended:?}");
        }
    }
    let began = Instant::now();
    let streams = (0..20).map(|_| {
        let mut client = tls::connect(address, "shop.test", &config).expect("a handshake");
        client.write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nx: ").expect("sent");
        client.sock.set_nonblocking(true).expect("no waiting");
        client
    });
    for client in watch(streams.collect(), b"", b"x", began, LIMIT + LATER) {
        let said = String::from_utf8_lossy(&client.said);
        assert!(said.starts_with("HTTP/1.1 408 "), "{said:?} after {:?}", client.ended);
    }
}

#[test]
fn a_body_of_http2_that_stops_ends_its_stream_only() {
    let site = Site::start();
    // Of a length that is told, and of one that is not.
    for (nth, more) in [(1.0, &[("content-length", "9")][..]), (2.0, &[])] {
        stop(&site, more);
        eventually(PATIENCE, "SI", || {
            let labels = ["response_flags=\"SI\"", "response_code=\"0\""];
            site.gateway.sum("istio_requests_total", &labels) == nth
        });
        assert_eq!(site.cut("body_time"), nth);
    }
}

/// Begins a body of HTTP/2, and waits for its stream's end.
fn stop(site: &Site, more: &[(&str, &str)]) {
    let mut client = TcpStream::connect(site.gateway.address()).expect("the gateway accepts");
    client.set_read_timeout(Some(PATIENCE)).expect("a time");
    let head = [request("POST", "/wait"), frames::fields(more)].concat();
    let post = frame(HEADERS, END_HEADERS, 1, &head);
    client.write_all(&[frames::begin(&[]), post, frame(0, 0, 1, b"some")].concat()).expect("sent");
    let began = Instant::now();
    while !matches!(frames::read(&mut client).expect("a frame"), frame if frame.kind == RESET && frame.stream == 1)
    {
    }
    assert!(began.elapsed() >= LIMIT * 9 / 10, "{:?}", began.elapsed());
    client.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 3, &request("GET", "/"))).expect("sent");
    while frames::read(&mut client).expect("a frame").stream != 3 {}
}

#[test]
fn what_is_meant_to_be_slow_is_not_cut() {
    let site = Site::start();
    let address = site.gateway.address();
    let streamed = thread::spawn(move || fetch(address, "shop.test", "/pause").expect("an answer").text());
    let mut socket = TcpStream::connect(address).expect("the gateway accepts");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    let ask = b"GET /talk HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    socket.write_all(ask).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    // Longer than any limit but that of idle connections, again and again.
    for _ in 0..3 {
        thread::sleep(LIMIT * 2);
        socket.write_all(b"ping").expect("sent");
        let mut echo = [0; 4];
        socket.read_exact(&mut echo).expect("the tunnel is there");
        assert_eq!(&echo, b"ping");
    }
    assert_eq!(streamed.join().expect("no panic"), "abcd");
    for reason in ["head_time", "body_time", "send_time", "stream_time"] {
        assert_eq!(site.cut(reason), 0.0, "{reason}");
    }
}
