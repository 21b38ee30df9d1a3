//! When a probe is asked: spread by chance, so that many endpoints are not asked at once.

use std::time::Duration;

use trysail_routing::snapshot::Probe;

/// From when an endpoint is known to the first question, by 64 random bits. What is asked soon lets a new endpoint take
/// its share soon, so this spreads little; the periods after it spread what was found together.
pub fn first_wait(probe: &Probe, lot: u64) -> Duration {
    probe.initial_delay + part(probe.period.min(SOON), lot)
}

/// From the beginning of one question to that of the next. Never over the period, so that what fails is left out within
/// `failureThreshold` periods.
pub fn wait(probe: &Probe, lot: u64) -> Duration {
    probe.period - part(probe.period / SPREAD, lot)
}

/// A part of a time, each as likely.
fn part(time: Duration, lot: u64) -> Duration {
    time.mul_f64((lot >> 11) as f64 / (1_u64 << 53) as f64)
}

/// First questions are spread over so long.
const SOON: Duration = Duration::from_millis(100);
/// Later ones over this part of the period.
const SPREAD: u32 = 10;
