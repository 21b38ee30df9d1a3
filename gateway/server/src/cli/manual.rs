//! `trysail completions` and `trysail man`: what the command line says of itself, for shells and for man.
//!
//! Packages write these down when they are made, so that both are those of the program beside them.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Arguments, USAGE, print, say};

#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell that completes.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// The command that the page is about; without one, all of trysail.
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

impl Completions {
    pub(super) fn run(&self) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "trysail", &mut script);
        print(&String::from_utf8_lossy(&script));
        ExitCode::SUCCESS
    }
}

impl Man {
    pub(super) fn run(&self) -> ExitCode {
        match page(self.command.as_deref()) {
            Ok(page) => {
                print(&page);
                ExitCode::SUCCESS
            }
            Err(message) => {
                say(&format!("{message}\n"));
                ExitCode::from(USAGE)
            }
        }
    }
}

/// A page of section 1, as roff.
fn page(command: Option<&str>) -> Result<String, String> {
    let mut whole = Arguments::command().disable_help_subcommand(true);
    // Names of commands below it, such as trysail-check, are made by this.
    whole.build();
    let about = match command {
        None => whole,
        Some(name) => whole.find_subcommand(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = whole.get_subcommands().map(clap::Command::get_name).collect();
            format!(
                "there is no command \"{name}\" that a page could be about; there are {}",
                names.join(", ")
            )
        })?,
    };
    let source = concat!("Trysail ", env!("CARGO_PKG_VERSION"));
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(about).source(source).manual("Trysail");
    man.render(&mut page).map_err(|error| format!("the page could not be made: {error}"))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let whole = page(None).expect("a page");
        assert!(whole.contains(".TH trysail 1"), "{whole}");
        for command in Arguments::command().get_subcommands() {
            let name = command.get_name();
            let page = page(Some(name)).expect("a page");
            assert!(
                page.contains(&format!(".TH trysail\\-{name} 1"))
                    || page.contains(&format!(".TH trysail-{name} 1")),
                "{page}"
            );
            assert!(
                whole.contains(&format!("trysail\\-{name}(1)")),
                "{name} is in the page of all:\n{whole}"
            );
        }
        assert!(page(Some("chekc")).expect_err("there is none").contains("check"));
    }
}
