//! Ketama's ring: each endpoint has points by its weight, and a key belongs to the next point clockwise.
//!
//! As Envoy builds it: an endpoint's n-th point is the hash of `address_n`, and there are as many points as bring
//! the least weight to whole points, at least the minimum together.

use super::Weighed;
use super::xxh64::xxh64;

/// No ring has more points, whatever weights and minimum ask for.
const MOST: f64 = (8 << 20) as f64;

/// A ring. Never empty.
#[derive(Debug)]
pub(super) struct Ring(Box<[(u64, u32)]>);

impl Ring {
    /// The ring of some endpoints; their shares add up to 1.
    pub(super) fn build(endpoints: &[Weighed], minimum: u32) -> Self {
        let least = endpoints.iter().map(|endpoint| endpoint.share).fold(1.0, f64::min);
        let scale = ((least * f64::from(minimum)).ceil() / least).min(MOST);
        let mut points = Vec::with_capacity(scale.ceil() as usize + endpoints.len());
        let mut target = 0.0;
        for endpoint in endpoints {
            target += scale * endpoint.share;
            let mut number = 0;
            // Half a point over, so that rounding of sums takes or gives none.
            while (points.len() as f64) + 0.5 < target || number == 0 {
                points.push((xxh64(format!("{}_{number}", endpoint.address).as_bytes(), 0), endpoint.index));
                number += 1;
            }
        }
        points.sort_unstable();
        Ring(points.into())
    }

    /// The first endpoint clockwise from a key that is open; `None` where none is.
    pub(super) fn find(&self, key: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        let at = self.0.partition_point(|&(point, _)| point < key);
        let (before, after) = self.0.split_at(at);
        let around = after.iter().chain(before);
        around.map(|&(_, endpoint)| endpoint as usize).find(|&endpoint| open(endpoint))
    }
}
