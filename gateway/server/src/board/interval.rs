//! How sure one may be of a share that was counted: Wilson's interval, and Newcombe's for the difference of two.
//!
//! At 95 %: of a hundred streams whose requests are each drawn by a fixed chance, the interval holds that chance in
//! about 95. What it means where nothing is drawn is in `docs/decisions/0034-what-the-intervals-mean.md`.

/// The 97.5 % point of the normal distribution: 2.5 % are left out at either side.
pub(crate) const Z: f64 = 1.959_963_984_540_054;

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Interval {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Interval {
    pub(crate) fn holds(&self, value: f64) -> bool {
        // What is counted is exact, but for the last digits of what is made of it.
        (self.low - 1e-9..=self.high + 1e-9).contains(&value)
    }
}

/// Wilson's interval for the chance behind `hits` of `all` (Wilson 1927, without correction for continuity): from 0 to
/// 1. `None` where nothing was counted.
pub(crate) fn wilson(hits: u64, all: u64) -> Option<Interval> {
    if all == 0 {
        return None;
    }
    let (n, p) = (all as f64, hits.min(all) as f64 / all as f64);
    let z2 = Z * Z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // What was counted is always within, also where rounding would leave it out.
    Some(Interval { low: (middle - half).clamp(0.0, p), high: (middle + half).clamp(p, 1.0) })
}

/// How much greater the chance behind the first count is than that behind the second, and the interval of it: Newcombe's
/// hybrid score interval (Newcombe 1998, method 10). `None` where either has nothing.
pub(crate) fn difference(one: (u64, u64), other: (u64, u64)) -> Option<(f64, Interval)> {
    let (first, second) = (wilson(one.0, one.1)?, wilson(other.0, other.1)?);
    let (p1, p2) = (one.0 as f64 / one.1 as f64, other.0 as f64 / other.1 as f64);
    let apart = p1 - p2;
    let low = apart - ((p1 - first.low).powi(2) + (second.high - p2).powi(2)).sqrt();
    let high = apart + ((first.high - p1).powi(2) + (p2 - second.low).powi(2)).sqrt();
    Some((apart, Interval { low: low.max(-1.0), high: high.min(1.0) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(is: f64, wanted: f64) -> bool {
        (is - wanted).abs() < 5e-5
    }

    #[test]
    fn wilson_as_published() {
        // Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
        for (hits, all, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let Interval { low: is_low, high: is_high } = wilson(hits, all).unwrap();
            assert!(near(is_low, low) && near(is_high, high), "{hits}/{all}: {is_low} to {is_high}");
        }
        assert_eq!(wilson(0, 0), None);
        assert_eq!(wilson(7, 7).unwrap().high, 1.0);
        assert_eq!(wilson(0, 7).unwrap().low, 0.0);
        // More hits than all is a fault of who counts, and no reason to fall.
        assert!(wilson(9, 7).is_some_and(|it| it.low.is_finite() && it.high <= 1.0));
        assert!(wilson(u64::MAX / 2, u64::MAX).unwrap().holds(0.5));
    }

    #[test]
    fn difference_as_published() {
        // Newcombe 1998, "Interval estimation for the difference between independent proportions", table II, method 10.
        for (one, other, low, high) in [
            ((56, 70), (48, 80), 0.0524, 0.3339),
            ((9, 10), (3, 10), 0.1705, 0.8090),
            ((5, 56), (0, 29), -0.0381, 0.1926),
            ((0, 10), (0, 10), -0.2775, 0.2775),
            ((10, 10), (0, 10), 0.6075, 1.0),
        ] {
            let (_, is) = difference(one, other).unwrap();
            assert!(near(is.low, low) && near(is.high, high), "{one:?} {other:?}: {is:?}");
        }
        assert_eq!(difference((0, 0), (1, 2)), None);
    }

    /// How often the intervals hold the chance that the streams were drawn by, over chances and lengths as rollouts have
    /// them. By one chance and one length a share's interval can be anywhere from 92 to 98 %, for counts are whole.
    #[test]
    fn ninety_five_of_a_hundred_streams_are_held() {
        let mut chance = fastrand::Rng::with_seed(34);
        let (mut single, mut both, streams) = (0, 0, 20_000);
        for _ in 0..streams {
            let draw = |chance: &mut fastrand::Rng| {
                let (p, all) = (0.02 + 0.96 * chance.f64(), chance.u64(100..600));
                let hits = (0..all).filter(|_| chance.f64() < p).count() as u64;
                (p, (hits, all))
            };
            let ((p1, one), (p2, other)) = (draw(&mut chance), draw(&mut chance));
            single += u32::from(wilson(one.0, one.1).unwrap().holds(p1));
            both += u32::from(difference(one, other).unwrap().1.holds(p1 - p2));
        }
        for (what, held) in [("a share", single), ("a difference", both)] {
            let coverage = f64::from(held) / f64::from(streams);
            assert!((0.94..=0.96).contains(&coverage), "{what} is held in {coverage}");
        }
    }
}
