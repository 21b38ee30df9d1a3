//! How long to wait before asking again: longer each time, and never two processes at the same moment.

use std::time::Duration;

/// Waits that grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Pace {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Pace { first, most, failures: 0 }
    }

    /// The next wait: the first one doubled with each failure, up to the longest; half of it to one and a half, by `lot`
    /// in 0..1, so that a hundred gateways that lost one API server do not all come back at once.
    pub(crate) fn next(&mut self, lot: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.most).mul_f64(0.5 + lot.clamp(0.0, 1.0))
    }

    /// It went well.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let mut pace = Pace::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<u128> = (0..6).map(|_| pace.next(0.5).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        pace.reset();
        assert_eq!(pace.next(0.0).as_millis(), 50);
        assert_eq!(pace.next(1.0).as_millis(), 300);
        for _ in 0..100 {
            assert!(pace.next(1.0) <= Duration::from_millis(1500));
        }
    }
}
