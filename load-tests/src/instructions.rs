//! User instructions per request, counted by callgrind: what the proxy's own code costs, free of machine noise.
//! The kernel's share is not in it.
//!
//! Two dumps after runs of different length; their difference over the difference in requests, so that what a dump
//! or a timer costs cancels out.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::load::{Clients, Until};
use crate::process::in_path;
use crate::rounds::Contender;
use crate::scenario::Scenario;

/// Few, as valgrind runs one thread at a time and every request a hundred times slower.
const CONNECTIONS: usize = 16;
/// Requests on each connection before counting begins.
const WARM_UP: u64 = 20;
/// Requests on each connection, short and long run.
const RUNS: [u64; 2] = [50, 150];

/// Large copies are one instruction that moves many bytes (`rep movsb`), which valgrind counts byte by byte: a request would
/// seem to cost a fifth more than it does. With this the C library copies by vectors, as it does what is smaller.
const COPIES: &str = "GLIBC_TUNABLES=glibc.cpu.x86_rep_movsb_threshold=1000000000";

/// Whether the tools are there.
#[must_use]
pub fn possible() -> bool {
    in_path("valgrind") && in_path("callgrind_control")
}

/// The command line to put before a peer's; its dumps go into `folder`.
#[must_use]
pub fn wrapper(folder: &Path) -> Vec<OsString> {
    let mut file = OsString::from("--callgrind-out-file=");
    file.push(dump(folder));
    let valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no"].map(OsString::from);
    [OsString::from("env"), COPIES.into()].into_iter().chain(valgrind).chain([file]).collect()
}

fn dump(folder: &Path) -> PathBuf {
    folder.join("callgrind")
}

/// Counts the instructions of a peer that was started behind [`wrapper`].
pub async fn count(scenario: &Scenario, peer: &Contender, folder: &Path) -> anyhow::Result<f64> {
    let mut clients = Clients::open(scenario, peer.address, CONNECTIONS).await?;
    clients.run(Until::Requests(WARM_UP)).await?;
    control(peer, &["-i", "on"])?;
    // What ran between switching on and the first request is dumped away.
    control(peer, &["-d"])?;
    let mut totals = Vec::new();
    for (at, requests) in RUNS.into_iter().enumerate() {
        let answers = clients.run(Until::Requests(requests)).await?;
        ensure!(answers.errors == 0, "{}", answers.first_error.unwrap_or_default());
        control(peer, &["-d"])?;
        let file = dump(folder).with_extension(format!("{}", at + 2));
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        totals.push(total(&text).with_context(|| format!("no total in {}", file.display()))?);
    }
    let requests = (RUNS[1] - RUNS[0]) * CONNECTIONS as u64;
    Ok((totals[1] - totals[0]) / requests as f64)
}

fn control(peer: &Contender, args: &[&str]) -> anyhow::Result<()> {
    let process = peer.process.id().to_string();
    let output = Command::new("callgrind_control").args(args).arg(process).output();
    let output = output.context("run callgrind_control")?;
    ensure!(
        output.status.success(),
        "callgrind_control {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn total(dump: &str) -> Option<f64> {
    dump.lines().find_map(|line| line.strip_prefix("summary:"))?.trim().parse().ok()
}
