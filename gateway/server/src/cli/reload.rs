//! `trysail reload`: have the files read again, and hear what became of it.

use std::process::ExitCode;

use super::ask::Whom;
use super::{NOT_FINE, USAGE, print, say};
use crate::status::told::ReloadOf;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 what the files say is in force; 1 it was refused; 2 it was asked wrongly, or nobody answers."
)]
pub(super) struct Reload {
    #[command(flatten)]
    whom: Whom,
}

impl Reload {
    pub(super) fn run(&self) -> ExitCode {
        match self.whom.admin().and_then(|admin| admin.post::<ReloadOf>("/reload", "")) {
            Err(message) => {
                say(&format!("{message}\n"));
                ExitCode::from(USAGE)
            }
            Ok(told) if told.findings.is_empty() => {
                print(&format!("{}\n", told.text));
                ExitCode::SUCCESS
            }
            Ok(told) => {
                let findings: Vec<&str> = told.findings.iter().map(|finding| finding.text.as_str()).collect();
                say(&format!("{}\n\n{}\n", findings.join("\n\n"), told.text));
                ExitCode::from(NOT_FINE)
            }
        }
    }
}
