//! `trysail import`: another gateway's objects, written anew as Istio's.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use trysail_routing::diagnostic::{Diagnostics, Severity};
use trysail_routing::import::{Imported, Options, nginx_ingress};

use super::{Format, NOT_FINE, USAGE, colours, print, say};
use crate::render;

#[derive(Debug, clap::Args)]
pub(super) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, clap::Subcommand)]
enum From {
    /// Ingresses of ingress-nginx as Gateways, VirtualServices and DestinationRules.
    ///
    /// For example: kubectl get ingress,service,configmap -A -o yaml | trysail import nginx-ingress - > shop.yaml
    #[command(
        after_help = "Exit codes: 0 all was carried over; 1 something was not, and standard error says what; 2 it was \
                      asked wrongly."
    )]
    NginxIngress(NginxIngress),
}

#[derive(Debug, clap::Args)]
struct NginxIngress {
    /// Files of Ingresses, with the Services whose ports they name, and ConfigMaps; `-` is standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The class of the Ingresses that are imported.
    #[arg(long, value_name = "NAME", default_value = "nginx")]
    class: String,
    /// The namespace of objects that name none.
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
    /// Let everybody in where a password, a list of addresses or another service kept people out; without it such rules
    /// answer 403.
    #[arg(long)]
    open: bool,
    /// Where the result is written, in place of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How findings are written, on standard error; json is what `check -o json` writes.
    #[arg(short = 'o', long, value_enum, default_value = "human")]
    format: Format,
}

impl Import {
    pub(super) fn run(self) -> ExitCode {
        let From::NginxIngress(asked) = self.from;
        asked.run()
    }
}

/// A file is not read beyond this: nobody has as many Ingresses.
const MOST: u64 = 256 << 20;

/// Findings that are shown in full; -o json lists all.
const SHOWN: usize = 200;

impl NginxIngress {
    fn run(self) -> ExitCode {
        let mut texts: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for file in &self.files {
            match read(file) {
                Ok(text) => texts.push((file.display().to_string().into(), text.into())),
                Err(message) => {
                    say(&format!("{message}\n"));
                    return ExitCode::from(USAGE);
                }
            }
        }
        let options =
            Options { class: self.class.clone(), namespace: self.namespace.clone(), open: self.open };
        let imported = nginx_ingress(texts.iter().map(|(name, text)| (name, text)), &options);
        self.tell(&imported);
        if imported.yaml.is_empty() {
            return ExitCode::from(NOT_FINE);
        }
        match &self.output {
            None => print(&imported.yaml),
            Some(file) => {
                if let Err(error) = write(file, &imported.yaml) {
                    say(&format!("{} can't be written: {error}\n", file.display()));
                    return ExitCode::from(USAGE);
                }
            }
        }
        if imported.findings.has_errors() { ExitCode::from(NOT_FINE) } else { ExitCode::SUCCESS }
    }

    fn tell(&self, imported: &Imported) {
        let findings = &imported.findings;
        if self.format == Format::Json {
            return say(&super::check::json(findings));
        }
        let colour = colours(&std::io::stderr());
        for finding in findings.iter().take(SHOWN) {
            say(&format!("{}\n\n", render::finding(finding, colour)));
        }
        let more = findings.iter().len().saturating_sub(SHOWN) + findings.left_out();
        if more > 0 {
            say(&format!("and {} more; -o json lists them\n\n", render::thousands(more as u64)));
        }
        let names: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        say(&format!("{}: {}\n", names.join(", "), self.summary(imported, findings)));
    }

    fn summary(&self, imported: &Imported, findings: &Diagnostics) -> String {
        let [gateways, services, rules] = imported.objects;
        let counts = render::counts(findings.count(Severity::Error), findings.count(Severity::Warning));
        let counts = if counts.is_empty() { counts } else { format!(": {counts}") };
        let read = match imported.ingresses {
            1 => "1 Ingress".to_owned(),
            ingresses => format!("{} Ingresses", render::thousands(ingresses as u64)),
        };
        if imported.yaml.is_empty() {
            return format!("{read} of class {:?}{counts}. There is nothing to write.", self.class);
        }
        let verdict = if findings.has_errors() { "Not all is carried over" } else { "All is carried over" };
        format!(
            "{read} → {}, {}, {}{counts}. {verdict}.",
            render::counted(gateways, "Gateway"),
            render::counted(services, "VirtualService"),
            render::counted(rules, "DestinationRule")
        )
    }
}

/// A file's text, or what is wrong with it.
fn read(file: &Path) -> Result<String, String> {
    let name = file.display();
    if file.is_dir() {
        return Err(format!("{name} is a directory: name its files, {name}/*.yaml"));
    }
    let mut text = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(MOST + 1).read_to_end(&mut text),
        false => std::fs::File::open(file).and_then(|file| file.take(MOST + 1).read_to_end(&mut text)),
    };
    match read {
        Err(error) => Err(format!("{name} can't be read: {error}")),
        Ok(read) if read as u64 > MOST => {
            Err(format!("{name} is over the limit of {} MiB", render::thousands(MOST >> 20)))
        }
        Ok(_) => String::from_utf8(text).map_err(|error| {
            format!(
                "{name} is not UTF-8 from byte {} on",
                render::thousands(error.utf8_error().valid_up_to() as u64)
            )
        }),
    }
}

/// Puts a file in place whole: who follows its directory never sees half of it.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let name = file.file_name().ok_or_else(|| std::io::Error::other("it names no file"))?;
    let beside = file.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let placed = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, file));
    if placed.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    placed
}
