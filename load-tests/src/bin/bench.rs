//! The driver: starts origins and peers, checks them, asks them by turns, prints and keeps the page.
#![expect(clippy::print_stdout, reason = "the page is the answer")]
#![expect(clippy::print_stderr, reason = "progress and errors")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use trysail_load_tests::changes::{self, Extent};
use trysail_load_tests::cpus::{self, Placement};
use trysail_load_tests::figures::{self, Figures, Wanted};
use trysail_load_tests::idle;
use trysail_load_tests::instructions;
use trysail_load_tests::machine::Machine;
use trysail_load_tests::peer;
use trysail_load_tests::process::in_path;
use trysail_load_tests::report::{self, Report, thousands};
use trysail_load_tests::rounds::{self, Plan, Visit};
use trysail_load_tests::scenario::{self, Scenario};
use trysail_load_tests::yard::Yard;

/// CPU time of the proxy per request, beside peers, in alternating rounds.
#[derive(Clone, Parser)]
#[command(after_help = "Examples:
  bench                                       every scenario beside every peer, 5 rounds of 1.2 s
  bench --short                               only whether all answer right
  bench --one-core --max-ratio 1.10           least spread; fails above 1.10
  bench --peers bare,bare --no-write          how far apart a peer is from itself: the noise

Exit code: 0 fine; 1 a ratio over --max-ratio, a wrong answer, or a peer that does not start; 2 asked wrongly.")]
struct Args {
    /// Alternating rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Seconds that each peer is asked in a round, in short turns.
    #[arg(long, default_value_t = 1.2, value_parser = seconds)]
    seconds: f64,
    /// Connections of the client.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Worker threads of the proxy.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Who is compared: the first with each of the others. A name may come twice. Those of others that are not on this
    /// machine are left out, and named.
    #[arg(long, value_delimiter = ',', default_value = "trysail,pingora,packaged,bare,nginx,haproxy,envoy", value_parser = PossibleValuesParser::new(peer::NAMES))]
    peers: Vec<String>,
    /// What is asked; all scenarios without it.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(names()))]
    scenario: Vec<String>,
    /// A minute or two for all: each peer answers right, and one short round. Nothing is written.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    short: bool,
    /// Proxy, client and origin all on one processor.
    #[arg(long)]
    one_core: bool,
    /// Count user instructions per request as well (valgrind must be there).
    #[arg(long)]
    instructions: bool,
    /// Fail when the first peer takes more than this times the CPU of another.
    #[arg(long, value_name = "RATIO")]
    max_ratio: Option<f64>,
    /// Keep no result files.
    #[arg(long)]
    no_write: bool,
    /// Where result files go.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    out: PathBuf,
}

/// Of all there is.
fn names() -> impl Iterator<Item = &'static str> {
    let figures = figures::ALL.map(|wanted| wanted.name);
    scenario::ALL.iter().map(|scenario| scenario.name).chain(figures).chain([changes::NAME])
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text} is not a number"))?;
    if (0.1..=600.0).contains(&seconds) { Ok(seconds) } else { Err(format!("{text} is not in 0.1 to 600")) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.short {
        (args.rounds, args.seconds, args.no_write) = (1, 0.2, true);
    }
    if let Some(mistake) = mistake(&args) {
        eprintln!("error: {mistake}");
        return ExitCode::from(2);
    }
    let ended = tokio::select! {
        ended = all(&args) => ended,
        // Dropping the bench ends the children and removes what was written for them.
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What clap cannot see.
fn mistake(args: &Args) -> Option<&'static str> {
    if args.one_core && args.threads > 1 {
        return Some("--one-core has one processor for all, so --threads is 1");
    }
    if args.max_ratio.is_some() && args.peers.len() < 2 {
        return Some("--max-ratio compares, so --peers needs two");
    }
    if args.instructions && !instructions::possible() {
        return Some("--instructions needs valgrind and callgrind_control in the PATH");
    }
    None
}

/// Whether all is fine with every scenario that is wanted.
async fn all(args: &Args) -> anyhow::Result<bool> {
    let is_wanted = |name: &str| args.scenario.is_empty() || args.scenario.iter().any(|one| one == name);
    let mut args = args.clone();
    let executable = std::env::current_exe()?;
    let binaries = executable.parent().context("an executable is in a folder")?;
    args.peers.retain(|name| {
        let is_there = peer::find(name).is_some_and(|peer| peer.is_there(binaries));
        if !is_there {
            let how =
                if name == "packaged" { "make bench PGO=1 builds it" } else { "load-tests/peers fetches it" };
            eprintln!("{name} is left out, as it is not on this machine; {how}");
        }
        is_there
    });
    idle::raise_limit();
    // Once, as the driver takes a processor for itself then.
    let allowed = cpus::allowed()?;
    let placement = if in_path("taskset") {
        Placement::choose(&allowed, args.threads.into(), args.one_core)
    } else {
        Placement::default()
    };
    let (mut fine, mut reports) = (true, Vec::new());
    for scenario in scenario::ALL.iter().filter(|scenario| is_wanted(scenario.name)) {
        let (is_fine, report) = bench(&args, scenario, (&placement, allowed.len())).await?;
        fine &= is_fine;
        reports.push(report);
    }
    if is_wanted(changes::NAME) {
        fine &= change(&args, (&placement, allowed.len())).await?;
    }
    let mut others = Vec::new();
    for wanted in figures::ALL.iter().filter(|wanted| is_wanted(wanted.name)) {
        others.push(figure(&args, wanted, &placement).await?);
    }
    let summary = report::summary(&reports, &others);
    println!("{summary}");
    if args.scenario.is_empty() && !args.no_write && !cfg!(debug_assertions) {
        let file = args.out.join("README.md");
        fs::write(&file, summary).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(fine)
}

/// What changes cost; whether nothing failed.
async fn change(args: &Args, (placement, processors): (&Placement, usize)) -> anyhow::Result<bool> {
    let started = Instant::now();
    let note = |text: &str| eprintln!("{:>5.0} s  {text}", started.elapsed().as_secs_f64());
    let extent = Extent {
        hosts: if args.short { 1_000 } else { 10_000 },
        edits: args.rounds.into(),
        seconds: args.seconds,
        connections: args.connections.into(),
    };
    let yard = Yard::new(placement.clone(), &scenario::SMALL_KEEPALIVE, 1)?;
    let machine = Machine::look(Path::new(env!("CARGO_MANIFEST_DIR")), &yard.binaries, processors);
    note(&format!("{}: {}", changes::NAME, yard.placement.describe()));
    let page = changes::run(&yard, extent, machine, note).await?;
    println!("{}", page.markdown());
    keep(args, changes::NAME, &page.markdown(), &page)?;
    let complaints = page.errors();
    complaints.iter().for_each(|complaint| eprintln!("error: {complaint}"));
    Ok(complaints.is_empty())
}

/// Whether all is fine, and the page.
async fn bench(
    args: &Args,
    scenario: &Scenario,
    (placement, processors): (&Placement, usize),
) -> anyhow::Result<(bool, Report)> {
    let started = Instant::now();
    let note = |text: &str| eprintln!("{:>5.0} s  {text}", started.elapsed().as_secs_f64());
    let plan = plan(args);
    let yard = Yard::new(placement.clone(), scenario, plan.threads)?;
    let machine = Machine::look(Path::new(env!("CARGO_MANIFEST_DIR")), &yard.binaries, processors);
    note(&format!("{}: {}", scenario.name, yard.placement.describe()));

    let (mut peers, (mut contenders, pairs)) = (Vec::new(), scenario.contenders(&args.peers));
    if args.short {
        // Whether a table of any size is answered rightly, the smaller ones show.
        contenders.retain(|(_, _, scenario)| scenario.table.is_none_or(|table| table.rows <= 1_000));
    }
    for (name, label, scenario) in &contenders {
        let (peer, _) = yard.start(scenario, name, label.clone(), |_| Vec::new())?;
        let counts = rounds::check(&peer, &plan).await?;
        let split: Vec<String> = scenario
            .split
            .iter()
            .zip(&counts)
            .map(|((version, _), count)| format!("{version} {count}"))
            .collect();
        note(&format!("{} on {}: {}, warm", peer.name, peer.address, split.join(", ")));
        peers.push(peer);
    }
    let visits = rounds::run(&peers, &yard.origin, &plan, |round| {
        let said = |visit: &Visit| format!("{} {:.1} µs", visit.peer, visit.cpu_us_per_request);
        let said: Vec<String> = round.iter().map(said).collect();
        note(&format!("round {} of {}: {}", round[0].round, plan.rounds, said.join(", ")));
    })
    .await?;
    let mut names: Vec<_> = peers.into_iter().map(|peer| (peer.name, None)).collect();
    if args.instructions {
        for ((label, count), (name, _, scenario)) in names.iter_mut().zip(&contenders) {
            let (peer, folder) = yard.start(scenario, name, label.clone(), instructions::wrapper)?;
            let instructions = instructions::count(scenario, &peer, &folder).await;
            let instructions = instructions.with_context(|| format!("{label} under callgrind"))?;
            note(&format!("{label}: {} user instructions per request", thousands(instructions)));
            *count = Some(instructions);
        }
    }
    let report = Report::new(scenario, plan, yard.placement.describe(), machine, (&names, &pairs), visits);
    println!("{}", report.markdown());
    keep(args, report.scenario, &report.markdown(), &report)?;

    let mut complaints = report.errors();
    complaints.extend(args.max_ratio.map(|limit| report.above(limit)).unwrap_or_default());
    complaints.iter().for_each(|complaint| eprintln!("error: {complaint}"));
    Ok((complaints.is_empty(), report))
}

fn plan(args: &Args) -> Plan {
    Plan {
        rounds: args.rounds.into(),
        seconds: args.seconds,
        connections: args.connections.into(),
        threads: args.threads.into(),
    }
}

/// Figures of another kind.
async fn figure(args: &Args, wanted: &Wanted, placement: &Placement) -> anyhow::Result<Figures> {
    let note = |text: &str| eprintln!("         {}: {text}", wanted.name);
    let plan = plan(args);
    let yard = Yard::new(placement.clone(), &wanted.scenario, plan.threads)?;
    let mut peers = Vec::new();
    for name in &args.peers {
        let (peer, _) = yard.start(&wanted.scenario, name, name.clone(), |_| Vec::new())?;
        rounds::check(&peer, &plan).await?;
        peers.push(peer);
    }
    let figures = figures::measure(wanted, &peers, &plan, note).await?;
    println!("{}", figures.markdown());
    keep(args, figures.name, &figures.markdown(), &figures)?;
    Ok(figures)
}

fn keep(args: &Args, name: &str, page: &str, all: &impl Serialize) -> anyhow::Result<()> {
    if args.no_write {
        return Ok(());
    }
    if cfg!(debug_assertions) {
        eprintln!("a build without optimisation: not written");
        return Ok(());
    }
    let file = |ending| args.out.join(format!("{name}.{ending}"));
    let write = || -> anyhow::Result<()> {
        fs::create_dir_all(&args.out)?;
        fs::write(file("md"), page)?;
        fs::write(file("json"), serde_json::to_string_pretty(all)? + "\n")?;
        Ok(())
    };
    write().with_context(|| format!("write into {}", args.out.display()))?;
    eprintln!("written: {} and .json", file("md").display());
    Ok(())
}
