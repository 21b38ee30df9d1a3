//! Sends an instrumented build what a gateway is sent, so that it can be built again by what it has counted.
//!
//! `train --seconds 2 target/pgo/instrumented/…/trysail`; `packaging/pgo` calls it, and names the files of counts by
//! `LLVM_PROFILE_FILE`.
#![expect(clippy::print_stderr, reason = "progress")]

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use trysail_load_tests::report::thousands;
use trysail_load_tests::train;

/// Each kind of request for some seconds, then a peaceful end.
#[derive(Parser)]
struct Args {
    /// Seconds for each kind.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// The build that is trained.
    binary: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    for (kind, answers) in train::train(&args.binary, Duration::from_secs(args.seconds.into())).await? {
        eprintln!("  {kind:?}: {} answers", thousands(answers as f64));
    }
    Ok(())
}
