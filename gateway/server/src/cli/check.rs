//! `trysail check`: what is wrong with files, found by the code that serves them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use trysail_routing::compile::{Compiled, Compiler};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::origin::Origin;
use trysail_routing::wire::{ConfigSet, Reader};

use super::{Format, NOT_FINE, USAGE, colours, print, say};
use crate::control::{Directories, Reading};
use crate::render;
use crate::settings::Settings;

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Directories or files; `-` is standard input.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The settings' file; else trysail.yaml in one of the directories, else defaults.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Exit with 1 on warnings too.
    #[arg(long)]
    strict: bool,
    /// How findings are written; json is what `istioctl analyze -o json` writes, with line, column, path and hint.
    #[arg(short, long, value_enum, default_value = "human")]
    output: Format,
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        match Settings::load(self.settings.as_deref(), &self.paths) {
            Ok(settings) => check(&self.paths, &settings, self.output, self.strict),
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
pub(super) fn check(paths: &[PathBuf], settings: &Settings, format: Format, strict: bool) -> ExitCode {
    if let Some(missing) = paths.iter().find(|path| !is_standard_input(path) && !path.exists()) {
        say(&format!("there is no {}\n", missing.display()));
        return ExitCode::from(USAGE);
    }
    let set = match read(paths, settings) {
        Reading::Set(set) => set,
        Reading::Unreadable(findings) => ConfigSet { findings, ..ConfigSet::default() },
    };
    let Compiled { snapshot, findings } = Compiler::new(0).compile(&set, &settings.surroundings());
    let errors = findings.count(Severity::Error);
    let warnings = findings.count(Severity::Warning);
    match format {
        Format::Json => print(&json(&findings)),
        Format::Human => {
            let colour = colours(&std::io::stdout());
            for finding in findings.iter().take(SHOWN) {
                print(&format!("{}\n\n", render::finding(finding, colour)));
            }
            let more = findings.iter().len().saturating_sub(SHOWN) + findings.left_out();
            if more > 0 {
                print(&format!("and {} more; -o json lists them\n\n", render::thousands(more as u64)));
            }
            print(&summary(paths, &set, &snapshot, errors, warnings));
        }
    }
    let fine = errors == 0 && (warnings == 0 || !strict);
    if fine { ExitCode::SUCCESS } else { ExitCode::from(NOT_FINE) }
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
                set.documents.extend(more.documents);
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
    snapshot: &trysail_routing::snapshot::Snapshot,
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
    if errors > 0 {
        return format!("{read}: {counts}. It would not be applied.\n");
    }
    let routes = render::counted(snapshot.routes, "route");
    let ports = render::counted(snapshot.listeners.len(), "port");
    let counts = if counts.is_empty() { counts } else { format!(": {counts}") };
    format!("{read}, {routes} on {ports}{counts}. It would be applied.\n")
}

fn json(findings: &Diagnostics) -> String {
    let messages: Vec<render::Message<'_>> = findings.iter().map(render::Message::from).collect();
    let text = serde_json::to_string_pretty(&messages).unwrap_or_else(|error| format!("\"{error}\""));
    format!("{text}\n")
}
