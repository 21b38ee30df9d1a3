//! The gate: user instructions per request of Trysail, beside those that are written down. A change that makes requests dearer
//! than the tolerance fails; one that is meant to writes the new figures with `--write`, where a reviewer sees them.
//!
//! What copies memory is chosen by the processor and by the C library, so counts of another model are shown and not judged.
#![expect(clippy::print_stdout, reason = "the table is the answer")]
#![expect(clippy::print_stderr, reason = "progress and errors")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use serde::{Deserialize, Serialize};
use trysail_load_tests::cpus::Placement;
use trysail_load_tests::instructions;
use trysail_load_tests::report::thousands;
use trysail_load_tests::scenario;
use trysail_load_tests::yard::Yard;

/// More than this over what is written down fails. Two counts of one binary differ by 0.3 % at most.
const TOLERANCE: f64 = 0.03;

/// User instructions per request, by callgrind, against the figures in a file.
#[derive(Parser)]
struct Args {
    /// Writes what was counted in the place of what was there.
    #[arg(long)]
    write: bool,
    /// The figures: scenario to instructions.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.json"))]
    file: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match gate(&Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing has become dearer.
async fn gate(args: &Args) -> anyhow::Result<bool> {
    ensure!(instructions::possible(), "valgrind is not installed: apt-get install valgrind");
    let place = || format!("read {}", args.file.display());
    let text = std::fs::read_to_string(&args.file).with_context(place)?;
    let mut written: Written = serde_json::from_str(&text).with_context(place)?;
    let mut fine = true;
    let processor = processor();
    for (name, limit) in &mut written.instructions {
        let (who, what) = name.split_once('/').unwrap_or(("trysail", name));
        let scenario = scenario::find(what).with_context(|| format!("no scenario is called {what}"))?;
        let yard = Yard::new(Placement::default(), &scenario, 1)?;
        let (peer, folder) = yard.start(&scenario, who, who.to_owned(), instructions::wrapper)?;
        let counted = instructions::count(&scenario, &peer, &folder).await?;
        let change = counted / *limit as f64 - 1.0;
        let verdict = verdict(change);
        println!(
            "{name:<24} {:>8} instructions per request, {} written down: {:+.1} %{}",
            thousands(counted),
            thousands(*limit as f64),
            change * 100.0,
            match verdict {
                Verdict::Fine => "",
                Verdict::Cheaper => ", so much cheaper that the file wants the new figure (--write)",
                Verdict::Dearer => ", TOO MUCH",
            }
        );
        fine &= verdict != Verdict::Dearer;
        *limit = counted as u64;
    }
    if args.write {
        written.processor = processor;
        std::fs::write(&args.file, serde_json::to_string_pretty(&written)? + "\n")?;
        return Ok(true);
    }
    if !fine && processor != written.processor {
        eprintln!("not judged: they were written down on {}, and this is {processor}", written.processor);
        return Ok(true);
    }
    if !fine {
        eprintln!(
            "error: a request takes over {:.0} % more instructions than {} says. Find out why (valgrind --tool=callgrind, \
             load-tests/README.md); where it is worth it, write it down: make instructions ARGS=--write",
            TOLERANCE * 100.0,
            args.file.display()
        );
    }
    Ok(fine)
}

/// The file.
#[derive(Deserialize, Serialize)]
struct Written {
    /// The model that it was counted on.
    processor: String,
    /// By scenario, per request; behind a peer's name (`express/post`) that peer's.
    instructions: BTreeMap<String, u64>,
}

/// The model of this machine's processor, as exactly as the kernel tells it: a name may be that of a family.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let fact = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split(':').nth(1)).map_or("unknown", str::trim)
    };
    format!("{}, family {}, model {}", fact("model name"), fact("cpu family"), fact("model"))
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Fine,
    Cheaper,
    Dearer,
}

fn verdict(change: f64) -> Verdict {
    match change {
        change if change > TOLERANCE => Verdict::Dearer,
        change if change < -TOLERANCE => Verdict::Cheaper,
        _ => Verdict::Fine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_dearer_fails() {
        for (change, expected) in [
            (0.0, Verdict::Fine),
            (0.029, Verdict::Fine),
            (0.031, Verdict::Dearer),
            (-0.029, Verdict::Fine),
            (-0.031, Verdict::Cheaper),
        ] {
            assert_eq!(verdict(change), expected, "{change}");
        }
    }
}
