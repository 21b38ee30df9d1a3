//! The gateway as a process on a directory of its own, and objects to put there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use trysail_testkit::client::{Client, fetch};
use trysail_testkit::folder::Folder;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::process::Process;

/// How long anything may take before a test gives up; generous, as machines are slow and shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The objects of the sample, as shipped.
pub(crate) const SEED: &str = include_str!("../../../../conf/examples/reviews/seed-reviews.yaml");

/// Whether the express lane is open where a test says nothing of it: `TRYSAIL_TEST_EXPRESS=0 cargo nextest run -p trysail`
/// shuts it, and all tests are asked of Pingora's proxy alone.
pub(crate) fn express() -> bool {
    std::env::var_os("TRYSAIL_TEST_EXPRESS").is_none_or(|value| value != "0")
}

/// The setting that opens it.
pub(crate) const EXPRESS: &str = "expressLane: true\n";

/// The one that shuts it.
pub(crate) const PINGORA: &str = "expressLane: false\n";

/// A trysail that serves a folder.
pub(crate) struct Gateway {
    pub(crate) process: Process,
    /// Where its `settings.yaml` lies.
    pub(crate) settings: Folder,
}

impl Gateway {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(config: &Path) -> Gateway {
        let gateway = Gateway::spawn(config, "");
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        gateway
    }

    /// Starts one without waiting, with more settings than those that keep it on loopback.
    pub(crate) fn spawn(config: &Path, settings: &str) -> Gateway {
        Gateway::spawn_by(&[], config, settings)
    }

    /// The same, by a program that is given ours and its arguments as its last.
    pub(crate) fn spawn_by(program: &[&str], config: &Path, settings: &str) -> Gateway {
        let folder = Folder::new();
        let own = "bind: 127.0.0.1\nmetrics: 127.0.0.1:0\nhealth: 127.0.0.1:0\nadmin: 127.0.0.1:0\nthreads: 2\ndrain: 5s\n";
        let lane = if express() || settings.contains("expressLane: ") { "" } else { PINGORA };
        folder.write("settings.yaml", &format!("{own}{lane}{settings}"));
        let settings = folder.path().join("settings.yaml");
        let trysail = env!("CARGO_BIN_EXE_trysail");
        let arguments = [
            trysail,
            "run",
            "--config",
            text(config),
            "--settings",
            text(&settings),
            "--port",
            "80=0",
            "--port",
            "81=0",
        ];
        let nothing: [(&str, &str); 0] = [];
        let mut words = program.iter().chain(&arguments);
        let first = words.next().expect("ours is there");
        let process = Process::spawn(Path::new(first), words, nothing).expect("trysail starts");
        Gateway { process, settings: folder }
    }

    /// The address behind the Gateway's port 80.
    pub(crate) fn address(&self) -> SocketAddr {
        self.logged("listening 80 → ")
    }

    /// The newest address that the log gives after `words`.
    pub(crate) fn logged(&self, words: &str) -> SocketAddr {
        let lines = self.process.lines();
        let after = lines.iter().rev().find_map(|line| line.split_once(words));
        let (_, rest) = after.unwrap_or_else(|| panic!("no {words:?} in\n{}", lines.join("\n")));
        rest.split_whitespace().next().expect("an address").parse().expect("an address")
    }

    /// Does something to the configuration and waits for the line that it leads to.
    pub(crate) fn after(&self, act: impl FnOnce(), words: &str) -> String {
        let seen = self.process.lines().len();
        act();
        let line = self.process.wait_for_line_after(seen, |line| line.contains(words), PATIENCE);
        line.unwrap_or_else(|| panic!("no {words:?} in\n{}", self.process.lines()[seen..].join("\n")))
    }

    /// A connection to port 80.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address()).expect("the gateway accepts")
    }

    /// Every sample of one metric: labels as text, and the value. Of Istio's, which are told twice, what one reporter says.
    pub(crate) fn metric(&self, name: &str) -> Vec<(String, f64)> {
        let reply = fetch(self.logged("metrics on "), "metrics", "/metrics").expect("metrics answer");
        assert_eq!(reply.status, 200);
        let text = reply.text();
        let samples =
            text.lines().filter(|line| line.starts_with(name) && !line.contains("reporter=\"destination\""));
        let sample = |line: &str| {
            let (labels, value) = line[name.len()..].rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{'))
                .then(|| (labels.to_owned(), value.parse().expect("a number")))
        };
        samples.filter_map(sample).collect()
    }

    /// The sum of one metric over the samples whose labels contain all of `wanted`.
    pub(crate) fn sum(&self, name: &str, wanted: &[&str]) -> f64 {
        let samples = self.metric(name);
        samples
            .iter()
            .filter(|(labels, _)| wanted.iter().all(|w| labels.contains(w)))
            .map(|(_, value)| value)
            .sum()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// Origins that answer as versions, and the ServiceEntry for them.
pub(crate) struct Reviews {
    pub(crate) origins: BTreeMap<String, Origin>,
}

impl Reviews {
    /// One origin for each version.
    pub(crate) fn start(versions: &[&str]) -> Reviews {
        let start = |version: &&str| ((*version).to_owned(), Origin::start(Answer::version(version)));
        Reviews { origins: versions.iter().map(start).collect() }
    }

    /// The ServiceEntry that names them all.
    pub(crate) fn service_entry(&self) -> String {
        let endpoints: Vec<(&str, SocketAddr)> =
            self.origins.iter().map(|(version, origin)| (version.as_str(), origin.addr())).collect();
        service_entry(&endpoints)
    }

    /// A gateway for these versions, with rules before the seed's own.
    pub(crate) fn gateway(&self, rules: &str, settings: &str) -> (Folder, Gateway) {
        let folder = self.folder();
        folder.write("seed-reviews.yaml", &ruled(rules));
        let gateway = Gateway::spawn(folder.path(), settings);
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        (folder, gateway)
    }

    /// A folder with the seed as shipped and this ServiceEntry.
    pub(crate) fn folder(&self) -> Folder {
        let folder = Folder::new();
        folder.write("seed-reviews.yaml", SEED);
        folder.write("endpoints.yaml", &self.service_entry());
        folder
    }
}

/// A ServiceEntry for reviews with these endpoints.
pub(crate) fn service_entry(endpoints: &[(&str, SocketAddr)]) -> String {
    let mut text =
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: reviews\nspec:\n  \
                    hosts: [reviews.default.svc.cluster.local]\n  resolution: STATIC\n  ports:\n  \
                    - {number: 9080, name: http, protocol: HTTP}\n  endpoints:\n"
            .to_owned();
    for (version, address) in endpoints {
        text.push_str(&format!(
            "  - {{address: {}, ports: {{http: {}}}, labels: {{version: {version}}}}}\n",
            address.ip(),
            address.port()
        ));
    }
    text
}

/// The seed with other weights.
pub(crate) fn weighted(v1: u32, v2: u32) -> String {
    let mut parts = SEED.split("weight: 50");
    let mut part = || parts.next().expect("the seed has two weights");
    format!("{}weight: {v1}{}weight: {v2}{}", part(), part(), part())
}

/// The seed with rules of http before its own.
pub(crate) fn ruled(rules: &str) -> String {
    SEED.replacen("  http:\n", &format!("  http:\n{rules}"), 1)
}

/// Gateway `shop` with one server, and the VirtualService behind it with these rules (`http:`, `tcp:`), for every host.
pub(crate) fn shop(server: &str, rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: shop}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{{server}, hosts: [\"*\"]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: [\"*\"]
  gateways: [shop]
{rules}"
    )
}

/// A server for [`shop`].
pub(crate) const HTTP: &str = "port: {number: 80, name: http, protocol: HTTP}";
