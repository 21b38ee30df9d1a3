//! What a connection costs that waits: memory of the proxy with many of them, each after one request, less what it had before.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::load::Clients;
use crate::rounds::{Contender, Plan};
use crate::scenario::Scenario;

/// Descriptors that are left for everything else.
const SPARE: u64 = 500;
/// So many connections, where the limit of descriptors lets it: the proxy has two for some of them.
const MOST: u64 = 5_000;
/// So many where it is only asked whether all answer.
const TRIAL: u64 = 500;
/// So many ask at once, so that what it takes to answer them is small beside what they hold.
const AT_ONCE: usize = 50;
/// What is freed late is freed by then.
const SETTLE: Duration = Duration::from_secs(2);

/// How many connections may be opened here; few for a plan of one round.
#[must_use]
pub fn connections(plan: &Plan) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = if plan.rounds == 1 { TRIAL } else { MOST };
    usize::try_from(most.min(limit.saturating_sub(SPARE) / 2)).unwrap_or(0)
}

/// Raises the limit of descriptors to the highest that is allowed, for this process and those that it starts.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // With what there is, fewer connections are opened.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// KiB for each of so many idle connections.
pub async fn each(
    scenario: &Scenario,
    peer: &Contender,
    plan: &Plan,
    connections: usize,
) -> anyhow::Result<f64> {
    let settle = SETTLE.min(Duration::from_secs_f64(plan.seconds));
    let few = Clients::open(scenario, peer.address, AT_ONCE).await?;
    tokio::time::sleep(settle).await;
    let before = memory(peer.process.id())?;
    let mut many = Vec::new();
    while many.len() * AT_ONCE < connections {
        many.push(Clients::open(scenario, peer.address, AT_ONCE).await?);
    }
    tokio::time::sleep(settle).await;
    let after = memory(peer.process.id())?;
    drop(few);
    Ok((after - before) / (many.len() * AT_ONCE) as f64)
}

/// What of the machine's memory is a process's, in KiB: what it shares is divided by those who share it.
fn memory(process: u32) -> anyhow::Result<f64> {
    let file = format!("/proc/{process}/smaps_rollup");
    let text = fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("{file} reads {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_of_its_own() {
        let before = memory(std::process::id()).expect("known");
        let held = vec![1_u8; 8 << 20];
        let after = memory(std::process::id()).expect("known");
        assert!(before > 0.0 && after - before > 7.0 * 1024.0, "{before} {after} {}", held.len());
        let plan = Plan { rounds: 7, seconds: 3.0, connections: 64, threads: 1 };
        assert!(connections(&plan) > 0);
    }
}
