//! How sure one may be of a quantile of times, whatever their distribution, and of the difference of two.
//!
//! The chance that at least k of n times lie below the true quantile is binomial, so two ranks hold the quantile between
//! them, and their times are the interval. A difference lies between those of opposite ends, where both intervals hold;
//! each is made at 97.5 %, so that both do in at least 95 % of cases (Bonferroni). That is wider than it had to be, and
//! true without a word on how times are distributed.

use super::histogram::Counts;
use super::interval::Interval;

/// What is left out at each side of one interval, so that two of them together hold in 95 %.
const TAIL: f64 = 0.0125;

/// The 98.75 % point of the normal distribution.
const Z: f64 = 2.241_402_727_604_945;

/// Up to so many expected on the smaller side, the binomial is summed; beyond, the normal distribution stands for it.
const SUMMED: f64 = 400.0;

/// How much greater a quantile of the first times is than that of the second, in milliseconds, and the interval of it.
/// `None` where there are too few of either to say.
pub(crate) fn difference(one: &Counts, other: &Counts, q: f64) -> Option<(f64, Interval)> {
    let apart = one.quantile(q)? - other.quantile(q)?;
    let (first, second) = (interval(one, q)?, interval(other, q)?);
    Some((apart, Interval { low: first.low - second.high, high: first.high - second.low }))
}

/// The interval of a quantile, in milliseconds, at 97.5 %. `None` where no rank is high or low enough: of 99 % with
/// fewer than 437 times.
pub(crate) fn interval(times: &Counts, q: f64) -> Option<Interval> {
    let (low, high) = ranks(times.total(), q)?;
    Some(Interval { low: times.at_rank(low)?.0, high: times.at_rank(high)?.1 })
}

/// The ranks, from 1, whose times hold a quantile between them.
fn ranks(n: u64, q: f64) -> Option<(u64, u64)> {
    let (all, few) = (n as f64, q.min(1.0 - q));
    if all * few > SUMMED {
        let half = Z * (all * q * (1.0 - q)).sqrt();
        let (low, high) = ((all * q - half).floor() - 1.0, (all * q + half).ceil() + 1.0);
        return (low >= 1.0 && high <= all).then_some((low as u64, high as u64));
    }
    // Of the smaller side, how many there may be at least, and at most.
    let (least, most) = (tail(n, few)?, head(n, few)?);
    let (least, most) = (least.checked_sub(1)?, most + 1);
    match q > 0.5 {
        true => (most < n).then_some((n - most, n - least)).filter(|(low, _)| *low >= 1),
        false => (least >= 1 && most <= n).then_some((least, most)),
    }
}

/// The greatest k with P(fewer than k) of at most [`TAIL`].
fn tail(n: u64, p: f64) -> Option<u64> {
    let mut below = 0.0;
    for (k, chance) in binomial(n, p) {
        below += chance;
        if below > TAIL {
            return Some(k).filter(|k| *k > 0);
        }
    }
    None
}

/// The smallest k with P(more than k) of at most [`TAIL`].
fn head(n: u64, p: f64) -> Option<u64> {
    let mut up_to = 0.0;
    binomial(n, p).find_map(|(k, chance)| {
        up_to += chance;
        (1.0 - up_to <= TAIL).then_some(k)
    })
}

/// Chances of 0, 1, 2, … hits, for as long as they can count.
fn binomial(n: u64, p: f64) -> impl Iterator<Item = (u64, f64)> {
    let odds = p / (1.0 - p);
    let first = (n as f64 * (-p).ln_1p()).exp();
    let next = move |&(k, chance): &(u64, f64)| {
        let more = (n.checked_sub(k)?) as f64 / (k + 1) as f64 * odds;
        (k < n).then_some((k + 1, chance * more))
    };
    std::iter::successors(Some((0, first)), next).take(4096)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::histogram::Histogram;
    use super::*;

    #[test]
    fn ranks_hold_the_quantile_as_often_as_they_say() {
        for (n, q, found) in [
            (0, 0.5, false),
            (5, 0.5, false),
            (20, 0.5, true),
            (436, 0.99, false),
            (2_000, 0.99, true),
            (39_000, 0.99, true),
            (41_000, 0.99, true),
            (790, 0.5, true),
            (810, 0.5, true),
            (10_000_000_000, 0.99, true),
        ] {
            let Some((low, high)) = ranks(n, q) else {
                assert!(!found, "{n} {q}");
                continue;
            };
            assert!(found && low >= 1 && high <= n && low < high, "{n} {q}: {low} to {high}");
            let middle = q * n as f64;
            assert!(low as f64 <= middle && middle <= high as f64, "{n} {q}: {low} to {high}");
            // Not wider than by half again what the normal distribution gives.
            let width = 2.0 * Z * (middle * (1.0 - q)).sqrt();
            assert!(((high - low) as f64) < 1.5 * width + 6.0, "{n} {q}: {low} to {high}, {width}");
        }
    }

    /// Times with a long tail, drawn by a seed.
    fn times(chance: &mut fastrand::Rng, n: u64, scale: f64) -> Counts {
        let histogram = Histogram::new();
        for _ in 0..n {
            let micros = scale * 1000.0 * (1.0 - chance.f64()).powf(-0.5);
            histogram.count(Duration::from_micros(micros as u64));
        }
        let mut counts = Counts::default();
        histogram.add_to(&mut counts);
        counts
    }

    #[test]
    fn at_least_ninety_five_of_a_hundred_differences_are_held() {
        let mut chance = fastrand::Rng::with_seed(34);
        for (q, n) in [(0.5_f64, 200), (0.99, 1_500)] {
            // The quantile of the distribution above is its scale by (1 − q)^−½ milliseconds.
            let truth = |scale: f64| scale * (1.0 - q).powf(-0.5);
            let held = (0..1000).filter(|_| {
                let (one, other) = (times(&mut chance, n, 3.0), times(&mut chance, n, 2.0));
                let (_, is) = difference(&one, &other, q).unwrap();
                is.holds(truth(3.0) - truth(2.0))
            });
            let held = held.count();
            assert!(held >= 950, "{q}: {held} of 1,000");
        }
        assert_eq!(difference(&times(&mut chance, 100, 1.0), &times(&mut chance, 9000, 1.0), 0.99), None);
    }
}
