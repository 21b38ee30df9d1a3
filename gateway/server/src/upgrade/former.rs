//! The process that is replaced, as its successor sees it.

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use socket2::{SockRef, Type};

use super::channel::{receive, send};
use super::{FORMAT, Handed, Message, STAGE};

/// How long it is waited for; it answers at once, or is gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is said of a failure is at most so long, so that it fits into one message.
const LONGEST: usize = 8 << 10;

/// As what a process was started.
pub(crate) enum Stage {
    /// On its own.
    Alone,
    /// To start the successor, and to end.
    Launch(Former),
    /// To take another's place.
    Successor(Former),
}

/// The process before.
#[derive(Debug)]
pub(crate) struct Former {
    channel: OwnedFd,
}

/// What came of waiting.
enum Answer {
    Is(Message),
    /// It has ended without a word: killed, or crashed.
    Gone,
}

impl Stage {
    /// What the environment says. Standard input is then the way to the former process, and leads nowhere afterwards.
    /// Errs where it is not.
    pub(crate) fn find() -> Result<Stage, String> {
        let Some(stage) = env::var_os(STAGE) else { return Ok(Stage::Alone) };
        let wrong = |why: String| {
            format!(
                "{STAGE} is set, which only an upgrade does, and {why}; unset it to start trysail yourself"
            )
        };
        let input = io::stdin();
        let is_channel =
            UnixStream::from(input.as_fd().try_clone_to_owned().map_err(|it| wrong(it.to_string()))?);
        let socket = SockRef::from(&is_channel);
        if !socket.r#type().is_ok_and(|is| is == Type::SEQPACKET) {
            return Err(wrong("standard input is no socket of another trysail".to_owned()));
        }
        let _ = socket.set_read_timeout(Some(PATIENCE));
        let _ = socket.set_write_timeout(Some(PATIENCE));
        let former = Former { channel: is_channel.into() };
        match stage.to_str() {
            Some("launch") => Ok(Stage::Launch(former)),
            Some("take") => {
                let nothing = File::open("/dev/null");
                nothing
                    .and_then(|nothing| Ok(rustix::stdio::dup2_stdin(nothing)?))
                    .map_err(|error| wrong(format!("/dev/null can't be opened: {error}")))?;
                Ok(Stage::Successor(former))
            }
            _ => Err(wrong(format!("{} is no stage of one", stage.display()))),
        }
    }
}

impl Former {
    /// Starts the successor: this very command once more, as nobody's child as soon as we have ended.
    pub(crate) fn launch(&self) -> Result<(), String> {
        let mut words = env::args_os();
        let Some(program) = words.next() else { return Ok(()) };
        let started = Command::new(&program).args(words).env(STAGE, "take").stdin(Stdio::inherit()).spawn();
        started.map(drop).map_err(|error| {
            let why = format!("{} can't be started: {error}", program.display());
            self.failed(&why);
            why
        })
    }

    /// Says who we are, and takes its sockets; with them its process id and version.
    pub(crate) fn sockets(&self) -> Result<(Vec<Handed>, u32, String), String> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.say(&Message::Here { format: FORMAT, process: std::process::id(), version })?;
        let mut handed = Vec::new();
        loop {
            let received = receive(&self.channel).map_err(|error| format!("the former process: {error}"))?;
            match received {
                Some((Message::Sockets { process, version, sockets, more }, descriptors)) => {
                    if sockets.len() != descriptors.len() {
                        let (labels, sockets) = (sockets.len(), descriptors.len());
                        return Err(format!("the former process handed over {sockets} of {labels} sockets"));
                    }
                    let pairs = sockets.into_iter().zip(descriptors);
                    handed.extend(pairs.map(|(label, socket)| Handed { label, socket }));
                    if !more {
                        return Ok((handed, process, version));
                    }
                }
                Some((Message::Abort { why }, _)) => return Err(why),
                Some((other, _)) => return Err(format!("the former process said {other:?} first")),
                None => return Err("the former process ended before it handed anything over".to_owned()),
            }
        }
    }

    /// Says that there is nothing to wait for.
    pub(crate) fn failed(&self, why: &str) {
        let end = (0..=why.len().min(LONGEST)).rev().find(|at| why.is_char_boundary(*at));
        let why = why.get(..end.unwrap_or_default()).unwrap_or_default().to_owned();
        // Who has gone need not be told.
        let _ = self.say(&Message::Failed { why });
    }

    /// Says that all is there, and waits until it may be accepted from. Where it is gone we are all there is.
    pub(crate) fn ready(&self, revision: &str) -> Result<(), String> {
        let said = self.say(&Message::Ready { revision: revision.to_owned() });
        match self.hear(said)? {
            Answer::Is(Message::Accept) | Answer::Gone => Ok(()),
            Answer::Is(other) => Err(format!("the former process said {other:?} and not that all is ours")),
        }
    }

    /// Says that we accept, and waits until it has told the service manager of us.
    pub(crate) fn accepting(&self) -> Result<(), String> {
        let said = self.say(&Message::Accepting);
        match self.hear(said)? {
            Answer::Is(Message::Yours) | Answer::Gone => Ok(()),
            Answer::Is(other) => Err(format!("the former process said {other:?} and not that all is ours")),
        }
    }

    fn say(&self, message: &Message) -> Result<(), String> {
        send(&self.channel, message, &[])
            .map_err(|error| format!("the former process is not reached: {error}"))
    }

    fn hear(&self, said: Result<(), String>) -> Result<Answer, String> {
        use io::ErrorKind::{ConnectionReset, TimedOut, WouldBlock};
        match receive(&self.channel) {
            Ok(Some((Message::Abort { why }, _))) => Err(why),
            Ok(Some((message, _))) => said.map(|()| Answer::Is(message)),
            Ok(None) => Ok(Answer::Gone),
            Err(error) if error.kind() == ConnectionReset => Ok(Answer::Gone),
            Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => {
                Err(format!("the former process does not answer for {} s", PATIENCE.as_secs()))
            }
            Err(error) => Err(format!("the former process: {error}")),
        }
    }
}
