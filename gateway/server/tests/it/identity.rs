//! Who a request is from: what upstreams and conditions are told, and what a client can say of itself.

use std::net::SocketAddr;

use trysail_testkit::folder::Folder;
use trysail_testkit::raw::{Raw, Script};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, HTTP, PATIENCE, Reviews, service_entry, shop};

/// Lies, one for each field that someone might believe.
const LIES: &[(&str, &str)] = &[
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.test"),
    ("x-forwarded-port", "6666"),
    ("x-forwarded-client-cert", "Subject=\"CN=root\""),
    ("x-real-ip", "6.6.6.6"),
    ("forwarded", "for=6.6.6.6;proto=https"),
    ("x-request-id", "6666"),
    ("x-envoy-internal", "true"),
    ("x-envoy-external-address", "6.6.6.6"),
    ("x-envoy-attempt-count", "66"),
    ("x-envoy-expected-rq-timeout-ms", "6666"),
    ("x-envoy-original-path", "/6666"),
    ("x-envoy-original-host", "6666.test"),
    ("x-envoy-decorator-operation", "6666"),
    ("x-envoy-upstream-rq-timeout-ms", "6666"),
    ("x-envoy-max-retries", "66"),
    ("x_forwarded_for", "6.6.6.6"),
    ("x_real_ip", "6.6.6.6"),
];

/// The fields of the last request that an upstream got, as `name: value`, sorted, without those of no interest.
fn told(reviews: &Reviews) -> Vec<String> {
    let head = reviews.origins["v1"].last_request().expect("a request came");
    let of_interest =
        |line: &&str| line.starts_with("x-") || line.starts_with("x_") || line.starts_with("forwarded");
    let mut lines: Vec<String> = head.lines().filter(of_interest).map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// A field of the last request that an upstream got.
fn field(reviews: &Reviews, name: &str) -> String {
    let lines = told(reviews);
    let found = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_default().to_owned()
}

/// Whether a text is a UUID of version 4.
fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &&str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(hex)
        && parts[2].starts_with('4')
        && parts[3].starts_with(['8', '9', 'a', 'b'])
}

/// The status of a GET over HTTP/2 with prior knowledge.
fn over_http2(address: SocketAddr, url: &str, fields: &[(&str, &str)]) -> u16 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut request = http::Request::get(url);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a request");
    let asked = async {
        let stream = tokio::net::TcpStream::connect(address).await.expect("the gateway accepts");
        let (mut sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let (answer, _) = sender.send_request(request, true).expect("sent");
        let status = answer.await.expect("an answer").status().as_u16();
        connection.abort();
        status
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await.expect("in time") })
}

#[test]
fn a_client_can_not_say_who_it_is() {
    let reviews = Reviews::start(&["v1"]);
    let (_folder, gateway) = reviews.gateway("  - route: [{destination: {host: reviews, subset: v1}}]\n", "");
    let honest = [
        "x-envoy-attempt-count: 1",
        "x-envoy-external-address: 127.0.0.1",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: shop.test:81",
        "x-forwarded-proto: http",
    ];
    for fields in [&[][..], LIES] {
        for http2 in [false, true] {
            let status = if http2 {
                over_http2(gateway.address(), "http://shop.test:81/reviews/0", fields)
            } else {
                gateway.client().get("shop.test:81", "/reviews/0", fields).expect("an answer").status
            };
            assert_eq!(status, 200);
            let (ids, others): (Vec<_>, Vec<_>) =
                told(&reviews).into_iter().partition(|line| line.starts_with("x-request-id: "));
            assert_eq!(others, honest, "{http2} {fields:?}");
            assert!(ids.len() == 1 && is_uuid(&ids[0]["x-request-id: ".len()..]), "{ids:?}");
        }
    }
    // By nominating it a client can not have a field of ours taken off on the way.
    for nominated in ["x-forwarded-for", "x-forwarded-proto, x-a", "X-Request-Id", "x-envoy-external-address"]
    {
        let reply = gateway.client().get("shop.test:81", "/reviews/0", &[("connection", nominated)]);
        assert_eq!(reply.expect("an answer").status, 400, "{nominated}");
    }
    // Of addresses the client's own list is kept, as with Envoy; ours is the last.
    let list = [("x-forwarded-for", "6.6.6.6, 7.7.7.7"), ("x-forwarded-for", "8.8.8.8")];
    gateway.client().get("shop.test", "/reviews/0", &list).expect("an answer");
    assert_eq!(field(&reviews, "x-forwarded-for"), "6.6.6.6, 7.7.7.7,8.8.8.8,127.0.0.1");
}

#[test]
fn conditions_and_variables_see_what_is_true() {
    let reviews = Reviews::start(&["v1"]);
    let met = LIES.iter().map(|(name, value)| {
        format!("  - match: [{{headers: {{{name}: {{exact: '{value}'}}}}}}]\n    directResponse: {{status: 299}}\n")
    });
    let rules = met.collect::<String>()
        + "  - match: [{headers: {x-forwarded-proto: {exact: http}, x-forwarded-for: {regex: '.*127\\.0\\.0\\.1'}}}]
    headers: {request: {set: {x-client: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQ(x-forwarded-host)%'}}}
    route: [{destination: {host: reviews, subset: v1}}]
";
    let (_folder, gateway) = reviews.gateway(&rules, "");
    let mut client = gateway.client();
    for lie in LIES {
        let reply = client.get("shop.test", "/reviews/0", &[*lie]).expect("an answer");
        assert_eq!(reply.status, 200, "{lie:?}");
        assert_eq!(field(&reviews, "x-client"), "127.0.0.1 shop.test", "{lie:?}");
    }
}

#[test]
fn trusted_hops_are_believed_where_they_are() {
    let rules = "  - match: [{scheme: {exact: https}}]
    headers:
      request:
        set: {x-client: '%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%'}
    route: [{destination: {host: reviews, subset: v1}}]
  - directResponse: {status: 201}
";
    let said = [
        ("x-forwarded-for", "56.5.6.7, 72.9.5.6,98.1.2.3"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outer.test"),
        ("x-real-ip", "72.9.5.6"),
        ("x-request-id", "from-before"),
        ("x-envoy-internal", "true"),
    ];
    let reviews = Reviews::start(&["v1"]);
    for (settings, client) in [
        ("trustedHops: 1\n", Some("98.1.2.3")),
        ("trustedHops: 2\n", Some("72.9.5.6")),
        ("trustedHops: 2\ntrustedNetworks: [127.0.0.0/8]\n", Some("72.9.5.6")),
        // Fewer addresses than hops: the connection's own, as with Envoy.
        ("trustedHops: 9\n", Some("127.0.0.1")),
        ("trustedHops: 2\ntrustedNetworks: [10.0.0.0/8]\n", None),
        ("trustedNetworks: [127.0.0.0/8]\n", None),
    ] {
        let (_folder, gateway) = reviews.gateway(rules, settings);
        let status = gateway.client().get("shop.test", "/reviews/0", &said).expect("an answer").status;
        let Some(client) = client else {
            assert_eq!(status, 201, "{settings}");
            continue;
        };
        assert_eq!(status, 200, "{settings}");
        let remote = field(&reviews, "x-client");
        assert!(remote.starts_with(&format!("{client}:")) && remote.ends_with(" 127.0.0.1"), "{remote}");
        assert_eq!(remote.contains(":0 "), client != "127.0.0.1", "{remote}");
        for (name, value) in [
            ("x-forwarded-for", "56.5.6.7, 72.9.5.6,98.1.2.3,127.0.0.1"),
            ("x-envoy-external-address", client),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "outer.test"),
            ("x-real-ip", "72.9.5.6"),
            ("x-request-id", "from-before"),
            ("x-envoy-internal", ""),
        ] {
            assert_eq!(field(&reviews, name), value, "{settings} {name}");
        }
    }
}

#[test]
fn only_a_trusted_hop_can_say_that_a_request_came_by_tls() {
    let reviews = Reviews::start(&["v1"]);
    let folder = Folder::new();
    let server = format!("{HTTP}, tls: {{httpsRedirect: true}}");
    folder.write("shop.yaml", &shop(&server, "  http:\n  - route: [{destination: {host: reviews}}]\n"));
    folder.write("endpoints.yaml", &reviews.service_entry());
    for (settings, field, over_http2_says, status) in [
        ("", "http", "http", 301),
        ("", "https", "http", 301),
        // The scheme of HTTP/2 is the client's own word too.
        ("", "https", "https", 301),
        ("trustedHops: 1\n", "http", "https", 301),
        ("trustedHops: 1\n", "https", "http", 200),
        ("trustedHops: 1\n", "https", "https", 200),
    ] {
        let gateway = Gateway::spawn(folder.path(), settings);
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        let fields = [("x-forwarded-proto", field)];
        let reply = gateway.client().get("shop.test", "/", &fields).expect("an answer");
        assert_eq!(reply.status, status, "{settings} {field}");
        let url = format!("{over_http2_says}://shop.test/");
        assert_eq!(over_http2(gateway.address(), &url, &fields), status, "{settings} {field} {url}");
    }
}

#[test]
fn clients_behind_a_trusted_hop_are_hashed_by_their_own_address() {
    let (one, other) = (Reviews::start(&["v1"]), Reviews::start(&["v1"]));
    let folder = Folder::new();
    folder.write("shop.yaml", &shop(HTTP, "  http:\n  - route: [{destination: {host: reviews}}]\n"));
    let endpoints = [("v1", one.origins["v1"].addr()), ("v1", other.origins["v1"].addr())];
    folder.write("endpoints.yaml", &service_entry(&endpoints));
    folder.write(
        "rule.yaml",
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: reviews}\nspec:\n  host: reviews\n  trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}\n",
    );
    let counts = || [one.origins["v1"].requests(), other.origins["v1"].requests()];
    for (settings, spread) in [("", false), ("trustedHops: 1\n", true)] {
        let gateway = Gateway::spawn(folder.path(), settings);
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        let mut client = gateway.client();
        let before = counts();
        for last in 1..=16 {
            let told = format!("203.0.113.{last}");
            let reply = client.get("shop.test", "/", &[("x-forwarded-for", &told)]).expect("an answer");
            assert_eq!(reply.status, 200);
        }
        let after = counts();
        let both = after.iter().zip(before).all(|(after, before)| *after > before);
        assert_eq!(both, spread, "{settings:?} {before:?} {after:?}");
    }
}

#[test]
fn a_request_has_one_id_for_all_its_tries_and_no_other_has_it() {
    let raw = Raw::start(Script::Good);
    let reviews = Reviews::start(&["v1"]);
    let rules = "  - retries: {attempts: 3, retryOn: '5xx'}
    headers: {request: {set: {x-id: '%REQ(x-request-id)%'}}}
    route: [{destination: {host: reviews}}]
";
    let folder = reviews.folder();
    folder.write("seed-reviews.yaml", &crate::gateway::ruled(rules));
    folder.write("endpoints.yaml", &service_entry(&[("v1", raw.addr())]));
    let gateway = Gateway::start(folder.path());
    let mut client = gateway.client();
    for _ in 0..100 {
        assert_eq!(client.get("shop.test", "/reviews/0", &[]).expect("an answer").status, 200);
    }
    let executed = raw.executed();
    assert!(executed.len() == 100 && executed.keys().all(|id| is_uuid(id)), "{executed:?}");
    // Each try breaks off, and bears the same id.
    raw.set(Script::ResetBeforeHead);
    let status = client.get("shop.test", "/reviews/0", &[]).expect("an answer").status;
    assert_eq!(status, 503);
    eventually(PATIENCE, "tries", || raw.executed().values().any(|tries| *tries >= 4));
    assert_eq!(raw.executed().len(), 101, "{:?}", raw.executed());
}

#[test]
fn who_may_ask_for_explanations_is_asked_of_the_connection() {
    let reviews = Reviews::start(&["v1"]);
    let rules = "  - route: [{destination: {host: reviews, subset: v1}}]\n";
    let asks = [("x-trysail-explain", "1"), ("x-forwarded-for", "10.0.0.1")];
    for (settings, told) in [
        ("explainFrom: [10.0.0.0/8]\n", false),
        ("explainFrom: [10.0.0.0/8]\ntrustedHops: 1\n", false),
        ("explainFrom: [127.0.0.0/8]\ntrustedHops: 1\n", true),
    ] {
        let (_folder, gateway) = reviews.gateway(rules, settings);
        let reply = gateway.client().get("shop.test", "/reviews/0", &asks).expect("an answer");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-trysail-route").is_some(), told, "{settings}");
    }
    // A header of the PROXY protocol says whose connection it is.
    for (line, told) in
        [("PROXY TCP4 10.0.0.1 10.0.0.2 1 80\r\n", true), ("PROXY TCP4 192.0.2.1 10.0.0.2 1 80\r\n", false)]
    {
        let settings = "explainFrom: [10.0.0.0/8]\nproxyProtocol: {from: [127.0.0.1]}\n";
        let (_folder, gateway) = reviews.gateway(rules, settings);
        let request =
            format!("{line}GET /reviews/0 HTTP/1.1\r\nhost: shop.test\r\nx-trysail-explain: 1\r\n\r\n");
        let reply = gateway.client().send_raw(request.as_bytes()).expect("an answer");
        assert_eq!(reply.header("x-trysail-route").is_some(), told, "{line}");
    }
}
