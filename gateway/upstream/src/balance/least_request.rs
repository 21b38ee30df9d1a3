//! LEAST_REQUEST, Istio's default: of two endpoints drawn by lot, the one with fewer requests at work.
//!
//! The power of two choices, as Envoy does it: nearly as even as looking at all of them, without their cost,
//! and without the herd that runs to whoever looks idle.

use std::sync::Arc;

use crate::state::EndpointState;

/// Chooses among `endpoints` by `lot`, 64 random bits; the index, or `None` where there is none to choose.
pub fn least_request(endpoints: &[Arc<EndpointState>], lot: u64) -> Option<usize> {
    let count = endpoints.len() as u64;
    if count < 2 {
        return (count == 1).then_some(0);
    }
    // Two different ones: the second is drawn among those that are left.
    let first = scale(lot as u32, count);
    let second = (first + 1 + scale((lot >> 32) as u32, count - 1)) % count;
    let (first, second) = (first as usize, second as usize);
    Some(if endpoints[second].active() < endpoints[first].active() { second } else { first })
}

/// A number below `count`, each as likely, from 32 random bits.
fn scale(lot: u32, count: u64) -> u64 {
    (u64::from(lot) * count) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(active: &[u32]) -> (Vec<Arc<EndpointState>>, Vec<crate::Active>) {
        let states: Vec<Arc<EndpointState>> = active.iter().map(|_| Arc::default()).collect();
        let guards =
            active.iter().zip(&states).flat_map(|(n, state)| (0..*n).map(|_| state.begin())).collect();
        (states, guards)
    }

    /// A fixed sequence that stands in for chance.
    fn lots(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|n| {
            (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xD134_2543_DE82_EF95)
        })
    }

    #[test]
    fn the_busier_of_two_is_never_chosen() {
        for (active, never) in [(vec![0, 1], 1), (vec![5, 0], 0), (vec![2, 0, 1], 0)] {
            let (states, _guards) = endpoints(&active);
            assert!(lots(10_000).all(|lot| least_request(&states, lot) != Some(never)), "{active:?}");
        }
    }

    #[test]
    fn idle_endpoints_share_evenly() {
        let (states, _guards) = endpoints(&[0; 5]);
        let mut chosen = [0_u32; 5];
        for lot in lots(50_000) {
            chosen[least_request(&states, lot).unwrap()] += 1;
        }
        assert!(chosen.iter().all(|n| n.abs_diff(10_000) < 500), "{chosen:?}");
    }

    #[test]
    fn none_and_one() {
        assert_eq!(least_request(&[], 7), None);
        assert_eq!(least_request(&endpoints(&[9]).0, u64::MAX), Some(0));
    }

    #[test]
    fn guards_end_what_they_began() {
        let (states, guards) = endpoints(&[3, 0]);
        assert_eq!(states[0].active(), 3);
        drop(guards);
        assert_eq!(states[0].active(), 0);
    }
}
