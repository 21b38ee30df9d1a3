//! `trysail upgrade`: have a running process replaced by a new one, and hear how far it is.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::{NOT_FINE, USAGE, print, say};
use crate::settings::Span;
use crate::upgrade::{Ask, Told, socket_in};

/// Longer than the process that is asked waits for anything by itself.
const SILENCE: Duration = Duration::from_secs(120);

/// Where systemd has the socket (`RuntimeDirectory=trysail`).
const DIRECTORY: &str = "/run/trysail";

/// An answer's line is at most so long.
const LONGEST: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 a new process serves; 1 it could not, and the one before goes on as ever; 2 it was asked \
                  wrongly, or nobody answers."
)]
pub(super) struct Upgrade {
    /// The directory with the process's socket (its setting `runtime`).
    #[arg(value_name = "DIR", default_value = DIRECTORY)]
    directory: PathBuf,
    /// The program that is to run; else the same file as now, with whatever it holds by now.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// How long the new process may take to be ready.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    timeout: Span,
    /// Also wait until the former process has left, which its connections may keep for as long as the setting `drain`.
    #[arg(long)]
    wait: bool,
}

impl Upgrade {
    pub(super) fn run(&self) -> ExitCode {
        let path = socket_in(&self.directory);
        let stream = match self.ask(&path) {
            Ok(stream) => stream,
            Err(message) => {
                say(&format!("{message}\n"));
                return ExitCode::from(USAGE);
            }
        };
        match self.follow(stream) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                say(&format!("{why}\n"));
                ExitCode::from(NOT_FINE)
            }
        }
    }

    fn ask(&self, path: &Path) -> Result<UnixStream, String> {
        let binary = self.binary.as_ref().map(|binary| {
            binary.canonicalize().map_err(|error| format!("--binary {}: {error}", binary.display()))
        });
        let timeout = u64::try_from(self.timeout.0.as_millis()).unwrap_or(u64::MAX);
        let ask = Ask { binary: binary.transpose()?, timeout };
        let asked = || {
            let mut stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(self.timeout.0.saturating_add(SILENCE)))?;
            let mut line = serde_json::to_vec(&ask)?;
            line.push(b'\n');
            // Who is not let in is told so, before anything that is asked is read.
            match stream.write_all(&line) {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
                _ => Ok(stream),
            }
        };
        asked().map_err(|error: std::io::Error| {
            format!(
                "nobody answers on {}: {error}; it is there while trysail run has a directory for it (setting runtime, \
                 or $RUNTIME_DIRECTORY), for its own user and root",
                path.display()
            )
        })
    }

    /// Prints what it is told until it is over. The error is why the process before goes on.
    fn follow(&self, stream: UnixStream) -> Result<(), String> {
        let mut lines = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            let read = (&mut lines).take(LONGEST).read_until(b'\n', &mut line);
            read.map_err(|error| format!("no word of how far it is: {error}; see the log of the process"))?;
            if line.is_empty() {
                return Err("the process ended while it handed over; see its log".to_owned());
            }
            let told = serde_json::from_slice(&line);
            match told.map_err(|error| format!("the process is another program or version: {error}"))? {
                Told::Step { text } => print(&format!("{text}\n")),
                Told::Failed { why } => {
                    return Err(format!("{why}\n\nnot upgraded: the process before serves on"));
                }
                Told::Done { text } => {
                    print(&format!("{text}\n"));
                    return if self.wait { left(&lines) } else { Ok(()) };
                }
            }
        }
    }
}

/// Waits until the former process has left.
fn left(stream: &BufReader<UnixStream>) -> Result<(), String> {
    let stream = stream.get_ref();
    let ended = stream.set_read_timeout(None).and_then(|()| {
        let mut stream = stream;
        stream.read(&mut [0; 1])
    });
    ended.map_err(|error| format!("whether the former process has left is not known: {error}"))?;
    print("the former process has left\n");
    Ok(())
}
