//! The socket at which an upgrade is asked for: a file that only the process's own user may open, and root, who are the
//! ones that could end and start it anyway. Whoever asks is looked at once more, as a file's rights can be changed.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::warn;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::{Handed, Label, UPGRADE};

/// The socket's name in its directory.
const NAME: &str = "upgrade.sock";

/// What is asked is at most so long, and comes within this time; what is answered is taken within it.
const LONGEST: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at a socket that can't be accepted from.
const PAUSE: Duration = Duration::from_secs(1);

/// The socket in a directory.
pub(crate) fn socket_in(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// What is asked for.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Ask {
    /// The program that is to run; without one the same as now, whatever its file holds by then.
    pub(crate) binary: Option<PathBuf>,
    /// Milliseconds that it may take to be ready.
    pub(crate) timeout: u64,
}

/// What the one who asks is told, a line of JSON each.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "is", rename_all = "camelCase")]
pub(crate) enum Told {
    /// How far it is.
    Step { text: String },
    /// Another process serves. This one's stream ends once the former has left.
    Done { text: String },
    /// Nothing has changed, and why.
    Failed { why: String },
}

/// Where upgrades are asked for.
#[derive(Debug)]
pub(crate) struct Door {
    listener: tokio::net::UnixListener,
}

impl Door {
    /// Opens one in a directory, or takes the former process's. Must be called on the runtime. The error says what to do.
    pub(crate) fn open(directory: &Path, handed: Option<OwnedFd>) -> Result<Self, String> {
        let path = socket_in(directory);
        let handed = handed.map(UnixListener::from);
        // Where the settings have moved it, it is another one.
        let handed =
            handed.filter(|socket| socket.local_addr().is_ok_and(|at| at.as_pathname() == Some(&*path)));
        let listener = match handed {
            Some(listener) => Ok(listener),
            None => bind(&path),
        };
        let listener = listener.and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::UnixListener::from_std(listener)
        });
        match listener {
            Ok(listener) => Ok(Door { listener }),
            Err(error) => Err(format!(
                "trysail upgrade will not find this process, as {} can't be opened: {error}; the setting runtime \
                 names a directory of its own",
                path.display()
            )),
        }
    }

    /// A copy of the socket.
    pub(crate) fn copy(&self) -> io::Result<Handed> {
        use std::os::fd::AsFd;
        let label = Label { what: UPGRADE.to_owned(), kept: false };
        Ok(Handed { label, socket: self.listener.as_fd().try_clone_to_owned()? })
    }

    /// The next one who asks, and may.
    pub(crate) async fn asked(&self) -> (Ask, Caller) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!("the socket for upgrades can't be accepted from: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let mut caller = Caller { stream: BufReader::new(stream) };
            match caller.ask().await {
                Ok(ask) => return (ask, caller),
                Err(why) => {
                    warn!("an upgrade was asked for and refused: {why}");
                    caller.tell(&Told::Failed { why }).await;
                }
            }
        }
    }
}

/// Binds the socket; one that nobody accepts from any more is in the way of nobody.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let bound = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::Error::other("it is there, and no socket"));
            }
            match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                _ => return Err(io::Error::other("another process has it")),
            }
            fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(bound)
}

/// Whoever asked.
#[derive(Debug)]
pub(crate) struct Caller {
    stream: BufReader<UnixStream>,
}

impl Caller {
    async fn ask(&mut self) -> Result<Ask, String> {
        let user = self.stream.get_ref().peer_cred().map_err(|error| error.to_string())?.uid();
        let ours = rustix::process::geteuid().as_raw();
        if !admits(ours, user) {
            return Err(format!("user {user} may not: this process is user {ours}'s"));
        }
        let mut line = Vec::new();
        let mut bytes = (&mut self.stream).take(LONGEST);
        let read = tokio::time::timeout(PATIENCE, bytes.read_until(b'\n', &mut line)).await;
        match read {
            Ok(Ok(_)) if line.ends_with(b"\n") => serde_json::from_slice(&line)
                .map_err(|error| format!("it was not asked as trysail upgrade asks: {error}")),
            _ => Err("nothing was asked for".to_owned()),
        }
    }

    /// Tells something. Who has gone need not be told.
    pub(crate) async fn tell(&mut self, told: &Told) {
        let Ok(mut line) = serde_json::to_vec(told) else { return };
        line.push(b'\n');
        let _ = tokio::time::timeout(PATIENCE, self.stream.get_mut().write_all(&line)).await;
    }
}

/// Whether a user may have a process of another one replaced.
fn admits(ours: u32, user: u32) -> bool {
    const ROOT: u32 = 0;
    user == ours || user == ROOT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_user_and_root_may_ask() {
        for (ours, user, may) in [(0, 0, true), (7, 7, true), (7, 0, true), (7, 8, false), (0, 7, false)] {
            assert_eq!(admits(ours, user), may, "{user} of {ours}");
        }
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = socket_in(folder.path());
        let held = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind(&path).unwrap_err().to_string().contains("another process has it"));
        drop(held);
        bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(bind(&path).unwrap_err().to_string().contains("no socket"));
        assert!(path.is_file());
    }
}
