//! The count of answers, and the times of questions.

use std::time::Duration;

use trysail_routing::snapshot::ProbeKind;

use super::*;

fn probe(success_threshold: u32, failure_threshold: u32) -> Probe {
    Probe {
        kind: ProbeKind::Tcp { host: None, port: 80 },
        initial_delay: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        period: Duration::from_secs(10),
        success_threshold,
        failure_threshold,
    }
}

/// What each answer, `+` or `-`, leaves an endpoint as: `?`, `H` or `U`.
fn turns(successes: u32, failures: u32, takes_traffic: bool, answers: &str) -> String {
    let probe = probe(successes, failures);
    let check = Check::begin(takes_traffic);
    let letter = |answer: char| {
        let mut progress = check.progress();
        let before = progress.health;
        let turned = progress.answer(&probe, answer == '+');
        assert_eq!(turned.map(|(health, _)| health), (progress.health != before).then_some(progress.health));
        match progress.health {
            Health::Unknown => '?',
            Health::Healthy => 'H',
            Health::Unhealthy => 'U',
        }
    };
    answers.chars().map(letter).collect()
}

#[test]
fn answers_in_a_row_turn_an_endpoint() {
    // (successThreshold, failureThreshold, whether it took traffic before, answers, what it is after each)
    for (successes, failures, takes_traffic, answers, expected) in [
        (1, 3, false, "+---+", "HHHUH"),
        (1, 3, false, "--+--+---", "??HHHHHHU"),
        (1, 3, false, "---", "??U"),
        (2, 3, false, "+-++", "???H"),
        (2, 1, false, "++-+-++", "?HUUUUH"),
        (3, 2, false, "++-+++", "?????H"),
        // One that took traffic goes on until it fails.
        (2, 2, true, "-+--+", "HHHUU"),
        (1, 1, true, "+", "H"),
    ] {
        let found = turns(successes, failures, takes_traffic, answers);
        assert_eq!(found, expected, "{successes} {failures} {takes_traffic} {answers}");
    }
}

#[test]
fn a_turn_says_after_how_many() {
    let check = Check::begin(false);
    let mut progress = check.progress();
    let turned: Vec<_> = "+----".chars().map(|a| progress.answer(&probe(1, 3), a == '+')).collect();
    assert_eq!(turned, [Some((Health::Healthy, 1)), None, None, Some((Health::Unhealthy, 3)), None]);
}

#[test]
fn questions_are_spread_and_never_late() {
    let probe = probe(1, 3);
    for lot in [0, 1 << 20, u64::MAX / 3, u64::MAX / 2, u64::MAX] {
        let first = first_wait(&probe, lot);
        assert!((probe.initial_delay..=probe.initial_delay + Duration::from_millis(100)).contains(&first));
        assert!((probe.period.mul_f64(0.9)..=probe.period).contains(&wait(&probe, lot)));
    }
    assert_eq!((first_wait(&probe, 0), wait(&probe, 0)), (probe.initial_delay, probe.period));
    assert!(wait(&probe, 0) - wait(&probe, u64::MAX) > Duration::from_millis(999));
}
