//! Histograms with Istio's buckets: a value costs two additions, and finding its bucket a comparison.

use std::sync::atomic::{AtomicU64, Ordering};

/// Istio's buckets and the one without an end.
pub(super) const BUCKETS: usize = 20;

/// The upper bounds, as they are exported.
pub(super) const BOUNDS: [&str; BUCKETS] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000", "30000",
    "60000", "300000", "600000", "1800000", "3600000", "+Inf",
];

/// The bounds in a whole unit, and where to look for a value. From each bound to the next is twice as far or more, so
/// that of all values of so many binary digits there is one bound at most: a value is in the first bucket that its digits
/// leave open, or in the one behind it.
pub(super) struct Scale {
    bounds: [u64; BUCKETS],
    first: [u8; 65],
}

/// Of milliseconds, counted in microseconds.
pub(super) static MICROSECONDS: Scale = Scale::of(1000);

/// Of bytes.
pub(super) static BYTES: Scale = Scale::of(1);

impl Scale {
    const fn of(unit: u64) -> Scale {
        let whole = [
            1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000,
            1_800_000, 3_600_000,
        ];
        let mut bounds = [u64::MAX; BUCKETS];
        bounds[0] = unit / 2;
        let mut bucket = 0;
        while bucket < whole.len() {
            bounds[bucket + 1] = whole[bucket] * unit;
            bucket += 1;
        }
        let mut first = [0; 65];
        let mut digits = 1;
        while digits < 65 {
            let least = 1_u64 << (digits - 1);
            let mut bucket = 0;
            while bounds[bucket] < least {
                bucket += 1;
            }
            first[digits] = bucket as u8;
            digits += 1;
        }
        Scale { bounds, first }
    }

    /// The bucket of a value.
    fn bucket(&self, value: u64) -> usize {
        let first = usize::from(self.first[(u64::BITS - value.leading_zeros()) as usize]);
        first + usize::from(value > self.bounds[first])
    }
}

/// One histogram. How many values there were is the sum of the buckets.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    /// Adds a value in the scale's unit.
    pub(super) fn add(&self, scale: &Scale, value: u64) {
        if let Some(bucket) = self.buckets.get(scale.bucket(value)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }
}

/// Several histograms as one: how many values were up to each bound, the last of which has them all; and their sum.
pub(super) fn cumulated<'h>(all: impl Iterator<Item = &'h Histogram>) -> ([u64; BUCKETS], u64) {
    let (mut up_to, mut sum) = ([0; BUCKETS], 0);
    for histogram in all {
        let mut so_far = 0;
        for (count, bucket) in up_to.iter_mut().zip(&histogram.buckets) {
            so_far += bucket.load(Ordering::Relaxed);
            *count += so_far;
        }
        sum += histogram.sum.load(Ordering::Relaxed);
    }
    (up_to, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_it_is_not_over() {
        for (scale, unit) in [(&MICROSECONDS, 1000), (&BYTES, 1)] {
            let bounds = scale.bounds;
            let near = bounds.iter().flat_map(|bound| {
                [bound.saturating_sub(1), *bound, bound.saturating_add(1), bound / 3, bound.saturating_mul(2)]
            });
            for value in near.chain(0..2000) {
                let expected = bounds.iter().position(|bound| value <= *bound).unwrap();
                assert_eq!(scale.bucket(value), expected, "{value}");
            }
            for (bound, text) in bounds.iter().zip(BOUNDS).skip(1).take(BUCKETS - 2) {
                assert_eq!(*bound, text.parse::<u64>().unwrap() * unit);
            }
        }
        assert_eq!((MICROSECONDS.bounds[0], BYTES.bounds[0]), (500, 0));
    }

    #[test]
    fn buckets_are_cumulated_and_the_last_has_all() {
        let histograms = [Histogram::default(), Histogram::default()];
        [0, 1, 2].into_iter().for_each(|value| histograms[0].add(&BYTES, value));
        [7, 5_000_000].into_iter().for_each(|value| histograms[1].add(&BYTES, value));
        let (up_to, sum) = cumulated(histograms.iter());
        assert_eq!(up_to[..4], [1, 2, 3, 4]);
        assert_eq!((up_to[18], up_to[19], sum), (4, 5, 5_000_010));
    }
}
