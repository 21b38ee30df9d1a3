//! `trysail_upstream_connections_total`: how tries came by a connection to their endpoint.
//!
//! Every request counts here, whatever its route: so the count is kept in several places, by the connection's number, for
//! threads not to meet at one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::{Told, family};

const NAME: Told =
    ("trysail_upstream_connections_total", "Connections that tries were made on, by how they were had.");
const RESULTS: [&str; 3] = ["new", "reused", "failed"];
const PLACES: usize = 8;

/// The counts of some connections, on a line of memory of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place([AtomicU64; RESULTS.len()]);

/// The counters; a clone counts into the same.
#[derive(Clone)]
pub(crate) struct Reached {
    places: Arc<[Place; PLACES]>,
    desc: Arc<Desc>,
}

impl Reached {
    pub(super) fn new() -> prometheus::Result<Self> {
        Ok(Reached { places: Arc::default(), desc: Arc::new(super::desc(NAME)?) })
    }

    /// A try has a connection, of this descriptor.
    pub(crate) fn connected(&self, reused: bool, descriptor: i32) {
        self.add(usize::from(reused), descriptor.unsigned_abs() as usize % PLACES);
    }

    /// There was none to be had.
    pub(crate) fn failed(&self) {
        self.add(2, 0);
    }

    fn add(&self, result: usize, place: usize) {
        if let Some(count) = self.places.get(place).and_then(|place| place.0.get(result)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Collector for Reached {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut sums = [0; RESULTS.len()];
        for place in self.places.iter() {
            for (sum, count) in sums.iter_mut().zip(&place.0) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        let samples = RESULTS.iter().zip(sums);
        let samples = samples.map(|(result, sum)| (super::labels(&[("result", result)]), sum as f64));
        vec![family(NAME, MetricType::COUNTER, samples.collect())]
    }
}
