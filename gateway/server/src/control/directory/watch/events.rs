//! When to look at the tree again: what inotify's events mean and how long each is let settle. Nothing is
//! watched, looked at or waited for here: events and time come in as arguments.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, ModifyKind, RenameMode};

use super::super::tree::{self, Id};

/// What was heard since the tree was last looked at, and from where.
#[derive(Default)]
pub(super) struct Heard {
    /// The directories that inotify watches for us.
    pub(super) armed: HashMap<PathBuf, Armed>,
    /// Configured paths and what they lead to: these names count in whatever directory they stand.
    pub(super) names: HashSet<PathBuf>,
    /// The first and the last event that counted.
    burst: Option<(Instant, Instant)>,
    /// Whom they were about.
    about: About,
    /// Files that were written to and not closed, with the time of the last write.
    open: HashMap<PathBuf, Instant>,
}

/// A watched directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Armed {
    pub(super) id: Id,
    /// Whether it is part of the tree, so that every configuration file in it counts; else it only holds one
    /// of [`Heard::names`].
    pub(super) in_tree: bool,
}

/// How long nothing may have happened before files that were closed, renamed, made or removed are read: a
/// copy of several files is then one change.
pub(super) const QUIET: Duration = Duration::from_millis(30);

/// The same as long as all that happened is that one file was renamed into place or closed: there is nothing that it may
/// be one of. Who copies several makes the next before this is over. It is less than [`tree::YOUTH`], so what is read is looked
/// at once more.
pub(super) const ALONE: Duration = Duration::from_millis(8);

/// How long such events may put reading off altogether.
pub(super) const AT_MOST: Duration = Duration::from_millis(500);

/// How long a file that is still open may not have been written to. Half a file is often valid YAML, so this
/// wait has no end while writing goes on.
pub(super) const STILL: Duration = Duration::from_millis(300);

/// What a burst of events was about.
#[derive(Default)]
enum About {
    #[default]
    Nobody,
    /// One configuration file, which is there.
    One(PathBuf),
    /// Several, or who knows.
    Many,
}

impl About {
    /// Hears of an event, of which only those paths count that do; none where who knows.
    fn hear(&mut self, event: &Event, counts: impl Fn(&Path) -> bool) {
        let is_there = matches!(
            event.kind,
            EventKind::Access(_)
                | EventKind::Create(CreateKind::File)
                | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Name(_))
        );
        if !is_there || event.paths.is_empty() {
            *self = About::Many;
        }
        for path in event.paths.iter().filter(|path| counts(path)) {
            let is_scratch = path.file_name().is_some_and(|name| !tree::is_configuration(name));
            match self {
                // Where it was written before it was renamed.
                _ if is_scratch && !is_moved_to(event, path) => {}
                _ if is_moved_from(event) => *self = About::Many,
                About::One(one) if one == path => {}
                About::Nobody if !is_scratch => *self = About::One(path.clone()),
                _ => *self = About::Many,
            }
        }
    }
}

fn is_moved_from(event: &Event) -> bool {
    event.kind == EventKind::Modify(ModifyKind::Name(RenameMode::From))
}

/// Whether a path is where something was renamed to.
fn is_moved_to(event: &Event, path: &Path) -> bool {
    match event.kind {
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
            event.paths.last().is_some_and(|to| to == path)
        }
        EventKind::Modify(ModifyKind::Name(_)) => !is_moved_from(event),
        _ => false,
    }
}

enum News {
    Written,
    Closed,
    Touched,
    Named,
}

// === impl Heard ===

impl Heard {
    /// Takes in an event; whether it counts.
    ///
    /// Every `Access` but `Close(Write)` is what reading causes: to answer one is to read for ever.
    pub(super) fn hear(&mut self, event: &Event, now: Instant) -> bool {
        let news = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => News::Closed,
            EventKind::Access(_) => return false,
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => News::Written,
            EventKind::Modify(ModifyKind::Metadata(_)) => News::Touched,
            // Made, removed or renamed; or the queue was full and nobody knows.
            _ => News::Named,
        };
        if !event.paths.is_empty() && !event.paths.iter().any(|path| self.counts(path, &news)) {
            return false;
        }
        for path in &event.paths {
            match news {
                News::Written => _ = self.open.insert(path.clone(), now),
                News::Closed => _ = self.open.remove(path),
                News::Touched => {}
                News::Named => {
                    self.open.remove(path);
                    // inotify follows the directory, not its name: to be armed again if the name is there.
                    self.armed.remove(path);
                }
            }
        }
        let mut about = std::mem::take(&mut self.about);
        about.hear(event, |path| self.counts(path, &news));
        self.about = about;
        self.stir(now);
        true
    }

    fn counts(&self, path: &Path, news: &News) -> bool {
        let in_tree = |directory| self.armed.get(directory).is_some_and(|armed| armed.in_tree);
        let beside = path.parent().is_some_and(in_tree);
        self.names.contains(path)
            || match news {
                // A name of any kind may be a directory's, or a link's that others lead through.
                News::Named => beside || self.armed.contains_key(path),
                _ => beside && path.file_name().is_some_and(tree::is_configuration),
            }
    }

    /// Takes `path`, last changed `age` ago, for one that was written to and not closed, if that may be: it
    /// stands in a directory that was not watched, so its closing would have gone unheard.
    pub(super) fn suspect(&mut self, path: &Path, age: Duration, now: Instant) -> bool {
        let may_be_open = age < STILL;
        if may_be_open {
            self.open.insert(path.to_path_buf(), now.checked_sub(age).unwrap_or(now));
            self.stir(now);
        }
        may_be_open
    }

    fn stir(&mut self, now: Instant) {
        self.burst = Some((self.burst.map_or(now, |(first, _)| first), now));
    }

    /// When to look; `None` while nothing was heard.
    pub(super) fn due(&self) -> Option<Instant> {
        let (first, last) = self.burst?;
        let quiet = if matches!(self.about, About::One(_)) { ALONE } else { QUIET };
        let settled = (last + quiet).min(first + AT_MOST);
        let still = self.open.values().max().map(|written| *written + STILL);
        Some(still.map_or(settled, |still| still.max(settled)))
    }

    /// A file that is being written, if any.
    pub(super) fn unfinished(&self) -> Option<&Path> {
        self.open.keys().next().map(PathBuf::as_path)
    }

    /// Forgets what was heard, because the tree is looked at now.
    pub(super) fn clear(&mut self) {
        self.burst = None;
        self.about = About::Nobody;
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, MetadataKind, RemoveKind};

    use super::*;

    const OPENED: EventKind = EventKind::Access(AccessKind::Open(AccessMode::Any));
    const READ: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Read));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const TOUCHED: EventKind = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
    const RENAMED: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    const MOVED: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const REMOVED: EventKind = EventKind::Remove(RemoveKind::File);

    /// Events at milliseconds, and the millisecond at which the tree is due.
    type Row = (&'static str, &'static [(u64, EventKind, &'static str)], Option<u64>);

    const ROWS: &[Row] = &[
        ("reading", &[(0, OPENED, "/c/a.yaml"), (1, READ, "/c/a.yaml")], None),
        ("closed", &[(0, CLOSED, "/c/a.yaml")], Some(8)),
        ("renamed", &[(0, RENAMED, "/c/a.yaml")], Some(8)),
        ("written beside, and renamed", &[(0, CREATED, "/c/.a.new"), (4, RENAMED, "/c/a.yaml")], Some(12)),
        ("moved in from elsewhere", &[(0, RENAMED, "/c/a.yaml"), (0, MOVED, "/d/a.yaml /c/a.yaml")], Some(8)),
        ("two renamed", &[(0, RENAMED, "/c/a.yaml"), (2, RENAMED, "/c/b.yaml")], Some(32)),
        ("removed", &[(0, REMOVED, "/c/a.yaml")], Some(30)),
        ("made readable", &[(0, TOUCHED, "/c/a.yaml")], Some(30)),
        ("a directory", &[(0, EventKind::Create(CreateKind::Folder), "/c/sub")], Some(30)),
        ("lost events", &[(0, EventKind::Other, "")], Some(30)),
        ("one after the other", &[(0, CLOSED, "/c/a.yaml"), (20, CLOSED, "/c/b.yaml")], Some(50)),
        ("half a file", &[(0, CREATED, "/c/a.yaml"), (10, WRITTEN, "/c/a.yaml")], Some(310)),
        ("its other half", &[(0, WRITTEN, "/c/a.yaml"), (250, WRITTEN, "/c/a.yaml")], Some(550)),
        ("the whole", &[(0, WRITTEN, "/c/a.yaml"), (250, CLOSED, "/c/a.yaml")], Some(258)),
        ("half a file, then removed", &[(0, WRITTEN, "/c/a.yaml"), (9, REMOVED, "/c/a.yaml")], Some(39)),
        ("one whole, one half", &[(0, WRITTEN, "/c/a.yaml"), (90, CLOSED, "/c/b.yaml")], Some(300)),
        ("the configured file beside others", &[(0, CLOSED, "/d/one.conf")], Some(30)),
        ("a stranger beside it", &[(0, CLOSED, "/d/a.yaml"), (1, CREATED, "/d/b")], None),
        ("an editor's scratch file written", &[(0, WRITTEN, "/c/.a.swp"), (1, CLOSED, "/c/a.yaml~")], None),
        ("what a ConfigMap's mount swaps", &[(0, RENAMED, "/c/..data")], Some(30)),
        ("the directory itself", &[(0, REMOVED, "/c")], Some(30)),
    ];

    fn heard() -> Heard {
        let armed = |inode, in_tree| Armed { id: (1, inode), in_tree };
        Heard {
            armed: HashMap::from([("/c".into(), armed(1, true)), ("/d".into(), armed(2, false))]),
            names: HashSet::from(["/c".into(), "/d/one.conf".into()]),
            ..Heard::default()
        }
    }

    #[test]
    fn when_it_is_due() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        for (what, events, due) in ROWS {
            let mut heard = heard();
            for (ms, kind, path) in *events {
                let event = Event::new(*kind);
                let event = path.split_whitespace().fold(event, |event, path| event.add_path(path.into()));
                heard.hear(&event, at(*ms));
            }
            assert_eq!(heard.due(), due.map(at), "{what}");
        }
    }

    #[test]
    fn edits_without_end_are_put_off_for_half_a_second_and_writing_without_end_for_ever() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        for (kind, due) in [(RENAMED, 500), (CLOSED, 500), (WRITTEN, 2_300)] {
            let mut heard = heard();
            for ms in (0..=2_000).step_by(10) {
                heard.hear(&Event::new(kind).add_path("/c/a.yaml".into()), at(ms));
            }
            assert_eq!(heard.due(), Some(at(due)), "{kind:?}");
            heard.clear();
            assert_eq!(heard.due(), None);
        }
    }

    #[test]
    fn a_directory_that_was_renamed_or_removed_is_no_longer_armed() {
        for kind in [RENAMED, REMOVED] {
            let mut heard = heard();
            heard.hear(&Event::new(kind).add_path("/c".into()), Instant::now());
            assert!(!heard.armed.contains_key(Path::new("/c")));
        }
    }
}
