//! Tickets: which turn of its schedule a request takes.
//!
//! A turn is one wait-free addition, whatever thread asks, so threads share one ledger and at every moment the
//! turns given out are a prefix of the schedule. That is what makes a split exact from the first request: the
//! schedule keeps every prefix within one request of its shares (`trysail_routing::snapshot::schedule`).

use std::sync::atomic::{AtomicU64, Ordering};

use trysail_routing::snapshot::Split;

/// The position of one split. Kept over reloads by the route's key and weights.
#[derive(Debug)]
pub struct Ticket {
    start: u64,
    taken: AtomicU64,
}

impl Ticket {
    /// A ticket that begins at the table's slot `start`.
    pub(crate) fn new(start: u64) -> Self {
        Ticket { start, taken: AtomicU64::new(0) }
    }

    /// Takes the next turn: the index of the target whose turn it is, in `split.targets`.
    pub fn take(&self, split: &Split) -> usize {
        let turn = self.taken.fetch_add(1, Ordering::Relaxed);
        split.schedule.target(self.start.wrapping_add(turn))
    }

    /// Whose the next turns are, without taking one.
    pub fn next<'s>(&self, split: &'s Split) -> impl Iterator<Item = usize> + 's {
        let first = self.start.wrapping_add(self.taken());
        (0..).map(move |turn| split.schedule.target(first.wrapping_add(turn)))
    }

    /// How many turns were taken: requests, not retries.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}
