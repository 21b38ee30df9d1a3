//! Alternating rounds: each visits every peer, every second one in the opposite order, so that whatever drifts on
//! the machine hits all alike. The figure of a round is CPU time of the proxy process per request.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::load::{Clients, Until};
use crate::process::{Process, machine_ticks, ticks_of, ticks_per_second};
use crate::scenario::{Exactness, Scenario};
use crate::stats::quantile;

/// Requests, one after another, that show a peer's split before anything is measured.
const FIRST_REQUESTS: u64 = 1000;
/// A started peer is not measured cold.
const WARM_UP: Duration = Duration::from_secs(1);

/// A peer that runs.
#[derive(Debug)]
pub struct Contender {
    /// Its name, with a number behind it if it takes part twice.
    pub name: String,
    /// How closely it keeps the weights.
    pub exactness: Exactness,
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

/// How much is asked.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Plan {
    /// Visits to each peer.
    pub rounds: usize,
    /// Length of a visit in seconds.
    pub seconds: f64,
    /// Connections of the client.
    pub connections: usize,
    /// Worker threads of the proxy.
    pub threads: usize,
}

/// One visit to one peer.
#[derive(Debug, Clone, Serialize)]
pub struct Visit {
    /// Counted from 1.
    pub round: usize,
    /// Name of the peer.
    pub peer: String,
    /// Right answers by version.
    pub versions: Vec<u64>,
    /// Wrong answers and broken connections.
    pub errors: u64,
    /// The first of them in words.
    pub first_error: Option<String>,
    /// CPU time of the proxy process, user and system, per right answer.
    pub cpu_us_per_request: f64,
    /// Right answers in a second.
    pub requests_per_second: f64,
    /// Half of the answers came within.
    pub p50_us: u32,
    /// 99 of 100 answers came within.
    pub p99_us: u32,
    /// Share of its threads' time that the proxy worked; well below 1 it waited for the client.
    pub busy: f64,
    /// Processors' worth of other work on the machine (neither proxy, origin nor client).
    pub elsewhere: f64,
}

/// Checks that the peer answers as the scenario says and keeps its split; then warms it up.
pub async fn check(scenario: &Scenario, peer: &Contender, plan: &Plan) -> anyhow::Result<Vec<u64>> {
    let wrong = || format!("{} answers wrongly; its last words:\n{}", peer.name, peer.process.last_words());
    let mut one = Clients::open(scenario, peer.address, 1).await.with_context(wrong)?;
    let answers = one.run(Until::Requests(FIRST_REQUESTS)).await.with_context(wrong)?;
    if let Some(error) = answers.first_error {
        bail!("{}: {error}", peer.name);
    }
    scenario.judge(&answers.versions, peer.exactness, 1.0).map_err(anyhow::Error::msg).with_context(wrong)?;
    let mut many = Clients::open(scenario, peer.address, plan.connections).await.with_context(wrong)?;
    many.run(Until::Elapsed(WARM_UP)).await.with_context(wrong)?;
    Ok(answers.versions)
}

/// Runs all rounds; `visited` is told of each visit as it ends.
pub async fn run(
    scenario: &Scenario,
    peers: &[Contender],
    origin: &Process,
    plan: &Plan,
    mut visited: impl FnMut(&Visit),
) -> anyhow::Result<Vec<Visit>> {
    let clock = ticks_per_second()?;
    let mut visits = Vec::new();
    for round in 1..=plan.rounds {
        let mut order: Vec<&Contender> = peers.iter().collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for peer in order {
            let visit = visit(scenario, peer, origin, plan, round, clock).await.with_context(|| {
                format!("round {round}, {}; its last words:\n{}", peer.name, peer.process.last_words())
            })?;
            visited(&visit);
            visits.push(visit);
        }
    }
    Ok(visits)
}

async fn visit(
    scenario: &Scenario,
    peer: &Contender,
    origin: &Process,
    plan: &Plan,
    round: usize,
    clock: f64,
) -> anyhow::Result<Visit> {
    let mut clients = Clients::open(scenario, peer.address, plan.connections).await?;
    let before = Ticks::read(peer, origin)?;
    let answers = clients.run(Until::Elapsed(Duration::from_secs_f64(plan.seconds))).await?;
    let after = Ticks::read(peer, origin)?;
    let seconds = answers.elapsed.as_secs_f64();
    let (proxy, ours) = (after.proxy - before.proxy, after.ours - before.ours);
    let requests = answers.requests();
    if requests == 0 {
        bail!("no right answer: {}", answers.first_error.unwrap_or_default());
    }
    if answers.errors == 0 {
        scenario.judge(&answers.versions, peer.exactness, 2.0).map_err(anyhow::Error::msg)?;
    }
    let cpu = proxy as f64 / clock;
    Ok(Visit {
        round,
        peer: peer.name.clone(),
        errors: answers.errors,
        first_error: answers.first_error,
        cpu_us_per_request: cpu * 1e6 / requests as f64,
        requests_per_second: requests as f64 / seconds,
        p50_us: quantile(&answers.latencies, 0.50),
        p99_us: quantile(&answers.latencies, 0.99),
        busy: cpu / seconds / plan.threads as f64,
        // The machine's ticks are counted in another way than a process's, so nothing may look like less.
        elsewhere: (after.machine - before.machine).saturating_sub(proxy + ours) as f64 / clock / seconds,
        versions: answers.versions,
    })
}

/// Clock readings, all since long ago.
struct Ticks {
    proxy: u64,
    ours: u64,
    machine: u64,
}

impl Ticks {
    fn read(peer: &Contender, origin: &Process) -> anyhow::Result<Self> {
        Ok(Ticks {
            proxy: peer.process.ticks()?,
            ours: origin.ticks()? + ticks_of("self")?,
            machine: machine_ticks()?,
        })
    }
}
