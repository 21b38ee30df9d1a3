//! A revision's time: from its swap to the end of its last request.
//!
//! Whoever works by a revision holds it, so it goes with the last of them; that is noted by what it drops. What is long
//! by nature, WebSockets and connections that are passed on, is told apart.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use trysail_routing::wire::Revision;

use super::active::Active;

/// Of those that have ended, so many are remembered.
const REMEMBERED: usize = 100;

/// Part of what is in force; dropped with its last holder.
#[derive(Debug, Default)]
pub(crate) struct Term {
    ended: Arc<Mutex<Option<Instant>>>,
    long: Arc<AtomicUsize>,
}

impl Term {
    /// Counts a connection that is long by nature, until the guard is dropped.
    pub(crate) fn long(&self) -> Long {
        self.long.fetch_add(1, Ordering::Relaxed);
        Long(self.long.clone())
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        *self.ended.lock() = Some(Instant::now());
    }
}

/// One long connection.
#[derive(Debug)]
pub(crate) struct Long(Arc<AtomicUsize>);

impl Drop for Long {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What was in force before.
#[derive(Default)]
pub(crate) struct Formers(Mutex<VecDeque<Former>>);

struct Former {
    revision: Revision,
    replaced: Instant,
    held: Weak<Active>,
    ended: Arc<Mutex<Option<Instant>>>,
    long: Arc<AtomicUsize>,
}

/// What a revision that was replaced still does.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) revision: Revision,
    /// From its replacement to the end of its last request; `None` while there are any.
    pub(crate) ended: Option<Duration>,
    /// Requests under way, without the long ones.
    pub(crate) requests: usize,
    /// WebSockets, and connections that are passed on.
    pub(crate) long: usize,
}

impl Formers {
    /// Notes that a revision is in force no more, as of now.
    pub(crate) fn replaced(&self, active: &Arc<Active>, now: Instant) {
        let mut formers = self.0.lock();
        formers.push_back(Former {
            revision: active.revision.clone(),
            replaced: now,
            held: Arc::downgrade(active),
            ended: active.term.ended.clone(),
            long: active.term.long.clone(),
        });
        let over = formers.len().saturating_sub(REMEMBERED);
        let mut ended = 0;
        formers.retain(|former| {
            let goes = ended < over && former.held.strong_count() == 0;
            ended += usize::from(goes);
            !goes
        });
    }

    /// All that are remembered, the oldest first.
    pub(crate) fn endings(&self) -> Vec<Ending> {
        let formers = self.0.lock();
        let ending = |former: &Former| {
            let ended = former.ended.lock().map(|at| at.saturating_duration_since(former.replaced));
            let long = former.long.load(Ordering::Relaxed);
            let requests = former.held.strong_count().saturating_sub(long);
            Ending { revision: former.revision.clone(), ended, requests, long }
        };
        formers.iter().map(ending).collect()
    }
}
