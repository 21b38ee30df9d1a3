//! The first minute: Bookinfo's reviews served in process, the seed's objects routing them, a table of who answers.

mod ledger;
mod reviews;
mod screen;
mod table;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::LevelFilter;
use tokio::runtime::Runtime;

use crate::boot::{self, Running, Whence};
use crate::listener::{self, Open};
use crate::logging;
use crate::settings::{Settings, Span};
use screen::Screen;

/// The sample's objects, byte for byte; also where they lie in a checkout, so that they can be edited there.
const SEED: &str = include_str!("../../../../conf/examples/reviews/seed-reviews.yaml");
const SEED_IN_CHECKOUT: &str = "conf/examples/reviews/seed-reviews.yaml";

/// The ports that are taken where they are free: the gateway's, metrics', health's, and the admin port.
const PORTS: [u16; 4] = [8080, 15020, 15021, 15000];

/// How long between two looks at the counters.
const TICK: Duration = Duration::from_millis(250);

/// Runs the demonstration: until Ctrl-C, or until `requests` requests are accounted for. Gives whether the
/// split was exact.
pub(crate) fn run(requests: Option<u64>) -> Result<bool, String> {
    let screen = Screen::new();
    logging::start_on(Box::new(screen.clone()));
    // What a start has to say is in the greeting; what follows is news.
    log::set_max_level(LevelFilter::Warn);
    let runtime = Runtime::new().map_err(|error| format!("threads can't be started: {error}"))?;
    let folder =
        Folder::make().map_err(|error| format!("a directory for the demo can't be made: {error}"))?;
    let (backends, addresses) =
        serve_reviews(&runtime).map_err(|error| format!("reviews can't be served: {error}"))?;
    folder
        .write_endpoints(&addresses)
        .map_err(|error| format!("the demo's files can't be written: {error}"))?;

    let mut running =
        boot::start(settings(), Whence::Directories(vec![folder.seed.clone(), folder.endpoints()]), None)
            .map_err(|fault| {
                let lines: Vec<String> =
                    fault.findings().iter().map(|finding| crate::render::finding(finding, false)).collect();
                lines.join("\n\n")
            })?;
    let gateway = running.active.load().bound.first().map(|(address, _)| *address);
    let gateway = gateway.ok_or("the seed opens no port")?;
    screen.say(&greeting(gateway, &running, &folder.seed, requests.is_none()));
    let exact = match requests {
        Some(requests) => account(&running, &screen, gateway, requests),
        None => {
            log::set_max_level(LevelFilter::Info);
            watch(&mut running, &screen)
        }
    };
    log::set_max_level(LevelFilter::Warn);
    running.stop();
    runtime.block_on(async {
        for backend in backends {
            backend.stop().await;
        }
    });
    Ok(exact)
}

/// The settings of a process for one person on one machine.
fn settings() -> Settings {
    let [gateway, metrics, health, admin] = PORTS.map(|port| if is_free(port) { port } else { 0 });
    Settings {
        bind: Ipv4Addr::LOCALHOST.into(),
        ports: [(80, gateway)].into(),
        metrics: loopback(metrics),
        health: loopback(health),
        admin: loopback(admin),
        drain: Span(Duration::from_secs(1)),
        ..Settings::default()
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn is_free(port: u16) -> bool {
    listener::bind(loopback(port)).is_ok()
}

/// Serves the three versions, each on a port of its own.
fn serve_reviews(runtime: &Runtime) -> io::Result<(Vec<Open>, Vec<SocketAddr>)> {
    let (mut open, mut addresses) = (Vec::new(), Vec::new());
    for version in reviews::VERSIONS {
        let bound = listener::bind(loopback(0))?;
        addresses.push(bound.address);
        open.push(listener::open(bound, version, 1, runtime.handle()));
    }
    Ok((open, addresses))
}

fn greeting(gateway: SocketAddr, running: &Running, seed: &Path, watching: bool) -> String {
    let (metrics, admin) = (running.metrics_address(), running.admin_address());
    // As it was called: nothing has put it on a path yet.
    let program = std::env::args_os().next().unwrap_or_else(|| "trysail".into());
    let program = program.to_string_lossy();
    let edit = format!("  edit   {}, save, and see the split follow\n", seed.display());
    format!(
        "\nTrysail {}   Bookinfo's reviews, three versions, routed by the objects of {}\n\n  \
         try    curl http://{gateway}/reviews/0\n  watch  http://{admin}/   or   {program} status --watch {admin}\n  count  curl http://{metrics}/metrics\n{}",
        env!("CARGO_PKG_VERSION"),
        seed.display(),
        if watching { edit } else { String::new() },
    )
}

/// Shows who answers until Ctrl-C or SIGTERM.
fn watch(running: &mut Running, screen: &Screen) -> bool {
    let mut shown = Vec::new();
    running.until_stopped_every(TICK, |active| {
        let lines = table::lines(active, &table::rows(active));
        if lines != shown {
            let hint =
                if screen.is_terminal() { vec![String::new(), "Ctrl-C ends it.".to_owned()] } else { vec![] };
            screen.table(lines.iter().cloned().chain(hint).collect());
            shown = lines;
        }
    });
    true
}

/// So long after the last answer everything has been counted.
const COUNTED: Duration = Duration::from_secs(1);

/// Sends requests and accounts for them.
fn account(running: &Running, screen: &Screen, gateway: SocketAddr, requests: u64) -> bool {
    let progress = |sent: u64| {
        if screen.is_terminal() && (sent.is_multiple_of(100) || sent == requests) {
            screen.table(vec![format!("{sent} of {requests} requests sent")]);
        }
    };
    let ledger = running.runtime().block_on(ledger::send(gateway, requests, progress));
    // A request is counted when all of it has ended, which for the last one may be after its answer was read.
    let deadline = Instant::now() + COUNTED;
    let (text, exact) = loop {
        let (text, exact) = ledger.settle(&table::rows(&running.active.load()));
        if exact || Instant::now() >= deadline {
            break (text, exact);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    screen.table(Vec::new());
    screen.say(&text);
    exact
}

/// The demo's files: a directory that goes with it, and the seed, which is the checkout's where there is one.
struct Folder {
    path: PathBuf,
    seed: PathBuf,
}

impl Folder {
    fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("trysail-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        let in_checkout = PathBuf::from(SEED_IN_CHECKOUT);
        if in_checkout.is_file() {
            return Ok(Folder { path, seed: in_checkout });
        }
        let seed = path.join("seed-reviews.yaml");
        std::fs::write(&seed, SEED)?;
        Ok(Folder { path, seed })
    }

    fn endpoints(&self) -> PathBuf {
        self.path.join("endpoints.yaml")
    }

    /// A ServiceEntry for the three versions at the ports that the kernel gave them.
    fn write_endpoints(&self, addresses: &[SocketAddr]) -> io::Result<()> {
        let mut text =
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: reviews\nspec:\n  \
                        hosts: [reviews.default.svc.cluster.local]\n  resolution: STATIC\n  ports:\n  \
                        - {number: 9080, name: http, protocol: HTTP}\n  endpoints:\n"
                .to_owned();
        for (reviews, address) in reviews::VERSIONS.iter().zip(addresses) {
            let (ip, port, version) = (address.ip(), address.port(), reviews.version);
            text.push_str(&format!(
                "  - {{address: {ip}, ports: {{http: {port}}}, labels: {{app: reviews, version: {version}}}}}\n"
            ));
        }
        std::fs::write(self.endpoints(), text)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
