//! Active health checks: who is asked how, what comes of the answers, and that nobody is asked twice or for nothing.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use trysail_testkit::client::fetch;
use trysail_testkit::folder::Folder;
use trysail_testkit::load::{Load, Plan};
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::tls::{self, Authority};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, SEED, weighted};
use crate::held::shares;

/// An endpoint of a version, with a port of its own for probes, so that requests and probes are counted apart.
struct Member {
    name: &'static str,
    version: &'static str,
    traffic: Origin,
    probe: Origin,
}

impl Member {
    fn start(name: &'static str, version: &'static str, status: u16) -> Member {
        Member {
            name,
            version,
            traffic: Origin::start(Answer::version(version)),
            probe: Origin::start(Answer::version("probe").status(status)),
        }
    }

    /// Answers its probe so from now on.
    fn say(&self, status: u16) {
        self.probe.set_answer(Answer::version("probe").status(status));
    }

    /// Its entry, in a group that asks over HTTP each second.
    fn asked(&self) -> String {
        self.asked_by(&format!(
            "httpGet: {{port: {}}}, periodSeconds: 1, failureThreshold: 2",
            self.probe.addr().port()
        ))
    }

    fn asked_by(&self, probe: &str) -> String {
        let (name, version, address) = (self.name, self.version, self.traffic.addr());
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: {name}}}
spec: {{template: {{ports: {{http: {}}}}}, probe: {{{probe}}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, annotations: {{istio.io/autoRegistrationGroup: {name}}}}}
spec: {{address: {}, labels: {{app: reviews, version: {version}}}}}
",
            address.port(),
            address.ip()
        )
    }

    fn has_state(&self, gateway: &Gateway, state: &str) -> bool {
        let (subset, state) = (format!("subset=\"{}\"", self.version), format!("state=\"{state}\""));
        gateway.sum("trysail_endpoints", &[&subset, &state]) > 0.0
    }
}

const SERVICE: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.default.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: reviews}}
";

/// A folder with the service, a seed and these members' objects.
fn folder(seed: &str, members: &[String]) -> Folder {
    let folder = Folder::new();
    folder.write("seed.yaml", seed);
    folder.write("members.yaml", &format!("{SERVICE}{}", members.concat()));
    folder
}

fn wait_for(gateway: &Gateway, words: &str) -> String {
    let line = gateway.process.wait_for_line(|line| line.contains(words), PATIENCE);
    line.unwrap_or_else(|| panic!("no {words:?} in\n{}", gateway.process.lines().join("\n")))
}

fn statuses(gateway: &Gateway, count: usize) -> Vec<u16> {
    let mut client = gateway.client();
    (0..count).map(|_| client.get("a", "/reviews/0", &[]).expect("an answer").status).collect()
}

/// All requests to v1, by turns.
fn by_turns() -> String {
    let turns = "  host: reviews\n  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}\n  subsets:";
    weighted(100, 0).replace("  host: reviews\n  subsets:", turns)
}

#[test]
fn one_that_fails_gets_nothing_and_comes_back() {
    let (good, other) = (Member::start("good", "v1", 302), Member::start("other", "v1", 200));
    let probe = format!(
        "httpGet: {{port: {}, path: /up?deep, host: 127.0.0.1, httpHeaders: [{{name: Host, value: shop.test}}, {{name: x-from, value: probe}}]}}, periodSeconds: 1, failureThreshold: 2",
        other.probe.addr().port()
    );
    let folder = folder(&by_turns(), &[good.asked(), other.asked_by(&probe)]);
    let gateway = Gateway::start(folder.path());
    wait_for(&gateway, "(reviews v1: 2 of 2 left): 1 probe in a row succeeded");
    assert_eq!(statuses(&gateway, 10), [200; 10]);
    assert_eq!((good.traffic.requests(), other.traffic.requests()), (5, 5));
    let head = other.probe.last_request().expect("a probe");
    assert!(head.starts_with("GET /up?deep HTTP/1.1\n"), "{head}");
    for field in ["host: shop.test", "x-from: probe", "user-agent: istio-probe/1.0", "connection: close"] {
        assert!(head.to_lowercase().lines().any(|line| line == field), "{field} in {head}");
    }

    let began = Instant::now();
    let line = gateway.after(|| other.say(500), "unhealthy ");
    let words = format!(
        "unhealthy {} (reviews v1: 1 of 2 left): 2 probes in a row failed, the last with status 500",
        other.traffic.addr()
    );
    assert!(line.contains("WARN") && line.ends_with(&words), "{line}");
    assert!(began.elapsed() < Duration::from_secs(4), "two periods, and what a busy machine adds");
    let before = other.traffic.requests();
    assert_eq!(statuses(&gateway, 20), [200; 20]);
    assert_eq!(other.traffic.requests(), before);
    assert!(other.has_state(&gateway, "unhealthy") && good.has_state(&gateway, "healthy"));
    assert!(gateway.sum("trysail_health_checks_total", &["probe=\"http\"", "result=\"failure\""]) >= 2.0);
    assert!(gateway.sum("trysail_health_checks_total", &["probe=\"http\"", "result=\"success\""]) >= 2.0);
    // What is asked of endpoints is no traffic.
    let requests = || gateway.sum("istio_requests_total", &["reporter=\"source\""]);
    eventually(PATIENCE, "each request is counted", || requests() >= 30.0);
    assert_eq!(requests(), 30.0);
    let admin = gateway.logged("admin on ").to_string();
    let arguments = ["explain", "--live", &admin, "GET", "http://a/reviews/0"];
    let page = Command::new(env!("CARGO_BIN_EXE_trysail")).args(arguments).output().expect("it runs").stdout;
    let page = String::from_utf8_lossy(&page).into_owned();
    for (member, state) in [(&good, "healthy"), (&other, "unhealthy")] {
        let words = format!("{} with 0 requests, {state}", member.traffic.addr());
        assert!(page.contains(&words), "{words} in {page}");
    }

    gateway.after(|| good.say(400), "(reviews v1: 0 of 2 left)");
    assert_eq!(statuses(&gateway, 5), [503; 5]);
    eventually(PATIENCE, "UH", || gateway.sum("istio_requests_total", &["response_flags=\"UH\""]) == 5.0);
    gateway.after(|| other.say(204), "healthy ");
    assert_eq!(statuses(&gateway, 5), [200; 5]);
    assert_eq!(other.traffic.requests(), before + 5);
}

#[test]
fn a_port_that_opens_is_enough_for_tcp() {
    let member = Member::start("tcp", "v1", 200);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    drop(taken);
    let probe = format!("tcpSocket: {{port: {}}}, periodSeconds: 1, failureThreshold: 1", address.port());
    let folder = folder(&by_turns(), &[member.asked_by(&probe)]);
    let gateway = Gateway::start(folder.path());
    let line = wait_for(&gateway, "unhealthy ");
    assert!(
        line.ends_with("1 probe in a row failed, the last with no connection: connection refused"),
        "{line}"
    );
    assert_eq!(statuses(&gateway, 2), [503; 2]);
    let open = TcpListener::bind(address).expect("nobody else took the port meanwhile");
    wait_for(&gateway, " healthy ");
    assert_eq!(statuses(&gateway, 2), [200; 2]);
    gateway.after(|| drop(open), "unhealthy ");
    assert_eq!(statuses(&gateway, 2), [503; 2]);
}

/// What a server of `grpc.health.v1` says, and how often it was asked for the service `shop`.
#[derive(Default)]
struct GrpcHealth {
    status: AtomicU8,
    asked: AtomicU64,
}

async fn grpc_server(health: Arc<GrpcHealth>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let health = health.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(check(health.clone(), request, respond));
                }
            });
        }
    });
    address
}

async fn check(
    health: Arc<GrpcHealth>,
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Option<()> {
    let answer = http::Response::builder().header("content-type", "application/grpc");
    let is_check = request.uri().path() == "/grpc.health.v1.Health/Check";
    let mut body = request.into_body();
    let asked = body.data().await?.ok()?;
    if !is_check || asked[..] != b"\0\0\0\0\x06\x0a\x04shop"[..] {
        let answer = answer.header("grpc-status", "12").body(()).ok()?;
        return respond.send_response(answer, true).map(drop).ok();
    }
    health.asked.fetch_add(1, Ordering::SeqCst);
    let status = health.status.load(Ordering::SeqCst);
    if status > 3 {
        let answer = answer.header("grpc-status", "5").body(()).ok()?;
        return respond.send_response(answer, true).map(drop).ok();
    }
    let mut stream = respond.send_response(answer.body(()).ok()?, false).ok()?;
    stream.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]), false).ok()?;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().ok()?);
    stream.send_trailers(trailers).ok()
}

#[test]
fn grpc_is_asked_for_a_service() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let health = Arc::new(GrpcHealth { status: AtomicU8::new(2), ..GrpcHealth::default() });
    let address = runtime.block_on(grpc_server(health.clone()));
    let member = Member::start("grpc", "v1", 200);
    let probe =
        format!("grpc: {{port: {}, service: shop}}, periodSeconds: 1, failureThreshold: 1", address.port());
    let folder = folder(&by_turns(), &[member.asked_by(&probe)]);
    let gateway = Gateway::start(folder.path());
    let line = wait_for(&gateway, "unhealthy ");
    assert!(line.ends_with("the last with a service that is not SERVING"), "{line}");
    assert_eq!(statuses(&gateway, 2), [503; 2]);
    health.status.store(1, Ordering::SeqCst);
    wait_for(&gateway, " healthy ");
    assert_eq!(statuses(&gateway, 2), [200; 2]);
    let line = gateway.after(|| health.status.store(9, Ordering::SeqCst), "unhealthy ");
    assert!(line.ends_with("the last with grpc-status 5"), "{line}");
    assert!(health.asked.load(Ordering::SeqCst) >= 3);
    assert!(gateway.sum("trysail_health_checks_total", &["probe=\"grpc\"", "result=\"success\""]) >= 1.0);
}

#[test]
fn https_is_asked_whatever_its_certificate_says_and_a_late_answer_is_none() {
    let authority = Authority::new("root");
    let secure = tls::https_origin(&authority.issue(&["somebody.else"]), None);
    let member = Member::start("https", "v1", 200);
    let slow = Member::start("slow", "v1", 200);
    slow.probe.set_answer(Answer::version("probe").delay(Duration::from_secs(20)));
    let probe =
        format!("httpGet: {{port: {}, scheme: HTTPS, host: localhost}}, periodSeconds: 1", secure.port());
    let late = format!(
        "tcpSocket: {{port: {0}}}, httpGet: {{port: {0}}}, timeoutSeconds: 1, periodSeconds: 1, failureThreshold: 1",
        slow.probe.addr().port()
    );
    let late = late.split_once(", ").expect("two probes").1;
    let folder = folder(&by_turns(), &[member.asked_by(&probe), slow.asked_by(late)]);
    let gateway = Gateway::start(folder.path());
    wait_for(&gateway, &format!(" healthy {}", member.traffic.addr()));
    let line = wait_for(&gateway, &format!("unhealthy {}", slow.traffic.addr()));
    assert!(line.ends_with("the last with no answer in 1 s"), "{line}");
    assert_eq!(statuses(&gateway, 6), [200; 6]);
    assert_eq!(slow.traffic.requests(), 0);
}

#[test]
fn a_subset_is_held_until_its_probe_succeeds() {
    let (v1, v2) = (Member::start("one", "v1", 200), Member::start("two", "v2", 503));
    let folder = folder(&weighted(90, 10), &[v1.asked(), v2.asked()]);
    let gateway = Gateway::start(folder.path());
    wait_for(&gateway, "reviews v1 ready (");
    wait_for(&gateway, "held: reviews v2 has had no ready endpoint yet; its share goes to v1");
    assert_eq!(gateway.sum("trysail_held", &["subset=\"v2\""]), 1.0);
    let weights =
        |name: &str| ["v1", "v2"].map(|subset| gateway.sum(name, &[&format!("subset=\"{subset}\"")]));
    assert_eq!(weights("trysail_route_effective_weight"), [90.0, 0.0]);
    assert_eq!(weights("trysail_route_configured_weight"), [90.0, 10.0]);
    assert_eq!(shares(&gateway, 50), (50, 0, 0));
    v2.say(200);
    wait_for(&gateway, &format!(" healthy {}", v2.traffic.addr()));
    let healthy = Instant::now();
    let line = wait_for(&gateway, "reviews v2 ready (");
    assert!(healthy.elapsed() < Duration::from_secs(1), "{:?} after it was healthy", healthy.elapsed());
    assert!(
        line.ends_with(&format!("reviews v2 ready ({}), takes its 10 % now", v2.traffic.addr())),
        "{line}"
    );
    assert_eq!(shares(&gateway, 50), (45, 5, 0));
    assert_eq!(weights("trysail_route_effective_weight"), [90.0, 10.0]);
    assert!(gateway.metric("trysail_held").is_empty());
    // It was ready once: now it is on its own.
    gateway.after(|| v2.say(500), "unhealthy ");
    let (v1, v2, nobody) = shares(&gateway, 50);
    assert_eq!((v1, v2, nobody), (45, 0, 5));
}

#[test]
fn a_reload_asks_nobody_again_and_answers_nothing_itself() {
    let members = [Member::start("one", "v1", 200), Member::start("two", "v1", 200)];
    let rarely = |member: &Member, path: &str| {
        let port = member.probe.addr().port();
        member.asked_by(&format!("httpGet: {{port: {port}, path: {path}}}, periodSeconds: 3600"))
    };
    let objects = |path: &str| members.each_ref().map(|member| rarely(member, path));
    let folder = folder(&by_turns(), &objects("/up"));
    let gateway = Gateway::start(folder.path());
    wait_for(&gateway, "(reviews v1: 2 of 2 left)");
    let load = Load::start(gateway.address(), "a", "/reviews/0", 2);
    for turn in 0..5 {
        let seed = format!("{}# {turn}\n", by_turns());
        gateway.after(|| folder.write("seed.yaml", &seed), "in force after");
    }
    assert_eq!(members.each_ref().map(|member| member.probe.requests()), [1, 1]);
    // Another question is asked, and until it is answered who took requests goes on.
    let edited = format!("{SERVICE}{}", objects("/down").concat());
    members.iter().for_each(|member| member.say(503));
    gateway.after(|| folder.write("members.yaml", &edited), "in force after");
    eventually(PATIENCE, "each was asked anew", || members.iter().all(|member| member.probe.requests() == 2));
    load.stop().assert_all_good();
    assert!(members[0].probe.last_request().expect("a probe").starts_with("GET /down "));
}

#[test]
fn who_is_gone_is_asked_no_more() {
    let (stays, goes) = (Member::start("stays", "v1", 200), Member::start("goes", "v1", 200));
    let folder = folder(&by_turns(), &[stays.asked(), goes.asked()]);
    let gateway = Gateway::start(folder.path());
    wait_for(&gateway, "(reviews v1: 2 of 2 left)");
    eventually(PATIENCE, "it is asked again", || goes.probe.requests() >= 2);
    let without = format!("{SERVICE}{}", stays.asked());
    gateway.after(|| folder.write("members.yaml", &without), "in force after");
    let (asked, other) = (goes.probe.requests(), stays.probe.requests());
    eventually(PATIENCE, "the other is asked three times more", || stays.probe.requests() >= other + 3);
    // One question may have been under way.
    assert!(goes.probe.requests() <= asked + 1, "{} after {asked}", goes.probe.requests());
    assert_eq!(statuses(&gateway, 4), [200; 4]);
}

#[test]
fn a_success_ends_an_ejection() {
    let member = Member::start("one", "v1", 200);
    let turns = "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}";
    let detection = "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 2, maxEjectionPercent: 100, baseEjectionTime: 1h}}";
    let folder = folder(&by_turns().replace(turns, detection), &[member.asked()]);
    let gateway = Gateway::start(folder.path());
    wait_for(&gateway, "(reviews v1: 1 of 1 left)");
    member.traffic.set_answer(Answer::version("v1").status(500));
    gateway.after(|| assert!(statuses(&gateway, 2).iter().all(|status| *status == 500)), "ejected ");
    member.traffic.set_answer(Answer::version("v1"));
    let line = wait_for(&gateway, "returned ");
    let words = format!(
        "{} (reviews v1) before the end of its ejection, as its probe succeeded",
        member.traffic.addr()
    );
    assert!(line.ends_with(&words), "{line}");
    assert_eq!(statuses(&gateway, 2), [200; 2]);
}

#[test]
fn many_endpoints_are_not_asked_all_at_once() {
    const ENDPOINTS: usize = 600;
    // One origin behind as many addresses of loopback.
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let slow = Answer::version("v1").delay(Duration::from_millis(500));
    let origin = Origin::start_at(everywhere, slow).expect("a port");
    let port = origin.addr().port();
    let mut objects = format!(
        "{SERVICE}---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: all}}
spec: {{template: {{ports: {{http: {port}}}}}, probe: {{httpGet: {{port: {port}}}, timeoutSeconds: 30, periodSeconds: 3600}}}}
"
    );
    for number in 0..ENDPOINTS {
        objects.push_str(&format!(
            "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: e{number}, annotations: {{istio.io/autoRegistrationGroup: all}}}}
spec: {{address: 127.1.{}.{}, labels: {{app: reviews, version: v1}}}}
",
            number / 250,
            number % 250 + 1
        ));
    }
    let folder = folder(&by_turns(), &[objects.replacen(SERVICE, "", 1)]);
    let gateway = Gateway::start(folder.path());
    let mut most = 0;
    eventually(PATIENCE, "all were asked", || {
        most = most.max(origin.open());
        origin.requests() == ENDPOINTS as u64
    });
    // The origin may count one as open a moment longer than it is.
    assert!((100..=300).contains(&most), "{most} at once");
    wait_for(&gateway, "(reviews v1: 600 of 600 left)");
    assert_eq!(gateway.sum("trysail_health_checks_total", &["result=\"success\""]), 600.0);
}

#[test]
fn a_process_is_ready_once_it_has_asked() {
    let member = Member::start("one", "v1", 200);
    member.probe.set_answer(Answer::version("probe").delay(Duration::from_secs(3)));
    let probe = format!("httpGet: {{port: {}}}, timeoutSeconds: 10", member.probe.addr().port());
    let folder = folder(&by_turns(), &[member.asked_by(&probe)]);
    let gateway = Gateway::start(folder.path());
    let health = gateway.logged("health on ");
    let ready = || fetch(health, "health", "/healthz/ready").expect("it answers");
    let reply = ready();
    assert_eq!((reply.status, reply.text().as_str()), (503, "endpoints are being asked by their probes\n"));
    eventually(PATIENCE, "ready", || ready().status == 200);
    assert_eq!(statuses(&gateway, 2), [200; 2]);
}

/// A rule of three versions.
fn thirds() -> String {
    let v3 =
        "      weight: 30\n    - destination:\n        host: reviews\n        subset: v3\n      weight: 10\n";
    weighted(60, 30).replace("      weight: 30\n", v3)
}

#[test]
fn in_any_order_nothing_is_answered_by_the_gateway_or_sent_to_who_was_never_ready() {
    enum Step<'s> {
        File(&'s str, String),
        Start(&'s Member),
    }
    let order = |seed: u64| {
        let mut chance = fastrand::Rng::with_seed(seed);
        let (v1, v2, v3) = (
            Member::start("one", "v1", 200),
            Member::start("two", "v2", 503),
            Member::start("three", "v3", 503),
        );
        let part = |number: usize, of: &str| {
            let part = of.split("---\n").nth(number).expect("the seed has three objects");
            format!("---\n{part}")
        };
        let folder = Folder::new();
        folder.write("gateway.yaml", &part(0, SEED));
        folder.write("route.yaml", &part(1, &weighted(100, 0)).replace("subset: v2", "subset: v1"));
        let one = part(2, SEED);
        let (one, _) = one.split_once("  - name: v2").expect("it has more subsets");
        folder.write("rule.yaml", one);
        folder.write("one.yaml", &format!("{SERVICE}{}", v1.asked()));
        let gateway = Gateway::start(folder.path());
        wait_for(&gateway, "(reviews v1: 1 of 1 left)");
        eventually(PATIENCE, "v1 is ready", || gateway.metric("trysail_held").is_empty());
        let load = Plan::new(gateway.address(), "a", "/reviews/0").threads(2).start();
        let mut steps = vec![
            Step::File("route.yaml", part(1, &thirds())),
            Step::File("rule.yaml", part(2, SEED)),
            Step::File("two.yaml", v2.asked()),
            Step::File("three.yaml", v3.asked()),
            Step::Start(&v2),
            Step::Start(&v3),
        ];
        chance.shuffle(&mut steps);
        for step in steps {
            let waits = chance.bool();
            match step {
                Step::Start(member) => {
                    assert_eq!(member.traffic.requests(), 0, "{seed}: {} was never ready", member.name);
                    member.say(200);
                }
                // Some at once after each other, some once the last is applied or refused.
                Step::File(name, text) if waits => {
                    _ = gateway.after(|| folder.write(name, &text), "revision ")
                }
                Step::File(name, text) => folder.write(name, &text),
            }
        }
        eventually(PATIENCE, "all get their share", || {
            [&v2, &v3].iter().all(|member| member.traffic.requests() > 0)
        });
        eventually(PATIENCE, "nobody is held", || gateway.metric("trysail_held").is_empty());
        let (two, three) = (v2.traffic.requests(), v3.traffic.requests());
        eventually(PATIENCE, "they go on", || {
            v2.traffic.requests() > two + 50 && v3.traffic.requests() > three + 10
        });
        load.stop().assert_all_good();
    };
    // As many at a time as a small machine bears.
    for seeds in (0..10).collect::<Vec<u64>>().chunks(5) {
        std::thread::scope(|scope| {
            seeds.iter().for_each(|seed| _ = scope.spawn(move || order(*seed)));
        });
    }
}
