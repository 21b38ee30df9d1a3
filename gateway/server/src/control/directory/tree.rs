//! What stands under the configured paths: the one walk that reading and watching share. No file is opened.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry, FileType, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What the configured paths held at one moment. Two walks are equal when nothing there has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// The real path of each root, in the order given; `None` where there is none.
    pub(super) roots: Vec<Option<PathBuf>>,
    /// Links to directories and their real paths, by path. Those of hidden names are noted, not entered:
    /// `..data` is what a ConfigMap mount swaps.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// Directories, each real one once, by path.
    pub(super) directories: Vec<Directory>,
    /// What is to be read, by path.
    pub(super) files: Vec<File>,
    /// What could not be looked at, by path.
    pub(super) faults: Vec<Fault>,
    /// Whether the walk stopped because there was more than it may hold.
    pub(super) cut_short: bool,
}

/// A directory's or file's identity: device and inode.
pub(super) type Id = (u64, u64);

/// A directory that was listed.
///
/// It carries no time: a name that comes or goes shows in what is listed, and an editor's swap file is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    /// The configured path joined with the names below it.
    pub(super) path: PathBuf,
    pub(super) id: Id,
}

/// A name that is to be read: a root that is no directory, or a configuration file's name inside one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    /// The configured path joined with the names below it.
    pub(super) path: PathBuf,
    /// What it is once links are followed. Never a directory.
    pub(super) kind: FileType,
    pub(super) stamp: Stamp,
    /// Whether it was configured itself.
    pub(super) is_root: bool,
}

/// What changes when a file does.
///
/// The time of the inode's change is among it: no tool can set it back, and a `chmod` that makes a file
/// readable moves nothing else. Reading moves neither time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(super) id: Id,
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A path that could not be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) path: PathBuf,
    pub(super) kind: io::ErrorKind,
    /// What the system says.
    pub(super) error: String,
    /// Whether it is a link that is there and leads nowhere.
    pub(super) is_dangling: bool,
    /// Whether it was configured itself.
    pub(super) is_root: bool,
}

/// Whether a file of this name in a directory is configuration.
pub(super) fn is_configuration(name: &OsStr) -> bool {
    let endings = ["yaml", "yml", "json"];
    let ending = Path::new(name).extension();
    !is_hidden(name) && ending.is_some_and(|e| endings.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Looks at every root and all below it, at most `max_entries` directories and files.
pub(super) fn walk(roots: &[PathBuf], max_entries: usize) -> Tree {
    let mut walk = Walk { max_entries, tree: Tree::default(), seen: HashSet::new(), linked: Vec::new() };
    for root in roots {
        walk.tree.roots.push(fs::canonicalize(root).ok());
        match fs::metadata(root) {
            Ok(found) if found.is_dir() => walk.enter(root, Stamp::of(&found).id),
            Ok(found) => walk.file(root.clone(), &found, true),
            Err(error) => walk.fault(root, &error, true),
        }
    }
    let Tree { links, directories, files, faults, .. } = &mut walk.tree;
    links.sort_unstable_by(|a, b| by_path(&a.0, &b.0));
    directories.sort_unstable_by(|a, b| by_path(&a.path, &b.path));
    files.sort_unstable_by(|a, b| by_path(&a.path, &b.path));
    faults.sort_unstable_by(|a, b| by_path(&a.path, &b.path));
    walk.tree
}

/// Two steps of a file's times: before Linux 6.13 they move by up to 10 ms, and what is written twice within
/// one step looks as if it were written once.
pub(super) const YOUTH: Duration = Duration::from_millis(20);

// === impl Tree ===

impl Tree {
    /// How many directories and files there are.
    pub(super) fn len(&self) -> usize {
        self.directories.len() + self.files.len()
    }

    /// Whether a root, or a link to a directory, led elsewhere in `before`. What came or went is no swap.
    pub(super) fn is_swapped(&self, before: &Tree) -> bool {
        let old = |path: &Path| before.links.binary_search_by(|link| by_path(&link.0, path)).ok();
        let mut roots = self.roots.iter().zip(&before.roots);
        roots.any(|(now, then)| now.is_some() && then.is_some() && now != then)
            || self.links.iter().any(|(path, now)| old(path).is_some_and(|at| before.links[at].1 != *now))
    }

    /// Whether a file was touched so shortly before `now` that the next touch might not show.
    pub(super) fn is_young(&self, now: SystemTime) -> bool {
        self.files.iter().any(|file| file.stamp.age(now) < YOUTH)
    }
}

// === impl Stamp ===

impl Stamp {
    /// The stamp of what `found` describes.
    pub(super) fn of(found: &Metadata) -> Self {
        Stamp {
            id: (found.dev(), found.ino()),
            size: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// How long the last change is past; 0 when the file system's clock is ahead of ours.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        let (seconds, nanos) = (u64::try_from(self.changed.0), u32::try_from(self.changed.1));
        let changed = Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0));
        now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(changed)
    }
}

// === impl Fault ===

impl Fault {
    /// What `error` says of `path`.
    pub(super) fn new(path: &Path, error: &io::Error, is_root: bool) -> Self {
        let kind = error.kind();
        let is_link = || fs::symlink_metadata(path).is_ok_and(|itself| itself.is_symlink());
        let is_dangling = kind == io::ErrorKind::NotFound && is_link();
        Fault { path: path.to_path_buf(), kind, error: error.to_string(), is_dangling, is_root }
    }

    /// Whether the name itself has gone since it was listed, as if it had never been there. A root's absence
    /// is always told.
    pub(super) fn is_vanished(&self) -> bool {
        self.kind == io::ErrorKind::NotFound && !self.is_dangling && !self.is_root
    }
}

// === impl Walk ===

struct Walk {
    max_entries: usize,
    tree: Tree,
    /// Directories that were met, so that a loop of links ends and overlapping roots are read once.
    seen: HashSet<Id>,
    /// Directories found through links: entered last, so that a real name wins over a link's.
    linked: Vec<(PathBuf, Id)>,
}

impl Walk {
    fn enter(&mut self, root: &Path, id: Id) {
        let mut plain = vec![(root.to_path_buf(), id)];
        while let Some((path, id)) = plain.pop().or_else(|| self.linked.pop()) {
            if self.seen.contains(&id) || self.is_full() {
                continue;
            }
            self.seen.insert(id);
            match fs::read_dir(&path) {
                Ok(entries) => {
                    let below = plain.len();
                    for entry in entries {
                        match entry.and_then(|entry| Ok((entry.file_type()?, entry))) {
                            Ok((kind, entry)) => self.entry(&entry, kind, &mut plain),
                            Err(error) => self.fault(&path, &error, path == root),
                        }
                    }
                    // The order in which a file system lists is its own; which alias of a directory is met
                    // first must not hang on it.
                    plain[below..].sort_unstable_by(|a, b| by_path(&b.0, &a.0));
                    self.linked.sort_unstable_by(|a, b| by_path(&b.0, &a.0));
                    self.tree.directories.push(Directory { path, id });
                }
                Err(error) => self.fault(&path, &error, path == root),
            }
        }
    }

    fn entry(&mut self, entry: &DirEntry, kind: FileType, plain: &mut Vec<(PathBuf, Id)>) {
        let (name, is_link) = (entry.file_name(), kind.is_symlink());
        let (hidden, configuration) = (is_hidden(&name), is_configuration(&name));
        if !is_link && (hidden || !(configuration || kind.is_dir())) {
            return;
        }
        let path = entry.path();
        let found = if is_link { fs::metadata(&path) } else { entry.metadata() };
        match found {
            Ok(found) if found.is_dir() => {
                if is_link && let Ok(real) = fs::canonicalize(&path) {
                    self.tree.links.push((path.clone(), real));
                }
                if !hidden {
                    let next = if is_link { &mut self.linked } else { plain };
                    next.push((path, Stamp::of(&found).id));
                }
            }
            Ok(found) if configuration => self.file(path, &found, false),
            Ok(_) => {}
            Err(_) if hidden => {}
            Err(error) => self.fault(&path, &error, false),
        }
    }

    fn file(&mut self, path: PathBuf, found: &Metadata, is_root: bool) {
        if !self.is_full() {
            let (kind, stamp) = (found.file_type(), Stamp::of(found));
            self.tree.files.push(File { path, kind, stamp, is_root });
        }
    }

    fn fault(&mut self, path: &Path, error: &io::Error, is_root: bool) {
        let fault = Fault::new(path, error, is_root);
        if !fault.is_vanished() {
            self.tree.faults.push(fault);
        }
    }

    fn is_full(&mut self) -> bool {
        self.tree.cut_short |= self.seen.len() + self.tree.files.len() >= self.max_entries;
        self.tree.cut_short
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'.')
}

/// By bytes: `Path`'s own order takes paths apart at each comparison.
fn by_path(a: &Path, b: &Path) -> std::cmp::Ordering {
    a.as_os_str().cmp(b.as_os_str())
}
