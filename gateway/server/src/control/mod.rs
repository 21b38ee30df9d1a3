//! From a source's texts to a revision in force: read, compile, open ports, swap. And nothing changed when it fails.
//!
//! One thread does all of it, one revision after another, away from the threads that serve requests.

mod begin;
mod changes;
mod cluster;
pub(crate) mod directory;
mod handover;
mod held;
mod isolate;
mod judge;
mod kept;
mod ports;
mod reload;
mod status;
mod translate;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use trysail_routing::diagnostic::Diagnostics;
use trysail_routing::origin::Piece;
use trysail_routing::wire::{ConfigSet, Reader};

pub(crate) use cluster::{Watched, secrets, wanted};
pub(crate) use reload::Reloader;

use crate::settings::{FILE_NAME, Settings, Written};
use crate::status::told::{ReloadOf, Source};
use crate::upgrade::Handed;

/// How often the files of certificates are looked at; they lie wherever a Gateway says.
const CREDENTIALS: Duration = Duration::from_secs(1);

/// Why the source is asked again.
#[derive(Debug)]
pub(crate) enum Wake {
    /// Something changed.
    Changed,
    /// Names have other addresses.
    Addresses,
    /// Somebody asked for it: by SIGHUP, or to be told what became of it.
    Asked(Option<oneshot::Sender<ReloadOf>>),
    /// A probe's answer wants the state reconciled.
    Ready,
    /// Another process is to take over: what it is to be given. Nothing is read or applied until the pause ends, so that
    /// no port is opened that it does not know of. With a word it is over for good, without one this process goes on.
    HandOver(oneshot::Sender<io::Result<Vec<Handed>>>, mpsc::Receiver<()>),
    /// The process ends.
    Stop,
}

impl Wake {
    /// As the history has it.
    fn source(&self) -> Source {
        match self {
            Wake::Asked(_) => Source::Signal,
            Wake::Addresses => Source::Names,
            Wake::Ready => Source::Endpoints,
            Wake::Changed | Wake::HandOver(..) | Wake::Stop => Source::Files,
        }
    }
}

/// What one reading of the directories gave.
pub(crate) enum Reading {
    /// Everything that is there, with what was found on the way.
    Set(ConfigSet),
    /// A directory itself can't be read, so nothing is known of what should be.
    Unreadable(Diagnostics),
}

/// The configured directories, and what was read of them before.
pub(crate) struct Directories {
    roots: Vec<PathBuf>,
    limits: directory::files::Limits,
    reader: Reader,
    /// The files that the reader has read.
    known: directory::files::Known,
    /// The settings' file, which may lie among them.
    written: Written,
}

impl Directories {
    pub(crate) fn new(roots: Vec<PathBuf>, settings: &Settings) -> Self {
        let reader = Reader::new(&settings.namespace, settings.reading());
        let limits =
            directory::files::Limits { max_file_bytes: settings.limits.file.0, ..Default::default() };
        let known = directory::files::Known::new();
        Directories { roots, limits, reader, known, written: settings.written.clone() }
    }

    /// The directories, as a person named them.
    pub(crate) fn name(&self) -> String {
        let names: Vec<String> = self.roots.iter().map(|root| root.display().to_string()).collect();
        names.join(", ")
    }

    /// Reads them anew, also those files that look as they did.
    pub(crate) fn read_all(&mut self) -> Reading {
        self.known.clear();
        self.read()
    }

    /// Reads what has changed of them.
    pub(crate) fn read(&mut self) -> Reading {
        let listing = directory::files::read(&self.roots, &self.limits, &self.known);
        if !listing.readable {
            return Reading::Unreadable(listing.findings);
        }
        // The process's own settings may lie beside the objects, and are none.
        let settings: Vec<String> =
            self.roots.iter().map(|root| root.join(FILE_NAME).display().to_string()).collect();
        let is_object = |text: &&directory::files::Text| !settings.iter().any(|name| **name == *text.name);
        let objects: Vec<&directory::files::Text> = listing.texts.iter().filter(is_object).collect();
        let texts = objects.iter().map(|text| (&text.name, text.text.as_ref()));
        let mut findings = listing.findings;
        if let Some(finding) = self.written.changed() {
            findings.push(finding);
        }
        // Nothing is known of what comes to grief.
        self.known.clear();
        let set = self.reader.read_changed(texts, findings);
        let looked = |text: &&directory::files::Text| Some((text.name.clone(), text.stamp?));
        self.known = objects.iter().filter_map(looked).collect();
        Reading::Set(set)
    }

    /// What was read of them before, and kept elsewhere.
    fn read_pieces(&mut self, pieces: &[Piece]) -> ConfigSet {
        self.known.clear();
        self.reader.read_pieces(pieces)
    }
}

/// Where the configuration comes from.
pub(crate) enum Origin {
    /// Directories on this machine.
    Files(Directories),
    /// The API server of a cluster.
    Cluster(Watched),
}

impl Origin {
    /// Reads it again and applies what it says.
    fn follow(&mut self, reloader: &mut Reloader, why: Wake) {
        match self {
            Origin::Files(directories) => reloader.follow(directories, why),
            Origin::Cluster(watched) => reloader.follow_cluster(watched, why),
        }
    }

    /// Has `changed` called when it says something else, for as long as what is given back is kept.
    fn watch(
        &self,
        changed: impl Fn() + Send + 'static,
    ) -> std::io::Result<Option<(directory::watch::Watch, directory::watch::Mark)>> {
        match self {
            Origin::Files(directories) => {
                let watch = directory::watch::Watch::start(directories.roots.clone(), changed)?;
                let mark = watch.mark(&directories.roots)?;
                Ok(Some((watch, mark)))
            }
            Origin::Cluster(watched) => {
                let (pending, changed) = (watched.pending(), Arc::new(Mutex::new(changed)));
                // Who is still at the change before asks for all that came since when it is done.
                let told = move || {
                    if !pending.swap(true, Ordering::AcqRel) {
                        changed.lock()();
                    }
                };
                if !watched.kept.is_empty() {
                    watched.cluster.on_told(told.clone());
                }
                watched.cluster.on_change(told);
                Ok(None)
            }
        }
    }
}

/// Follows the directories, or the cluster, until it is told to stop.
pub(crate) struct Follower {
    wake: mpsc::Sender<Wake>,
    thread: thread::JoinHandle<Reloader>,
    _watch: Option<directory::watch::Watch>,
}

impl Follower {
    /// Watches what the configuration comes from and applies what it says, on a thread of its own.
    pub(crate) fn start(mut origin: Origin, mut reloader: Reloader) -> std::io::Result<Self> {
        let (wake, woken) = mpsc::channel();
        let supervisor = reloader.supervisor().clone();
        let (changed, moved) = (wake.clone(), wake.clone());
        reloader.resolver().on_change(move || {
            let _ = moved.send(Wake::Addresses);
        });
        let watched = origin.watch(move || {
            let _ = changed.send(Wake::Changed);
        })?;
        let (watch, mark) = watched.unzip();
        let ready = wake.clone();
        reloader.wake_by(move || {
            let _ = ready.send(Wake::Ready);
        });
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            loop {
                reloader.remains.free();
                reloader.keep_what_waits(false);
                let wake = match woken.recv_timeout(CREDENTIALS) {
                    Ok(wake) => wake,
                    Err(mpsc::RecvTimeoutError::Timeout) if reloader.credentials_changed() => Wake::Changed,
                    Err(mpsc::RecvTimeoutError::Timeout) => continue,
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                };
                let mut ends = matches!(wake, Wake::Stop);
                let is_asked = matches!(wake, Wake::Asked(_));
                if is_asked {
                    supervisor.reloading();
                }
                // A fault of ours costs one reading, and is said; it does not end the following.
                let act = AssertUnwindSafe(|| match wake {
                    Wake::Stop => {}
                    Wake::Ready => reloader.reopen(),
                    Wake::Addresses => reloader.follow_names(),
                    Wake::HandOver(asker, pause) => {
                        // Who has gone need not be told, and ends the pause.
                        let _ = asker.send(reloader.hand_out());
                        ends = pause.recv().is_ok();
                    }
                    Wake::Changed | Wake::Asked(_) => {
                        mark.iter().for_each(|mark| mark.note());
                        origin.follow(&mut reloader, wake);
                    }
                });
                if catch_unwind(act).is_err() {
                    log::error!("a fault of trysail's own ended a reading; what is in force stays");
                }
                if ends {
                    break;
                }
                supervisor.status(&reloader.status());
                if is_asked {
                    supervisor.ready();
                }
            }
            reloader.keep_what_waits(true);
            reloader
        })?;
        Ok(Follower { wake, thread, _watch: watch })
    }

    /// Where to ask for a reading.
    pub(crate) fn waker(&self) -> mpsc::Sender<Wake> {
        self.wake.clone()
    }

    /// Stops following and hands back what was applied to; `None` where its thread has come to grief.
    pub(crate) fn stop(self) -> Option<Reloader> {
        let _ = self.wake.send(Wake::Stop);
        self.thread.join().ok()
    }
}
