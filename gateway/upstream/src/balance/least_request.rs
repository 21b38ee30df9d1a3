//! LEAST_REQUEST, Istio's default: of two endpoints drawn by lot, the one with fewer requests at work.
//!
//! The power of two choices, as Envoy does it: nearly as even as looking at all of them, without their cost,
//! and without the herd that runs to whoever looks idle. It is for endpoints of one weight; for others see
//! [`super::group`].

use super::lot::below;

/// Chooses among `count` endpoints by `lot`, 64 random bits; its number, or `None` where there is none.
pub(super) fn least_request(count: usize, lot: u64, active: impl Fn(usize) -> u32) -> Option<usize> {
    if count < 2 {
        return (count == 1).then_some(0);
    }
    let (first, second) = pair(count, lot);
    Some(if active(second) < active(first) { second } else { first })
}

/// Two different ones of `count`, which is at least 2: the second is drawn among those that are left.
pub(super) fn pair(count: usize, lot: u64) -> (usize, usize) {
    let count = count as u64;
    let first = below(lot as u32, count);
    let second = (first + 1 + below((lot >> 32) as u32, count - 1)) % count;
    (first as usize, second as usize)
}

#[cfg(test)]
mod tests {
    use super::super::lot::again;
    use super::*;

    /// A fixed sequence that stands in for chance.
    fn lots(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|turn| again(7, turn))
    }

    #[test]
    fn the_busier_of_two_is_never_chosen() {
        for (active, never) in [(&[0, 1][..], 1), (&[5, 0], 0), (&[2, 0, 1], 0)] {
            let chosen = |lot| least_request(active.len(), lot, |endpoint| active[endpoint]);
            assert!(lots(10_000).all(|lot| chosen(lot) != Some(never)), "{active:?}");
        }
    }

    #[test]
    fn idle_endpoints_share_evenly() {
        let mut chosen = [0_u32; 5];
        for lot in lots(50_000) {
            chosen[least_request(5, lot, |_| 0).unwrap()] += 1;
        }
        assert!(chosen.iter().all(|n| n.abs_diff(10_000) < 500), "{chosen:?}");
    }

    #[test]
    fn none_and_one() {
        assert_eq!(least_request(0, 7, |_| 0), None);
        assert_eq!(least_request(1, u64::MAX, |_| 9), Some(0));
    }
}
