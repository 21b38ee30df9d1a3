//! What Prometheus is told: Istio's series as Istio's tools ask for them, and everything that the README says there is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use flate2::read::GzDecoder;
use trysail_testkit::client::Client;
use trysail_testkit::folder::Folder;
use trysail_testkit::load::Plan;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::tls::{self, Authority};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews, weighted};
use crate::protocols::{grpc_server, runtime};
use crate::tcp::echo;

/// One line.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Sample {
    fn has(&self, wanted: &[(&str, &str)]) -> bool {
        wanted.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|is| is == value))
    }
}

/// Reads Prometheus' text, of which no label here has a quote or a backslash in its value.
fn samples(text: &str) -> Vec<Sample> {
    let read = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}')?;
        let pair = |pair: &str| {
            let (name, value) = pair.split_once("=\"").unwrap_or_else(|| panic!("{pair:?} in {line}"));
            (name.to_owned(), value.to_owned())
        };
        let labels = labels.trim_end_matches(',').strip_suffix('"').unwrap_or_default();
        let labels = labels.split("\",").filter(|pair| !pair.is_empty()).map(pair).collect();
        Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
    };
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| read(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect()
}

/// Scrapes, packed or not.
fn scrape(address: SocketAddr, packed: bool) -> String {
    let headers: &[(&str, &str)] = if packed { &[("accept-encoding", "gzip")] } else { &[] };
    let reply = Client::connect(address).and_then(|mut client| client.get("metrics", "/metrics", headers));
    let reply = reply.expect("metrics answer");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-encoding"), packed.then_some("gzip"));
    let mut text = String::new();
    let mut body: &[u8] = &reply.body;
    let read =
        if packed { GzDecoder::new(body).read_to_string(&mut text) } else { body.read_to_string(&mut text) };
    read.expect("a text");
    text
}

fn all(gateway: &Gateway) -> Vec<Sample> {
    samples(&scrape(gateway.logged("metrics on "), true))
}

fn sum(samples: &[Sample], name: &str, wanted: &[(&str, &str)]) -> f64 {
    samples.iter().filter(|sample| sample.name == name && sample.has(wanted)).map(|sample| sample.value).sum()
}

fn entry(name: &str, protocol: &str, endpoint: SocketAddr) -> String {
    let (ip, port) = (endpoint.ip(), endpoint.port());
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{name}.default.svc.cluster.local]\n  resolution: STATIC\n  ports: [{{number: 9000, name: p, protocol: {protocol}}}]\n  endpoints:\n  - {{address: {ip}, ports: {{p: {port}}}, labels: {{app: {name}, version: v1}}}}\n"
    )
}

const OBJECTS: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [shop.test], tls: {mode: SIMPLE, credentialName: shop}}
  - {port: {number: 5432, name: tcp, protocol: TCP}, hosts: [\"*\"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [\"*\"]
  gateways: [shop]
  http:
  - match: [{uri: {prefix: /fault}}]
    fault:
      delay: {fixedDelay: 1ms, percentage: {value: 100}}
      abort: {httpStatus: 418, percentage: {value: 100}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /nobody}}]
    retries: {attempts: 1, retryOn: connect-failure, backoff: 1ms}
    route: [{destination: {host: nobody}}]
  - match: [{uri: {prefix: /echo}}, {uri: {prefix: /refuse}}]
    route: [{destination: {host: greeter}}]
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 50}
    - {destination: {host: reviews, subset: v2}, weight: 50}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db.test]
  gateways: [shop]
  tcp:
  - match: [{port: 5432}]
    route: [{destination: {host: db}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: nobody}
spec:
  host: nobody
  trafficPolicy:
    connectionPool: {http: {maxRetries: 3}}
    outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 100, interval: 100ms, baseEjectionTime: 30s}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db}
spec:
  host: db
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}
";

/// A gateway with something of everything, and what has to stay for it.
struct Site {
    gateway: Gateway,
    authority: Authority,
    folder: Folder,
    runtime: tokio::runtime::Runtime,
    _certificates: Folder,
    _origin: Origin,
}

fn site(settings: &str) -> Site {
    let runtime = runtime();
    let greeter = runtime.block_on(grpc_server());
    let origin = Origin::start(Answer::version("v1"));
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("an address");
    let authority = Authority::new("root");
    let certificates = Folder::new();
    let pair = authority.issue(&["shop.test"]);
    certificates.write("shop/tls.crt", &pair.certificate);
    certificates.write("shop/tls.key", &pair.key);
    let folder = Folder::new();
    folder.write("objects.yaml", OBJECTS);
    let endpoints = [
        entry("reviews", "HTTP", origin.addr()),
        entry("nobody", "HTTP", nobody),
        entry("greeter", "GRPC", greeter),
        entry("db", "TCP", echo("word ")),
    ];
    folder.write("endpoints.yaml", &endpoints.concat());
    let settings =
        format!("ports: {{443: 0, 5432: 0}}\ncertificates: {}\n{settings}", certificates.path().display());
    let gateway = Gateway::spawn(folder.path(), &settings);
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
    Site { gateway, authority, folder, runtime, _certificates: certificates, _origin: origin }
}

/// Asks for something of every kind.
fn ask_everything(site: &Site) {
    let gateway = &site.gateway;
    for (path, status) in [("/", 200), ("/fault", 418), ("/nobody", 503), ("/", 200)] {
        assert_eq!(gateway.client().get("shop.test", path, &[]).expect("an answer").status, status, "{path}");
    }
    site.runtime.block_on(greet(gateway.address(), "/echo/1", 3));
    site.runtime.block_on(greet(gateway.address(), "/refuse", 0));

    let secure = gateway.logged("listening 443 → ");
    let mut client =
        tls::connect(secure, "shop.test", &site.authority.client(&["http/1.1"], None)).expect("TLS");
    assert!(tls::get(&mut client, "shop.test", "/").expect("an answer").starts_with("HTTP/1.1 200"));
    assert!(tls::connect(secure, "other.test", &site.authority.client(&[], None)).is_err());
    let mut junk = TcpStream::connect(secure).expect("it accepts");
    junk.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    let _ = junk.read_to_end(&mut Vec::new());
}

/// Sends messages of ten bytes to a gRPC server, and takes what comes back.
async fn greet(address: SocketAddr, path: &str, messages: usize) {
    let stream = tokio::net::TcpStream::connect(address).await.expect("the gateway accepts");
    let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://shop.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let mut sender = sender.ready().await.expect("a stream");
    let (answer, mut body) = sender.send_request(request.body(()).expect("a request"), false).expect("sent");
    // Cut within each message, as frames may be.
    let bytes = b"\0\0\0\0\x05hello".repeat(messages);
    for piece in bytes.chunks(7) {
        body.send_data(Bytes::copy_from_slice(piece), false).expect("sent");
    }
    body.send_data(Bytes::new(), true).expect("sent");
    let mut body = answer.await.expect("an answer").into_body();
    while let Some(piece) = body.data().await {
        let _ = body.flow_control().release_capacity(piece.expect("a piece").len());
    }
    let _ = body.trailers().await.expect("an end");
}

/// Everything that README's tables under "Metrics" name, with its type and what is said of its labels.
fn documented() -> BTreeMap<String, (String, String)> {
    let readme = include_str!("../../../../README.md");
    let (_, rest) = readme.split_once("\n## Metrics\n").expect("the chapter");
    let (chapter, _) = rest.split_once("\n## ").expect("its end");
    let mut all = BTreeMap::new();
    for row in chapter.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for name in cells[1].split('`').skip(1).step_by(2) {
            if ["istio_", "trysail_", "process_"].iter().any(|prefix| name.starts_with(prefix)) {
                all.insert(name.to_owned(), (cells[2].to_owned(), cells[3].to_owned()));
            }
        }
    }
    all
}

#[test]
fn what_is_exported_is_what_the_readme_says_and_the_other_way_round() {
    let site = site("");
    ask_everything(&site);
    let db = site.gateway.logged("listening 5432 → ");
    let mut first = TcpStream::connect(db).expect("it accepts");
    first.write_all(b"hello").expect("sent");
    let tcp = |samples: &[Sample], what: &str, flags: &str| {
        let name = format!("istio_tcp_{what}_total");
        sum(samples, &name, &[("reporter", "source"), ("response_flags", flags), ("request_protocol", "tcp")])
    };
    // What has passed is told while the connection lives.
    eventually(PATIENCE, "five bytes", || tcp(&all(&site.gateway), "received_bytes", "-") == 5.0);
    let now = all(&site.gateway);
    assert_eq!((tcp(&now, "connections_opened", "-"), tcp(&now, "connections_closed", "-")), (1.0, 0.0));
    assert_eq!(sum(&now, "trysail_connections", &[("port", "5432")]), 1.0);
    let mut second = TcpStream::connect(db).expect("it accepts");
    let _ = second.read_to_end(&mut Vec::new());
    first.shutdown(Shutdown::Write).expect("it is open");
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).expect("an answer");
    assert_eq!(answer, b"word hello");
    eventually(PATIENCE, "closed", || tcp(&all(&site.gateway), "connections_closed", "-") == 1.0);
    let edit = OBJECTS.replace("418", "419");
    site.gateway.after(|| site.folder.write("objects.yaml", &edit), "in force after");

    let text = scrape(site.gateway.logged("metrics on "), false);
    let mut documented = documented();
    if cfg!(not(feature = "otlp")) {
        documented.remove("trysail_spans_total");
    }
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exported: BTreeMap<&str, &str> = kinds.filter_map(|line| line.split_once(' ')).collect();
    let missing: Vec<_> = exported.keys().filter(|name| !documented.contains_key(**name)).collect();
    assert!(missing.is_empty(), "exported, and not in the README: {missing:?}");
    let missing: Vec<_> = documented.keys().filter(|name| !exported.contains_key(name.as_str())).collect();
    assert!(missing.is_empty(), "in the README, and not exported: {missing:?}");
    let samples = samples(&text);
    for (name, (kind, labels)) in &documented {
        if name != "istio_build" && name.starts_with("istio_") {
            continue;
        }
        assert_eq!(kind, exported[name.as_str()], "{name}");
        let words: BTreeSet<&str> = labels.split('`').skip(1).step_by(2).collect();
        let of = samples.iter().filter(|sample| &sample.name == name);
        for label in of.flat_map(|sample| sample.labels.keys()) {
            assert!(
                words.contains(label.as_str()),
                "{name} has a label {label}, and the README says {words:?}"
            );
        }
    }

    let value = |name: &str, labels: &[(&str, &str)]| sum(&samples, name, labels);
    for (name, labels, expected) in [
        ("trysail_faults_injected_total", &[("type", "delay")][..], 1.0),
        ("trysail_faults_injected_total", &[("type", "abort")], 1.0),
        ("trysail_tls_handshakes_total", &[("port", "443"), ("result", "done")], 1.0),
        ("trysail_tls_handshakes_total", &[("port", "443"), ("result", "unknown_name")], 1.0),
        ("trysail_tls_handshakes_total", &[("port", "443"), ("result", "failed")], 1.0),
        ("trysail_connections_total", &[("port", "443")], 3.0),
        ("trysail_connections_total", &[("port", "5432")], 2.0),
        ("trysail_listeners", &[], 3.0),
        ("trysail_config_reload_duration_seconds_count", &[], 1.0),
        // Two tries, of which each found nobody.
        ("trysail_upstream_connections_total", &[("result", "failed")], 2.0),
        ("istio_build", &[("component", "proxy"), ("tag", env!("CARGO_PKG_VERSION"))], 1.0),
        ("istio_tcp_connections_opened_total", &[("response_flags", "UO"), ("reporter", "source")], 1.0),
        ("istio_tcp_connections_closed_total", &[("response_flags", "UO"), ("reporter", "source")], 1.0),
        ("istio_tcp_sent_bytes_total", &[("response_flags", "-"), ("reporter", "source")], 10.0),
        ("istio_request_messages_total", &[("reporter", "destination")], 3.0),
        ("istio_response_messages_total", &[("reporter", "destination")], 3.0),
    ] {
        assert_eq!(value(name, labels), expected, "{name} {labels:?}");
    }
    assert!(value("trysail_upstream_connections_total", &[("result", "reused")]) >= 1.0);
    assert!(value("trysail_certificate_expiry_timestamp_seconds", &[("credential", "shop")]) > 1.7e9);
}

/// What Kiali groups by: without one of them it draws no edge.
const KIALI: [&str; 17] = [
    "source_cluster",
    "source_workload_namespace",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "destination_cluster",
    "destination_service_namespace",
    "destination_service",
    "destination_service_name",
    "destination_workload_namespace",
    "destination_workload",
    "destination_canonical_service",
    "destination_canonical_revision",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
];

/// And what else Istio says.
const MORE: [&str; 8] = [
    "reporter",
    "source_principal",
    "source_app",
    "source_version",
    "destination_principal",
    "destination_app",
    "destination_version",
    "connection_security_policy",
];

#[test]
fn istios_tools_find_what_they_ask_for() {
    let site = site("labels: {istio: ingressgateway, app: edge, version: \"7\"}\n");
    ask_everything(&site);
    // Counted once they have ended, which may be a moment after their answers.
    eventually(PATIENCE, "all are counted", || {
        sum(&all(&site.gateway), "istio_requests_total", &[("reporter", "source")]) == 7.0
    });
    let samples = all(&site.gateway);
    let labels: BTreeSet<&str> = KIALI.into_iter().chain(MORE).collect();
    let mut seen = BTreeSet::new();
    for sample in samples.iter().filter(|sample| sample.name.starts_with("istio_request")) {
        if sample.name.contains("messages") {
            continue;
        }
        let mut own: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
        let histogram = own.remove("le");
        assert_eq!(histogram, sample.name.ends_with("_bucket"), "{sample:?}");
        assert_eq!(own, labels, "{sample:?}");
        assert!(sample.has(&[("source_workload", "edge"), ("source_app", "edge"), ("source_version", "7")]));
        seen.insert(format!("{} {:?}", sample.name, sample.labels));
    }
    let istio = samples.iter().filter(|sample| sample.name.starts_with("istio_request"));
    assert_eq!(
        istio.filter(|sample| !sample.name.contains("messages")).count(),
        seen.len(),
        "no series twice"
    );

    // Flagger's success rate and Argo's, with what they leave out taken by hand.
    let flagger = [
        ("reporter", "destination"),
        ("destination_workload_namespace", "default"),
        ("destination_workload", "reviews-v1"),
    ];
    assert_eq!(sum(&samples, "istio_requests_total", &flagger), 3.0);
    assert_eq!(sum(&samples, "istio_request_duration_milliseconds_count", &flagger), 3.0);
    let argo = [("reporter", "source"), ("destination_service", "nobody.default.svc.cluster.local")];
    assert_eq!(sum(&samples, "istio_requests_total", &argo), 1.0);
    let failed = [&argo[..], &[("response_code", "503"), ("destination_workload", "nobody-v1")]].concat();
    assert_eq!(sum(&samples, "istio_requests_total", &failed), 1.0);
    for (labels, expected) in [
        (
            &[("response_code", "418"), ("response_flags", "DI,FI"), ("destination_service", "unknown")][..],
            1.0,
        ),
        (&[("request_protocol", "grpc"), ("grpc_response_status", "0"), ("response_code", "200")], 1.0),
        (&[("request_protocol", "grpc"), ("grpc_response_status", "7")], 1.0),
        (&[("request_protocol", "http"), ("grpc_response_status", "")], 5.0),
        (&[("connection_security_policy", "unknown")], 7.0),
        (&[("connection_security_policy", "none")], 0.0),
    ] {
        let labels = [&[("reporter", "source")], labels].concat();
        assert_eq!(sum(&samples, "istio_requests_total", &labels), expected, "{labels:?}");
    }
    let none = [("reporter", "destination"), ("connection_security_policy", "none")];
    assert_eq!(sum(&samples, "istio_requests_total", &none), 7.0);

    // Histograms: twenty buckets that never fall, of which the last has all.
    let of = |suffix: &str| {
        let name = format!("istio_request_duration_milliseconds_{suffix}");
        let found = samples.iter().filter(move |sample| sample.name == name && sample.has(&flagger));
        found.map(|sample| sample.value).collect::<Vec<f64>>()
    };
    let buckets = of("bucket");
    assert_eq!(buckets.len(), 20);
    assert!(buckets.is_sorted(), "{buckets:?}");
    assert_eq!((buckets[19], of("count")[0]), (3.0, 3.0));
    assert!(of("sum")[0] > 0.0);
}

#[test]
fn bytes_are_those_that_were_sent() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let (_folder, gateway) = reviews.gateway("", "metricsReporters: [destination]\n");
    let (mut sent, mut received) = (0, 0);
    for (asked, body) in [("POST", "x".repeat(100_000)), ("GET", String::new())] {
        let length =
            if asked == "POST" { format!("content-length: {}\r\n", body.len()) } else { String::new() };
        let request =
            format!("{asked} /reviews/0 HTTP/1.1\r\nHost:  a\r\n{length}connection: close\r\n\r\n{body}");
        let mut stream = TcpStream::connect(gateway.address()).expect("it accepts");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
        (sent, received) = (sent + request.len(), received + answer.len());
    }
    let told = |name: &str| sum(&all(&gateway), name, &[]);
    eventually(PATIENCE, "two", || told("istio_requests_total") == 2.0);
    assert_eq!(told("istio_request_bytes_sum"), sent as f64);
    assert_eq!(told("istio_response_bytes_sum"), received as f64);
    assert!(all(&gateway).iter().all(|sample| !sample.has(&[("reporter", "source")])));
}

/// A counter's or a bucket's name and labels.
fn key(sample: &Sample) -> (String, BTreeMap<String, String>) {
    (sample.name.clone(), sample.labels.clone())
}

#[test]
fn scrapes_during_reloads_tell_each_series_once_and_never_less_than_before() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let address = gateway.logged("metrics on ");
    let load =
        Plan::new(gateway.address(), "reviews.test", "/reviews/0").threads(1).max_time(PATIENCE * 4).start();
    let done = AtomicBool::new(false);
    let watch = || {
        let (mut before, mut scrapes) = (BTreeMap::new(), 0);
        while !done.load(Ordering::Acquire) {
            let mut now = BTreeMap::new();
            for sample in samples(&scrape(address, scrapes % 2 == 0)) {
                let counts =
                    ["_total", "_bucket", "_count", "_sum"].iter().any(|end| sample.name.ends_with(end));
                let twice = now.insert(key(&sample), if counts { sample.value } else { f64::MAX });
                assert!(twice.is_none(), "twice: {sample:?}");
            }
            for (series, value) in &before {
                // Weights and the like come and go; what counts does not.
                if *value < f64::MAX {
                    assert!(
                        now.get(series).is_some_and(|now| now >= value),
                        "{series:?} was {value}, is {:?}",
                        now.get(series)
                    );
                }
            }
            (before, scrapes) = (now, scrapes + 1);
        }
        scrapes
    };
    let scrapes = thread::scope(|scope| {
        let watching = scope.spawn(watch);
        for reload in 0..50 {
            let seed = weighted(reload + 1, 50 - reload);
            gateway.after(|| folder.write("seed-reviews.yaml", &seed), "in force after");
        }
        done.store(true, Ordering::Release);
        watching.join().expect("nothing fell")
    });
    load.stop().assert_all_good();
    assert!(scrapes > 10, "{scrapes} scrapes");
}
