//! Lines, filters and the file, as tables.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use trysail_routing::origin::{Origin, Piece, Pos};
use trysail_routing::snapshot::{Action, ClusterKey, DirectResponse, Route, RoutePlaces};

use super::*;
use crate::metrics::{Flag, Metrics, Source};
use crate::settings::Span;

const PATIENCE: Duration = Duration::from_secs(30);

fn route(name: &str) -> Route {
    let piece = Piece { file: "conf/shop.yaml".into(), first_line: 10.into(), text: "".into() };
    Route {
        name: name.into(),
        origin: Origin { piece: piece.into(), pos: Pos::new(3, 0, 0) },
        matches: Box::default(),
        action: Action::Respond(Arc::new(DirectResponse { status: 200, body: Box::default() })),
        handling: None,
        answers: None,
        root: None,
        places: RoutePlaces::default(),
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

fn made(setting: &Setting, entry: &Entry<'_>) -> String {
    let mut line = Vec::new();
    Form::of(setting).put(entry, &mut line);
    String::from_utf8(line).unwrap()
}

fn json() -> Setting {
    Setting { format: Format::Json, ..Setting::default() }
}

#[test]
fn a_request_in_both_forms() {
    let cluster =
        ClusterKey { host: "reviews.default.svc.cluster.local".into(), subset: "v2".into(), port: 9080 };
    let route = route("default/reviews canary");
    let start = UNIX_EPOCH + Duration::from_millis(1_767_323_045_678);
    let ended = Ended {
        status: 200,
        flags: Flags::default(),
        duration: Duration::from_micros(12_900),
        received: 5,
        sent: 1234,
        ..Ended::default()
    };
    let entry = Entry {
        request: Asked {
            method: b"POST",
            target: b"/reviews/0?q=1",
            protocol: "HTTP/1.1",
            authority: b"shop.test",
            forwarded_for: b"192.0.2.7,10.0.0.1",
            user_agent: b"curl/8",
            request_id: b"0f0e",
        },
        details: Details::Is("via_upstream"),
        service_time: Some(Duration::from_millis(11)),
        cluster: Some(&cluster),
        upstream: address("10.0.0.9:9080"),
        upstream_local: address("10.0.0.2:41000"),
        local: address("10.0.0.2:8080"),
        remote: address("10.0.0.1:5000"),
        server_name: "shop.test",
        route: Some(&route),
        revision: "0123456789ab",
        attempts: 2,
        ..Entry::new(start, ended)
    };
    assert_eq!(
        made(&Setting::default(), &entry),
        "[2026-01-02T03:04:05.678Z] \"POST /reviews/0?q=1 HTTP/1.1\" 200 - via_upstream - \"-\" 5 1234 12 11 \
         \"192.0.2.7,10.0.0.1\" \"curl/8\" \"0f0e\" \"shop.test\" \"10.0.0.9:9080\" \
         outbound|9080|v2|reviews.default.svc.cluster.local 10.0.0.2:41000 10.0.0.2:8080 10.0.0.1:5000 shop.test \
         canary\n"
    );
    let told: serde_json::Value = serde_json::from_str(&made(&json(), &entry)).unwrap();
    let expected = serde_json::json!({
        "start_time": "2026-01-02T03:04:05.678Z", "route_name": "canary", "method": "POST", "path": "/reviews/0?q=1",
        "protocol": "HTTP/1.1", "response_code": 200, "response_flags": "-", "response_code_details": "via_upstream",
        "connection_termination_details": null, "upstream_transport_failure_reason": null, "bytes_received": 5,
        "bytes_sent": 1234, "duration": 12, "upstream_service_time": "11", "x_forwarded_for": "192.0.2.7,10.0.0.1",
        "user_agent": "curl/8", "request_id": "0f0e", "authority": "shop.test", "upstream_host": "10.0.0.9:9080",
        "upstream_cluster": "outbound|9080|v2|reviews.default.svc.cluster.local",
        "upstream_local_address": "10.0.0.2:41000", "downstream_local_address": "10.0.0.2:8080",
        "downstream_remote_address": "10.0.0.1:5000", "requested_server_name": "shop.test",
        "route": "default/reviews canary", "subset": "v2", "revision": "0123456789ab", "attempts": 2,
    });
    assert_eq!(told, expected);
    let origin = made(&Setting { origin: true, ..json() }, &entry);
    assert!(origin.ends_with(",\"origin\":\"conf/shop.yaml:12\"}\n"), "{origin}");
}

#[test]
fn nothing_is_known_of_a_request_that_never_was_one() {
    let entry = Entry::new(UNIX_EPOCH, Ended::at_once(431, Flag::DownstreamProtocolError));
    assert_eq!(
        made(&Setting::default(), &entry),
        "[1970-01-01T00:00:00.000Z] \"- - -\" 431 DPE - - \"-\" 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\" - - - - - -\n"
    );
    let told: serde_json::Value = serde_json::from_str(&made(&json(), &entry)).unwrap();
    assert_eq!(
        (&told["method"], &told["upstream_host"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
}

#[test]
fn facts_as_a_template_has_them() {
    let (named, placed, odd) = (route("a/b canary"), route("a/b http[12]"), route("a/b http[x] and more"));
    let base = || Entry::new(UNIX_EPOCH, Ended::at_once(503, Flag::UpstreamConnectionFailure));
    for (template, entry, line) in [
        ("%ROUTE_NAME%", Entry { route: Some(&named), ..base() }, "canary"),
        ("%ROUTE_NAME%", Entry { route: Some(&placed), ..base() }, "-"),
        ("%ROUTE_NAME%", Entry { route: Some(&odd), ..base() }, "http[x] and more"),
        ("%TRYSAIL_ROUTE%", Entry { route: Some(&placed), ..base() }, "a/b http[12]"),
        ("%TRYSAIL_ORIGIN%", Entry { route: Some(&named), ..base() }, "conf/shop.yaml:12"),
        ("%RESPONSE_FLAGS% %RESPONSE_CODE%", base(), "UF 503"),
        (
            "%RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%",
            Entry {
                details: Details::Before("remote connection failure"),
                transport: "delayed connect error: Connection refused",
                ..base()
            },
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused} \
             delayed connect error: Connection refused",
        ),
        (
            "%RESPONSE_CODE_DETAILS%",
            Entry { details: Details::After("connection termination"), ..base() },
            "upstream_reset_after_response_started{connection_termination}",
        ),
        // Whoever writes these would like to write another line.
        (
            "\"%REQ(USER-AGENT)%\"",
            Entry {
                request: Asked { user_agent: b"a\" 200\r\n[x\\\x1b\x7f\xc3\xa9\xff", ..Asked::default() },
                ..base()
            },
            "\"a\\x22 200\\x0D\\x0A[x\\x5C\\x1B\\x7F\\xC3\\xA9\\xFF\"",
        ),
    ] {
        let setting = Setting { template: Some(template.parse().unwrap()), ..Setting::default() };
        assert_eq!(made(&setting, &entry), format!("{line}\n"), "{template}");
    }
    let request = Asked { user_agent: b"a\" 200\r\n\xc3\xa9\xff", ..Asked::default() };
    let line = made(&json(), &Entry { request, ..base() });
    assert!(line.contains("\"user_agent\":\"a\\\" 200\\r\\né\u{fffd}\""), "{line}");
}

fn lines() -> Lines {
    let source = Source::new(&[].into(), "default", &[]);
    Metrics::new(source).unwrap().lines
}

fn started(path: &Path, setting: Setting, lines: &Lines) -> Arc<AccessLog> {
    let setting = Setting { path: Some(path.to_owned()), ..setting };
    AccessLog::start(&setting, lines.clone()).unwrap().unwrap()
}

#[test]
fn filters_choose_by_how_requests_ended() {
    let folder = tempfile::tempdir().unwrap();
    let of = |only, min_duration| {
        let min_duration = Span(Duration::from_millis(min_duration));
        started(&folder.path().join("log"), Setting { only, min_duration, ..Setting::default() }, &lines())
    };
    let (all, errors, slow) = (of(Only::All, 0), of(Only::Errors, 0), of(Only::All, 100));
    let delayed = Flags { delayed: true, ..Flags::default() };
    for (status, flags, took, wanted) in [
        (200, Flags::default(), 5, [true, false, false]),
        (200, Flags::default(), 100, [true, false, true]),
        (404, Flags::default(), 5, [true, false, false]),
        (404, Flag::NoRoute.into(), 5, [true, true, false]),
        (500, Flags::default(), 5, [true, true, false]),
        (0, Flag::DownstreamConnectionTermination.into(), 500, [true, true, true]),
        (200, delayed, 5, [true, false, false]),
        (200, Flags { exhausted: true, ..Flags::default() }, 5, [true, true, false]),
    ] {
        let ended = Ended { duration: Duration::from_millis(took), ..Ended::at_once(status, flags) };
        assert_eq!([&all, &errors, &slow].map(|log| log.wants(&ended)), wanted, "{ended:?}");
    }
}

/// Waits for a condition.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_that_can_not_be_written_makes_nobody_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/log");
    let lines = lines();
    let log = started(&path, Setting::default(), &lines);
    let entry = Entry::new(UNIX_EPOCH, Ended::at_once(200, Flag::None));
    log.write(&entry);
    until("it failed", || lines.failed.get() == 1);
    fs::create_dir(folder.path().join("later")).unwrap();
    log.write(&entry);
    until("it is written", || lines.written.get() == 1);
    // Whoever takes it away gets a new one, asked for or not.
    let old = folder.path().join("later/old");
    fs::rename(&path, &old).unwrap();
    log.write(&entry);
    until("it is written again", || lines.written.get() == 2);
    log.close(PATIENCE);
    let whole = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((whole(&old), whole(&path)), (1, 1));
    // What comes after the end is counted, too.
    log.write(&entry);
    assert_eq!((lines.failed.get(), lines.dropped.get()), (1, 1));
}

#[test]
fn a_disk_that_is_full_loses_lines_and_counts_them() {
    let lines = lines();
    let log = started(Path::new("/dev/full"), Setting::default(), &lines);
    for _ in 0..3 {
        log.write(&Entry::new(UNIX_EPOCH, Ended::at_once(200, Flag::None)));
    }
    log.close(PATIENCE);
    assert_eq!((lines.failed.get(), lines.written.get(), lines.dropped.get()), (3, 0, 0));
}

#[test]
fn a_reader_that_does_not_read_loses_lines_and_makes_nobody_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let lines = lines();
    let setting = Setting { buffer: crate::settings::Bytes(8 << 10), ..Setting::default() };
    let log = started(&path, setting, &lines);
    let entry = Entry::new(UNIX_EPOCH, Ended::at_once(200, Flag::None));
    // What fits into a pipe and the buffer is far less.
    for _ in 0..20_000 {
        log.write(&entry);
    }
    assert!(lines.dropped.get() > 0);
    let began = Instant::now();
    log.close(Duration::from_millis(50));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}
