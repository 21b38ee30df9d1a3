//! `trysail status`: what share each version really got, and how it fares.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use super::ask::{Admin, Whom, escaped};
use super::{Format, NOT_FINE, USAGE, print, say};
use crate::status::told::Status;
use crate::status::{Expectation, Met, lines, page, time};

/// There is not enough data to tell.
const NOT_YET: u8 = 3;

/// How often it is looked again.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 told, and every --expect holds; 1 one does not; 2 it was asked wrongly, or nobody \
                        answers; 3 there is not enough data yet."
)]
pub(super) struct Show {
    #[command(flatten)]
    whom: Whom,
    /// Only this route: `default/reviews`, or `default/reviews http[0]`.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Also routes with one destination.
    #[arg(long)]
    all: bool,
    /// Again each second: redrawn on a terminal, else a line for each version that moved.
    #[arg(long, conflicts_with_all = ["expect", "output"])]
    watch: bool,
    /// Whether a version has this share of its route, in percent; may be given several times.
    #[arg(long, value_name = "ROUTE:SUBSET=PERCENT")]
    expect: Vec<Expectation>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value = "human")]
    output: Format,
}

impl Show {
    pub(super) fn run(self) -> ExitCode {
        let mut path = format!("/status?all={}", u8::from(self.all || !self.expect.is_empty()));
        if let Some(route) = &self.route {
            path.push_str(&format!("&route={}", escaped(route)));
        }
        let status = self.whom.admin().and_then(|admin| Ok((admin.get::<Status>(&path)?, admin)));
        let (status, admin) = match status {
            Ok(answered) => answered,
            Err(message) => return wrongly(&message),
        };
        if let Some(route) = self.route.as_ref().filter(|_| status.splits.is_empty()) {
            return wrongly(&format!(
                "there is no route {route:?} that forwards; trysail status --all shows all"
            ));
        }
        match (self.watch, self.expect.as_slice(), self.output) {
            (true, ..) => watch(&admin, &path, status),
            (false, [], Format::Human) => print(&page(&status)),
            (false, [], Format::Json) => json(&status),
            (false, expected, output) => return judge(&status, expected, output),
        }
        ExitCode::SUCCESS
    }
}

fn wrongly(message: &str) -> ExitCode {
    say(&format!("{message}\n"));
    ExitCode::from(USAGE)
}

fn json(status: &Status) {
    let text = serde_json::to_string_pretty(status).unwrap_or_else(|error| format!("\"{error}\""));
    print(&format!("{text}\n"));
}

/// The worst that is found of all that is expected.
fn judge(status: &Status, expected: &[Expectation], output: Format) -> ExitCode {
    let mut worst = Met::Holds;
    let mut said = String::new();
    for expectation in expected {
        match expectation.judge(status) {
            Err(message) => return wrongly(&message),
            Ok((met, text)) => {
                worst = worst.max(met);
                said.push_str(&format!("{text}\n"));
            }
        }
    }
    match output {
        Format::Human => print(&said),
        Format::Json => {
            json(status);
            say(&said);
        }
    }
    match worst {
        Met::Holds => ExitCode::SUCCESS,
        Met::NotYet => ExitCode::from(NOT_YET),
        Met::Not => ExitCode::from(NOT_FINE),
    }
}

/// Until it is interrupted.
fn watch(admin: &Admin, path: &str, mut status: Status) {
    let terminal = std::io::stdout().is_terminal();
    let mut lost = false;
    let mut before = Vec::new();
    loop {
        if terminal {
            // To the top, each line cleared as it is written, and what is left below it.
            let page = page(&status).replace('\n', "\x1b[K\n");
            let gone = if lost { "nobody answers any more; asked again each second\x1b[K\n" } else { "" };
            print(&format!("\x1b[H{page}{gone}\x1b[J"));
        } else {
            let now = lines(&status);
            for line in now.iter().filter(|line| !before.contains(*line)) {
                print(&format!("{}  {line}\n", time(SystemTime::now())));
            }
            before = now;
        }
        thread::sleep(TICK);
        match admin.get(path) {
            Ok(answer) => (status, lost) = (answer, false),
            Err(message) if !lost => {
                lost = true;
                if !terminal {
                    say(&format!("{message}\n"));
                }
            }
            Err(_) => {}
        }
    }
}
