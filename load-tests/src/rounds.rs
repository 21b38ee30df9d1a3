//! Alternating rounds: in each, all peers take turns of a fraction of a second, A B B A A B B A, so that whatever
//! drifts on the machine hits all alike. The figure of a round is CPU time of the proxy process per request.
//!
//! Short turns matter: on a virtual machine the same binary was seen to take 32 µs and 53 µs a few seconds apart
//! with nothing else running. Its ratio to itself over seven rounds went from 0.72 to 1.59 with one turn of 3 s in
//! each, from 0.99 to 1.06 with turns of 0.25 s, from 0.97 to 1.00 with turns of 0.1 s.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde::Serialize;

use crate::load::{Answers, Clients, Until};
use crate::process::{Process, machine_ticks, ticks_of, ticks_per_second};
use crate::scenario::{Exactness, Scenario};
use crate::stats::quantile;
use crate::wire::Wire;

/// Requests, one after another, that show a peer's split before anything is measured.
const FIRST_REQUESTS: u64 = 1000;
/// A started peer is not measured cold.
const WARM_UP: Duration = Duration::from_secs(1);
/// Seconds of a turn, about: long against the start and end of one, short against the machine's drift.
pub const TURN: f64 = 0.1;

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
    /// What it was configured for, and is asked.
    pub scenario: Scenario,
}

impl Contender {
    /// The error with the peer's name and the end of its log.
    fn blame(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow!("{}: {error:#}; its last words:\n{}", self.name, self.process.last_words())
    }
}

/// How much is asked.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Plan {
    /// Rounds over all peers.
    pub rounds: usize,
    /// Seconds that each peer is asked in a round, in turns.
    pub seconds: f64,
    /// Connections of the client.
    pub connections: usize,
    /// Worker threads of the proxy.
    pub threads: usize,
}

/// One peer in one round.
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

/// Checks that the peer answers as the scenario says and keeps its split; then warms it up. Gives the counts.
pub async fn check(peer: &Contender, plan: &Plan) -> anyhow::Result<Vec<u64>> {
    first_answers(&peer.scenario, peer, plan).await.map_err(|error| peer.blame(&error))
}

async fn first_answers(scenario: &Scenario, peer: &Contender, plan: &Plan) -> anyhow::Result<Vec<u64>> {
    // Of WebSockets it is connections that are split: each asks once here.
    let once = Scenario { fresh: scenario.fresh || scenario.wire == Wire::WebSocket, ..*scenario };
    let mut one = Clients::open(&once, peer.address, 1).await?;
    let answers = one.run(Until::Requests(FIRST_REQUESTS)).await?;
    if let Some(error) = answers.first_error {
        bail!("{error}");
    }
    scenario.judge(&answers.versions, peer.exactness, 1.0).map_err(anyhow::Error::msg)?;
    let mut many = Clients::open(scenario, peer.address, plan.connections).await?;
    many.run(Until::Elapsed(WARM_UP.min(Duration::from_secs_f64(plan.seconds)))).await?;
    Ok(answers.versions)
}

/// Runs all rounds; `done` is given the visits of each as it ends, in the order of `peers`.
pub async fn run(
    peers: &[Contender],
    origin: &Process,
    plan: &Plan,
    mut done: impl FnMut(&[Visit]),
) -> anyhow::Result<Vec<Visit>> {
    let clock = ticks_per_second()?;
    let mut visits = Vec::new();
    for number in 1..=plan.rounds {
        let round = round(peers, origin, plan, number, clock).await;
        let round = round.with_context(|| format!("round {number}"))?;
        done(&round);
        visits.extend(round);
    }
    Ok(visits)
}

async fn round(
    peers: &[Contender],
    origin: &Process,
    plan: &Plan,
    number: usize,
    clock: f64,
) -> anyhow::Result<Vec<Visit>> {
    let mut clients = Vec::new();
    for peer in peers {
        let opened = Clients::open(&peer.scenario, peer.address, plan.connections).await;
        clients.push(opened.map_err(|error| peer.blame(&error))?);
    }
    let mut answers: Vec<Answers> = peers.iter().map(|_| Answers::default()).collect();

    // A peer whose turn it is not does nothing, so its clock can be read at both ends of the round: turns of 10
    // ticks are then as good as one of 300.
    let before = Ticks::read(peers, origin)?;
    let started = Instant::now();
    for (backward, turn) in turns(plan.seconds) {
        let mut order: Vec<usize> = (0..peers.len()).collect();
        if backward != number.is_multiple_of(2) {
            order.reverse();
        }
        for at in order {
            let run = clients[at].run(Until::Elapsed(turn)).await;
            answers[at].add(run.map_err(|error| peers[at].blame(&error))?);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let after = Ticks::read(peers, origin)?;

    let elsewhere = after.elsewhere(&before) as f64 / clock / seconds;
    let spent =
        after.proxies.iter().zip(&before.proxies).map(|(after, before)| (after - before) as f64 / clock);
    peers
        .iter()
        .zip(answers)
        .zip(spent)
        .map(|((peer, answers), cpu)| {
            let visit = Visit::of(&peer.scenario, plan, number, peer, answers, cpu, elsewhere);
            visit.map_err(|error| peer.blame(&error))
        })
        .collect()
}

/// The turns of a peer in a round: an even number, every second one in the opposite order.
fn turns(seconds: f64) -> impl Iterator<Item = (bool, Duration)> {
    let pairs = (seconds / TURN / 2.0).round().max(1.0);
    let turn = Duration::from_secs_f64(seconds / pairs / 2.0);
    (0..pairs as usize * 2).map(move |at| (at % 2 == 1, turn))
}

impl Visit {
    fn of(
        scenario: &Scenario,
        plan: &Plan,
        round: usize,
        peer: &Contender,
        mut answers: Answers,
        cpu: f64,
        elsewhere: f64,
    ) -> anyhow::Result<Self> {
        let requests = answers.requests();
        if requests == 0 {
            bail!("no right answer: {}", answers.first_error.unwrap_or_default());
        }
        if answers.errors == 0 && scenario.wire != Wire::WebSocket {
            scenario.judge(&answers.versions, peer.exactness, 2.0).map_err(anyhow::Error::msg)?;
        }
        let seconds = answers.elapsed.as_secs_f64();
        answers.latencies.sort_unstable();
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
            elsewhere,
            versions: answers.versions,
        })
    }
}

/// Clock readings, all since long ago.
struct Ticks {
    proxies: Vec<u64>,
    /// Origin and client.
    ends: u64,
    machine: u64,
}

impl Ticks {
    fn read(peers: &[Contender], origin: &Process) -> anyhow::Result<Self> {
        Ok(Ticks {
            proxies: peers.iter().map(|peer| peer.process.ticks()).collect::<Result<_, _>>()?,
            ends: origin.ticks()? + ticks_of("self")?,
            machine: machine_ticks()?,
        })
    }

    /// What the machine did since `before` that was not ours.
    fn elsewhere(&self, before: &Ticks) -> u64 {
        let ours = |ticks: &Ticks| ticks.proxies.iter().sum::<u64>() + ticks.ends;
        // The machine's ticks are counted in another way than a process's, so ours may look like more.
        (self.machine - before.machine).saturating_sub(ours(self) - ours(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_pairs_that_fill_the_round() {
        for (seconds, number) in [(3.0, 30), (2.0, 20), (0.1, 2)] {
            let turns: Vec<_> = turns(seconds).collect();
            assert_eq!(turns.len(), number);
            assert_eq!(turns.iter().filter(|(backward, _)| *backward).count(), number / 2);
            let sum: f64 = turns.iter().map(|(_, turn)| turn.as_secs_f64()).sum();
            assert!((sum - seconds).abs() < 1e-6);
        }
    }
}
