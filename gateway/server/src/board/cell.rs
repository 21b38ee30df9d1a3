//! What became of the requests of one target: how many ended, how many of them badly, and how long they took.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::{Counts, Histogram};
use crate::metrics::{Ended, Flag};

/// One target's requests. A request adds one to one atomic, or, where it is an error, to two.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    /// Those that were answered, by how long it took to the answer's end.
    answered: OnceLock<Box<Histogram>>,
    /// Those without a time that says anything: without an answer, turned into another protocol, connections.
    untimed: AtomicU64,
    errors: AtomicU64,
}

impl Cell {
    /// Counts a request that is over.
    pub(crate) fn tell(&self, ended: &Ended) {
        match ended.status {
            0 | 101 => _ = self.untimed.fetch_add(1, Ordering::Relaxed),
            _ => self.answered.get_or_init(|| Box::new(Histogram::new())).count(ended.duration),
        }
        if is_error(ended) {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a connection that was passed on, or could not be.
    pub(crate) fn connection(&self, good: bool) {
        self.untimed.fetch_add(1, Ordering::Relaxed);
        if !good {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many requests ended.
    pub(super) fn requests(&self) -> u64 {
        let answered = self.answered.get().map_or(0, |answered| answered.total());
        self.untimed.load(Ordering::Relaxed) + answered
    }

    /// What was counted so far.
    pub(crate) fn tally(&self) -> Tally {
        // Before the requests, so that there are never more errors than those.
        let errors = self.errors.load(Ordering::Relaxed);
        let mut times = Counts::default();
        if let Some(answered) = self.answered.get() {
            answered.add_to(&mut times);
        }
        let requests = self.untimed.load(Ordering::Relaxed) + times.total();
        Tally { requests, errors: errors.min(requests), times }
    }
}

/// What was counted of a target's requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    /// Requests that ended.
    pub(crate) requests: u64,
    /// Those of them that are errors.
    pub(crate) errors: u64,
    /// How long the others, and answered errors, took.
    pub(crate) times: Counts,
}

impl Tally {
    /// What came since `before`.
    pub(crate) fn since(&self, before: &Tally) -> Tally {
        Tally {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
            times: self.times.since(&before.times),
        }
    }

    /// With those of another.
    pub(crate) fn add(&mut self, other: &Tally) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.times.add(&other.times);
    }
}

/// Whether a request counts against its target: it was answered with 500 and over, by the endpoint or in its place; it
/// got no answer; or its answer broke off. A client that went away is nobody's error.
fn is_error(ended: &Ended) -> bool {
    match (ended.status, ended.flags.cause) {
        (500.., _) => true,
        (
            _,
            Flag::DownstreamConnectionTermination | Flag::DownstreamProtocolError | Flag::StreamIdleTimeout,
        ) => false,
        (0, _) => true,
        (_, cause) => cause != Flag::None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_counts_as_an_error() {
        for (status, cause, error) in [
            (200, Flag::None, false),
            (101, Flag::None, false),
            (404, Flag::None, false),
            (499, Flag::None, false),
            (500, Flag::None, true),
            (503, Flag::NoHealthyUpstream, true),
            (504, Flag::UpstreamTimeout, true),
            (0, Flag::UpstreamReset, true),
            (0, Flag::DownstreamConnectionTermination, false),
            (200, Flag::DownstreamConnectionTermination, false),
            // The head said that all is well, and then its body broke off.
            (200, Flag::UpstreamConnectionTermination, true),
            (200, Flag::UpstreamTimeout, true),
            (408, Flag::StreamIdleTimeout, false),
        ] {
            let cell = Cell::default();
            let duration = Duration::from_millis(3);
            cell.tell(&Ended { status, flags: cause.into(), duration, ..Ended::default() });
            let tally = cell.tally();
            assert_eq!((tally.requests, tally.errors), (1, u64::from(error)), "{status} {cause:?}");
            assert_eq!(tally.times.total(), u64::from(!matches!(status, 0 | 101)), "{status}");
        }
    }
}
