//! Active health checks: which answers of a probe make an endpoint ready, and which make it unready.
//!
//! Sans-IO: the server asks, and tells how it was answered; time and chance come in as arguments. What is asked is a
//! [`Question`], one for each distinct address and probe, however many clusters have the endpoint: its answers hold for
//! all of them. A check outlives snapshots by its question. An endpoint that took traffic before it got its probe, or
//! another probe, goes on until that fails: else an edit of a probe would be answered 503 for as long as the first
//! answers take. One that is new takes nothing until its probe has succeeded.

pub(crate) mod checks;
mod pace;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use trysail_routing::snapshot::Probe;

use crate::endpoint::Health;
pub(crate) use checks::Checks;
pub use pace::{first_wait, wait};

/// What is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Of whom.
    pub address: SocketAddr,
    /// How.
    pub probe: Arc<Probe>,
}

/// What an answer led to.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// What the endpoint is now, where that is another than before, and how many answers in a row made it so.
    pub turned: Option<(Health, u32)>,
    /// The clusters that it is an endpoint of, by their indices in the snapshot, each once.
    pub clusters: Vec<usize>,
    /// Those that outlier detection had left it out of, and that have it back.
    pub returned: Vec<usize>,
    /// Whether the state has to be reconciled anew over the same snapshot: a cluster that was held has its first ready
    /// endpoint, or one begins to warm up.
    pub reconcile: bool,
}

/// The answers to one question so far.
#[derive(Debug, Default)]
pub(crate) struct Check(Mutex<Progress>);

#[derive(Debug, Default)]
pub(crate) struct Progress {
    health: Health,
    /// The kind of the last answer, and how many of it came in a row.
    good: bool,
    in_a_row: u32,
}

impl Check {
    /// One of an endpoint that takes traffic, or of one that is new.
    fn begin(takes_traffic: bool) -> Self {
        let health = if takes_traffic { Health::Healthy } else { Health::Unknown };
        Check(Mutex::new(Progress { health, ..Progress::default() }))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    /// Counts an answer; what the endpoint is now, if that is another, and after how many in a row.
    fn answer(&mut self, probe: &Probe, good: bool) -> Option<(Health, u32)> {
        self.in_a_row = if self.good == good { self.in_a_row.saturating_add(1) } else { 1 };
        self.good = good;
        let (becomes, threshold) = match good {
            true => (Health::Healthy, probe.success_threshold),
            false => (Health::Unhealthy, probe.failure_threshold),
        };
        if self.health == becomes || self.in_a_row < threshold {
            return None;
        }
        self.health = becomes;
        Some((becomes, self.in_a_row))
    }
}
