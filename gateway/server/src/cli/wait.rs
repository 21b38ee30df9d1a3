//! `trysail wait`: until a revision serves everywhere, and nothing of the one before is left.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::ask::{Admin, Whom};
use super::{NOT_FINE, USAGE, print, say};
use crate::render;
use crate::settings::Span;
use crate::status::told::{Former, WaitOf};

/// How often it is asked.
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 it serves; 1 not within the time, or it was refused; 2 it was asked wrongly, or nobody \
                        answers."
)]
pub(super) struct Wait {
    #[command(flatten)]
    whom: Whom,
    /// The revision: eight or more digits of its hash, as `trysail check`, the log and `trysail status` tell it.
    #[arg(long, value_name = "HASH")]
    revision: String,
    /// How long to wait.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: Span,
}

impl Wait {
    pub(super) fn run(self) -> ExitCode {
        match self.whom.admin().and_then(|admin| self.wait(&admin)) {
            Ok(Ok(said)) => {
                print(&format!("{said}\n"));
                ExitCode::SUCCESS
            }
            Ok(Err(said)) => {
                say(&format!("{said}\n"));
                ExitCode::from(NOT_FINE)
            }
            Err(said) => {
                say(&format!("{said}\n"));
                ExitCode::from(USAGE)
            }
        }
    }

    fn wait(&self, admin: &Admin) -> Result<Result<String, String>, String> {
        let began = Instant::now();
        let digits = self.revision.len();
        if !(8..=64).contains(&digits) || !self.revision.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            let written = &self.revision;
            return Err(format!(
                "{written:?} is not a revision; write eight or more digits of its hash, as trysail status shows it"
            ));
        }
        let path = format!("/wait?revision={}", super::ask::escaped(&self.revision));
        loop {
            let told: WaitOf = admin.get(&path)?;
            if let Some(refused) = &told.refused {
                let findings: Vec<&str> =
                    refused.findings.iter().map(|finding| finding.text.as_str()).collect();
                let short = &refused.revision;
                return Ok(Err(format!(
                    "{short} was refused, {} stays in force\n{}",
                    told.revision,
                    findings.join("\n")
                )));
            }
            if told.serves && told.former.iter().all(|former| former.requests == 0) {
                return Ok(Ok(format!("{} serves everywhere{}", told.revision, ended(&told.former))));
            }
            if began.elapsed() >= self.timeout.0 {
                return Ok(Err(self.missing(&told)));
            }
            thread::sleep(TICK.min(self.timeout.0.saturating_sub(began.elapsed())));
        }
    }

    /// What it still waits for.
    fn missing(&self, told: &WaitOf) -> String {
        let time = render::time(self.timeout.0);
        if !told.serves {
            return format!("not within {time}: {} is in force, not {}", told.revision, self.revision);
        }
        let running = told.former.iter().filter(|former| former.requests > 0);
        let running: Vec<String> = running
            .map(|former| format!("{} of {}", render::counted(former.requests, "request"), former.revision))
            .collect();
        format!("not within {time}: {} is in force, and still {}", told.revision, running.join(", "))
    }
}

/// What became of those before.
fn ended(former: &[Former]) -> String {
    let mut said = String::new();
    let last = former.iter().rfind(|former| former.ended_ms.is_some());
    if let Some(former) = last {
        let after = former.ended_ms.unwrap_or_default();
        said = format!(
            "; the last request of {} ended {} after it was replaced",
            former.revision,
            millis(after)
        );
    }
    for former in former.iter().filter(|former| former.long > 0) {
        let long = render::counted(former.long, "WebSocket or passed-on connection");
        said.push_str(&format!("; {long} of {} left, which may last", former.revision));
    }
    said
}

fn millis(millis: f64) -> String {
    format!("{} ms", render::thousands(millis.ceil() as u64))
}
