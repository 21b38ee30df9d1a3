//! Medians, ranges and paired ratios of a handful of rounds.

use serde::Serialize;

/// A median with the least and the greatest value beside it: with seven rounds, that is all one can say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value; of an even number the mean of the middle two.
    pub median: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { median, min, max })
    }

    /// Of the ratios round by round, so that what slows a whole round down cancels out.
    #[must_use]
    pub fn of_ratios(subject: &[f64], other: &[f64]) -> Option<Self> {
        Spread::of(subject.iter().zip(other).map(|(subject, other)| subject / other))
    }
}

/// The value below which `share` of the sorted values lie; 0 of none.
#[must_use]
pub fn quantile(sorted: &[u32], share: f64) -> u32 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share).round() as usize).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_ratios_is_not_the_ratio_of_medians() {
        let ratio = Spread::of_ratios(&[10.0, 44.0, 12.0], &[10.0, 40.0, 10.0]).expect("three rounds");
        assert_eq!(ratio, Spread { median: 1.1, min: 1.0, max: 1.2 });
    }

    #[test]
    fn few_values() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!([quantile(&[], 0.5), quantile(&[7], 0.99), quantile(&[1, 2, 3], 0.5)], [0, 7, 2]);
    }
}
