//! Rows say what a vector becomes; properties say that every prefix of it is exact and that nobody is locked.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn weights(text: &str) -> Vec<u32> {
    text.split('/').map(|weight| weight.parse().unwrap()).collect()
}

fn schedule(text: &str, seed: u64) -> Schedule {
    Schedule::new(&weights(text), seed).unwrap()
}

/// From each of some cycle starts, at every prefix of two tables: each count strictly within one of its
/// share.
fn check_prefixes(schedule: &Schedule, hash: u64) {
    let (cycle, len) = (i64::from(schedule.cycle()), schedule.len() as u64);
    let shares: Vec<i64> = schedule.effective().iter().copied().map(i64::from).collect();
    assert_eq!(shares.iter().sum::<i64>(), cycle);
    assert_eq!(len % schedule.cycle() as u64, 0);
    for start in [0, schedule.start(hash), len - schedule.cycle() as u64] {
        assert!(start < len && start % schedule.cycle() as u64 == 0, "{schedule:?}: start {start}");
        let mut counts = vec![0; shares.len()];
        for (prefix, turn) in (1..).zip(start..start + 2 * len) {
            counts[schedule.target(turn)] += 1;
            for (target, (count, share)) in counts.iter().zip(&shares).enumerate() {
                let (ahead, is_end) = (count * cycle - prefix * share, prefix % cycle == 0);
                assert!(
                    ahead.abs() < cycle,
                    "{schedule:?}: {prefix} turns from {start}, {count} to {target}"
                );
                assert!(ahead == 0 || !is_end, "{schedule:?}: the cycle's end at {prefix} from {start}");
                assert!(*share != 0 || *count == 0, "{schedule:?}: {target} has no weight and was served");
            }
        }
    }
}

/// The same bound, one look at a slot: turn j is served in slots ⌊(j−1)C/w⌋ … ⌈jC/w⌉−1, and w of them.
fn check_windows(schedule: &Schedule) {
    let cycle = u64::from(schedule.cycle());
    for start in (0..schedule.len() as u64).step_by(cycle as usize) {
        let mut served = vec![0; schedule.effective().len()];
        for slot in 0..cycle {
            let target = schedule.target(start + slot);
            let (turn, share) = (served[target], u64::from(schedule.effective()[target]));
            assert!(turn * cycle / share <= slot, "{schedule:?}: {target} too early in {slot}");
            assert!(slot < ((turn + 1) * cycle).div_ceil(share), "{schedule:?}: {target} too late in {slot}");
            served[target] += 1;
        }
        assert!(
            schedule.effective().iter().copied().map(u64::from).eq(served),
            "{schedule:?}: cycle at {start}"
        );
    }
}

#[test]
fn vectors_reduce() {
    let rows = "
        0/0                   => 0/0
        7                     => 1
        0/5                   => 0/1
        50/50                 => 1/1
        90/0/10               => 9/0/1
        33/33/34              => 33/33/34
        4294967295/4294967295 => 1/1";
    for row in rows.trim().lines() {
        let (given, expected) = row.split_once("=>").unwrap();
        assert_eq!(*reduce(&weights(given.trim())), weights(expected.trim()), "{given}");
    }
}

#[test]
fn small_vectors() {
    let rows = "
        1        => cycle 1, table 1
        0/5      => cycle 1, table 1
        1/1      => cycle 2, table 16384
        50/50    => cycle 2, table 16384
        1/2/3    => cycle 6, table 16380
        90/10    => cycle 10, table 16380
        90/0/10  => cycle 10, table 16380
        99/1     => cycle 100, table 16300
        33/33/34 => cycle 100, table 16300
        9999/1   => cycle 10000, table 10000
        16383/1  => cycle 16384, table 16384
        16384/1  => cycle 16385, table 16385";
    for row in rows.trim().lines() {
        let (given, expected) = row.split_once(" => ").unwrap();
        let schedule = schedule(given.trim(), 1);
        assert_eq!(format!("cycle {}, table {}", schedule.cycle(), schedule.len()), expected, "{given}");
        check_prefixes(&schedule, 12_345);
        check_windows(&schedule);
    }
}

#[test]
fn nothing_to_schedule() {
    for none in [&[][..], &[0], &[0, 0, 0], &[1; 257]] {
        assert_eq!(Schedule::new(none, 1), None, "{none:?}");
    }
}

#[test]
fn a_seed_makes_the_order_and_only_the_order() {
    let order = |text, seed| {
        let schedule = schedule(text, seed);
        (0..30).map(|turn| schedule.target(turn).to_string()).collect::<String>()
    };
    assert_eq!(order("10/90", 1), "111011111111110111111111101111");
    assert_eq!(order("1/2/3", 1), "122120212021122102021212021221");
    assert_eq!(schedule("1/2/3", 1), schedule("10/20/30", 1));
    assert_ne!(schedule("1/2/3", 1), schedule("1/2/3", 2));
}

#[test]
fn any_turn_wraps_around_the_table() {
    let schedule = schedule("1/2/3", 1);
    let len = schedule.len() as u64;
    for turn in [0, 1, len - 1, 1 << 32, 1 << 53, u64::MAX - len] {
        assert_eq!(schedule.target(turn), schedule.target(turn + len));
        assert_eq!(schedule.target(turn), schedule.target(turn % len));
    }
    assert!(schedule.target(u64::MAX) < 3);
}

/// What a caller of every second, third or tenth turn sees stays within four standard deviations of what a
/// random draw for each of its requests would show it: 10 % ± 1.4 points for every second turn of 10/90.
#[test]
fn a_caller_that_repeats_a_pattern_is_not_locked() {
    for (text, share) in [("10/90", 0.1), ("20/80", 0.2), ("50/50", 0.5)] {
        for (stride, seed) in
            [2, 3, 10].into_iter().flat_map(|stride| (1..=5).map(move |seed| (stride, seed)))
        {
            let schedule = schedule(text, seed);
            for phase in 0..stride {
                // Once through the table: no slot twice, 1,638 turns or more.
                let turns = (0..schedule.len() as u64 / stride).map(|turn| phase + turn * stride);
                let total = turns.clone().count() as f64;
                let canary = turns.filter(|&turn| schedule.target(turn) == 0).count() as f64;
                let bound = 4.0 * (share * (1.0 - share) * total).sqrt();
                assert!(
                    (canary - share * total).abs() <= bound,
                    "{text}: turn {phase} of {stride}, seed {seed}: {canary} of {total}"
                );
            }
        }
    }
}

/// What a uniform draw gets wrong: half of the canary's turns in one slot of the cycle.
#[test]
fn the_canary_has_no_favourite_slot() {
    for (text, seed) in ["10/90", "20/80"].into_iter().flat_map(|text| (1..=5).map(move |seed| (text, seed)))
    {
        let schedule = schedule(text, seed);
        let mut canary = vec![0; schedule.cycle() as usize];
        for turn in (0..schedule.len()).filter(|&turn| schedule.target(turn as u64) == 0) {
            canary[turn % schedule.cycle() as usize] += 1;
        }
        let cycles = schedule.len() / schedule.cycle() as usize;
        let most = 2 * cycles / schedule.cycle() as usize;
        assert!(canary.iter().all(|&count| 0 < count && count <= most), "{text}, seed {seed}: {canary:?}");
    }
}

#[test]
fn large_vectors_scale() {
    let rows = "
        1/1048575             => 1/1048575
        1/1048576             => 1/1048575 scaled
        1/10000000            => 1/1048575 scaled
        1/1/4294967295/0      => 1/1/1048574/0 scaled
        2097153/2097152/1     => 524288/524287/1 scaled
        4294967295/4294967294 => 1/1 scaled";
    for row in rows.trim().lines() {
        let (given, expected) = row.split_once("=>").unwrap();
        let (shares, is_scaled) = fit(reduce(&weights(given.trim())));
        let shares: Vec<String> = shares.iter().map(u32::to_string).collect();
        let scaled = if is_scaled { " scaled" } else { "" };
        assert_eq!(shares.join("/") + scaled, expected.trim(), "{given}");
    }
}

#[test]
fn large_vectors() {
    let rows = [
        (vec![300_001, 0, 748_574], false),
        (vec![u32::MAX, 1, u32::MAX / 3], true),
        ((0..256).collect(), false),
        (vec![u32::MAX; 256], false),
        (vec![u32::MAX, u32::MAX - 1], true),
    ];
    for (weights, is_scaled) in rows {
        let schedule = Schedule::new(&weights, 1).unwrap();
        assert_eq!(schedule.is_scaled(), is_scaled);
        check_windows(&schedule);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_prefix_is_exact(weights in vec(0..1000_u32, 1..=8), seed: u64, hash: u64) {
        prop_assume!(weights.iter().any(|&weight| weight != 0));
        let schedule = Schedule::new(&weights, seed).unwrap();
        prop_assert!(!schedule.is_scaled());
        for (&given, &share) in weights.iter().zip(schedule.effective()) {
            let sum: u32 = weights.iter().sum();
            prop_assert_eq!(given * schedule.cycle(), share * sum);
        }
        check_prefixes(&schedule, hash);
    }

    /// Each share is its weight's to one slot, and one more for each weight that was lifted to a slot.
    #[test]
    fn scaling_moves_no_share_far(weights in vec(prop_oneof![0..9_u32, 0..9999_u32, any::<u32>()], 1..=256)) {
        prop_assume!(sum(&weights) > MAX_CYCLE);
        let mut shares = weights.clone();
        scale(&mut shares);
        prop_assert_eq!(sum(&shares), MAX_CYCLE);
        let exact = |weight: u32| f64::from(weight) * MAX_CYCLE as f64 / sum(&weights) as f64;
        let lifted = weights.iter().filter(|&&weight| weight != 0 && exact(weight) < 1.001).count();
        for (&weight, &share) in weights.iter().zip(&shares) {
            prop_assert_eq!(weight == 0, share == 0);
            let off = (f64::from(share) - exact(weight)).abs();
            prop_assert!(off < 1.0 + lifted as f64, "{} became {}", weight, share);
        }
    }
}
