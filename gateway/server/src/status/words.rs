//! Words that status has of its own: moments, conditions, names.

use std::time::{SystemTime, UNIX_EPOCH};

use trysail_routing::decide::consent;
use trysail_routing::snapshot::{self, Match, Snapshot, Split, Test, ValueTest};

/// A moment as RFC 3339 has it, in UTC, to the millisecond.
pub(crate) fn time(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// The date of a day since 1970 (Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// What a block of conditions asks: `/reviews*`, `/cart method is "GET"`.
pub(super) fn conditions(block: &Match) -> String {
    let words = |test: &Test| match test {
        Test::Path(ValueTest::Exact(path)) => path.to_string(),
        Test::Path(ValueTest::Prefix(path)) => format!("{path}*"),
        test => consent(test),
    };
    let words: Vec<String> = block.conditions.iter().map(|condition| words(&condition.test)).collect();
    words.join(" ")
}

/// A target's short name: its subset, with its host where the split leads to several.
pub(crate) fn target(snapshot: &Snapshot, split: &Split, target: &snapshot::Target) -> String {
    crate::explain::target(snapshot, split, target)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(time(UNIX_EPOCH + Duration::from_millis(1)), "1970-01-01T00:00:00.001Z");
    }
}
