//! One gateway, and upstreams of which each has a host of its own, so that rows run side by side.

use trysail_testkit::folder::Folder;
use trysail_testkit::recorder::Recorder;

use crate::gateway::{EXPRESS, Gateway, HTTP, PATIENCE, PINGORA, express, shop};
use crate::table;

/// The host that rows name; a lane puts its own in its place, which is as long.
const HOST: &[u8] = b"shop.test";

/// A request that the gateway answers itself: that it is answered says that the connection is still good.
pub(crate) const FENCE: u16 = 299;

pub(crate) struct Bench {
    pub(crate) gateway: Gateway,
    pub(crate) upstreams: Vec<Recorder>,
    express: bool,
    _folder: Folder,
}

impl Bench {
    /// With more settings.
    pub(crate) fn with(lanes: usize, settings: &str) -> Bench {
        let upstreams: Vec<Recorder> = (0..lanes).map(|_| Recorder::start()).collect();
        let mut rules = format!(
            "  http:\n  - match: [{{uri: {{exact: /.fence}}}}]\n    directResponse: {{status: {FENCE}}}\n"
        );
        let mut objects = String::new();
        for (lane, upstream) in upstreams.iter().enumerate() {
            rules.push_str(&format!(
                "  - match: [{{authority: {{prefix: sho{lane}.test}}}}]\n    route: [{{destination: {{host: lane{lane}.test}}}}]\n"
            ));
            objects.push_str(&format!(
                "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: lane{lane}}}\nspec:\n  \
                 hosts: [lane{lane}.test]\n  resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  \
                 endpoints: [{{address: {}, ports: {{http: {}}}}}]\n",
                upstream.addr().ip(),
                upstream.addr().port(),
            ));
        }
        let folder = Folder::new();
        folder.write("shop.yaml", &(shop(HTTP, &rules) + &objects));
        let gateway = Gateway::spawn(folder.path(), settings);
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        let express = settings.contains(EXPRESS) || (express() && !settings.contains(PINGORA));
        Bench { gateway, upstreams, express, _folder: folder }
    }

    /// What the lane's upstream saw, but for what the gateway adds of its own. What does not come whole is left out: whether
    /// it is begun is a race.
    pub(crate) fn seen(&self, lane: usize) -> String {
        let seen = self.upstreams[lane].take();
        let whole = seen.iter().filter(|request| !request.contains("\ncut: "));
        let requests: Vec<String> = whole.map(|request| shown(lane, request)).collect();
        if requests.is_empty() { "-".to_owned() } else { requests.join(" && ") }
    }

    /// Nothing panicked, and requests went by the express lane where that is open, and there alone.
    pub(crate) fn end_of_requests(self) {
        let by_express = self.gateway.sum("trysail_express_requests_total", &[]);
        assert_eq!(by_express > 0.0, self.express, "{by_express} requests by the express lane");
        self.end();
    }

    /// Nothing panicked.
    pub(crate) fn end(self) {
        let lines = self.gateway.process.lines();
        let panics: Vec<&String> = lines.iter().filter(|line| line.contains("panicked")).collect();
        assert!(panics.is_empty(), "{panics:?}");
    }
}

/// What a row sends, with the lane's host.
pub(crate) fn bytes(lane: usize, row: &str) -> Vec<u8> {
    renamed_to(lane, &table::bytes(row))
}

/// Bytes with the lane's host in the place of the rows'.
pub(crate) fn renamed_to(lane: usize, bytes: &[u8]) -> Vec<u8> {
    renamed(bytes, HOST, &host(lane))
}

pub(crate) fn host(lane: usize) -> Vec<u8> {
    format!("sho{lane}.test").into_bytes()
}

/// Bytes with one text in the place of another that is as long.
pub(crate) fn renamed(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for at in 0..out.len().saturating_sub(from.len() - 1) {
        if out[at..].starts_with(from) {
            out[at..at + from.len()].copy_from_slice(to);
        }
    }
    out
}

fn shown(lane: usize, request: &str) -> String {
    const OWN: [&str; 5] = ["x-forwarded-", "x-envoy-", "x-request-id", "forwarded:", "x-real-ip"];
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let own = |line: &&str| OWN.iter().any(|own| line.to_ascii_lowercase().starts_with(own));
    let lines: Vec<&str> = head.lines().filter(|line| !own(line)).collect();
    let text = format!("{}\n\n{body}", lines.join("\n"));
    table::text(&renamed(text.as_bytes(), &host(lane), HOST))
}
