//! What a change costs those that are served meanwhile: a route, endpoints, many changes in a row, and somebody who reads the
//! metrics. Ten thousand hosts, of which the last is edited; the first is asked all the time.
//!
//! Unlike the other scenarios this is about time: from the moment that a file is renamed into place to the first answer by it,
//! and the p99 of the others' answers before and meanwhile.

mod fleet;
mod page;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use self::fleet::{Fleet, Last};
pub use self::page::Page;
use self::page::{Change, Load};
use crate::load::{Answers, Clients, Until};
use crate::machine::Machine;
use crate::peer;
use crate::process::{Launch, Process, ticks_per_second};
use crate::scenario::{SMALL_KEEPALIVE, Scenario};
use crate::stats::{Spread, quantile};
use crate::yard::Yard;

/// Its name on the command line, and of the page.
pub const NAME: &str = "changes";

/// The host that is asked all the time; its route leads to v1 alone, and no request of it may fail.
const STEADY: Scenario = Scenario {
    name: NAME,
    title: "what changes cost those that are served",
    host: "h0.fleet.test",
    path: "/",
    split: &[("v1", 1), ("v2", 0)],
    aims: &[],
    ..SMALL_KEEPALIVE
};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Hosts.
    pub hosts: usize,
    /// Edits of each kind.
    pub edits: usize,
    /// Seconds of a look at the load.
    pub seconds: f64,
    /// Connections of the client.
    pub connections: usize,
}

/// Edits the last host.
type Edit = fn(&mut Last);

/// Whose configuration is edited.
struct Edited<'y> {
    name: &'static str,
    process: Process,
    address: SocketAddr,
    folder: PathBuf,
    /// Where its metrics are, of Trysail.
    metrics: Option<SocketAddr>,
    fleet: &'y Fleet,
    last: Last,
}

/// Measures all of it; `note` is told how far it has come.
pub async fn run(yard: &Yard, extent: Extent, machine: Machine, note: impl Fn(&str)) -> anyhow::Result<Page> {
    let origins = yard.origins();
    let &[v1, v2] = origins else { bail!("{} origins in place of two", origins.len()) };
    let fleet = Fleet { hosts: extent.hosts, origins: [v1, v2] };
    let mut page = Page::new(extent, yard.placement.describe(), machine);
    {
        let mut nginx = peer::program("nginx").is_some().then(|| start_nginx(yard, &fleet)).transpose()?;
        if let Some(nginx) = &mut nginx {
            note(&format!("nginx on {}: {} hosts", nginx.address, extent.hosts));
            page.changes.push(edits(nginx, "a route", extent, |last| last.route ^= 1).await?);
            note(&page.changes[0].said());
        } else {
            note("nginx is left out, as it is not on this machine");
        }
    }
    let mut trysail = start_trysail(yard, &fleet)?;
    note(&format!("trysail on {}: {} hosts", trysail.address, extent.hosts));
    let edits_of: [(&str, Edit); 2] =
        [("a route", |last| last.route ^= 1), ("endpoints", |last| last.swapped ^= true)];
    for (what, edit) in edits_of {
        let change = edits(&mut trysail, what, extent, edit).await?;
        note(&change.said());
        page.changes.push(change);
    }
    for (what, disturbance) in [
        ("endpoints, ten times a second", Disturbance::Churn),
        ("metrics read each second", Disturbance::Scrape),
    ] {
        let load = loads(&mut trysail, what, disturbance, extent).await?;
        note(&load.said());
        page.loads.push(load);
    }
    Ok(page)
}

fn start_trysail<'y>(yard: &Yard, fleet: &'y Fleet) -> anyhow::Result<Edited<'y>> {
    let folder = yard.folder("changes-trysail")?;
    let (conf, settings) = (folder.join("conf"), folder.join("settings.yaml"));
    fs::create_dir(&conf)?;
    fleet.write_objects(&conf)?;
    fs::write(&settings, "threads: 1\nmetrics: 127.0.0.1:0\nhealth: 127.0.0.1:0\nadmin: 127.0.0.1:0\n")?;
    let words = ["run", "--port", "80=0", "--config"].map(Into::into).into_iter();
    let args = words.chain([conf.clone().into(), "--settings".into(), settings.into()]).collect();
    let launch = Launch { program: yard.binaries.join("trysail"), args, address: None };
    let heard = |line: &str| peer::find("trysail")?.heard(line);
    let cpus = yard.placement.proxy.as_deref();
    let (process, address) = Process::start("trysail", &launch, cpus, &[], heard)?;
    let metrics = metrics_of(&process)?;
    Ok(Edited {
        name: "trysail",
        process,
        address,
        folder: conf,
        metrics: Some(metrics),
        fleet,
        last: Last::FIRST,
    })
}

fn start_nginx<'y>(yard: &Yard, fleet: &'y Fleet) -> anyhow::Result<Edited<'y>> {
    let folder = yard.folder("changes-nginx")?;
    let (address, file) = (peer::free()?, folder.join("nginx.conf"));
    fs::write(&file, fleet.nginx(address, &folder, Last::FIRST))?;
    let program = peer::program("nginx").context("no nginx")?;
    let args = vec!["-c".into(), file.into(), "-p".into(), folder.clone().into()];
    let launch = Launch { program, args, address: Some(address) };
    let process = Process::start_at("nginx", &launch, yard.placement.proxy.as_deref(), &[], address)?;
    Ok(Edited { name: "nginx", process, address, folder, metrics: None, fleet, last: Last::FIRST })
}

impl Edited<'_> {
    /// Writes another configuration beside the one that is there; what is given back puts it in place.
    fn prepare(&mut self, edit: impl FnOnce(&mut Last)) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
        let before = self.last;
        edit(&mut self.last);
        if self.name == "nginx" {
            let (new, file) = (self.folder.join(".new"), self.folder.join("nginx.conf"));
            fs::write(&new, self.fleet.nginx(self.address, &self.folder, self.last))?;
            return Ok(vec![(new, file)]);
        }
        let [service, route] = self.fleet.prepare(&self.folder, self.last)?;
        Ok(if before.route == self.last.route { vec![service] } else { vec![route] })
    }

    /// Puts it in place.
    fn put(&self, files: &[(PathBuf, PathBuf)]) -> anyhow::Result<()> {
        files.iter().try_for_each(|(from, to)| fs::rename(from, to))?;
        if self.name == "nginx" {
            let told = Command::new("kill").args(["-HUP", &self.process.id().to_string()]).status()?;
            ensure!(told.success(), "nginx is gone:\n{}", self.process.last_words());
        }
        Ok(())
    }
}

/// The version that answers a request for the last host, on a connection of its own.
async fn asked(address: SocketAddr, host: &str) -> anyhow::Result<usize> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    ensure!(text.starts_with("HTTP/1.1 200"), "{host}: {}", text.lines().next().unwrap_or_default());
    let versions = ["x-version: v1", "x-version: v2"];
    versions.iter().position(|version| text.contains(version)).context("an answer of no version")
}

/// How long one edit may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Edits the last host again and again while the first is asked.
async fn edits(
    edited: &mut Edited<'_>,
    what: &'static str,
    extent: Extent,
    edit: impl Fn(&mut Last) + Copy,
) -> anyhow::Result<Change> {
    let host = Fleet::host(edited.fleet.last());
    ensure!(asked(edited.address, &host).await? == edited.last.answers(), "{} answers wrongly", edited.name);
    let mut clients = Clients::open(&STEADY, edited.address, extent.connections).await?;
    let pause = Duration::from_secs_f64(extent.seconds);
    clients.run(Until::Elapsed(pause)).await?;
    let mut before = clients.run(Until::Elapsed(pause)).await?;
    let (mut served, mut meanwhile) = (Vec::new(), Answers::default());
    for _ in 0..extent.edits {
        let files = edited.prepare(edit)?;
        let change = async {
            // So that what is there is asked for a moment, too.
            tokio::time::sleep(pause / 4).await;
            let began = Instant::now();
            edited.put(&files)?;
            while asked(edited.address, &host).await? != edited.last.answers() {
                ensure!(began.elapsed() < PATIENCE, "{}: not served after {PATIENCE:?}", edited.name);
            }
            Ok(began.elapsed())
        };
        let (answers, took) = tokio::join!(clients.run(Until::Elapsed(pause)), change);
        meanwhile.add(answers?);
        served.push(took?.as_secs_f64() * 1e3);
    }
    before.latencies.sort_unstable();
    meanwhile.latencies.sort_unstable();
    Ok(Change {
        peer: edited.name,
        what,
        served_ms: Spread::of(served).context("no edit")?,
        p99_before_us: quantile(&before.latencies, 0.99),
        p99_meanwhile_us: quantile(&meanwhile.latencies, 0.99),
        requests: meanwhile.requests(),
        failed: meanwhile.errors,
        first_error: meanwhile.first_error,
    })
}

/// What goes on beside the load.
#[derive(Clone, Copy)]
enum Disturbance {
    /// Endpoints of the last host change places ten times a second.
    Churn,
    /// The metrics are read each second.
    Scrape,
}

/// Looks at the load without and with a disturbance, in turn.
async fn loads(
    edited: &mut Edited<'_>,
    what: &'static str,
    disturbance: Disturbance,
    extent: Extent,
) -> anyhow::Result<Load> {
    let clock = ticks_per_second()?;
    let metrics = edited.metrics.context("metrics are asked of Trysail alone")?;
    let mut clients = Clients::open(&STEADY, edited.address, extent.connections).await?;
    // A second at the least, or it would not be disturbed.
    let look = Duration::from_secs_f64(extent.seconds.max(1.0));
    let (mut sums, mut costs) = ([Answers::default(), Answers::default()], [Vec::new(), Vec::new()]);
    let (mut times, mut bytes) = (0_u64, 0);
    for _ in 0..extent.edits {
        for disturbed in [false, true] {
            let (ticks, began) = (edited.process.ticks()?, Instant::now());
            let beside = async {
                if !disturbed {
                    return Ok::<_, anyhow::Error>(());
                }
                let pause = match disturbance {
                    Disturbance::Churn => Duration::from_millis(100),
                    Disturbance::Scrape => Duration::from_secs(1),
                };
                while began.elapsed() + pause / 2 < look {
                    match disturbance {
                        Disturbance::Churn => {
                            let files = edited.prepare(|last| last.swapped ^= true)?;
                            edited.put(&files)?;
                        }
                        Disturbance::Scrape => bytes = scraped(metrics).await?,
                    }
                    times += 1;
                    tokio::time::sleep(pause).await;
                }
                Ok(())
            };
            let (answers, done) = tokio::join!(clients.run(Until::Elapsed(look)), beside);
            let (answers, ()) = (answers?, done?);
            let spent = (edited.process.ticks()? - ticks) as f64 / clock;
            ensure!(answers.requests() > 0, "nothing is answered: {:?}", answers.first_error);
            costs[usize::from(disturbed)].push(spent * 1e6 / answers.requests() as f64);
            sums[usize::from(disturbed)].add(answers);
        }
    }
    let [mut without, mut with] = sums;
    without.latencies.sort_unstable();
    with.latencies.sort_unstable();
    Ok(Load {
        what,
        times,
        bytes,
        cpu_ratio: Spread::of_ratios(&costs[1], &costs[0]).context("no look")?,
        p99_without_us: quantile(&without.latencies, 0.99),
        p99_with_us: quantile(&with.latencies, 0.99),
        failed: without.errors + with.errors,
    })
}

/// Where the metrics are, from the log, which says so soon after it has told of the first port.
fn metrics_of(process: &Process) -> anyhow::Result<SocketAddr> {
    let began = Instant::now();
    loop {
        let words = process.last_words();
        let address = words.lines().find_map(|line| line.split_once("metrics on ")?.1.trim().parse().ok());
        if let Some(address) = address {
            return Ok(address);
        }
        ensure!(began.elapsed() < PATIENCE, "the log does not say where the metrics are:\n{words}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads the metrics; how many bytes they are.
async fn scraped(address: SocketAddr) -> anyhow::Result<usize> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n").await?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    ensure!(text.starts_with(b"HTTP/1.1 200"), "metrics are not answered");
    Ok(text.len())
}
