//! The command line: what can be asked, and what exit code answers.

mod ask;
mod check;
mod cluster;
mod demo;
mod explain;
mod import;
mod manual;
mod reload;
mod run;
mod status;
mod upgrade;
mod wait;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};

use crate::render;
use crate::settings::{PortPair, Settings};
use crate::upgrade::{Former, Stage};

/// An ingress gateway that executes Istio's traffic-management API without a mesh.
///
/// For example: trysail run --config conf/ --port 80=8080
#[derive(Debug, Parser)]
#[command(
    name = "trysail",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 it is fine; 1 what was asked about is not fine; 2 it was asked wrongly; run: 78 \
                  there are errors in the files."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: follow directories of Istio's objects, and split traffic as they say.
    ///
    /// For example: trysail run --config conf/ --port 80=8080
    Run(run::Run),
    /// Say what is wrong with files, without serving them.
    ///
    /// For example: trysail check conf/   or   trysail check --per-object -o sarif conf/   or   kubectl get gw,vs,dr,se -A -o yaml | trysail check -
    Check(check::Check),
    /// Say where a request goes, and why, with the file and line of each rule that was asked.
    ///
    /// For example: trysail explain conf/ GET http://shop.test/reviews/0 -H 'end-user: jason'
    Explain(explain::Explain),
    /// Say what share each version of a running process really got, and how it fares.
    ///
    /// For example: trysail status   or   trysail status --expect default/reviews:v2=10
    Status(status::Show),
    /// Wait until a revision serves everywhere, and the last request of the one before has ended.
    ///
    /// For example: trysail wait --revision 81ab90f4 --timeout 30s
    Wait(wait::Wait),
    /// Have a running process read its files, and say what became of it.
    ///
    /// For example: trysail reload
    Reload(reload::Reload),
    /// Have a running process replaced by a new one: ports stay open, and what runs on open connections ends by itself.
    ///
    /// For example: trysail upgrade   or   trysail upgrade --binary /usr/local/bin/trysail-0.2.0
    Upgrade(upgrade::Upgrade),
    /// Write another gateway's objects anew as Istio's, and say what could not be carried over.
    ///
    /// For example: kubectl get ingress,service -A -o yaml | trysail import nginx-ingress -
    Import(import::Import),
    /// Try it: Bookinfo's reviews in three versions, split 50/50 by the objects of an Istio sample.
    ///
    /// For example: trysail demo   or   trysail demo --requests 1000
    Demo(demo::Demo),
    /// Print what a shell completes commands and flags by.
    ///
    /// For example: trysail completions bash >/etc/bash_completion.d/trysail
    Completions(manual::Completions),
    /// Print a manual page, of all or of one command.
    ///
    /// For example: trysail man run | man -l -
    Man(manual::Man),
    /// Print the version.
    Version,
}

/// Where the configuration lies, for commands that serve it.
#[derive(Debug, clap::Args)]
struct Source {
    /// A directory of YAML files (or one file); may be given several times.
    #[arg(long, value_name = "DIR", required_unless_present = "kubernetes", conflicts_with = "kubernetes", num_args = 1..)]
    config: Vec<PathBuf>,
    #[command(flatten)]
    cluster: cluster::Flags,
    /// The settings' file; else trysail.yaml in a --config directory, else defaults.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Open one port in place of another, over what the settings say; 0 lets the kernel pick one.
    #[arg(long = "port", value_name = "FROM=TO")]
    ports: Vec<PortPair>,
}

impl Source {
    /// The settings, with what the command line says over them.
    fn settings(&self) -> Result<Settings, Box<Diagnostic>> {
        let mut settings = Settings::load(self.settings.as_deref(), &self.config)?;
        let mut said = BTreeMap::new();
        for PortPair(from, to) in &self.ports {
            if let Some(other) = said.insert(*from, *to) {
                let message = format!("--port {from}={other} and --port {from}={to}: a port is opened once");
                return Err(Box::new(Diagnostic::new(Code::PORT, Severity::Error, None, message)));
            }
        }
        settings.ports.extend(said);
        Ok(settings)
    }
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Format {
    Human,
    Json,
}

/// Runs what was asked for.
pub(crate) fn run() -> ExitCode {
    let former = match Stage::find() {
        Ok(Stage::Alone) => None,
        Ok(Stage::Launch(former)) => return launch(&former),
        Ok(Stage::Successor(former)) => Some(former),
        Err(message) => {
            say(&format!("{message}\n"));
            return ExitCode::from(USAGE);
        }
    };
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A flag that this version does not know, such as one of the version before.
            if let Some(former) = &former {
                former.failed(&error.to_string());
            }
            error.exit()
        }
    };
    match arguments.command {
        Command::Run(run) => run.run(former.as_ref()),
        Command::Check(check) => check.run(),
        Command::Explain(explain) => explain.run(),
        Command::Status(status) => status.run(),
        Command::Wait(wait) => wait.run(),
        Command::Reload(reload) => reload.run(),
        Command::Upgrade(upgrade) => upgrade.run(),
        Command::Import(import) => import.run(),
        Command::Demo(demo) => demo.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Version => {
            print(&format!("trysail {}\n", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
    }
}

/// Starts the process that is to take over, and ends.
fn launch(former: &Former) -> ExitCode {
    match former.launch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("{why}\n"));
            ExitCode::from(NOT_FINE)
        }
    }
}

/// What was asked about is not fine.
const NOT_FINE: u8 = 1;
/// It was asked wrongly.
const USAGE: u8 = 2;
/// The files that were to be served are wrong: `EX_CONFIG` of sysexits.h, so that a service manager need not try again.
const CONFIGURATION: u8 = 78;

/// Writes an answer. A reader that has gone is no fault of ours.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes what is not the answer.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether text on this stream may have colours.
fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// Findings on standard error, in full.
fn say_findings(findings: &Diagnostics) {
    let colour = colours(&std::io::stderr());
    for finding in findings.iter() {
        say(&format!("{}\n\n", render::finding(finding, colour)));
    }
}
