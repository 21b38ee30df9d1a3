//! A gateway on which everything that is counted comes about at least once: 80/20 between v1 and v2 under `/reviews`, and
//! beside it faults, mirrors, retries, ejections, ceilings, a held subset, TLS and TCP.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use trysail_testkit::client::Client;
use trysail_testkit::folder::Folder;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::tls::{self, Authority};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE, Reviews};

/// How long v2 takes.
pub(crate) const DELAY: Duration = Duration::from_millis(20);

/// The route whose endpoint is ejected.
pub(crate) const BROKEN: &str = "default/shop http[4]";

/// The route that most of the requests go by, and where it leads.
pub(crate) const ROUTE: &str = "default/shop http[0]";
pub(crate) const SERVICE: &str = "reviews.default.svc.cluster.local";

/// The gateway and all that it needs.
pub(crate) struct Busy {
    pub(crate) gateway: Gateway,
    pub(crate) reviews: Reviews,
    authority: Authority,
    folder: Folder,
    /// Kept, since they end when dropped.
    _kept: (Vec<Origin>, Folder),
}

const RULES: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}
  - {port: {number: 81, name: tcp, protocol: TCP}, hosts: ['*']}
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: shop}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ['*']
  gateways: [shop]
  http:
  - match: [{uri: {prefix: /reviews}}]
    route:
    - {destination: {host: reviews, subset: v1}, weight: 80}
    - {destination: {host: reviews, subset: v2}, weight: 20}
  - match: [{uri: {prefix: /late}}]
    route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: late}, weight: 10}
  - match: [{uri: {prefix: /fault}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}, delay: {fixedDelay: 1ms, percentage: {value: 100}}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /copied}}]
    mirror: {host: reviews, subset: v1}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /broken}}]
    retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}
    route: [{destination: {host: broken}}]
  - match: [{uri: {prefix: /full}}]
    route: [{destination: {host: full}}]
  tcp:
  - match: [{port: 81}]
    route: [{destination: {host: echo}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: late, labels: {version: late}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: broken}
spec:
  host: broken
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100, baseEjectionTime: 10m, interval: 100ms}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: full}
spec:
  host: full
  trafficPolicy:
    connectionPool: {http: {http2MaxRequests: 1}}
";

impl Busy {
    /// Starts it; nothing has been asked of it yet.
    pub(crate) fn start() -> Busy {
        let reviews = Reviews::start(&["v1", "v2"]);
        reviews.origins["v2"].set_answer(Answer::version("v2").delay(DELAY));
        let broken = Origin::start(Answer::version("broken").status(500));
        let full = Origin::start(Answer::version("full").delay(Duration::from_millis(300)));
        let folder = Folder::new();
        folder.write("rules.yaml", RULES);
        folder.write("reviews.yaml", &reviews.service_entry());
        for (name, protocol, address) in
            [("broken", "HTTP", broken.addr()), ("full", "HTTP", full.addr()), ("echo", "TCP", echo())]
        {
            folder.write(&format!("{name}.yaml"), &entry(name, protocol, address));
        }
        let (authority, certificates) = (Authority::new("test root"), Folder::new());
        let pair = authority.issue(&["shop.test"]);
        certificates.write("shop/tls.key", &pair.key);
        certificates.write("shop/tls.crt", &pair.certificate);
        let settings = format!("ports: {{443: 0}}\ncertificates: {}\n", certificates.path().display());
        let gateway = Gateway::spawn(folder.path(), &settings);
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        Busy { gateway, reviews, authority, folder, _kept: (vec![broken, full], certificates) }
    }

    /// Where its metrics are.
    pub(crate) fn metrics(&self) -> SocketAddr {
        self.gateway.logged("metrics on ")
    }

    /// One of everything.
    pub(crate) fn warm(&self) {
        let mut client = self.gateway.client();
        let mut get = |path: &str| {
            if !client.is_open() {
                client = self.gateway.client();
            }
            let reply = client.get("shop.test", path, &[]);
            reply.unwrap_or_else(|error| panic!("{path}: {error}")).status
        };
        // Whole rounds of the split, so that what follows begins with a round.
        self.answer_from_v2(500);
        let failed = (0..5).filter(|_| get("/reviews/0") == 500).count();
        self.answer_from_v2(200);
        assert_eq!((failed, (0..5).filter(|_| get("/reviews/0") == 200).count()), (1, 5));
        // The only endpoint of /broken fails and is ejected, so that the second try finds none.
        for (path, status) in
            [("/late", 200), ("/fault", 418), ("/copied", 200), ("/broken", 503), ("/nowhere", 404)]
        {
            assert_eq!(get(path), status, "{path}");
        }
        self.fill();
        let mut stream = TcpStream::connect(self.gateway.logged("listening 81 → ")).expect("it accepts");
        stream.write_all(b"hello").expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("it is open");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an echo");
        assert_eq!(text, "hello");
        let address = self.gateway.logged("listening 443 → ");
        let config = self.authority.client(&["http/1.1"], None);
        let mut client = tls::connect(address, "shop.test", &config).expect("a handshake");
        let answer = tls::get(&mut client, "shop.test", "/fault").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 418"), "{answer}");
        eventually(PATIENCE, "the copy is answered", || {
            self.gateway.sum("trysail_mirrored_requests_total", &["sent"]) == 1.0
        });
    }

    /// Makes an edit that changes nothing for a request.
    pub(crate) fn edit(&self) {
        let another = entry("another", "HTTP", ([127, 0, 0, 1], 1).into());
        self.gateway.after(|| self.folder.write("another.yaml", &another), "in force after");
    }

    /// Makes an edit that is refused.
    pub(crate) fn edit_wrongly(&self) {
        self.gateway.after(|| self.folder.write("wrong.yaml", "kind: ["), "refused");
    }

    /// v2 answers so from now on.
    pub(crate) fn answer_from_v2(&self, status: u16) {
        self.reviews.origins["v2"].set_answer(Answer::version("v2").status(status).delay(DELAY));
    }

    /// Sends so many requests to `/reviews`, four at a time.
    pub(crate) fn load(&self, requests: usize) {
        let lane = || {
            let mut client = self.gateway.client();
            for _ in 0..requests / 4 {
                client.get("shop.test", "/reviews/0", &[]).expect("an answer");
            }
        };
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(lane))));
    }

    /// Two requests at once where one is allowed.
    fn fill(&self) {
        let address = self.gateway.address();
        let ask = || Client::connect(address)?.get("shop.test", "/full", &[]);
        let statuses: Vec<u16> = thread::scope(|scope| {
            let asked: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
            asked.into_iter().map(|one| one.join().expect("no panic").expect("an answer").status).collect()
        });
        assert!(statuses.contains(&503), "{statuses:?}");
    }
}

fn entry(name: &str, protocol: &str, address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec:\n  hosts: [{name}.default.svc.cluster.local]\n  resolution: STATIC\n  ports: [{{number: 9000, name: port, protocol: {protocol}}}]\n  endpoints: [{{address: {ip}, ports: {{port: {port}}}, labels: {{version: v1}}}}]\n"
    )
}

/// An origin that sends back what it got, once the client has ended.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut bytes = Vec::new();
            let _ = stream.set_read_timeout(Some(PATIENCE));
            if stream.read_to_end(&mut bytes).is_ok() {
                let _ = stream.write_all(&bytes);
            }
        }
    });
    address
}
