//! Waiting for a condition with a deadline, instead of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

/// Polls `condition` every 5 ms until it holds.
///
/// # Panics
///
/// When it does not hold within `deadline`, naming `what`. It is tried once more after the deadline, so a test
/// that the machine starved does not fail for that alone.
#[track_caller]
pub fn eventually(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    assert!(holds_within(deadline, &mut condition), "not within {deadline:?}: {what}");
}

/// Polls `condition` every 5 ms; whether it held before the deadline or at a last try after it.
pub(crate) fn holds_within(deadline: Duration, condition: &mut dyn FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        let last = start.elapsed() >= deadline;
        if condition() {
            return true;
        }
        if last {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_once_the_condition_holds() {
        let mut tries = 0;
        eventually(Duration::from_secs(10), "the third try", || {
            tries += 1;
            tries == 3
        });
        assert_eq!(tries, 3);
    }

    #[test]
    #[should_panic(expected = "not within 10ms: pigs fly")]
    fn names_what_never_came() {
        eventually(Duration::from_millis(10), "pigs fly", || false);
    }
}
