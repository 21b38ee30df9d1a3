//! ROUND_ROBIN: endpoints in turn, by weight.
//!
//! A cycle in which each endpoint has as many turns as its weight, spread evenly, is laid out when a snapshot is
//! swapped in; a turn is one wait-free addition. So over every cycle the shares are exact, whatever threads ask.

use std::sync::atomic::{AtomicU64, Ordering};

/// A cycle of endpoints, and whose turn it is. Never empty.
#[derive(Debug)]
pub(super) struct RoundRobin {
    turns: Box<[u32]>,
    taken: AtomicU64,
}

/// A cycle is not longer, but for one turn of each endpoint: weights that ask for more are brought to it.
const LONGEST: u64 = 1 << 16;

impl RoundRobin {
    /// The cycle of endpoints, each with its weight over 0; `seed` is where it begins.
    pub(super) fn build(endpoints: &[(u32, u32)], seed: u64) -> Self {
        let divisor = endpoints.iter().fold(0, |divisor, &(_, weight)| gcd(divisor, weight)).max(1);
        let weights = endpoints.iter().map(|&(_, weight)| u64::from((weight / divisor).max(1)));
        let sum: u64 = weights.clone().sum();
        let weights: Vec<u64> = match sum > LONGEST {
            true => weights
                .map(|w| ((u128::from(w) * u128::from(LONGEST) / u128::from(sum)) as u64).max(1))
                .collect(),
            false => weights.collect(),
        };
        // An endpoint's n-th of w turns is due in the middle of the n-th of w equal parts of the cycle.
        let dues = endpoints.iter().zip(&weights).flat_map(|(&(index, _), &weight)| {
            (0..weight).map(move |turn| ((((2 * turn + 1) << 40) / weight), index))
        });
        let mut turns: Vec<(u64, u32)> = dues.collect();
        turns.sort_by_key(|&(due, _)| due);
        RoundRobin { turns: turns.into_iter().map(|(_, index)| index).collect(), taken: AtomicU64::new(seed) }
    }

    /// The next turn.
    pub(super) fn take(&self) -> usize {
        let turn = self.taken.fetch_add(1, Ordering::Relaxed) % self.turns.len() as u64;
        self.turns[turn as usize] as usize
    }

    /// How many turns a cycle has.
    pub(super) fn cycle(&self) -> usize {
        self.turns.len()
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn turns_are_spread() {
        for (weights, cycle) in [
            (&[1, 1, 1][..], "abc"),
            (&[7, 7], "ab"),
            (&[3, 1], "aaba"),
            (&[4, 2], "aba"),
            (&[5, 1, 1], "aaabcaa"),
        ] {
            let endpoints: Vec<(u32, u32)> = (0..).zip(weights.iter().copied()).collect();
            let turns = RoundRobin::build(&endpoints, 0);
            let letters: String = (0..turns.cycle()).map(|_| char::from(b'a' + turns.take() as u8)).collect();
            assert_eq!(letters, cycle, "{weights:?}");
        }
    }

    proptest! {
        /// Every window of a cycle's length has exactly each weight's turns.
        #[test]
        fn shares_are_exact_over_every_cycle(weights in prop::collection::vec(1_u32..40, 1..12), seed: u64, skip in 0_usize..100) {
            let endpoints: Vec<(u32, u32)> = (0..).zip(weights.iter().copied()).collect();
            let turns = RoundRobin::build(&endpoints, seed >> 1);
            (0..skip).for_each(|_| { turns.take(); });
            let mut taken = vec![0; weights.len()];
            (0..turns.cycle()).for_each(|_| taken[turns.take()] += 1);
            let divisor = weights.iter().fold(0, |a, &b| gcd(a, b));
            let due: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
            prop_assert_eq!(taken, due);
        }

        /// Weights of any size give a cycle that fits into memory, with every endpoint in it.
        #[test]
        fn cycles_are_bounded(weights in prop::collection::vec(1_u32.., 1..50)) {
            let endpoints: Vec<(u32, u32)> = (0..).zip(weights.iter().copied()).collect();
            let turns = RoundRobin::build(&endpoints, 0);
            prop_assert!(turns.cycle() as u64 <= LONGEST + 50);
            let mut met = vec![false; weights.len()];
            (0..turns.cycle()).for_each(|_| met[turns.take()] = true);
            prop_assert!(met.iter().all(|met| *met));
        }
    }
}
