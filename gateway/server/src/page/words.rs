//! How numbers and states are put: three figures, a unit, and a mark beside every colour.

use maud::{Markup, html};

use crate::render::thousands;
use crate::status::told::Estimate;

/// `89.9 %`; `–` where there is nothing to tell.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{share:.1} %"))
}

/// `89.2–90.6`.
pub(super) fn between(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(String::new, |Estimate { low, high, .. }| format!("{low:.1}–{high:.1}"))
}

/// `0.41 ms`, `3.1 ms`, `40 ms`, `1.25 s`, `61.5 s`; `–` for none.
pub(super) fn millis(time: Option<f64>) -> String {
    match time {
        None => "–".to_owned(),
        Some(time) if time.abs() < 1.0 => format!("{time:.2} ms"),
        Some(time) if time.abs() < 10.0 => format!("{time:.1} ms"),
        Some(time) if time.abs() < 1000.0 => format!("{time:.0} ms"),
        Some(time) if time.abs() < 10_000.0 => format!("{:.2} s", time / 1000.0),
        Some(time) => format!("{:.1} s", time / 1000.0),
    }
}

/// `4 min`, `3 h 12 min`, `2 d 5 h`.
pub(super) fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{} d {} h", thousands(days), hours % 24),
    }
}

/// A moment as people read it: `2026-01-02 03:04:05` of `2026-01-02T03:04:05.678Z`, with the whole beside it.
pub(super) fn moment(rfc3339: &str) -> Markup {
    let short = rfc3339.split('.').next().unwrap_or_default().replace('T', " ");
    html! { time datetime=(rfc3339) title=(rfc3339) { (short) } }
}

/// A verdict: a mark and the word.
pub(super) fn verdict(word: &str) -> Markup {
    let (class, mark) = match word {
        "on-ratio" => ("verdict good", "✓"),
        "off-ratio" => ("verdict bad", "✗"),
        "held" => ("verdict wait", "‖"),
        _ => ("verdict wait", "…"),
    };
    html! { span class=(class) { (mark) " " (word) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_figures_are_enough() {
        for (time, said) in [
            (None, "–"),
            (Some(0.412), "0.41 ms"),
            (Some(3.12), "3.1 ms"),
            (Some(40.2), "40 ms"),
            (Some(1250.0), "1.25 s"),
            (Some(61_500.0), "61.5 s"),
        ] {
            assert_eq!(millis(time), said);
        }
        for (seconds, said) in [
            (-1.0, "0 s"),
            (59.9, "59 s"),
            (240.0, "4 min"),
            (11_520.0, "3 h 12 min"),
            (190_800.0, "2 d 5 h"),
        ] {
            assert_eq!(age(seconds), said);
        }
        assert_eq!(percent(Some(89.94)), "89.9 %");
        assert_eq!(percent(None), "–");
        assert_eq!(between(Some(Estimate { value: 90.0, low: 89.2, high: 90.6 })), "89.2–90.6");
        assert!(moment("2026-01-02T03:04:05.678Z").into_string().contains(">2026-01-02 03:04:05<"));
    }
}
