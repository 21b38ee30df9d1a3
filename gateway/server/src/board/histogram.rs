//! How long requests took, counted in buckets: each sixteenth of a doubling has one, so that a time is known to 3 %.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets in a doubling, and below that many microseconds one for each.
const FINE: usize = 16;

/// Buckets in all: up to 2^30 µs (18 minutes); whatever took longer is in the last.
pub(crate) const BUCKETS: usize = 27 * FINE;

const LONGEST: u64 = (1 << 30) - 1;

/// Counts by time. 3.4 KiB, so it is made with the first request.
#[derive(Debug)]
pub(super) struct Histogram([AtomicU64; BUCKETS]);

impl Histogram {
    pub(super) fn new() -> Self {
        Histogram([const { AtomicU64::new(0) }; BUCKETS])
    }

    pub(super) fn count(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(LONGEST);
        if let Some(bucket) = self.0.get(bucket(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn add_to(&self, counts: &mut Counts) {
        counts.0.resize(BUCKETS, 0);
        for (sum, bucket) in counts.0.iter_mut().zip(&self.0) {
            *sum += bucket.load(Ordering::Relaxed);
        }
    }
}

/// Counts as they were at one moment; empty where there was none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts(Vec<u64>);

impl Counts {
    /// How many there are.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What came since `before`.
    pub(crate) fn since(&self, before: &Counts) -> Counts {
        let was = before.0.iter().copied().chain(std::iter::repeat(0));
        Counts(self.0.iter().zip(was).map(|(now, was)| now.saturating_sub(was)).collect())
    }

    /// With those of another.
    pub(crate) fn add(&mut self, other: &Counts) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(sum, more)| *sum += more);
    }

    /// The time of a rank, from 1 for the shortest: the bounds of its bucket in milliseconds. `None` where there are
    /// fewer.
    pub(crate) fn at_rank(&self, rank: u64) -> Option<(f64, f64)> {
        let mut below = 0;
        let bucket = self.0.iter().position(|count| {
            below += count;
            rank >= 1 && below >= rank
        })?;
        let (low, high) = bounds(bucket);
        Some((low as f64 / 1000.0, high as f64 / 1000.0))
    }

    /// A quantile in milliseconds, from 0 to 1; `None` where there is nothing.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q * self.total() as f64).ceil().max(1.0) as u64;
        self.at_rank(rank).map(|(low, high)| f64::midpoint(low, high))
    }
}

/// The bucket of a time.
fn bucket(micros: u64) -> usize {
    let micros = micros.min(LONGEST);
    if micros < FINE as u64 {
        return micros as usize;
    }
    let doublings = (micros.ilog2() - FINE.ilog2()) as usize;
    doublings * FINE + (micros >> doublings) as usize
}

/// From where to where a bucket is, in microseconds.
fn bounds(bucket: usize) -> (u64, u64) {
    let doublings = (bucket / FINE).saturating_sub(1);
    let first = if bucket < FINE { bucket } else { FINE + bucket % FINE };
    ((first as u64) << doublings, (first as u64 + 1) << doublings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_its_bucket_and_known_to_three_percent() {
        let mut micros = 0_u64;
        while micros <= LONGEST {
            let (low, high) = bounds(bucket(micros));
            assert!(low <= micros && micros < high, "{micros}: {low} to {high}");
            let middle = f64::midpoint(low as f64, high as f64);
            assert!((middle - micros as f64).abs() <= 0.5 + 0.032 * micros as f64, "{micros}: {middle}");
            micros = micros + 1 + micros / 37;
        }
        assert_eq!(bucket(LONGEST), BUCKETS - 1);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for next in 1..BUCKETS {
            assert_eq!(bounds(next - 1).1, bounds(next).0, "no gap before {next}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let histogram = Histogram::new();
        (1..=1000).for_each(|milli| histogram.count(Duration::from_millis(milli)));
        let mut counts = Counts::default();
        assert_eq!(counts.quantile(0.5), None);
        histogram.add_to(&mut counts);
        assert_eq!(counts.total(), 1000);
        for (q, exact) in [(0.5, 500.0), (0.99, 990.0), (0.01, 10.0), (1.0, 1000.0)] {
            let found = counts.quantile(q).unwrap();
            assert!((found - exact).abs() <= 0.032 * exact, "{q}: {found}");
        }
        assert_eq!(counts.at_rank(0), None);
        assert_eq!(counts.at_rank(1001), None);
        assert_eq!(counts.since(&counts).total(), 0);
    }
}
