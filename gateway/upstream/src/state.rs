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
    Cluster, ClusterId, ClusterKey, Endpoint, RouteKey, Schedule, Snapshot, Split, SplitId,
};

use crate::balance::{Balance, PickInput};
use crate::endpoint::{EndpointState, Health};
use crate::health::{Answered, Checks, Question, checks};
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
    /// Who leaves out its endpoints, and by what policy; `None` for nobody.
    outlier: Option<(Arc<Policy>, Arc<Detector>)>,
    /// Whether the state has to be reconciled anew once an endpoint is ready for the first time: it is held, or its
    /// endpoints warm up.
    awaits_ready: bool,
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
        self.outlier.as_ref().is_some_and(|(policy, _)| policy.outlier.is_some())
    }

    /// How many of its endpoints balancers may choose.
    pub fn available(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_available()).count()
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
    checks: Checks,
    tickets: Map<(RouteKey, Vec<u32>), Arc<Ticket>>,
    gate: Gate,
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

impl Upstreams {
    /// The state for `snapshot` at `now`: what `before` has by the same key, shared with it; the rest new. `seed`
    /// tells where in their tables new splits begin.
    pub fn reconcile(before: &Upstreams, snapshot: &Snapshot, seed: u64, now: Instant) -> Upstreams {
        let mut keys = Keys::default();
        let known = || before.keys.endpoints.iter().map(|((_, address), endpoint)| (*address, endpoint));
        let checks = checks::Before::new(&before.keys.checks, known);
        let clusters = snapshot.clusters.iter().enumerate();
        let cluster = |(index, cluster): (usize, &Arc<Cluster>)| {
            keys.cluster(index, cluster, (&before.keys, &checks), seed, now)
        };
        let mut clusters: Vec<ClusterState> = clusters.map(cluster).collect();
        let endpoints = clusters.iter().map(|cluster| cluster.endpoints.as_slice());
        keys.gate = Gate::over(&before.keys.gate, snapshot, endpoints);
        for (state, cluster) in clusters.iter_mut().zip(&snapshot.clusters) {
            state.awaits_ready |= !keys.gate.is_open(&cluster.key);
        }
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

    /// What is asked of endpoints, each question once.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        self.keys.checks.questions()
    }

    /// Notes how a question was answered; `None` where it is asked no more.
    pub fn answered(&self, question: &Question, good: bool, now: Instant) -> Option<Answered> {
        let watched = self.keys.checks.of(question)?;
        let mut answered = Answered::default();
        answered.turned = watched.tell(Some((question, good)), |(index, endpoint), health, turned| {
            let Some((cluster, state, detector)) = self.watched(index, endpoint) else { return };
            let change = state.set_health(health, now);
            if change.any || turned {
                detector.publish();
            }
            answered.reconcile |= change.first && cluster.awaits_ready;
            // Each success that leaves it healthy ends an ejection, not only the one that makes it so: as in Envoy.
            if good && health == Health::Healthy && state.is_ejected() && detector.take_back(state) {
                answered.returned.push(index);
            }
            if answered.clusters.last() != Some(&index) {
                answered.clusters.push(index);
            }
        });
        Some(answered)
    }

    /// Tells the endpoints what their probes have said. What is said between [`Upstreams::reconcile`] and the swap
    /// reaches only the endpoints of before; so this is called after the swap. Whether to reconcile anew.
    pub fn settle(&self, now: Instant) -> bool {
        let (mut any, mut reconcile) = (false, false);
        for watched in self.keys.checks.all() {
            watched.tell(None, |(index, endpoint), health, _| {
                let Some((cluster, state, _)) = self.watched(index, endpoint) else { return };
                let change = state.set_health(health, now);
                any |= change.any;
                reconcile |= change.first && cluster.awaits_ready;
            });
        }
        if any {
            let detectors = self.clusters.iter().filter_map(|cluster| cluster.outlier.as_ref());
            detectors.for_each(|(_, detector)| detector.publish());
        }
        reconcile
    }

    /// An endpoint by its place, with its cluster and who leaves it out.
    fn watched(
        &self,
        index: usize,
        endpoint: usize,
    ) -> Option<(&ClusterState, &Arc<EndpointState>, &Arc<Detector>)> {
        let cluster = self.clusters.get(index)?;
        let (_, detector) = cluster.outlier.as_ref()?;
        Some((cluster, cluster.endpoints.get(endpoint)?, detector))
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

    /// What the snapshot's cluster at `index` takes at once.
    pub fn limits(&self, index: usize) -> &Arc<Limits> {
        &self.clusters[index].limits
    }

    /// The states of the endpoints of the snapshot's cluster at `index`, in its order.
    pub fn endpoints(&self, index: usize) -> &[Arc<EndpointState>] {
        self.clusters.get(index).map_or(&[], |cluster| &cluster.endpoints)
    }

    /// The ticket of a split of the snapshot that this was made for.
    pub fn ticket(&self, id: SplitId) -> &Arc<Ticket> {
        &self.tickets[id.index()]
    }
}

impl Keys {
    fn cluster(
        &mut self,
        index: usize,
        cluster: &Cluster,
        (before, checks): (&Keys, &checks::Before<'_>),
        seed: u64,
        now: Instant,
    ) -> ClusterState {
        // Endpoints that are there when their cluster is first seen are as warm as each other: after a restart
        // nobody warms up.
        let known = before.balances.get(&cluster.key);
        let joins = known.is_some().then_some(now);
        let mut state = |(place, endpoint): (usize, &Endpoint)| {
            let health = self.checks.join(checks, endpoint, (index, place));
            let key = (cluster.key.clone(), endpoint.address);
            let kept = before.endpoints.get(&key).cloned();
            let kept = kept.unwrap_or_else(|| Arc::new(checks::begin(health, joins)));
            kept.set_health(health, now);
            self.endpoints.entry(key).or_insert(kept).clone()
        };
        let endpoints: Vec<Arc<EndpointState>> =
            cluster.endpoints.iter().enumerate().map(&mut state).collect();
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
        // Who is still to join may do so at any time; then it is reconciled anew.
        let joining = endpoints.iter().any(|endpoint| endpoint.is_new());
        let last = if joining { now.checked_add(FAR) } else { last };
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
            awaits_ready: window.is_some(),
        }
    }

    /// The detector of a cluster, told of its endpoints; `None` where neither its policy nor a probe wants one.
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
        let is_wanted = policy.is_some() || cluster.endpoints.iter().any(|endpoint| endpoint.probe.is_some());
        let detector = kept.or_else(|| is_wanted.then(Arc::default))?;
        let addresses = cluster.endpoints.iter().map(|endpoint| endpoint.address);
        detector.watch(policy, addresses.zip(endpoints.iter().cloned()), balance.clone(), now);
        if !is_wanted {
            return None;
        }
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

/// Farther than the state of a snapshot is looked at.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A cluster's own number, different in each process.
fn start(seed: u64, key: &ClusterKey) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, key)) >> 1
}

/// A route's own number, different in each process.
fn mix(seed: u64, RouteKey(key): RouteKey) -> u64 {
    let folded = (key as u64) ^ ((key >> 64) as u64) ^ seed;
    folded.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}
