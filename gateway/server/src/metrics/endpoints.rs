//! `trysail_endpoints`, `trysail_ejections_total`, `trysail_held`: who is there to answer, and who is left out; and
//! `trysail_retries_active`, `trysail_retries_allowed`: how much of each budget of retries is used.
//!
//! Bound when a snapshot is swapped in; states are looked at when they are scraped. What is gone goes with the swap.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use trysail_routing::snapshot::{ClusterKey, Snapshot};
use trysail_upstream::limits::Limits;
use trysail_upstream::outlier::Reason;
use trysail_upstream::{EndpointState, State, Upstreams};

/// The endpoints in force and their ejections.
pub(crate) struct Endpoints {
    endpoints: Desc,
    ejections: Desc,
    held: Desc,
    retries: [Desc; 2],
    now: Mutex<Now>,
}

/// What is in force; which endpoints that are is put together when somebody asks.
#[derive(Default)]
struct Now {
    snapshot: Arc<Snapshot>,
    upstreams: Arc<Upstreams>,
    ejections: BTreeMap<ClusterKey, BTreeMap<Reason, u64>>,
}

/// One cluster.
#[derive(Default)]
struct Cluster {
    endpoints: Vec<Arc<EndpointState>>,
    ejections: BTreeMap<Reason, u64>,
    is_held: bool,
    /// Where its policy says how many retries there may be, or there are any.
    limits: Option<Arc<Limits>>,
}

const ENDPOINTS: &str = "trysail_endpoints";
const EJECTIONS: &str = "trysail_ejections_total";
const HELD: &str = "trysail_held";
const ACTIVE: &str = "trysail_retries_active";
const ALLOWED: &str = "trysail_retries_allowed";

impl Endpoints {
    pub(super) fn new() -> prometheus::Result<Self> {
        let desc =
            |name: &str, help: &str| Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new());
        Ok(Endpoints {
            endpoints: desc(ENDPOINTS, "Endpoints of each destination of a route, by their state.")?,
            ejections: desc(EJECTIONS, "Endpoints that were left out since they failed, by what they did.")?,
            held: desc(HELD, "1 for a subset that gets no traffic, as no endpoint of it was ready yet.")?,
            retries: [
                desc(ACTIVE, "Retries under way that the budget of their destination counts.")?,
                desc(ALLOWED, "How many it would let run at once now.")?,
            ],
            now: Mutex::default(),
        })
    }

    /// Notes whose endpoints are in force from now on.
    pub(crate) fn bind(&self, snapshot: &Arc<Snapshot>, upstreams: &Arc<Upstreams>) {
        let now = &mut *self.now.lock();
        if !now.ejections.is_empty() && !Arc::ptr_eq(&now.snapshot, snapshot) {
            let stay: HashSet<&ClusterKey> = snapshot.clusters.iter().map(|cluster| &cluster.key).collect();
            now.ejections.retain(|key, _| stay.contains(key));
        }
        (now.snapshot, now.upstreams) = (snapshot.clone(), upstreams.clone());
    }

    /// The clusters in force, by their keys.
    fn clusters(&self) -> BTreeMap<ClusterKey, Cluster> {
        let (snapshot, upstreams, ejections) = {
            let now = self.now.lock();
            (now.snapshot.clone(), now.upstreams.clone(), now.ejections.clone())
        };
        let mut clusters: BTreeMap<ClusterKey, Cluster> = BTreeMap::new();
        for (index, cluster) in snapshot.clusters.iter().enumerate() {
            let entry = clusters.entry(cluster.key.clone()).or_default();
            entry.endpoints.extend_from_slice(upstreams.endpoints(index));
            let limits = upstreams.limits(index);
            let says =
                cluster.policy.retry_budget.is_some() || cluster.policy.connection_pool.max_retries.is_some();
            if says || limits.retries_active() > 0 {
                entry.limits = Some(limits.clone());
            }
        }
        for (key, ejections) in ejections {
            if let Some(cluster) = clusters.get_mut(&key) {
                cluster.ejections = ejections;
            }
        }
        for held in upstreams.held() {
            if let Some(cluster) = clusters.get_mut(&snapshot.cluster(held.cluster).key) {
                cluster.is_held = true;
            }
        }
        clusters
    }

    /// Counts an ejection.
    pub(crate) fn ejected(&self, cluster: &ClusterKey, reason: Reason) {
        let now = &mut *self.now.lock();
        // Of one that is not in force any more nothing is told.
        if now.snapshot.clusters.iter().any(|one| one.key == *cluster) {
            *now.ejections.entry(cluster.clone()).or_default().entry(reason).or_default() += 1;
        }
    }
}

/// [`Endpoints`] as Prometheus' registry takes it.
pub(super) struct Collected(pub(super) Arc<Endpoints>);

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        let [active, allowed] = &self.0.retries;
        vec![&self.0.endpoints, &self.0.ejections, &self.0.held, active, allowed]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (mut endpoints, mut ejections, mut held) = (Vec::new(), Vec::new(), Vec::new());
        let (mut active, mut allowed) = (Vec::new(), Vec::new());
        for (key, cluster) in &self.0.clusters() {
            let mut counts = State::ALL.map(|state| (state, 0));
            for endpoint in &cluster.endpoints {
                let state = endpoint.state();
                counts.iter_mut().filter(|(of, _)| *of == state).for_each(|(_, count)| *count += 1);
            }
            // Of those that nobody is in nothing is told, but how many are healthy always is.
            for (state, count) in counts.into_iter().filter(|(state, n)| *n > 0 || *state == State::Healthy) {
                endpoints.push(gauge(labels(key, Some(("state", state.as_str()))), count));
            }
            ejections.extend(
                cluster
                    .ejections
                    .iter()
                    .map(|(reason, count)| counter(labels(key, Some(("reason", word(*reason)))), *count)),
            );
            if cluster.is_held {
                held.push(gauge(labels(key, None), 1));
            }
            if let Some(limits) = &cluster.limits {
                let requests = cluster.endpoints.iter().map(|endpoint| endpoint.active()).sum();
                active.push(gauge(labels(key, None), limits.retries_active() as usize));
                allowed.push(gauge(labels(key, None), limits.retries_allowed(requests) as usize));
            }
        }
        let families = [
            family(ENDPOINTS, &self.0.endpoints, MetricType::GAUGE, endpoints),
            family(EJECTIONS, &self.0.ejections, MetricType::COUNTER, ejections),
            family(HELD, &self.0.held, MetricType::GAUGE, held),
            family(ACTIVE, &self.0.retries[0], MetricType::GAUGE, active),
            family(ALLOWED, &self.0.retries[1], MetricType::GAUGE, allowed),
        ];
        families.into_iter().filter(|family| !family.get_metric().is_empty()).collect()
    }
}

/// As Envoy names its own counters of ejections.
fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Errors => "consecutive_5xx",
        Reason::GatewayErrors => "consecutive_gateway_failure",
        Reason::LocalFailures => "consecutive_local_origin_failure",
    }
}

fn labels(key: &ClusterKey, more: Option<(&str, &str)>) -> Vec<LabelPair> {
    let port = key.port.to_string();
    let own = [("destination_service", &*key.host), ("port", &port)];
    let subset = [("subset", &*key.subset)];
    // By name, as the text format's readers expect them.
    let mut pairs: Vec<(&str, &str)> = own.into_iter().chain(more).chain(subset).collect();
    pairs.sort_unstable();
    super::labels(&pairs)
}

fn gauge(labels: Vec<LabelPair>, value: usize) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value as f64);
    let mut metric = Metric::default();
    metric.set_label(labels);
    metric.set_gauge(gauge);
    metric
}

fn counter(labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::default();
    metric.set_label(labels);
    metric.set_counter(counter);
    metric
}

fn family(name: &str, desc: &Desc, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(desc.help.clone());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}
