//! The state of endpoints and splits, and what of it survives a reload.
//!
//! State is kept by key, not by id: an endpoint's by (cluster, address), so that two subsets with one address
//! have each their own, as in Envoy; a split's position by (route, weights), so that only an edit of the
//! weights begins a new ledger. Carrying over is a look-up for each endpoint at reload, and none at a request.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trysail_routing::snapshot::policy::{Balancer, Policy, Warmup};
use trysail_routing::snapshot::{
    Cluster, ClusterId, ClusterKey, RouteKey, Schedule, Snapshot, Split, SplitId,
};

use crate::balance::{Balance, PickInput};
use crate::endpoint::EndpointState;
use crate::held::{Gate, Held};
use crate::limits::Limits;
use crate::outlier::{Detector, Ejection, Report};
use crate::ticket::Ticket;

/// The state beside one snapshot, indexed by its ids.
#[derive(Debug, Default)]
pub struct Upstreams {
    clusters: Vec<ClusterState>,
    tickets: Vec<Arc<Ticket>>,
    held: Vec<Held>,
    /// The clusters with outlier detection, by their index.
    watched: Vec<usize>,
    keys: Keys,
}

/// The state of one cluster.
#[derive(Debug)]
pub struct ClusterState {
    /// The endpoints' states, in the order of the snapshot's endpoints.
    pub endpoints: Vec<Arc<EndpointState>>,
    /// How one of them is chosen.
    balance: Arc<Balance>,
    /// When the last of them will have warmed up; `None` where none has to.
    warm_at: Option<Instant>,
    /// How much it takes at once.
    limits: Arc<Limits>,
    /// Who ejects its endpoints, and by what policy; `None` for nobody.
    outlier: Option<(Arc<Policy>, Arc<Detector>)>,
}

impl ClusterState {
    /// How much it takes at once.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many requests its endpoints work on: a look at each of them.
    pub fn active(&self) -> u32 {
        self.endpoints.iter().fold(0, |sum, endpoint| sum.saturating_add(endpoint.active()))
    }

    /// Chooses an endpoint: its index in the snapshot's cluster, or `None` where it has none.
    pub fn pick(&self, input: PickInput<'_>) -> Option<usize> {
        self.balance.pick(&self.endpoints, input)
    }

    /// Whether anybody wants to know how tries end.
    pub fn has_outlier_detection(&self) -> bool {
        self.outlier.is_some()
    }

    /// Tells how a try on one of its endpoints ended; an ejection, if it led to one. The time is asked for only then.
    pub fn report(&self, endpoint: usize, report: Report, now: impl FnOnce() -> Instant) -> Option<Ejection> {
        let (policy, detector) = self.outlier.as_ref()?;
        detector.report(policy.outlier.as_ref()?, self.endpoints.get(endpoint)?, report, now)
    }

    /// Until when an endpoint of it is warming up, so that choosing one needs the time; `None` for never.
    pub fn warm_at(&self) -> Option<Instant> {
        self.warm_at
    }
}

/// What state was kept by, to find it at the next reload.
#[derive(Debug, Default)]
struct Keys {
    endpoints: Map<(ClusterKey, SocketAddr), Arc<EndpointState>>,
    balances: Map<ClusterKey, Arc<Balance>>,
    detectors: Map<ClusterKey, Arc<Detector>>,
    limits: Map<ClusterKey, Arc<Limits>>,
    tickets: Map<(RouteKey, Vec<u32>), Arc<Ticket>>,
    gate: Gate,
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

impl Upstreams {
    /// The state for `snapshot` at `now`: what `before` has by the same key, shared with it; the rest new. `seed`
    /// tells where in their tables new splits begin.
    pub fn reconcile(before: &Upstreams, snapshot: &Snapshot, seed: u64, now: Instant) -> Upstreams {
        let mut keys = Keys::default();
        let clusters: Vec<ClusterState> =
            snapshot.clusters.iter().map(|cluster| keys.cluster(cluster, &before.keys, seed, now)).collect();
        let endpoints = clusters.iter().map(|cluster| cluster.endpoints.as_slice());
        keys.gate = Gate::over(&before.keys.gate, snapshot, endpoints);
        let mut held = Vec::new();
        let mut tickets = Vec::new();
        for split in &snapshot.splits {
            let weights = keys.gate.effective(snapshot, split, &mut held);
            tickets.push(keys.ticket(split, weights, &before.keys, seed));
        }
        let watched = (0..clusters.len()).filter(|&index| clusters[index].has_outlier_detection()).collect();
        Upstreams { clusters, tickets, held, watched, keys }
    }

    /// The targets that are held, each once for each split.
    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// Takes back the ejected endpoints whose time is over: the cluster's index in the snapshot, and the address.
    pub fn sweep(&self, now: Instant) -> Vec<(usize, SocketAddr)> {
        let detectors = self.watched.iter().filter_map(|&index| {
            let (_, detector) = self.clusters.get(index)?.outlier.as_ref()?;
            Some((index, detector))
        });
        let back = |(index, detector): (usize, &Arc<Detector>)| {
            detector.sweep(now).into_iter().map(move |address| (index, address))
        };
        detectors.flat_map(back).collect()
    }

    /// The shortest interval of sweeps; `None` where nobody is watched.
    pub fn sweep_interval(&self) -> Option<Duration> {
        let policies = self.watched.iter().filter_map(|&index| {
            let (policy, _) = self.clusters.get(index)?.outlier.as_ref()?;
            Some(policy.outlier.as_ref()?.interval)
        });
        policies.min()
    }

    /// The state of a cluster of the snapshot that this was made for.
    pub fn cluster(&self, id: ClusterId) -> &ClusterState {
        &self.clusters[id.index()]
    }

    /// The states of the endpoints of the snapshot's cluster at `index`, in its order.
    pub fn endpoints(&self, index: usize) -> &[Arc<EndpointState>] {
        self.clusters.get(index).map_or(&[], |cluster| &cluster.endpoints)
    }

    /// The ticket of a split of the snapshot that this was made for.
    pub fn ticket(&self, id: SplitId) -> &Ticket {
        &self.tickets[id.index()]
    }
}

impl Keys {
    fn cluster(&mut self, cluster: &Cluster, before: &Keys, seed: u64, now: Instant) -> ClusterState {
        // Endpoints that are there when their cluster is first seen are as warm as each other: after a restart
        // nobody warms up.
        let known = before.balances.get(&cluster.key);
        let new = || {
            Arc::new(if known.is_some() { EndpointState::joined_at(now) } else { EndpointState::default() })
        };
        let state = |endpoint: &trysail_routing::snapshot::Endpoint| {
            let key = (cluster.key.clone(), endpoint.address);
            let kept = before.endpoints.get(&key).cloned().unwrap_or_else(new);
            self.endpoints.entry(key).or_insert(kept).clone()
        };
        let endpoints: Vec<Arc<EndpointState>> = cluster.endpoints.iter().map(state).collect();
        let balance = match known.filter(|balance| balance.is_for(cluster)) {
            Some(kept) => kept.clone(),
            None => Arc::new(Balance::build(cluster, start(seed, &cluster.key))),
        };
        self.balances.insert(cluster.key.clone(), balance.clone());
        let window = match &cluster.policy.balancer {
            Balancer::LeastRequest(Some(Warmup { window, .. }))
            | Balancer::RoundRobin(Some(Warmup { window, .. })) => Some(*window),
            _ => None,
        };
        let last = endpoints.iter().filter_map(|endpoint| endpoint.joined()).max();
        let warm_at = last.zip(window).and_then(|(last, window)| last.checked_add(window));
        let limits = Arc::new(match before.limits.get(&cluster.key) {
            Some(kept) => kept.keep(&cluster.policy),
            None => Limits::begin(&cluster.policy),
        });
        self.limits.insert(cluster.key.clone(), limits.clone());
        let outlier = self.detector(cluster, &endpoints, &balance, before, now);
        let outlier = outlier.map(|detector| (cluster.policy.clone(), detector));
        ClusterState {
            endpoints,
            balance,
            limits,
            warm_at: warm_at.filter(|&warm_at| warm_at > now),
            outlier,
        }
    }

    /// The detector of a cluster, told of its endpoints; `None` where its policy wants none.
    fn detector(
        &mut self,
        cluster: &Cluster,
        endpoints: &[Arc<EndpointState>],
        balance: &Arc<Balance>,
        before: &Keys,
        now: Instant,
    ) -> Option<Arc<Detector>> {
        let policy = cluster.policy.outlier.as_ref();
        // A key may stand for two services of one host, in two namespaces: each has its own, and one is kept.
        let kept = before.detectors.get(&cluster.key).filter(|_| !self.detectors.contains_key(&cluster.key));
        let kept = kept.cloned();
        // One that was, and is wanted no more, still has to let go of whom it ejected.
        let detector = kept.or_else(|| policy.map(|_| Arc::default()))?;
        let addresses = cluster.endpoints.iter().map(|endpoint| endpoint.address);
        detector.watch(policy, addresses.zip(endpoints.iter().cloned()), balance.clone(), now);
        policy?;
        self.detectors.entry(cluster.key.clone()).or_insert_with(|| detector.clone());
        Some(detector)
    }

    fn ticket(
        &mut self,
        split: &Split,
        effective: Option<Vec<u32>>,
        before: &Keys,
        seed: u64,
    ) -> Arc<Ticket> {
        let is_written = effective.is_none();
        let written = || split.targets.iter().map(|target| target.weight).collect();
        let key = (split.key, effective.unwrap_or_else(written));
        let start = || {
            let own = if is_written { None } else { Schedule::new(&key.1, seed) };
            let schedule = own.map_or_else(|| split.schedule.clone(), Arc::new);
            Arc::new(Ticket::new(schedule, mix(seed, split.key)))
        };
        let ticket = before.tickets.get(&key).cloned().unwrap_or_else(start);
        self.tickets.insert(key, ticket.clone());
        ticket
    }
}

/// A cluster's own number, different in each process.
fn start(seed: u64, key: &ClusterKey) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, key)) >> 1
}

/// A route's own number, different in each process.
fn mix(seed: u64, RouteKey(key): RouteKey) -> u64 {
    let folded = (key as u64) ^ ((key >> 64) as u64) ^ seed;
    folded.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}
