//! The state of one endpoint, which balancers look at and requests count on.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// The state of one endpoint of one cluster.
#[derive(Debug, Default)]
pub struct EndpointState {
    active: AtomicU32,
    joined: OnceLock<Instant>,
    /// What outlier detection counts.
    pub(crate) streaks: Streaks,
    /// What it is left out for, a bit for each reason; 0 for nothing, which is all that most requests look at.
    out: AtomicU8,
    ejections: Mutex<Ejections>,
}

/// What a probe has said of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Nothing yet; the endpoint takes no traffic.
    #[default]
    Unknown,
    /// It succeeded `successThreshold` times in a row, and has not failed often enough since.
    Healthy,
    /// It failed `failureThreshold` times in a row, and has not succeeded often enough since.
    Unhealthy,
}

/// Whether an endpoint is there to answer; of several reasons why not, the first of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its probe fails.
    Unhealthy,
    /// Its probe has not said yet whether it is healthy.
    Pending,
    /// Outlier detection leaves it out.
    Ejected,
    /// It takes requests.
    Healthy,
}

impl State {
    /// All of them.
    pub const ALL: [State; 4] = [State::Unhealthy, State::Pending, State::Ejected, State::Healthy];

    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Unhealthy => "unhealthy",
            State::Pending => "pending",
            State::Ejected => "ejected",
            State::Healthy => "healthy",
        }
    }
}

/// Outlier detection leaves it out.
const EJECTED: u8 = 1;
/// Its probe fails.
const UNHEALTHY: u8 = 2;
/// Its probe has never succeeded often enough.
const NEW: u8 = 4;

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
    /// What the last one was for: how many in a row, of what.
    pub(crate) last: Option<(u32, &'static str)>,
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
        EndpointState { joined: now.into(), ..EndpointState::default() }
    }

    /// One that has a probe, and is left out until that has succeeded.
    pub(crate) fn pending() -> Self {
        EndpointState { out: NEW.into(), ..EndpointState::default() }
    }

    /// When it joined its cluster: where it has a probe, when that first succeeded. `None` where it was there when the
    /// cluster was first seen, or has not joined yet.
    pub fn joined(&self) -> Option<Instant> {
        self.joined.get().copied()
    }

    /// How many requests it is working on.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Whether balancers may choose it.
    pub fn is_available(&self) -> bool {
        self.out.load(Ordering::Relaxed) == 0
    }

    /// Whether its probe has never succeeded often enough, so that nothing may be sent to it, come what may.
    pub(crate) fn is_new(&self) -> bool {
        self.out.load(Ordering::Relaxed) & NEW != 0
    }

    /// Whether its probe, if it has one, says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.out.load(Ordering::Relaxed) & (UNHEALTHY | NEW) == 0
    }

    /// Whether outlier detection leaves it out.
    pub(crate) fn is_ejected(&self) -> bool {
        self.out.load(Ordering::Relaxed) & EJECTED != 0
    }

    /// Whether it is there to answer, as people see it.
    pub fn state(&self) -> State {
        match self.out.load(Ordering::Relaxed) {
            0 => State::Healthy,
            out if out & UNHEALTHY != 0 => State::Unhealthy,
            out if out & NEW != 0 => State::Pending,
            _ => State::Ejected,
        }
    }

    /// Notes what its probe says, `Healthy` where it has none; what of it is another now.
    pub(crate) fn set_health(&self, health: Health, now: Instant) -> Change {
        let before = self.out.load(Ordering::Relaxed);
        let (set, cleared) = match health {
            Health::Unknown => (NEW, UNHEALTHY),
            Health::Healthy => (0, NEW | UNHEALTHY),
            // One that has never been healthy stays new until it is.
            Health::Unhealthy => (UNHEALTHY, 0),
        };
        // It joins when it may first be sent something; later recoveries are none.
        if before & cleared & NEW != 0 {
            let _ = self.joined.set(now);
        }
        if cleared != 0 {
            self.out.fetch_and(!cleared, Ordering::Relaxed);
        }
        self.out.fetch_or(set, Ordering::Relaxed);
        let after = (before & !cleared) | set;
        Change { any: after != before, first: before & !after & NEW != 0 }
    }

    /// Until when outlier detection leaves it out; it comes back with the first sweep after. `None` where it is in.
    pub fn ejected_until(&self) -> Option<Instant> {
        self.ejections().until
    }

    /// What its last ejection was for: how many in a row, of what. `None` where it never was.
    pub fn ejected_for(&self) -> Option<(u32, &'static str)> {
        self.ejections().last
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
        match until {
            Some(_) => self.out.fetch_or(EJECTED, Ordering::Relaxed),
            None => self.out.fetch_and(!EJECTED, Ordering::Relaxed),
        };
    }

    /// Counts one request on it until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(self.clone())
    }
}

/// What an answer of its probe changed of an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    /// Whether anything, so that balancers have to be told.
    pub(crate) any: bool,
    /// Whether it is ready for the first time.
    pub(crate) first: bool,
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
