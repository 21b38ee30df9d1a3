//! How the share of an endpoint grows after it joined.

use std::time::Instant;

use trysail_routing::snapshot::policy::Warmup;

/// The factor of an endpoint's weight at `now`; 1 for one that was there from the start, or is warm.
pub(super) fn factor(warmup: &Warmup, joined: Option<Instant>, now: Instant) -> f64 {
    let Some(joined) = joined else { return 1.0 };
    let age = now.saturating_duration_since(joined);
    if age >= warmup.window {
        return 1.0;
    }
    let part = age.as_secs_f64() / warmup.window.as_secs_f64();
    part.powf(warmup.aggression.recip()).max(warmup.minimum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only differences count")]
    fn shares_grow_as_envoy_says() {
        let start = Instant::now();
        let warmup = |minimum, aggression| Warmup { window: Duration::from_secs(100), minimum, aggression };
        for (minimum, aggression, seconds, expected) in [
            (0.1, 1.0, 0, 0.1),
            (0.1, 1.0, 5, 0.1),
            (0.1, 1.0, 50, 0.5),
            (0.1, 2.0, 25, 0.5),
            (0.1, 0.5, 50, 0.25),
            (0.0, 1.0, 0, 0.0),
            (0.1, 1.0, 100, 1.0),
            (0.1, 1.0, 1000, 1.0),
        ] {
            let now = start + Duration::from_secs(seconds);
            let found = factor(&warmup(minimum, aggression), Some(start), now);
            assert!((found - expected).abs() < 1e-9, "{minimum} {aggression} {seconds}: {found}");
        }
        assert_eq!(factor(&warmup(0.1, 1.0), None, start), 1.0);
    }
}
