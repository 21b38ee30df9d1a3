//! `trysail check`: what is wrong with files, found by the code that serves them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::ValueEnum;
use trysail_routing::compile::{Compiled, Compiler, judge_alone};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::origin::Origin;
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::{ConfigSet, Reader};

use super::cluster::{self, Flags};
use super::{NOT_FINE, USAGE, colours, print, say};
use crate::control::{Directories, Reading};
use crate::render::{self, sarif};
use crate::settings::Settings;
use crate::tls::Store;

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Directories or files; `-` is standard input.
    #[arg(value_name = "PATH", required_unless_present = "kubernetes", conflicts_with = "kubernetes")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    cluster: Flags,
    /// The settings' file; else trysail.yaml in one of the directories, else defaults.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Exit with 1 on warnings too.
    #[arg(long)]
    strict: bool,
    /// Judge each object alone by Istio's validation, as its admission webhook would; what Istio accepts and this
    /// gateway cannot do is a warning.
    #[arg(long)]
    per_object: bool,
    /// How findings are written; json is what `istioctl analyze -o json` writes, with line, column, path and hint.
    #[arg(short, long, value_enum, default_value = "human")]
    output: Output,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, ValueEnum)]
pub(super) enum Output {
    #[default]
    Human,
    Json,
    Sarif,
}

/// What is asked of files, beside what is wrong with them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    pub(super) output: Output,
    /// Warnings are not fine either.
    pub(super) strict: bool,
    /// Each object alone.
    pub(super) per_object: bool,
    /// On the machine that serves: its credentials must be there.
    pub(super) here: bool,
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        match Settings::load(self.settings.as_deref(), &self.paths) {
            Ok(settings) => {
                let asked = Asked {
                    output: self.output,
                    strict: self.strict,
                    per_object: self.per_object,
                    here: false,
                };
                match self.cluster.kubernetes {
                    true => check_cluster(&self.cluster, settings, asked),
                    false => check(&self.paths, &settings, asked),
                }
            }
            Err(finding) => {
                say(&format!("{}\n", render::finding(&finding, colours(&std::io::stderr()))));
                ExitCode::from(USAGE)
            }
        }
    }
}

/// Findings that are shown in full; whoever has more of them mends these first.
const SHOWN: usize = 200;

/// Checks what a process with these settings would serve.
pub(super) fn check(paths: &[PathBuf], settings: &Settings, asked: Asked) -> ExitCode {
    if let Some(missing) = paths.iter().find(|path| !is_standard_input(path) && !path.exists()) {
        say(&format!("there is no {}\n", missing.display()));
        return ExitCode::from(USAGE);
    }
    let set = match read(paths, settings) {
        Reading::Set(set) => set,
        Reading::Unreadable(findings) => ConfigSet { findings, ..ConfigSet::default() },
    };
    let surroundings = settings.surroundings();
    let (findings, served) = if asked.per_object {
        (judge_alone(&set, &surroundings), None)
    } else {
        let Compiled { snapshot, mut findings, .. } = Compiler::new(0).compile(&set, &surroundings);
        let unseen = credentials(&snapshot, settings, asked.here, &mut findings);
        (findings, Some((snapshot, unseen)))
    };
    tell(&findings, asked, |errors, warnings| summary(paths, &set, served.as_ref(), errors, warnings))
}

/// Checks what a process with these settings would serve of a cluster.
pub(super) fn check_cluster(flags: &Flags, settings: Settings, asked: Asked) -> ExitCode {
    let cluster::Read { settings, set, snapshot, findings, server } = match cluster::read(flags, settings) {
        Ok(read) => read,
        Err(finding) => {
            say(&format!("{}\n", render::finding(&finding, colours(&std::io::stderr()))));
            return ExitCode::from(USAGE);
        }
    };
    let objects = render::counted(set.documents.len(), "object");
    if asked.per_object {
        let findings = judge_alone(&set, &settings.surroundings());
        return tell(&findings, asked, |errors, warnings| {
            let counts = render::counts(errors, warnings);
            let counts = if counts.is_empty() { counts } else { format!(": {counts}") };
            format!("{server}: {objects}, each alone{counts}.\n")
        });
    }
    let (routes, ports) = (snapshot.routes, snapshot.listeners.len());
    tell(&findings, asked, |errors, warnings| {
        let served = format!("{} on {}", render::counted(routes, "route"), render::counted(ports, "port"));
        let counts = render::counts(errors, warnings);
        match errors {
            0 if warnings == 0 => format!("{server}: {objects}, {served}. It would be applied.\n"),
            0 => format!("{server}: {objects}, {served}: {counts}. It would be applied.\n"),
            _ => format!(
                "{server}: {objects}: {counts}. Objects with errors would stay as they were, or out; the rest would be \
                 applied.\n"
            ),
        }
    })
}

/// Says what was found, and whether that is fine.
fn tell(findings: &Diagnostics, asked: Asked, summary: impl Fn(usize, usize) -> String) -> ExitCode {
    let errors = findings.count(Severity::Error);
    let warnings = findings.count(Severity::Warning);
    match asked.output {
        Output::Json => print(&json(findings)),
        Output::Sarif => print(&pretty(&sarif::log(findings))),
        Output::Human => {
            let colour = colours(&std::io::stdout());
            for finding in findings.iter().take(SHOWN) {
                print(&format!("{}\n\n", render::finding(finding, colour)));
            }
            let more = findings.iter().len().saturating_sub(SHOWN) + findings.left_out();
            if more > 0 {
                print(&format!("and {} more; -o json lists them\n\n", render::thousands(more as u64)));
            }
            print(&summary(errors, warnings));
        }
    }
    let fine = errors == 0 && (warnings == 0 || !asked.strict);
    if fine { ExitCode::SUCCESS } else { ExitCode::from(NOT_FINE) }
}

/// What is wrong with certificates and keys. Elsewhere than on the machine that serves they need not be there; gives whether
/// some are not. What is there and is wrong is wrong everywhere.
fn credentials(snapshot: &Snapshot, settings: &Settings, here: bool, findings: &mut Diagnostics) -> bool {
    let mut found = Diagnostics::default();
    Store::new(settings.certificates.clone()).read(snapshot, &mut found);
    let mut unseen = false;
    for finding in found.iter_mut().filter(|finding| finding.code == Code::REFERENCED_RESOURCE_NOT_FOUND) {
        if !here {
            finding.severity = Severity::Warning;
            finding.hints.push("on the machine that serves, this is an error".to_owned());
            unseen = true;
        }
    }
    findings.extend(found);
    findings.sort();
    unseen
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads the paths as `run` does; standard input, which has no directory, is one more file.
pub(super) fn read(paths: &[PathBuf], settings: &Settings) -> Reading {
    let files: Vec<PathBuf> = paths.iter().filter(|path| !is_standard_input(path)).cloned().collect();
    if files.len() == paths.len() {
        return Directories::new(files, settings).read();
    }
    let mut findings = Diagnostics::default();
    let mut text = String::new();
    let most = settings.limits.file.0;
    let mut refuse = |message: String| {
        findings.push(Diagnostic::new(Code::UNREADABLE, Severity::Error, Some(Origin::file("-")), message));
    };
    match std::io::stdin().lock().take(most + 1).read_to_string(&mut text) {
        Err(error) => refuse(format!("standard input can't be read: {error}")),
        Ok(read) if read as u64 > most => {
            refuse(format!("standard input is over the limit of {most} bytes (setting limits.file)"));
            text.clear();
        }
        Ok(_) => {}
    }
    let mut reader = Reader::new(&settings.namespace, settings.reading());
    let (name, text): (Arc<str>, Arc<str>) = ("-".into(), text.into());
    let mut set = reader.read([(&name, &text)], findings);
    if !files.is_empty() {
        match Directories::new(files, settings).read() {
            Reading::Set(more) => {
                set.documents.append(more.documents);
                set.findings.extend(more.findings);
                set.files += more.files;
            }
            unreadable => return unreadable,
        }
    }
    Reading::Set(set)
}

fn summary(
    paths: &[PathBuf],
    set: &ConfigSet,
    served: Option<&(Snapshot, bool)>,
    errors: usize,
    warnings: usize,
) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let read = format!(
        "{}: {}, {}",
        names.join(", "),
        render::counted(set.files, "file"),
        render::counted(set.documents.len(), "object")
    );
    let counts = render::counts(errors, warnings);
    let Some((snapshot, unseen)) = served else {
        let counts = if counts.is_empty() { counts } else { format!(": {counts}") };
        let verdict = if errors > 0 { "Not all would be accepted" } else { "Each would be accepted" };
        return format!("{read}, each alone{counts}. {verdict}.\n");
    };
    if errors > 0 {
        return format!("{read}: {counts}. It would not be applied.\n");
    }
    let routes = render::counted(snapshot.routes, "route");
    let ports = render::counted(snapshot.listeners.len(), "port");
    let counts = if counts.is_empty() { counts } else { format!(": {counts}") };
    let verdict = match unseen {
        true => "It would be applied where the credentials that are not here are there and sound",
        false => "It would be applied",
    };
    format!("{read}, {routes} on {ports}{counts}. {verdict}.\n")
}

/// Findings for programs.
pub(super) fn json(findings: &Diagnostics) -> String {
    let messages: Vec<render::Message<'_>> = findings.iter().map(render::Message::from).collect();
    pretty(&messages)
}

fn pretty(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("\"{error}\""));
    format!("{text}\n")
}
