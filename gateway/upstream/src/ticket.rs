//! Tickets: which turn of its schedule a request takes.
//!
//! A turn is one wait-free addition, whatever thread asks, so threads share one ledger and at every moment the
//! turns given out are a prefix of the schedule. That is what makes a split exact from the first request: the
//! schedule keeps every prefix within one request of its shares (`trysail_routing::snapshot::schedule`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trysail_routing::snapshot::Schedule;

/// The position of one split. Kept over reloads by the route's key and effective weights.
#[derive(Debug)]
pub struct Ticket {
    /// By the weights that hold now: the split's own, but that targets which are held have none.
    schedule: Arc<Schedule>,
    start: u64,
    taken: AtomicU64,
}

impl Ticket {
    /// A ticket that begins where `hash` says.
    pub(crate) fn new(schedule: Arc<Schedule>, hash: u64) -> Self {
        Ticket { start: schedule.start(hash), schedule, taken: AtomicU64::new(0) }
    }

    /// Takes the next turn: the index of the target whose turn it is, in the split's targets.
    pub fn take(&self) -> usize {
        let turn = self.taken.fetch_add(1, Ordering::Relaxed);
        self.schedule.target(self.start.wrapping_add(turn))
    }

    /// Whose the next turns are, without taking one.
    pub fn next(&self) -> impl Iterator<Item = usize> + '_ {
        let first = self.start.wrapping_add(self.taken());
        (0..).map(move |turn| self.schedule.target(first.wrapping_add(turn)))
    }

    /// The slots that each target has in a cycle; none for one that is held.
    pub fn effective(&self) -> &[u32] {
        self.schedule.effective()
    }

    /// How many of its first `turns` turns are each target's. Whole cycles are as the weights say, so that only the
    /// broken one at the end is looked at.
    pub fn given(&self, turns: u64) -> Vec<u64> {
        let cycle = u64::from(self.schedule.cycle());
        let whole = |weight: &u32| u64::from(*weight) * (turns / cycle);
        let mut given: Vec<u64> = self.schedule.effective().iter().map(whole).collect();
        for turn in turns - turns % cycle..turns {
            if let Some(one) = given.get_mut(self.schedule.target(self.start.wrapping_add(turn))) {
                *one += 1;
            }
        }
        given
    }

    /// How many turns were taken: requests, not retries.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_what_was_taken() {
        for weights in [&[1][..], &[50, 50], &[90, 10], &[0, 3], &[1, 2, 4], &[9_973, 27]] {
            for hash in [0, 1, 0xdead_beef] {
                let schedule = Schedule::new(weights, 7).unwrap();
                let ticket = Ticket::new(Arc::new(schedule), hash);
                let mut counted = vec![0; weights.len()];
                for turn in 0..40_000_u64 {
                    if turn % 997 == 0 {
                        assert_eq!(ticket.given(ticket.taken()), counted, "{weights:?} after {turn}");
                    }
                    counted[ticket.take()] += 1;
                }
            }
        }
    }
}
