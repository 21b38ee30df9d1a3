//! `trysail run`: serve until told to stop.

use std::process::ExitCode;

use trysail_routing::diagnostic::Severity;

use super::{CONFIGURATION, NOT_FINE, Source, USAGE, check, say, say_findings};
use crate::boot::{self, NotStarted, Whence};
use crate::upgrade::Former;
use crate::{logging, render};

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    source: Source,
    /// Only say what is wrong with what would be served, as `check` does.
    #[arg(short = 't', long = "test")]
    test: bool,
}

impl Run {
    /// In the place of a former process, if there is one, which is told why where it can't be.
    pub(super) fn run(self, former: Option<&Former>) -> ExitCode {
        let settings = match self.source.settings() {
            Ok(settings) => settings,
            Err(finding) => {
                if let Some(former) = former {
                    former.failed(&render::finding(&finding, false));
                }
                say(&format!("{}\n", render::finding(&finding, super::colours(&std::io::stderr()))));
                return ExitCode::from(USAGE);
            }
        };
        if self.test {
            if let Err(finding) = settings.token() {
                say(&format!("{}\n", render::finding(&finding, super::colours(&std::io::stderr()))));
                return ExitCode::from(NOT_FINE);
            }
            let asked = check::Asked { here: true, ..check::Asked::default() };
            return match self.source.cluster.kubernetes {
                true => check::check_cluster(&self.source.cluster, settings, asked),
                false => check::check(&self.source.config, &settings, asked),
            };
        }
        logging::start();
        let whence = match self.source.cluster.kubernetes {
            true => Whence::Cluster(self.source.cluster.whence()),
            false => Whence::Directories(self.source.config),
        };
        let running = match boot::start(settings, whence, former) {
            Ok(running) => running,
            Err(NotStarted::Stopped(_)) => return ExitCode::SUCCESS,
            Err(fault) => {
                let findings = fault.findings();
                if let Some(former) = former {
                    let told: Vec<String> =
                        findings.iter().map(|finding| render::finding(finding, false)).collect();
                    former.failed(&told.join("\n\n"));
                }
                say_findings(findings);
                let errors = findings.count(Severity::Error);
                say(&format!("{}: not started\n", render::counts(errors, findings.count(Severity::Warning))));
                return ExitCode::from(match fault {
                    NotStarted::Files(_) => CONFIGURATION,
                    NotStarted::Process(_) | NotStarted::Stopped(_) => NOT_FINE,
                });
            }
        };
        running.until_stopped();
        ExitCode::SUCCESS
    }
}
