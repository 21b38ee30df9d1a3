//! Maglev's table: every endpoint fills its share of places in an order of its own, and a key is a place.
//!
//! As Envoy fills it (after Eisenbud et al., "Maglev", NSDI 2016, 3.4), with weights: an endpoint takes part in as
//! many rounds as its weight is of the greatest one. Keys move less evenly than on a ring when endpoints come and
//! go, and spread more evenly.

use super::Weighed;
use super::xxh64::xxh64;

/// A table. Never empty, and no place is.
#[derive(Debug)]
pub(super) struct Maglev(Box<[u32]>);

const FREE: u32 = u32::MAX;

/// An endpoint's order of places, and when it takes the next.
struct Filler {
    index: u32,
    share: f64,
    offset: u64,
    skip: u64,
    next: u64,
    target: f64,
}

impl Maglev {
    /// The table of some endpoints; their shares add up to 1. `size` is a prime, so every order meets every place.
    pub(super) fn build(endpoints: &[Weighed], size: u32) -> Self {
        let size = u64::from(size.max(1));
        let greatest = endpoints.iter().map(|endpoint| endpoint.share).fold(0.0, f64::max);
        let filler = |endpoint: &Weighed| {
            let key = endpoint.address.to_string();
            let skip = xxh64(key.as_bytes(), 1) % (size.max(2) - 1) + 1;
            let offset = xxh64(key.as_bytes(), 0) % size;
            Filler { index: endpoint.index, share: endpoint.share, offset, skip, next: 0, target: 0.0 }
        };
        let mut fillers: Vec<Filler> = endpoints.iter().map(filler).collect();
        let mut places = vec![FREE; size as usize];
        let mut free = if fillers.is_empty() { 0 } else { size };
        let mut round = 0.0;
        while free > 0 {
            round += 1.0;
            for filler in &mut fillers {
                if free == 0 || round * filler.share < filler.target {
                    continue;
                }
                filler.target += greatest;
                while let Some(place) = places.get_mut(filler.place(size)) {
                    filler.next += 1;
                    if *place == FREE {
                        *place = filler.index;
                        free -= 1;
                        break;
                    }
                }
            }
        }
        Maglev(places.into())
    }

    /// The endpoint of a key that is open, else that of the next place; `None` where none is.
    pub(super) fn find(&self, key: u64, open: impl Fn(usize) -> bool) -> Option<usize> {
        let at = (key % self.0.len() as u64) as usize;
        let (before, after) = self.0.split_at(at);
        after.iter().chain(before).map(|&endpoint| endpoint as usize).find(|&endpoint| open(endpoint))
    }
}

impl Filler {
    fn place(&self, size: u64) -> usize {
        ((self.offset + self.skip * self.next) % size) as usize
    }
}
