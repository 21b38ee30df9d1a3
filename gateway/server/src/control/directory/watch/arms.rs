//! Where inotify watches for us: each directory of the tree and those the roots stand in, and again where
//! one was replaced. What its events mean is in `events`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::super::tree::{Directory, Id, Stamp, Tree};
use super::events::Armed;
use super::{INTERVAL, Shared};

/// The watches that are set.
pub(super) struct Arms {
    /// `None` where inotify is not to be had: the clock does without.
    watcher: Option<RecommendedWatcher>,
    shared: Arc<Shared>,
    /// Whether it was said that events are missing.
    warned: bool,
}

// === impl Arms ===

impl Arms {
    /// No watch yet. Warns where there will never be one.
    pub(super) fn new(watcher: notify::Result<RecommendedWatcher>, shared: Arc<Shared>) -> Self {
        let mut arms = Arms { watcher: None, shared, warned: false };
        match watcher {
            Ok(watcher) => arms.watcher = Some(watcher),
            Err(error) => arms.warn(&error),
        }
        arms
    }

    /// Watches every directory of `tree` and those that hold the roots, and nothing else. Returns the
    /// directories of the tree that are newly watched.
    pub(super) fn arm(&mut self, roots: &[PathBuf], tree: &Tree) -> Vec<PathBuf> {
        let Some(watcher) = &mut self.watcher else { return Vec::new() };
        let wanted = wanted(roots, tree);
        let mut state = self.shared.state.lock();
        let armed = &mut state.heard.armed;
        let is_new = |(path, wanted): &(&PathBuf, &Armed)| armed.get(*path) != Some(*wanted);
        let new: Vec<_> = wanted.iter().filter(is_new).map(|(path, armed)| (path.clone(), *armed)).collect();
        let gone: Vec<_> = armed.keys().filter(|path| !wanted.contains_key(*path)).cloned().collect();
        // Noted before they are watched, so that the first event counts.
        *armed = wanted;
        state.heard.names = roots.iter().chain(tree.roots.iter().flatten()).cloned().collect();
        // notify's thread takes this lock when it tells: not to be held while it is asked for something.
        drop(state);
        // First all that go: a directory under another name is the same watch to inotify.
        for path in gone.iter().chain(new.iter().map(|(path, _)| path)) {
            // It errs where the directory was deleted, which notify saw before us.
            _ = watcher.unwatch(path);
        }
        let (mut done, mut failed, mut full) = (Vec::new(), Vec::new(), None);
        for (path, armed) in new {
            match full.is_none().then(|| watcher.watch(&path, RecursiveMode::NonRecursive)) {
                Some(Ok(())) if armed.in_tree => done.push(path),
                Some(Ok(())) => {}
                Some(Err(error)) if matches!(error.kind, ErrorKind::MaxFilesWatch) => {
                    full = Some(error);
                    failed.push(path);
                }
                // Gone already, or not ours to watch: tried again at the next look.
                Some(Err(_)) | None => failed.push(path),
            }
        }
        let mut state = self.shared.state.lock();
        failed.iter().for_each(|path| _ = state.heard.armed.remove(path));
        drop(state);
        if let Some(error) = full {
            self.warn(&error);
        }
        done
    }

    fn warn(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            let every = INTERVAL.as_millis();
            log::warn!(
                "inotify does not watch all of the configuration, which is looked at every {every} ms: {error} \
                 (limits: fs.inotify.max_user_watches, fs.inotify.max_user_instances)"
            );
        }
    }
}

/// The directories to watch: those of the tree, and those in which a root's name or what it leads to stands,
/// where an editor's renaming and a swap of the root itself are seen. Each real directory under one path,
/// since it is one watch to inotify.
fn wanted(roots: &[PathBuf], tree: &Tree) -> HashMap<PathBuf, Armed> {
    let in_tree = |d: &Directory| (d.path.clone(), Armed { id: d.id, in_tree: true });
    let mut wanted: HashMap<_, _> = tree.directories.iter().map(in_tree).collect();
    let mut ids: HashSet<Id> = tree.directories.iter().map(|directory| directory.id).collect();
    for path in roots.iter().chain(tree.roots.iter().flatten()).filter_map(|path| path.parent()) {
        let Ok(found) = fs::metadata(path) else { continue };
        let id = Stamp::of(&found).id;
        if found.is_dir() && ids.insert(id) {
            wanted.insert(path.to_path_buf(), Armed { id, in_tree: false });
        }
    }
    wanted
}
