//! What an instrumented build is trained with: one process, each kind of request for a while, ended in peace so that it
//! writes down what it has counted.
//!
//! Nothing is measured here. One worker thread, since the counters of an instrumented build are not atomic.

mod client;
mod origin;

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::process::{Launch, Process};

/// Connections that ask at a time.
const CONNECTIONS: usize = 16;
/// How long a process may take to end and to write its counts.
const END: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// GET, 100-byte answer, HTTP/1.1 keep-alive.
    Small,
    /// POST of 1 KiB.
    Post,
    /// GET, 64 KiB answer.
    Big,
    /// GET on a connection of its own.
    Close,
    /// GET, eight streams at a time, HTTP/2 by prior knowledge.
    H2c,
    /// GET inside TLS 1.3; every sixty-fourth on a connection of its own.
    Tls,
}

/// In the order of training.
pub const KINDS: [Kind; 6] = [Kind::Small, Kind::Post, Kind::Big, Kind::Close, Kind::H2c, Kind::Tls];

/// Where the process listens.
#[derive(Debug, Clone, Copy)]
struct Ports {
    http: SocketAddr,
    https: SocketAddr,
}

/// Runs `binary` under each kind for `each`, ends it, and tells how many answers there were of each kind. Fails at a wrong
/// answer, and where it does not end.
pub async fn train(binary: &Path, each: Duration) -> anyhow::Result<Vec<(Kind, u64)>> {
    let mut origins = Vec::new();
    let mut serving = JoinSet::new();
    for version in ["v1", "v2"] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        origins.push((version, listener.local_addr()?));
        serving.spawn(origin::serve(listener, version));
    }
    let folder = tempfile::Builder::new().prefix("trysail-train-").tempdir()?;
    let trusted = client::certificate(folder.path())?;
    let launch = prepare(binary, folder.path(), &origins)?;
    let ears = Ears::default();
    let (process, ports) = Process::start("trysail", &launch, None, &[], |line| ears.hear(line))?;
    let mut told = Vec::new();
    for kind in KINDS {
        let answers = load(kind, ports, &trusted, each).await.with_context(|| format!("{kind:?}"))?;
        ensure!(answers > 0, "{kind:?}: no answer within {} s", each.as_secs_f64());
        told.push((kind, answers));
    }
    process.end(END)?;
    Ok(told)
}

async fn load(
    kind: Kind,
    ports: Ports,
    trusted: &Arc<rustls::ClientConfig>,
    each: Duration,
) -> anyhow::Result<u64> {
    let until = Instant::now() + each;
    let mut asking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let trusted = Arc::clone(trusted);
        asking.spawn(async move {
            match kind {
                Kind::H2c => client::streams(ports.http, until).await,
                Kind::Tls => client::encrypted(ports.https, trusted, until).await,
                _ => client::plain(kind, ports.http, until).await,
            }
        });
    }
    let mut answers = 0;
    while let Some(ended) = asking.join_next().await {
        answers += ended.context("a client ended")??;
    }
    Ok(answers)
}

/// Writes objects and settings, and says what to run.
fn prepare(binary: &Path, folder: &Path, origins: &[(&str, SocketAddr)]) -> anyhow::Result<Launch> {
    let config = folder.join("conf");
    let settings = folder.join("settings.yaml");
    fs::create_dir(&config)?;
    fs::write(config.join("shop.yaml"), objects(folder, origins))?;
    fs::write(
        &settings,
        "threads: 1\nbind: 127.0.0.1\nmetrics: 127.0.0.1:0\nhealth: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndrain: 2s\n",
    )?;
    let words = ["--port", "80=0", "--port", "443=0", "--settings"];
    let mut args = vec!["run".into(), "--config".into(), config.into()];
    args.extend(words.map(Into::into));
    args.push(settings.into());
    Ok(Launch { program: binary.to_owned(), args, address: None })
}

fn objects(folder: &Path, origins: &[(&str, SocketAddr)]) -> String {
    let of = |line: &dyn Fn(&str, &SocketAddr) -> String| -> String {
        origins.iter().map(|(version, address)| line(version, address)).collect()
    };
    let weight = |version: &str| if version == "v1" { 90 } else { 10 };
    let routes = of(&|version, _| {
        format!("\n    - {{destination: {{host: cart, subset: {version}}}, weight: {}}}", weight(version))
    });
    let subsets = of(&|version, _| format!("\n  - {{name: {version}, labels: {{version: {version}}}}}"));
    let endpoints = of(&|version, address| {
        let (ip, port) = (address.ip(), address.port());
        format!("\n  - {{address: {ip}, ports: {{http: {port}}}, labels: {{version: {version}}}}}")
    });
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: shop}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [shop.test]}}
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: [shop.test]
    tls: {{mode: SIMPLE, serverCertificate: {at}/tls.crt, privateKey: {at}/tls.key}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: cart}}
spec:
  hosts: [shop.test]
  gateways: [shop]
  http:
  - match:
    - headers: {{x-canary: {{exact: 'yes'}}}}
    route:
    - {{destination: {{host: cart, subset: v2}}}}
  - match:
    - uri: {{prefix: /cart}}
    route:{routes}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: cart}}
spec:
  host: cart
  subsets:{subsets}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: cart}}
spec:
  hosts: [cart.default.svc.cluster.local]
  resolution: STATIC
  ports:
  - {{number: 8080, name: http, protocol: HTTP}}
  endpoints:{endpoints}
",
        at = folder.display(),
    )
}

/// Gathers what the log says of the ports, a line each: `… listening 80 → 127.0.0.1:41233 (HTTP)`.
#[derive(Default)]
struct Ears {
    http: Cell<Option<SocketAddr>>,
    https: Cell<Option<SocketAddr>>,
}

impl Ears {
    /// Both, once both were told.
    fn hear(&self, line: &str) -> Option<Ports> {
        let after = |words: &str| line.split_once(words)?.1.split([' ', ',']).next()?.parse().ok();
        self.http.set(after("listening 80 → ").or(self.http.get()));
        self.https.set(after("listening 443 → ").or(self.https.get()));
        Some(Ports { http: self.http.get()?, https: self.https.get()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ports_are_found_in_the_log() {
        let ears = Ears::default();
        assert!(ears.hear("INFO  listening 80 → 127.0.0.1:41233 (HTTP)").is_none());
        assert!(ears.hear("INFO  metrics on 127.0.0.1:15020").is_none());
        let ports = ears.hear("INFO  listening 443 → 127.0.0.1:8443 (TLS)").expect("both were told");
        assert_eq!((ports.http.port(), ports.https.port()), (41233, 8443));
    }
}
