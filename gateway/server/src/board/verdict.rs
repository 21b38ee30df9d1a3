//! Whether a target gets the share that its weight says, in a word.

use super::interval::{Z, wilson};

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The share is within the interval of what was observed, and that is narrow enough to tell.
    OnRatio,
    /// It is not.
    OffRatio,
    /// Too few requests to tell.
    NotEnoughData,
    /// It has a weight, and gets nothing before an endpoint of it is ready.
    Held,
}

impl Verdict {
    /// As status and scripts have it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verdict::OnRatio => "on-ratio",
            Verdict::OffRatio => "off-ratio",
            Verdict::NotEnoughData => "not-enough-data",
            Verdict::Held => "held",
        }
    }
}

/// What is known of a target's share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// What it should be, from 0 to 1.
    pub(crate) due: f64,
    /// Requests of the target that ended.
    pub(crate) own: u64,
    /// Requests of all targets that ended.
    pub(crate) all: u64,
    /// Requests of all targets that are under way: so many may be missing on either side.
    pub(crate) open: u64,
}

/// Judges a share.
pub(crate) fn judge(share: Share) -> Verdict {
    let Share { due, own, all, open } = share;
    let Some(observed) = wilson(own, all) else { return Verdict::NotEnoughData };
    // The split itself is exact to one request; what has not ended yet may be whoever's.
    let explained = (due * all as f64 - own as f64).abs() <= 1.0 + open as f64;
    match observed.holds(due) || explained {
        false => Verdict::OffRatio,
        true if all < enough(due) => Verdict::NotEnoughData,
        true => Verdict::OnRatio,
    }
}

/// How many requests are enough to judge a share: so many that, were the smaller side half of what it should be or half
/// as much again, that would show. 16 for 50 %, 139 for 10 %, 1,522 for 1 %.
pub(crate) fn enough(due: f64) -> u64 {
    let small = due.min(1.0 - due);
    match small > 0.0 {
        true => (4.0 * Z * Z * (1.0 - small) / small).ceil() as u64,
        // All or nothing: one request shows it, and some more that it was no chance.
        false => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (due, own, all, open, word) in [
            (0.5, 0, 0, 0, Verdict::NotEnoughData),
            (0.5, 5, 10, 0, Verdict::NotEnoughData),
            (0.5, 8, 16, 0, Verdict::OnRatio),
            (0.1, 10, 100, 0, Verdict::NotEnoughData),
            (0.1, 14, 139, 0, Verdict::OnRatio),
            (0.1, 0, 139, 0, Verdict::OffRatio),
            (0.1, 808, 8_012, 0, Verdict::OnRatio),
            (0.1, 1_600, 8_000, 0, Verdict::OffRatio),
            // One that is missing is no deviation; twelve are, unless twelve are under way.
            (0.1, 99, 1_000_000, 0, Verdict::OffRatio),
            (0.5, 0, 1, 0, Verdict::NotEnoughData),
            (0.5, 8, 32, 0, Verdict::OffRatio),
            (0.5, 8, 32, 8, Verdict::OnRatio),
            (0.01, 15, 1_522, 0, Verdict::OnRatio),
            (0.01, 10, 1_000, 0, Verdict::NotEnoughData),
            (1.0, 16, 16, 0, Verdict::OnRatio),
            (0.0, 0, 16, 0, Verdict::OnRatio),
            (0.0, 100, 200, 0, Verdict::OffRatio),
        ] {
            assert_eq!(judge(Share { due, own, all, open }), word, "{own} of {all} for {due}");
        }
        assert_eq!([0.5, 0.9, 0.1, 0.01].map(enough), [16, 139, 139, 1_522]);
    }
}
