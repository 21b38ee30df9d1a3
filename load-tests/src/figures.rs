//! Figures of another kind than CPU per request: how long requests take at a fixed rate, what idle connections hold. Each is a
//! page like the others', and rows of the summary.

use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use crate::idle;
use crate::latency::Lines;
use crate::report;
use crate::rounds::{Contender, Plan};
use crate::scenario::{SMALL_KEEPALIVE, Scenario};
use crate::stats::{Spread, quantile};
use crate::wire;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Latency at so many requests a second.
    Latency(u32),
    /// Memory of idle connections.
    Idle,
}

/// One kind of figure, of what.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Names the result files.
    pub name: &'static str,
    /// One line for the head of the page.
    pub title: &'static str,
    /// What is measured.
    pub kind: Kind,
    /// What is asked.
    pub scenario: Scenario,
    /// What the first column's figure is aimed to be at most, over a peer's or by itself.
    pub aim: (Option<&'static str>, f64),
}

/// Every one, in the order of the pages.
pub const ALL: [Wanted; 5] = [
    Wanted {
        name: "latency-8000",
        title: "small GET at 8,000 requests a second, each timed from when it was due",
        kind: Kind::Latency(8000),
        scenario: SMALL_KEEPALIVE,
        aim: (Some("nginx"), 1.2),
    },
    Wanted {
        name: "latency-2000",
        title: "small GET at 2,000 requests a second, each timed from when it was due",
        kind: Kind::Latency(2000),
        scenario: SMALL_KEEPALIVE,
        aim: (Some("nginx"), 1.2),
    },
    Wanted {
        name: "idle",
        title: "idle connections of HTTP/1.1, each after one request: memory of the proxy for each",
        kind: Kind::Idle,
        scenario: SMALL_KEEPALIVE,
        aim: (None, 16.0),
    },
    Wanted {
        name: "idle-tls",
        title: "idle connections of HTTP/1.1 inside TLS 1.3, each after one request: memory of the proxy for each",
        kind: Kind::Idle,
        scenario: wire::TLS_KEEPALIVE,
        aim: (None, 16.0),
    },
    Wanted {
        name: "idle-h2c",
        title: "idle connections of HTTP/2 in the clear, each after one request: memory of the proxy for each",
        kind: Kind::Idle,
        scenario: Scenario { streams: 1, ..wire::H2C },
        aim: (None, 48.0),
    },
];

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Name of what was measured.
    pub name: &'static str,
    /// The same in a line.
    pub title: &'static str,
    /// What the columns are, with their unit.
    pub columns: &'static [&'static str],
    /// Peers in the order of the command line, each with its columns.
    pub peers: Vec<(String, Vec<Spread>)>,
    /// Who is compared with whom in the first column.
    pub ratios: Vec<(String, String, Spread)>,
    /// As in [`Wanted`].
    pub aim: (Option<&'static str>, f64),
    /// How it was measured.
    pub how: String,
}

/// Measures peers that run.
pub async fn measure(
    wanted: &Wanted,
    peers: &[Contender],
    plan: &Plan,
    mut note: impl FnMut(&str),
) -> anyhow::Result<Figures> {
    let (columns, rounds, how): (&'static [&'static str], _, _) = match wanted.kind {
        Kind::Latency(rate) => {
            let rounds = latencies(&wanted.scenario, rate, peers, plan, &mut note).await?;
            let how = format!(
                "{} alternating rounds of {} s for each peer, {} connections",
                plan.rounds, plan.seconds, plan.connections
            );
            (&["p50, µs", "p99, µs"], rounds, how)
        }
        Kind::Idle => {
            let connections = idle::connections(plan);
            let mut round = Vec::new();
            for peer in peers {
                let each = idle::each(&wanted.scenario, peer, plan, connections).await;
                let each = each.with_context(|| peer.name.clone())?;
                note(&format!("{}: {each:.1} KiB", peer.name));
                round.push(vec![each]);
            }
            let how = format!("{connections} connections, proportional memory after less before, once");
            (&["KiB for each connection"], vec![round], how)
        }
    };
    let of = |peer: usize, column: usize| rounds.iter().map(move |round| round[peer][column]);
    let spreads = |peer| (0..columns.len()).filter_map(|column| Spread::of(of(peer, column))).collect();
    let all: Vec<(&str, usize)> = peers.iter().map(|peer| &*peer.name).zip(0..).collect();
    type At<'a> = (&'a str, usize);
    let ratio = |((peer, own), (over, other)): (&At<'_>, &At<'_>)| {
        let [own, other] = [own, other].map(|peer| of(*peer, 0).collect::<Vec<_>>());
        Some(((*peer).to_owned(), (*over).to_owned(), Spread::of_ratios(&own, &other)?))
    };
    Ok(Figures {
        name: wanted.name,
        title: wanted.title,
        columns,
        peers: peers.iter().enumerate().map(|(at, peer)| (peer.name.clone(), spreads(at))).collect(),
        ratios: report::pairs(&all, |(name, _)| name).filter_map(ratio).collect(),
        aim: wanted.aim,
        how,
    })
}

/// By round, by peer: p50 and p99.
async fn latencies(
    scenario: &Scenario,
    rate: u32,
    peers: &[Contender],
    plan: &Plan,
    mut note: impl FnMut(&str),
) -> anyhow::Result<Vec<Vec<Vec<f64>>>> {
    let open = |peer: &Contender| Lines::open(scenario, peer.address, plan.connections);
    let mut lines = peers.iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    let mut rounds = Vec::new();
    for number in 1..=plan.rounds {
        let mut round: Vec<Vec<u32>> = vec![Vec::new(); peers.len()];
        let forth = 0..peers.len();
        for at in forth.clone().chain(forth.rev()) {
            let (time, mut mine) = (Duration::from_secs_f64(plan.seconds / 2.0), lines.remove(at));
            // It waits for sockets by itself, and not in this runtime.
            let asked = tokio::task::spawn_blocking(move || {
                let latencies = mine.run(rate, time);
                (mine, latencies)
            });
            let (mine, latencies) = asked.await?;
            lines.insert(at, mine);
            round[at].extend(latencies.with_context(|| peers[at].name.clone())?);
        }
        let figures = |mut all: Vec<u32>| {
            all.sort_unstable();
            [0.5, 0.99].map(|share| f64::from(quantile(&all, share))).to_vec()
        };
        let round: Vec<Vec<f64>> = round.into_iter().map(figures).collect();
        let said =
            peers.iter().zip(&round).map(|(peer, figures)| format!("{} {:.0} µs", peer.name, figures[0]));
        note(&format!("round {number} of {}: {}", plan.rounds, said.collect::<Vec<_>>().join(", ")));
        rounds.push(round);
    }
    Ok(rounds)
}
