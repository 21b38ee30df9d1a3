//! Schedules, interned by their reduced weights, so that a reload that leaves weights alone makes no new table.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::snapshot::Schedule;
use crate::snapshot::schedule::reduce;

#[derive(Debug)]
pub(super) struct Schedules {
    seed: u64,
    made: BTreeMap<Box<[u32]>, Weak<Schedule>>,
}

impl Schedules {
    pub(super) fn new(seed: u64) -> Self {
        Schedules { seed, made: BTreeMap::new() }
    }

    /// The schedule of some weights; `None` where they are all zero or over 256.
    pub(super) fn of(&mut self, weights: &[u32]) -> Option<Arc<Schedule>> {
        let key = reduce(weights);
        if let Some(schedule) = self.made.get(&key).and_then(Weak::upgrade) {
            return Some(schedule);
        }
        let schedule = Arc::new(Schedule::new(weights, self.seed)?);
        self.made.insert(key, Arc::downgrade(&schedule));
        Some(schedule)
    }

    /// Forgets the tables that no snapshot holds any more.
    pub(super) fn sweep(&mut self) {
        self.made.retain(|_, made| made.strong_count() > 0);
    }
}
