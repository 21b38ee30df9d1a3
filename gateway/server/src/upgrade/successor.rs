//! The process that takes over, as the one that starts it sees it. Dropped before it has, it is told to end, and ended.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::channel::{MOST, pair, receive, send};
use super::{FORMAT, Handed, Message, STAGE};

/// What the service manager told this process alone.
const OURS: [&str; 4] = ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// How long the end of a launcher is waited for once its channel has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How this process was started, and another one would be.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    words: Vec<OsString>,
}

impl Program {
    /// To be called at the start, while the file that runs is still the one that was named.
    pub(crate) fn ours() -> io::Result<Self> {
        let mut words = env::args_os();
        // By the name that was given: a link may lead to another version by then.
        let named = words.next().map(PathBuf::from).filter(|name| name.parent() != Some(Path::new("")));
        let path = match named {
            Some(name) => std::path::absolute(name)?,
            None => env::current_exe()?,
        };
        Ok(Program { path, words: words.collect() })
    }
}

/// A process that is to take over.
#[derive(Debug)]
pub(crate) struct Successor {
    channel: UnixStream,
    launcher: Option<OwnedFd>,
    ended: Option<oneshot::Receiver<ExitStatus>>,
    itself: Option<OwnedFd>,
    /// Its id; 0 until it has said so.
    pub(crate) process: u32,
    /// Its version.
    pub(crate) version: String,
    has_all: bool,
}

impl Successor {
    /// Starts one. Must be called on the runtime. The error says what to do.
    pub(crate) fn start(program: &Program, binary: &Path) -> Result<Self, String> {
        let own = |error: io::Error| format!("no socket can be had for it: {error}");
        let (ours, theirs) = pair().map_err(own)?;
        let ours = std::os::unix::net::UnixStream::from(ours);
        ours.set_nonblocking(true).map_err(own)?;
        let channel = UnixStream::from_std(ours).map_err(own)?;
        let mut command = Command::new(binary);
        command.args(&program.words).env(STAGE, "launch").stdin(Stdio::from(theirs));
        for name in OURS {
            command.env_remove(name);
        }
        let mut launcher = command.spawn().map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => {
                    "; is it there for the service too, which may not see /home, /root and /tmp of others?"
                }
                io::ErrorKind::PermissionDenied => "; may the user of the service execute it? chmod 755",
                _ => "",
            };
            format!("{} can't be started: {error}{hint}", binary.display())
        })?;
        // Their end is theirs alone from here on: with it the channel ends.
        drop(command);
        let handle = pidfd_open(Pid::from_child(&launcher), PidfdFlags::empty()).ok();
        let (end, ended) = oneshot::channel();
        let waits = thread::Builder::new().name("launcher".to_owned()).spawn(move || {
            if let Ok(status) = launcher.wait() {
                let _ = end.send(status);
            }
        });
        let ended = waits.is_ok().then_some(ended);
        let version = String::new();
        Ok(Successor { channel, launcher: handle, ended, itself: None, process: 0, version, has_all: false })
    }

    /// Waits until it is there.
    pub(crate) async fn is_here(&mut self) -> Result<(), String> {
        match self.hear().await? {
            Message::Here { format: FORMAT, process, version } => {
                let id = i32::try_from(process).ok().and_then(Pid::from_raw);
                self.itself = id.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok());
                (self.process, self.version) = (process, version);
                Ok(())
            }
            Message::Here { format, version, .. } => Err(format!(
                "trysail {version} takes over by format {format}, and this one hands over by {FORMAT}; restart it instead"
            )),
            other => Err(format!("it said {other:?} first")),
        }
    }

    /// Gives it the sockets.
    pub(crate) async fn hand(&self, handed: &[Handed]) -> Result<(), String> {
        let (process, version) = (std::process::id(), env!("CARGO_PKG_VERSION"));
        // Where there is none it is told so.
        let mut parts = handed.chunks(MOST);
        let mut next = Some(parts.next().unwrap_or_default());
        while let Some(part) = next {
            next = parts.next();
            let message = Message::Sockets {
                process,
                version: version.to_owned(),
                sockets: part.iter().map(|one| one.label.clone()).collect(),
                more: next.is_some(),
            };
            let sockets: Vec<BorrowedFd<'_>> = part.iter().map(|one| one.socket.as_fd()).collect();
            self.say(&message, &sockets).await?;
        }
        Ok(())
    }

    /// Waits until it has read, compiled and bound everything; its revision.
    pub(crate) async fn is_ready(&mut self) -> Result<String, String> {
        match self.hear().await? {
            Message::Ready { revision } => Ok(revision),
            other => Err(format!("it said {other:?} and not that it is ready")),
        }
    }

    /// Lets it accept, and waits until it does.
    pub(crate) async fn accept(&mut self) -> Result<(), String> {
        self.say(&Message::Accept, &[]).await?;
        match self.hear().await? {
            Message::Accepting => Ok(()),
            other => Err(format!("it said {other:?} and not that it accepts")),
        }
    }

    /// From here on it is on its own.
    pub(crate) async fn has_all(&mut self) {
        self.has_all = true;
        // Where it has gone nothing can be mended here.
        let _ = self.say(&Message::Yours, &[]).await;
    }

    async fn say(&self, message: &Message, sockets: &[BorrowedFd<'_>]) -> Result<(), String> {
        let send = || send(&self.channel, message, sockets);
        let sent = self.channel.async_io(Interest::WRITABLE, send).await;
        sent.map_err(|error| format!("it is not reached: {error}"))
    }

    async fn hear(&mut self) -> Result<Message, String> {
        let heard = self.channel.async_io(Interest::READABLE, || receive(&self.channel)).await;
        match heard {
            Ok(Some((Message::Failed { why }, _))) => Err(why),
            Ok(Some((message, _))) => Ok(message),
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                Err(format!("what it says is not understood: {error}"))
            }
            Ok(None) | Err(_) => {
                // What was started ends by itself once the successor runs; before, its end says most.
                let ended = match (self.process, self.ended.take()) {
                    (0, Some(ended)) => {
                        tokio::time::timeout(LAST_WORDS, ended).await.ok().and_then(Result::ok)
                    }
                    _ => None,
                };
                let how = match ended {
                    Some(status) if !status.success() => format!(" ({})", told(status)),
                    _ => String::new(),
                };
                Err(format!("it ended before it was ready{how}; its log says why"))
            }
        }
    }
}

fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if self.has_all {
            return;
        }
        let why = "the former process goes on".to_owned();
        let _ = send(&self.channel, &Message::Abort { why }, &[]);
        // It has served nobody, so that there is nothing to end well.
        for process in [&self.launcher, &self.itself].into_iter().flatten() {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }
}
