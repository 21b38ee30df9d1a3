//! What a client and an upstream see of the gateway itself: statuses, flags, fields.

use std::net::{SocketAddr, TcpListener};

use trysail_testkit::folder::Folder;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews, SEED, ruled, service_entry};

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("its address")
}

#[test]
fn requests_that_go_nowhere_are_answered_and_flagged_as_istio_does() {
    let folder = Folder::new();
    let none =
        "  - match: [{uri: {exact: /none}}]\n    route: [{destination: {host: reviews, subset: v2}}]\n";
    folder.write("seed.yaml", &ruled(none).replacen("prefix: /reviews", "prefix: /reviews/", 1));
    folder.write("endpoints.yaml", &service_entry(&[("v1", nobody())]));
    let gateway = Gateway::start(folder.path());
    let mut client = gateway.client();
    let reply = client.get("a", "/elsewhere", &[]).expect("an answer");
    assert_eq!((reply.status, reply.body.len(), reply.header("server")), (404, 0, Some("trysail")));

    // v2 has no endpoint, and v1, which gets its share, one that refuses.
    let bodies = ["/none", "/reviews/0"].map(|path| {
        let reply = gateway.client().get("a", path, &[]).expect("an answer");
        assert_eq!(reply.status, 503);
        reply.text()
    });
    assert_eq!(
        bodies,
        [
            "no healthy upstream",
            "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: \
             remote connection failure"
        ]
    );
    for (flag, code, version) in [("NR", 404, "unknown"), ("URX,UF", 503, "v1"), ("UH", 503, "unknown")] {
        let labels = [
            format!("response_flags=\"{flag}\""),
            format!("response_code=\"{code}\""),
            format!("destination_version=\"{version}\""),
        ];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        eventually(PATIENCE, flag, || gateway.sum("istio_requests_total", &labels) == 1.0);
    }
}

#[test]
fn routes_to_nothing_serve_503_where_the_settings_let_them() {
    let folder = Folder::new();
    folder.write("seed.yaml", SEED);
    let gateway = Gateway::spawn(folder.path(), "dangling: serve\n");
    assert!(gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE).is_some());
    let reply = gateway.client().get("a", "/reviews/0", &[]).expect("an answer");
    assert_eq!((reply.status, reply.body.len()), (503, 0));
    eventually(PATIENCE, "NC", || gateway.sum("istio_requests_total", &["response_flags=\"NC\""]) == 1.0);
}

#[test]
fn an_upstream_that_breaks_off_is_a_503_or_a_visible_cut() {
    for (answer, status, flag) in [
        (Answer::version("v1").cut_after(0), Some(503), "UC"),
        (Answer::version("v1").body("a long body that is not all sent").cut_after(80), None, "UC"),
    ] {
        let origin = Origin::start(answer);
        let folder = Folder::new();
        folder.write("seed.yaml", &crate::gateway::weighted(1, 0));
        folder.write("endpoints.yaml", &service_entry(&[("v1", origin.addr())]));
        let gateway = Gateway::start(folder.path());
        let reply = gateway.client().get("a", "/reviews/0", &[]);
        assert_eq!(reply.as_ref().ok().map(|reply| reply.status), status, "{reply:?}");
        let label = format!("response_flags=\"{flag}\"");
        eventually(PATIENCE, flag, || gateway.sum("istio_requests_total", &[&label]) == 1.0);
    }
}

#[test]
fn the_upstream_is_told_who_asked() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let asked = |headers: &[(&str, &str)]| {
        let reply = gateway.client().get("shop.test:8080", "/reviews/0?q=1", headers).expect("an answer");
        let version = reply.version().expect("a version").to_owned();
        assert_eq!(reply.header("server"), Some("trysail"));
        reviews.origins[&version].last_request().expect("a request").to_lowercase()
    };
    let head = asked(&[("x-forwarded-proto", "https")]);
    for line in [
        "get /reviews/0?q=1 http/1.1",
        "host: shop.test:8080",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
    ] {
        assert!(head.lines().any(|is| is == line), "{line}\n{head}");
    }
    let head = asked(&[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-for", "192.0.2.8, 192.0.2.9")]);
    assert!(head.contains("x-forwarded-for: 192.0.2.7,192.0.2.8, 192.0.2.9,127.0.0.1"), "{head}");
}

#[test]
fn a_body_comes_through_both_ways() {
    let reviews = Reviews::start(&["v1"]);
    let large = "x".repeat(300_000);
    reviews.origins["v1"].set_answer(Answer::version("v1").body(large.as_str()).chunked());
    let folder = reviews.folder();
    folder.write("seed-reviews.yaml", &crate::gateway::weighted(1, 0));
    let gateway = Gateway::start(folder.path());
    let mut client = gateway.client();
    for _ in 0..3 {
        let reply =
            client.request("POST", "a", "/reviews/0", &[], Some(large.as_bytes())).expect("an answer");
        assert_eq!((reply.status, reply.body.len()), (200, large.len()));
    }
    let received = reviews.origins["v1"].received();
    assert!(received.len() == 3 && received.iter().all(|request| request.body == large.as_bytes()));
}

#[test]
fn redirects_and_direct_responses_need_no_upstream() {
    let folder = Folder::new();
    let rules = "  - name: old
    match: [{uri: {prefix: /old}, method: {exact: GET}}]
    redirect: {scheme: https, prefixRewrite: /new, redirectCode: 308}
  - match: [{uri: {exact: /robots.txt}}]
    directResponse: {status: 200, body: {string: \"User-agent: *\\n\"}}
  - match: [{queryParams: {teapot: {}}, withoutHeaders: {x-serious: {}}}]
    directResponse: {status: 418}
";
    folder.write("seed.yaml", &SEED.replacen("  http:\n", &format!("  http:\n{rules}"), 1));
    folder.write("endpoints.yaml", &service_entry(&[("v1", nobody()), ("v2", nobody())]));
    let gateway = Gateway::start(folder.path());
    let mut client = gateway.client();
    for (method, path, headers, status, location, body) in [
        ("GET", "/old/a?q=1", &[][..], 308, Some("https://shop.test/new/a?q=1"), ""),
        ("POST", "/old/a", &[], 404, None, ""),
        ("GET", "/robots.txt", &[], 200, None, "User-agent: *\n"),
        ("HEAD", "/robots.txt", &[], 200, None, ""),
        ("GET", "/x?teapot", &[], 418, None, ""),
        ("GET", "/x?teapot", &[("x-serious", "1")], 404, None, ""),
    ] {
        let reply = client.request(method, "shop.test", path, headers, None).expect("an answer");
        assert_eq!((reply.status, reply.header("location")), (status, location), "{method} {path}");
        assert_eq!(reply.text(), body, "{method} {path}");
    }
    eventually(PATIENCE, "all six are counted", || {
        gateway.sum("istio_requests_total", &["\"unknown\""]) == 6.0
    });
}

#[test]
fn rewrites_and_header_operations_reach_both_sides() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let rules = "  - match: [{uri: {prefix: /old/}}]
    rewrite: {uri: /new/, authority: inside.test}
    headers:
      request: {set: {x-rule: r}, add: {x-both: rule}, remove: [x-secret]}
      response: {set: {x-from: rule, server: hidden}, remove: [x-version]}
    route:
    - destination: {host: reviews, subset: v1}
      headers: {request: {set: {x-rule: d}, add: {x-both: own}}}
  - match: [{uri: {regex: /u/.*}}]
    rewrite: {uriRegexRewrite: {match: '/u/([^/]+)/(.*)', rewrite: '/\\2/of/\\1'}}
    route:
    - destination: {host: reviews, subset: v2}
    headers: {request: {set: {Host: set.test}}}
";
    folder.write("seed-reviews.yaml", &SEED.replacen("  http:\n", &format!("  http:\n{rules}"), 1));
    let gateway = Gateway::start(folder.path());
    let mut client = gateway.client();
    let reply = client.get("shop.test", "/old/a?q=1", &[("x-secret", "s")]).expect("an answer");
    assert_eq!(
        (reply.header("x-from"), reply.header("server"), reply.version()),
        (Some("rule"), Some("hidden"), None)
    );
    let head = reviews.origins["v1"].last_request().expect("a request").to_lowercase();
    for line in [
        "get /new/a?q=1 http/1.1",
        "host: inside.test",
        "x-envoy-original-path: /old/a?q=1",
        "x-envoy-original-host: shop.test",
        "x-rule: d",
        "x-both: rule",
        "x-both: own",
    ] {
        assert!(head.lines().any(|is| is == line), "{line}\n{head}");
    }
    assert!(!head.contains("x-secret"), "{head}");
    client.get("shop.test", "/u/ann/cart", &[]).expect("an answer");
    let head = reviews.origins["v2"].last_request().expect("a request").to_lowercase();
    assert!(head.starts_with("get /cart/of/ann http/1.1\n") && head.contains("host: set.test"), "{head}");
}

#[test]
fn a_request_shorter_than_the_preface_of_http2_is_answered() {
    use std::io::{Read, Write};
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    for (request, begins) in [
        ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 404"),
        ("GET /reviews/0 HTTP/1.0\r\n\r\n", "HTTP/1.1 200"),
        ("PRIVATE / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n", "HTTP/1.1 404"),
    ] {
        let mut stream = std::net::TcpStream::connect(gateway.address()).expect("the gateway accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer and the end, in time");
        assert!(answer.starts_with(begins), "{request:?}: {answer}");
    }
}

#[test]
fn a_connection_that_says_nothing_does_not_hold_up_a_stop() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let _silent = std::net::TcpStream::connect(gateway.address()).expect("the gateway accepts");
    let began = std::time::Instant::now();
    gateway.process.signal_term().expect("a signal");
    assert_eq!(gateway.process.wait(PATIENCE).and_then(|status| status.code()), Some(0));
    // The setting drain is five seconds, which it would have held.
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
}
