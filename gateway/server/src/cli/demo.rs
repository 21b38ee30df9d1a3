//! `trysail demo`: try it.

use std::process::ExitCode;

use super::{NOT_FINE, say};
use crate::demo;

#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Send this many requests, print who answered them, and end: with 0 when the split is exact, else with 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    requests: Option<u64>,
}

impl Demo {
    pub(super) fn run(self) -> ExitCode {
        match demo::run(self.requests) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(NOT_FINE),
            Err(message) => {
                say(&format!("{message}\n"));
                ExitCode::from(NOT_FINE)
            }
        }
    }
}
