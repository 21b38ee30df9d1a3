//! `trysail_overflow_total` and `trysail_retries_total`: ceilings that were met, and what became of retries.
//!
//! As with requests, counters are reached by index and kept by what they are labelled with: a service and a subset,
//! of which a configuration has as many as it names.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Metric, MetricFamily, MetricType};
use trysail_routing::snapshot::{ClusterId, Snapshot};
use trysail_upstream::limits::Overflow;

/// How long the series of a subset that is gone are still exported.
const GRACE: Duration = Duration::from_secs(600);

/// What became of a try that was to be followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It was.
    Made,
    /// There had been as many as the route lets there be.
    Exhausted,
    /// The cluster had too many at once.
    Overflow,
}

impl Again {
    const ALL: [(Again, &str); 3] =
        [(Again::Made, "made"), (Again::Exhausted, "exhausted"), (Again::Overflow, "overflow")];
}

/// The counters of one subset of one service.
#[derive(Debug, Default)]
pub(crate) struct Load {
    overflows: [AtomicU64; Overflow::COUNT],
    retries: [AtomicU64; Again::ALL.len()],
}

impl Load {
    /// A ceiling was met.
    pub(crate) fn overflow(&self, overflow: Overflow) {
        self.overflows[overflow as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A try was to be followed by another.
    pub(crate) fn retry(&self, again: Again) {
        self.retries[again as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The handles of one snapshot, by its clusters' ids; looked up where something is counted, which most clusters never need.
#[derive(Default)]
pub(crate) struct Loads {
    snapshot: Arc<Snapshot>,
    made: OnceLock<Box<[OnceLock<Arc<Load>>]>>,
    book: Arc<Book>,
}

impl Loads {
    /// The counters of a cluster.
    pub(crate) fn of(&self, cluster: ClusterId) -> &Load {
        let made = self.made.get_or_init(|| self.snapshot.clusters.iter().map(|_| OnceLock::new()).collect());
        made[cluster.index()].get_or_init(|| {
            let key = &self.snapshot.cluster(cluster).key;
            let mut series = self.book.lock();
            let one = series.entry((key.host.clone(), key.subset.clone())).or_default();
            one.gone = None;
            one.load.clone()
        })
    }
}

/// The counters by what they are labelled with.
type Book = Mutex<HashMap<Key, Series>>;

/// A host and a subset.
type Key = (Arc<str>, Arc<str>);

#[derive(Default)]
struct Series {
    load: Arc<Load>,
    /// Since when no snapshot has had it.
    gone: Option<Instant>,
}

/// All counters, over all snapshots.
pub(crate) struct Overloads {
    descs: [Desc; 2],
    book: Arc<Book>,
}

const OVERFLOWS: (&str, &str) = ("trysail_overflow_total", "Ceilings of a connection pool that were met.");
const RETRIES: (&str, &str) =
    ("trysail_retries_total", "Tries to be followed by another, by whether they were.");

impl Overloads {
    pub(super) fn new() -> prometheus::Result<Self> {
        let desc = |(name, help): (&str, &str)| {
            Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new())
        };
        Ok(Overloads { descs: [desc(OVERFLOWS)?, desc(RETRIES)?], book: Arc::default() })
    }

    /// The handles for a snapshot: counters that are there already, by what they are labelled with, else new ones.
    pub(crate) fn bind(&self, snapshot: &Arc<Snapshot>, now: Instant) -> Loads {
        let mut book = self.book.lock();
        // Mostly there is none.
        if !book.is_empty() {
            book.values_mut().for_each(|one| one.gone = one.gone.or(Some(now)));
            for cluster in &snapshot.clusters {
                let key = (cluster.key.host.clone(), cluster.key.subset.clone());
                book.entry(key).and_modify(|one| one.gone = None);
            }
            book.retain(|_, one| one.gone.is_none_or(|gone| now.duration_since(gone) < GRACE));
        }
        drop(book);
        Loads { snapshot: snapshot.clone(), made: OnceLock::new(), book: self.book.clone() }
    }
}

/// [`Overloads`] as Prometheus' registry takes it.
pub(super) struct Collected(pub(super) Arc<Overloads>);

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        self.0.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (mut overflows, mut retries) = (Vec::new(), Vec::new());
        for ((host, subset), one) in self.0.book.lock().iter() {
            let add = |to: &mut Vec<Metric>, name, value, count: &AtomicU64| {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = [("destination_service", &**host), (name, value), ("subset", &**subset)];
                    to.push(sample(&labels, count));
                }
            };
            for (overflow, count) in Overflow::ALL.iter().zip(&one.load.overflows) {
                add(&mut overflows, "limit", overflow.as_str(), count);
            }
            for ((_, result), count) in Again::ALL.iter().zip(&one.load.retries) {
                add(&mut retries, "result", result, count);
            }
        }
        [(OVERFLOWS, overflows), (RETRIES, retries)]
            .into_iter()
            .filter(|(_, metrics)| !metrics.is_empty())
            .map(|((name, help), metrics)| {
                let mut family = MetricFamily::default();
                family.set_name(name.to_owned());
                family.set_help(help.to_owned());
                family.set_field_type(MetricType::COUNTER);
                family.set_metric(metrics);
                family
            })
            .collect()
    }
}

fn sample(labels: &[(&str, &str)], count: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count as f64);
    let mut metric = Metric::default();
    metric.set_label(super::labels(labels));
    metric.set_counter(counter);
    metric
}
