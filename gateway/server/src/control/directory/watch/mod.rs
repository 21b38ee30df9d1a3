//! Tells when the configured paths may have changed. What they hold is read elsewhere.
//!
//! Events alone don't do: a link swapped in the configured path itself, a directory deleted and made again,
//! or a file that is reached through a link, raise none. Looking alone takes half a second to see an edit and
//! can't tell half a file. So events say when to look, the clock looks all the same, and only a difference
//! between two looks counts, which also keeps what reading itself causes from being an edit. Refused: notify's
//! debouncer, which waits as long for a rename as for half a file; its recursive watch, which enters hidden
//! directories and whatever links lead to.

mod arms;
mod events;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use notify::RecommendedWatcher;
use parking_lot::{Condvar, Mutex};

use self::arms::Arms;
use self::events::Heard;
use super::tree::{self, Tree};

/// A thread that watches until this is dropped. Dropping waits for a call that is running.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Calls `changed`, from a thread of its own, whenever the tree under `roots` is not what it was at the
    /// last call (at first: when this returns, so the first reading comes after) and has settled.
    ///
    /// Settled: nothing was renamed, made, removed or closed for 30 ms, or such events have gone on for
    /// 500 ms, and no file that is open was written to for 300 ms. What raised no event is seen within 250 ms
    /// (over 500 files later, in proportion) and counts at once where a link leads elsewhere, else when
    /// the next look agrees. Errs when no thread can be had, or a relative root stands nowhere.
    pub(crate) fn start(roots: Vec<PathBuf>, changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let told = shared.clone();
        let watcher = notify::recommended_watcher(move |event| told.tell(event));
        Self::start_with(watcher, shared, roots, changed)
    }

    fn start_with(
        watcher: notify::Result<RecommendedWatcher>,
        shared: Arc<Shared>,
        roots: Vec<PathBuf>,
        changed: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let roots = roots.into_iter().map(std::path::absolute).collect::<io::Result<Vec<_>>>()?;
        let mut lookout = Lookout::new(watcher, shared.clone(), roots);
        let body = move || {
            while let Some(woken) = lookout.wait() {
                if lookout.look(woken) {
                    changed();
                }
            }
        };
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(body)?;
        Ok(Watch { shared, thread: Some(thread) })
    }

    /// For who reads when this calls.
    pub(crate) fn mark(&self, roots: &[PathBuf]) -> io::Result<Mark> {
        let roots = roots.iter().map(std::path::absolute).collect::<io::Result<_>>()?;
        Ok(Mark { shared: self.shared.clone(), roots })
    }
}

/// What is about to be read counts as what was called for: a call comes once the tree is another.
///
/// Without it, something that is made just before a reading and undone just after it would have been read, and no look
/// would find a difference.
pub(crate) struct Mark {
    shared: Arc<Shared>,
    roots: Vec<PathBuf>,
}

impl Mark {
    /// Notes the tree as it is. To be called before a reading.
    pub(crate) fn note(&self) {
        let print = Fingerprint::of(tree::walk(&self.roots, MAX_ENTRIES));
        self.shared.state.lock().read = Some(print);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.woken.notify_all();
        // Dropped by `changed` itself, it can't wait for its own end.
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != thread::current().id()) {
            // A panic was reported on its thread.
            _ = thread.join();
        }
    }
}

/// What the watch's owner, its thread and inotify's thread share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    heard: Heard,
    /// What was read since the last look, in place of what was called for.
    read: Option<Fingerprint>,
    stopped: bool,
}

impl Shared {
    fn tell(&self, event: notify::Result<notify::Event>) {
        // What could not be read may have been anything.
        let event = event.unwrap_or_else(|_| notify::Event::new(notify::EventKind::Other));
        if self.state.lock().heard.hear(&event, Instant::now()) {
            self.woken.notify_all();
        }
    }
}

/// Why the thread woke.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// What was heard has settled.
    Settled,
    /// It is time to look; `quiet` when nothing was heard that hasn't settled.
    Clock { quiet: bool },
}

/// The thread's own: what is watched and what was last seen.
struct Lookout {
    roots: Vec<PathBuf>,
    arms: Arms,
    shared: Arc<Shared>,
    /// What was last called for.
    last: Fingerprint,
    /// What the last look saw, where that is not `last`.
    seen: Option<Tree>,
    /// Since when the tree has not been `last`, or the last warning of it.
    waiting: Option<Instant>,
    next_look: Instant,
}

/// The tree at one moment. A young one equals no other of the same tree once that has aged, and so is looked
/// at again: a change within the same step of the file system's clock would not show.
#[derive(Default, PartialEq, Eq)]
struct Fingerprint {
    tree: Tree,
    young: bool,
}

impl Fingerprint {
    fn of(tree: Tree) -> Self {
        let young = tree.is_young(SystemTime::now());
        Fingerprint { tree, young }
    }
}

/// How often the clock looks. A look costs 2 ms for 1,000 files, so in larger trees it comes less often: half a second
/// for 1,000, five for 10,000, which holds what an idle process costs at 0.4 % of a core.
const INTERVAL: Duration = Duration::from_millis(250);
const FILES_PER_INTERVAL: usize = 500;

/// It comes at the latest after this, however many files there are.
const LATEST: Duration = Duration::from_secs(30);

/// Ten times what may be read unless the settings say more; what is beyond isn't watched.
const MAX_ENTRIES: usize = 1_000_000;

/// After how long of writing without a pause somebody is told.
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Lookout ===

impl Lookout {
    fn new(watcher: notify::Result<RecommendedWatcher>, shared: Arc<Shared>, roots: Vec<PathBuf>) -> Self {
        let arms = Arms::new(watcher, shared.clone());
        let (last, seen, waiting, next_look) = (Fingerprint::default(), None, None, Instant::now());
        let mut lookout = Lookout { roots, arms, shared, last, seen, waiting, next_look };
        lookout.last = lookout.survey().0;
        if lookout.last.young {
            // Files just made, as a test or a start script does, would otherwise be an edit for having aged.
            thread::sleep(tree::YOUTH);
            lookout.last = lookout.survey().0;
        }
        lookout.next_look += lookout.interval();
        lookout
    }

    /// Sleeps until there is reason to look; `None` at the end.
    fn wait(&mut self) -> Option<Woken> {
        let mut state = self.shared.state.lock();
        loop {
            let (now, due) = (Instant::now(), state.heard.due());
            if state.stopped {
                return None;
            }
            if due.is_some_and(|due| due <= now) {
                state.heard.clear();
                return Some(Woken::Settled);
            }
            if self.next_look <= now {
                return Some(Woken::Clock { quiet: due.is_none() });
            }
            self.shared
                .woken
                .wait_until(&mut state, due.map_or(self.next_look, |due| due.min(self.next_look)));
        }
    }

    /// Looks, and says whether to call.
    fn look(&mut self, woken: Woken) -> bool {
        let (now, new) = self.survey();
        self.next_look = Instant::now() + self.interval();
        if let Some(read) = self.shared.state.lock().read.take() {
            self.last = read;
        }
        if now == self.last {
            (self.seen, self.waiting) = (None, None);
            return false;
        }
        let swapped = now.tree.is_swapped(&self.last.tree);
        // Where a link was swapped, what it leads to was made before.
        let unheard = !swapped && self.suspect(&now.tree, &new);
        let ready = match woken {
            Woken::Settled => !unheard,
            Woken::Clock { quiet: false } => false,
            Woken::Clock { quiet: true } if swapped => !now.young,
            Woken::Clock { quiet: true } => !unheard && self.seen.as_ref() == Some(&now.tree),
        };
        if ready {
            // Before the call: what changes while it reads is a difference at the next look.
            (self.last, self.seen, self.waiting) = (now, None, None);
        } else {
            self.seen = Some(now.tree);
            self.warn_when_late();
        }
        ready
    }

    /// Walks the tree and watches what of it isn't watched yet. Returns the newly watched directories too.
    fn survey(&mut self) -> (Fingerprint, HashSet<PathBuf>) {
        let mut all_new = HashSet::new();
        let mut tree = tree::walk(&self.roots, MAX_ENTRIES);
        // What came between a walk and the watch raised no event. Three floors of directories made meanwhile
        // suffice: the clock finds the rest.
        for _ in 0..3 {
            let new = self.arms.arm(&self.roots, &tree);
            if new.is_empty() {
                break;
            }
            all_new.extend(new);
            tree = tree::walk(&self.roots, MAX_ENTRIES);
        }
        (Fingerprint::of(tree), all_new)
    }

    /// Whether a file in a newly watched directory may still be open, so shortly ago was it changed. It is
    /// then waited for as one that was heard.
    fn suspect(&self, tree: &Tree, new: &HashSet<PathBuf>) -> bool {
        let (clock, now) = (SystemTime::now(), Instant::now());
        let is_new = |path: &Path| path.parent().is_some_and(|directory| new.contains(directory));
        let heard = &mut self.shared.state.lock().heard;
        let mut any = false;
        for file in tree.files.iter().filter(|file| is_new(&file.path)) {
            any |= heard.suspect(&file.path, file.stamp.age(clock), now);
        }
        any
    }

    fn interval(&self) -> Duration {
        let times = self.last.tree.len().div_ceil(FILES_PER_INTERVAL).max(1);
        INTERVAL.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)).min(LATEST)
    }

    fn warn_when_late(&mut self) {
        let now = Instant::now();
        let since = *self.waiting.get_or_insert(now);
        if now - since >= PATIENCE {
            self.waiting = Some(now);
            let state = self.shared.state.lock();
            let what = state.heard.unfinished().unwrap_or(Path::new("the configuration")).display();
            log::warn!("{what} is being written to without a pause; no change is read until it is done");
        }
    }
}

#[cfg(test)]
mod tests;
