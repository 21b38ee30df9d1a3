//! The state of one endpoint, which balancers look at and requests count on.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The state of one endpoint of one cluster.
#[derive(Debug, Default)]
pub struct EndpointState {
    active: AtomicU32,
    joined: Option<Instant>,
    /// What outlier detection counts.
    pub(crate) streaks: Streaks,
    ejected: AtomicBool,
    ejections: Mutex<Ejections>,
}

/// Failures in a row, of each kind.
#[derive(Debug, Default)]
pub(crate) struct Streaks {
    /// Answers that count as an error.
    pub(crate) errors: Streak,
    /// Answers 502, 503 and 504.
    pub(crate) gateway: Streak,
    /// Tries without an answer, where they are counted by themselves.
    pub(crate) local: Streak,
}

/// How often something happened in a row.
#[derive(Debug, Default)]
pub(crate) struct Streak(AtomicU32);

/// What is remembered of an endpoint's ejections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ejections {
    /// When it may be back; `None` where it is in.
    pub(crate) until: Option<Instant>,
    /// How many times the base an ejection lasts.
    pub(crate) multiplier: u32,
}

impl Streak {
    /// Once more; how often in a row that is.
    pub(crate) fn grow(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// It has ended. Most of the time there is none, and then nothing is written.
    pub(crate) fn end(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }
}

impl Streaks {
    /// All of them have ended.
    pub(crate) fn end(&self) {
        [&self.errors, &self.gateway, &self.local].into_iter().for_each(Streak::end);
    }
}

impl EndpointState {
    /// An endpoint that joined its cluster at a time.
    pub(crate) fn joined_at(now: Instant) -> Self {
        EndpointState { joined: Some(now), ..EndpointState::default() }
    }

    /// When it joined its cluster; `None` where it was there when the cluster was first seen.
    pub fn joined(&self) -> Option<Instant> {
        self.joined
    }

    /// How many requests it is working on.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether balancers may choose it.
    pub fn is_available(&self) -> bool {
        !self.ejected.load(Ordering::Relaxed)
    }

    /// Until when outlier detection leaves it out; it comes back with the first sweep after. `None` where it is in.
    pub fn ejected_until(&self) -> Option<Instant> {
        self.ejections().until
    }

    /// What is remembered of its ejections. Locked by who ejects, sweeps or shows, and by no request.
    pub(crate) fn ejections(&self) -> MutexGuard<'_, Ejections> {
        self.ejections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves it out, or takes it back with all its streaks at an end.
    pub(crate) fn set_ejected(&self, until: Option<Instant>) {
        self.ejections().until = until;
        if until.is_none() {
            self.streaks.end();
        }
        self.ejected.store(until.is_some(), Ordering::Relaxed);
    }

    /// Counts one request on it until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(self.clone())
    }
}

/// One request on one endpoint. Dropping it is the only way to end it, so nothing can leak a count.
#[derive(Debug)]
pub struct Active(Arc<EndpointState>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_end_what_they_began() {
        let state = Arc::new(EndpointState::default());
        let guards = [(); 3].map(|()| state.begin());
        assert_eq!(state.active(), 3);
        drop(guards);
        assert_eq!(state.active(), 0);
    }
}
