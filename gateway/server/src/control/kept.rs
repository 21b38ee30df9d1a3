//! The last good revision, kept on disk, so that a start with broken files serves what served before.
//!
//! Kept are the documents that were read as objects, each with its file and line, and nothing else: no certificate and no
//! key, which objects only name, and no Secret that lies beside them. The file takes the old one's place in one step. It
//! is checked when it is read: what gives another revision than it says was not written by us, or not whole.

use std::borrow::Cow;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use log::{error, warn};
use serde::{Deserialize, Serialize};
use trysail_routing::origin::Piece;
use trysail_routing::wire::ConfigSet;

use crate::listener;

/// The file in the state directory.
const FILE_NAME: &str = "last-good.json";

/// What this version writes, and reads.
const FORMAT: u32 = 1;

/// A cluster's state is another with every Pod; it is written no more often than this.
const EVERY: Duration = Duration::from_secs(30);

/// Where the last good revision is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    directory: Option<PathBuf>,
    /// The revision that is there, where it is known.
    revision: String,
    /// What was said of not keeping one, so that it is not said with every edit.
    said: String,
    /// Whether another process is the one that keeps.
    held: bool,
    /// What is to be kept when it is time.
    waits: Option<Arc<ConfigSet>>,
    /// When it was begun last.
    began: Option<Instant>,
    /// Who is at it, and with what.
    writer: Option<(JoinHandle<Result<(), String>>, String)>,
}

/// A revision that was kept.
pub(super) struct Good {
    /// Its hash.
    pub(super) revision: String,
    pub(super) pieces: Vec<Piece>,
    /// When it was kept.
    pub(super) at: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct Page<'t> {
    format: u32,
    revision: Cow<'t, str>,
    pieces: Vec<KeptPiece<'t>>,
}

#[derive(Serialize, Deserialize)]
struct KeptPiece<'t> {
    file: Cow<'t, str>,
    line: u32,
    text: Cow<'t, str>,
}

impl Kept {
    /// Keeps in this directory; in none, nothing.
    pub(super) fn new(directory: Option<PathBuf>) -> Self {
        Kept { directory, ..Kept::default() }
    }

    /// Leaves it to another process, until that has given way. What it keeps is not ours to take, either.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Whether it is left to another process.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// Keeps a revision that is in force. That it can't be is said, and changes nothing else.
    pub(super) fn keep(&mut self, set: &ConfigSet) {
        let Some(directory) = &self.directory else { return };
        if self.held || self.revision == set.revision.hash() {
            return;
        }
        let result = write(directory, set, true);
        self.note(result, set.revision.hash());
    }

    /// Keeps a cluster's state, soon: it may be large, and nobody waits for the disk.
    pub(super) fn keep_soon(&mut self, set: &Arc<ConfigSet>) {
        if self.directory.is_some() && !self.held {
            self.waits = Some(set.clone());
        }
    }

    /// Writes what waits, on a thread of its own, if it is time.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.writer.as_ref().is_some_and(|(writer, _)| writer.is_finished()) {
            self.join();
        }
        let is_time = self.began.is_none_or(|began| now.saturating_duration_since(began) >= EVERY);
        if !is_time || self.writer.is_some() || self.held {
            return;
        }
        let (Some(set), Some(directory)) = (self.waits.take(), self.directory.clone()) else { return };
        if set.revision.hash() == self.revision {
            return;
        }
        self.began = Some(now);
        let revision = set.revision.hash().to_owned();
        let written =
            thread::Builder::new().name("keep".to_owned()).spawn(move || write(&directory, &set, false));
        match written {
            Ok(writer) => self.writer = Some((writer, revision)),
            Err(error) => self.note(Err(format!("no thread can be started: {error}")), &revision),
        }
    }

    /// Writes what waits, and waits for it: the process ends.
    pub(super) fn finish(&mut self) {
        self.join();
        self.began = None;
        self.tick(Instant::now());
        self.join();
    }

    fn join(&mut self) {
        if let Some((writer, revision)) = self.writer.take() {
            let result = writer.join().unwrap_or_else(|_| Err("a fault of trysail's own".to_owned()));
            self.note(result, &revision);
        }
    }

    /// Notes how it went.
    fn note(&mut self, result: Result<(), String>, revision: &str) {
        let directory = self.directory.as_deref().unwrap_or(Path::new(""));
        let said = match result {
            Ok(()) => {
                revision.clone_into(&mut self.revision);
                String::new()
            }
            Err(why) => format!(
                "the revision in force is not kept in {}: {why}; a start that can't read its own would not serve it",
                directory.display()
            ),
        };
        if !said.is_empty() && said != self.said {
            warn!("{said}");
        }
        self.said = said;
    }

    /// Whether there is something that a start could serve.
    pub(super) fn is_there(&self) -> bool {
        !self.held && self.directory.as_ref().is_some_and(|directory| directory.join(FILE_NAME).is_file())
    }

    /// The revision that is kept; `None` where there is none that can be used, which is said if there
    /// should be.
    pub(super) fn read(&mut self) -> Option<Good> {
        let path = self.directory.as_ref()?.join(FILE_NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                error!(
                    "the last good revision can't be read: {}: {}",
                    path.display(),
                    listener::reason(&error)
                );
                return None;
            }
        };
        match serde_json::from_slice::<Page<'_>>(&text) {
            Ok(page) if page.format == FORMAT => {
                let revision = page.revision.into_owned();
                self.revision.clone_from(&revision);
                let piece = |kept: KeptPiece<'_>| Piece {
                    file: kept.file.into(),
                    first_line: kept.line.into(),
                    text: kept.text.into(),
                };
                let at =
                    fs::metadata(&path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                Some(Good { revision, pieces: page.pieces.into_iter().map(piece).collect(), at })
            }
            Ok(page) => {
                error!(
                    "the last good revision is of format {}, and {FORMAT} is read: {}",
                    page.format,
                    path.display()
                );
                None
            }
            Err(error) => {
                error!("the last good revision is damaged: {}: {error}", path.display());
                None
            }
        }
    }

    /// What was kept is not what it says, or not good any more: the next revision is kept, whatever it is.
    pub(super) fn distrust(&mut self) {
        self.revision.clear();
    }
}

/// Writes beside the file that is there, and puts that in its place once it is on the disk. `of_files`: a piece may be a
/// list with whatever in it; a cluster's is one object, of a kind that is known.
fn write(directory: &Path, set: &ConfigSet, of_files: bool) -> Result<(), String> {
    let mut pieces: Vec<KeptPiece<'_>> = Vec::new();
    let mut last: Option<&Arc<Piece>> = None;
    for document in set.documents.iter() {
        // A list of several objects is one piece.
        if last.is_some_and(|last| Arc::ptr_eq(last, &document.piece)) {
            continue;
        }
        let piece = &document.piece;
        if of_files && names_a_secret(&piece.text) {
            return Err(format!("{}:{} has a Secret among its objects", piece.file, piece.first_line.get()));
        }
        pieces.push(KeptPiece {
            file: (*piece.file).into(),
            line: piece.first_line.get(),
            text: (*piece.text).into(),
        });
        last = Some(piece);
    }
    let page = Page { format: FORMAT, revision: set.revision.hash().into(), pieces };
    let text = serde_json::to_vec(&page).map_err(|error| error.to_string())?;
    put(directory, &text).map_err(|error| listener::reason(&error))
}

fn put(directory: &Path, text: &[u8]) -> io::Result<()> {
    // A process that takes over writes beside the one before it for a moment; each puts a whole file in place.
    let new = directory.join(format!(".{FILE_NAME}.{}.new", std::process::id()));
    // One that a crash left behind may have another's rights.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(FILE_NAME))?;
    fs::File::open(directory)?.sync_all()
}

/// Whether a list of objects has a Secret, which is not read, but would be written with the others.
fn names_a_secret(text: &str) -> bool {
    let kind = |line: &str| {
        let (_, after) = line.split_once("kind")?;
        let value = after.trim_start_matches(['"', '\'']).trim_start().strip_prefix(':')?;
        Some(value.trim_start().trim_start_matches(['"', '\'']).starts_with("Secret"))
    };
    text.lines().any(|line| kind(line).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use trysail_routing::diagnostic::Diagnostics;
    use trysail_routing::wire::{Limits, Reader};

    use super::*;

    fn set(text: &str) -> ConfigSet {
        let (file, text): (Arc<str>, Arc<str>) = ("conf/a.yaml".into(), text.into());
        Reader::new("default", Limits::default()).read([(&file, &text)], Diagnostics::default())
    }

    fn gateway(name: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec: {{servers: []}}\n"
        )
    }

    #[test]
    fn what_is_kept_is_read_as_the_same_revision() {
        let folder = tempfile::tempdir().unwrap();
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {tls.key: aGVsbG8=}\n";
        let set = set(&format!("{secret}---\n{}---\n{}", gateway("a"), gateway("b")));
        Kept::new(Some(folder.path().to_owned())).keep(&set);
        let path = folder.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).unwrap().contains("aGVsbG8="), "a Secret was kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left beside it");

        let good = Kept::new(Some(folder.path().to_owned())).read().expect("it is kept");
        let again = Reader::new("default", Limits::default()).read_pieces(&good.pieces);
        assert_eq!((again.revision.hash(), again.documents.len()), (&*good.revision, 2));
        assert!(good.at > SystemTime::UNIX_EPOCH);
        let first = again.documents.iter().next().expect("the first");
        assert_eq!(first.piece.first_line.get(), 5);
        assert_eq!(&*first.piece.file, "conf/a.yaml");
    }

    #[test]
    fn what_can_not_be_used_is_as_if_there_were_none() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(Some(folder.path().to_owned()));
        assert!(kept.read().is_none());
        for text in ["", "{", "[]", r#"{"format":2,"revision":"","pieces":[]}"#, "\0"] {
            fs::write(folder.path().join(FILE_NAME), text).unwrap();
            assert!(kept.read().is_none(), "{text}");
        }
        kept.keep(&set(&gateway("a")));
        assert!(kept.read().is_some());
        assert!(Kept::default().read().is_none());
    }

    #[test]
    fn nothing_is_written_while_another_process_keeps() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(Some(folder.path().to_owned()));
        kept.hold(true);
        kept.keep(&set(&gateway("a")));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        kept.hold(false);
        kept.keep(&set(&gateway("a")));
        assert!(kept.read().is_some());
    }

    #[test]
    fn a_clusters_state_is_kept_now_and_then_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(Some(folder.path().to_owned()));
        let sets = ["a", "b", "c"].map(|name| Arc::new(set(&gateway(name))));
        let began = Instant::now();
        kept.keep_soon(&sets[0]);
        kept.tick(began);
        kept.join();
        let known = |kept: &mut Kept| kept.read().map(|good| good.revision);
        assert_eq!(known(&mut kept).as_deref(), Some(sets[0].revision.hash()));
        // The next of them has to wait, and what comes after it takes its place.
        kept.keep_soon(&sets[1]);
        kept.tick(began + EVERY / 2);
        assert!(kept.writer.is_none());
        kept.keep_soon(&sets[2]);
        kept.tick(began + EVERY);
        kept.join();
        assert_eq!(known(&mut kept).as_deref(), Some(sets[2].revision.hash()));
        kept.keep_soon(&sets[1]);
        kept.finish();
        assert_eq!(known(&mut kept).as_deref(), Some(sets[1].revision.hash()));
        // What can't be written is no end, and is tried again.
        let mut kept = Kept::new(Some(folder.path().join("absent")));
        kept.keep_soon(&sets[0]);
        kept.finish();
        assert!(kept.said.contains("is not kept"));
    }

    #[test]
    fn a_list_with_a_secret_is_not_kept() {
        for (text, found) in [
            ("kind: Secret", true),
            ("- kind: \"Secret\"", true),
            ("{\"kind\": \"Secret\"}", true),
            ("kind: SecretStore", true),
            ("kind: Gateway", false),
            ("# kinds of Secrets", false),
        ] {
            assert_eq!(names_a_secret(text), found, "{text}");
        }
    }
}
