//! `trysail explain`: why a request goes where it goes, by the code that routes; of files, or of a running process.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use trysail_routing::compile::{Compiled, Compiler};
use trysail_routing::diagnostic::Diagnostic;
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::ConfigSet;

use super::ask::{ADMIN, Admin, escaped};
use super::check::read;
use super::cluster::{self, Flags};
use super::{Format, NOT_FINE, USAGE, colours, print, say, say_findings};
use crate::control::Reading;
use crate::explain::{Answer, Asked, Facts};
use crate::render;
use crate::settings::{Settings, Token};

#[derive(Debug, clap::Args)]
#[command(
    override_usage = "trysail explain [OPTIONS] PATH... METHOD URL\n       \
                      trysail explain --live [OPTIONS] [ADDRESS] METHOD URL",
    after_help = "Exit codes: 0 it goes somewhere; 1 it goes nowhere (400, 404, no such port); 2 it was asked \
                        wrongly, or, with --live, nobody answers."
)]
pub(super) struct Explain {
    /// PATH… METHOD URL: directories or files (`-` is standard input), then a request's method and URL. With --live:
    /// METHOD URL, or ADDRESS METHOD URL.
    #[arg(value_name = "WORDS", required = true, num_args = 1..)]
    words: Vec<String>,
    /// Ask a running process on its admin port (127.0.0.1:15000 unless an address is given): also whose turn it is,
    /// and what endpoints are busy with.
    #[arg(long, conflicts_with_all = ["settings", "kubernetes"])]
    live: bool,
    #[command(flatten)]
    cluster: Flags,
    /// The file with the token of the admin port, where it has one (setting `adminToken`).
    #[arg(long, value_name = "FILE", requires = "live")]
    token: Option<PathBuf>,
    /// A header field of the request, as `name: value`; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The settings' file; else trysail.yaml in one of the directories, else defaults.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value = "human")]
    output: Format,
}

impl Explain {
    pub(super) fn run(mut self) -> ExitCode {
        let (Some(url), Some(method)) = (self.words.pop(), self.words.pop()) else {
            return wrongly("say which request: trysail explain conf/ GET http://shop.test/");
        };
        let asked = match Asked::read(&method, &url, &self.headers) {
            Ok(asked) => asked,
            Err(message) => return wrongly(&message),
        };
        let answer = match (self.live, self.words.as_slice()) {
            (true, []) => self.ask(ADMIN, &method, &url),
            (true, [address]) => self.ask(address, &method, &url),
            (true, _) => Err("--live takes one address: [ADDRESS] METHOD URL".to_owned()),
            (false, []) if self.cluster.kubernetes => match self.compile(&asked) {
                Ok(answer) => Ok(answer),
                Err(said) => return said,
            },
            (false, _) if self.cluster.kubernetes => {
                Err("--kubernetes takes no paths: METHOD URL".to_owned())
            }
            (false, []) => Err("say what to read: trysail explain conf/ GET http://shop.test/".to_owned()),
            (false, _) => match self.compile(&asked) {
                Ok(answer) => Ok(answer),
                Err(said) => return said,
            },
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(message) => return wrongly(&message),
        };
        match self.output {
            Format::Human => print(&answer.words()),
            Format::Json => {
                let text =
                    serde_json::to_string_pretty(&answer).unwrap_or_else(|error| format!("\"{error}\""));
                print(&format!("{text}\n"));
            }
        }
        if answer.nowhere.is_none() { ExitCode::SUCCESS } else { ExitCode::from(NOT_FINE) }
    }

    /// Of files. What is wrong with them is said, and what can be answered is answered all the same.
    fn compile(&self, asked: &Asked) -> Result<Answer, ExitCode> {
        if self.cluster.kubernetes {
            let refused = |finding: Box<Diagnostic>| {
                say(&format!("{}\n", render::finding(&finding, colours(&std::io::stderr()))));
                ExitCode::from(USAGE)
            };
            let settings = Settings::load(self.settings.as_deref(), &[]).map_err(refused)?;
            let cluster::Read { settings, set, snapshot, findings, server } =
                cluster::read(&self.cluster, settings).map_err(refused)?;
            if findings.has_errors() {
                say_findings(&findings);
            }
            return Ok(answer(&settings, &set, &snapshot, &server, asked));
        }
        let paths: Vec<PathBuf> = self.words.iter().map(PathBuf::from).collect();
        let settings = Settings::load(self.settings.as_deref(), &paths).map_err(|finding| {
            say(&format!("{}\n", render::finding(&finding, colours(&std::io::stderr()))));
            ExitCode::from(USAGE)
        })?;
        let set = match read(&paths, &settings) {
            Reading::Set(set) => set,
            Reading::Unreadable(findings) => {
                say_findings(&findings);
                return Err(ExitCode::from(USAGE));
            }
        };
        let Compiled { snapshot, findings, .. } = Compiler::new(0).compile(&set, &settings.surroundings());
        if findings.has_errors() {
            say_findings(&findings);
        }
        Ok(answer(&settings, &set, &snapshot, &self.words.join(", "), asked))
    }

    /// Of a running process.
    fn ask(&self, address: &str, method: &str, url: &str) -> Result<Answer, String> {
        let mut form = format!("method={}&url={}", escaped(method), escaped(url));
        for header in &self.headers {
            let _ = write!(form, "&header={}", escaped(header));
        }
        let token = self.token.as_deref().map(Token::read).transpose()?;
        Admin::new(address, token).post("/explain", &form)
    }
}

fn answer(settings: &Settings, set: &ConfigSet, snapshot: &Snapshot, source: &str, asked: &Asked) -> Answer {
    let facts = Facts {
        snapshot,
        revision: set.revision.short(),
        source,
        paths: settings.paths(),
        other_server: settings.other_server,
        opened: settings.ports.iter().map(|(from, to)| (*to, *from)).collect(),
        upstreams: None,
    };
    Answer::of(&facts, asked)
}

fn wrongly(message: &str) -> ExitCode {
    say(&format!("{message}\n"));
    ExitCode::from(USAGE)
}
