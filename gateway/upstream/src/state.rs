//! The state of endpoints and splits, and what of it survives a reload.
//!
//! State is kept by key, not by id: an endpoint's by (cluster, address), so that two subsets with one address
//! have each their own, as in Envoy; a split's position by (route, weights), so that only an edit of the
//! weights begins a new ledger. Carrying over is a look-up for each endpoint at reload, and none at a request.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
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
    clusters: Vec<Arc<ClusterState>>,
    tickets: Vec<Arc<Ticket>>,
    held: Vec<Held>,
    /// The clusters with outlier detection, by their index.
    watched: Vec<usize>,
    checks: Checks,
    gate: Gate,
    kept_by: KeptBy,
}

/// What state is kept by, to find it at the next reload: the snapshot's own clusters and splits, in its order. Who is
/// where it was is found by its place, others by their keys.
#[derive(Debug, Default)]
struct KeptBy {
    clusters: Vec<Arc<Cluster>>,
    splits: Vec<Arc<Split>>,
    /// The weights of those tickets that do not go by what is written.
    effective: Map<usize, Vec<u32>>,
    /// Whether two clusters have one key, as services of one host in two namespaces have.
    has_twins: bool,
}

/// The state of one cluster.
#[derive(Clone, Debug)]
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
    /// Whether it is the same at the next reload if its cluster is.
    is_settled: bool,
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

type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

impl Upstreams {
    /// The state for `snapshot` at `now`: what `before` has by the same key, shared with it; the rest new. `seed`
    /// tells where in their tables new splits begin.
    pub fn reconcile(before: &Upstreams, snapshot: &Snapshot, seed: u64, now: Instant) -> Upstreams {
        let known = || before.known_endpoints();
        let mut new = New {
            before: Before::new(before, snapshot),
            old_checks: checks::Before::new(&before.checks, known),
            checks: Checks::default(),
            endpoints: Map::default(),
            detectors: HashSet::default(),
            seed,
            now,
        };
        let clusters: Vec<Arc<ClusterState>> = snapshot
            .clusters
            .iter()
            .enumerate()
            .map(|(index, cluster)| new.cluster(index, cluster))
            .collect();
        let New { before: old, checks, .. } = new;
        let gate = old.gate(snapshot, &clusters);
        let (mut held, mut effective) = (Vec::new(), Map::default());
        let mut ticket = |(index, split): (usize, &Arc<Split>)| {
            let weights = gate.effective(snapshot, split, &mut held);
            let ticket = old.ticket(index, split, weights.as_deref(), seed);
            effective.extend(weights.map(|weights| (index, weights)));
            ticket
        };
        let tickets = snapshot.splits.iter().enumerate().map(&mut ticket).collect();
        let has_twins = old.has_twins(snapshot);
        let is_watched = |&index: &usize| clusters[index].has_outlier_detection();
        let watched = (0..clusters.len()).filter(is_watched).collect();
        let waiting = |(index, cluster): (usize, Arc<ClusterState>)| match gate.is_open(index) {
            true => cluster,
            false => Arc::new(ClusterState {
                awaits_ready: true,
                is_settled: false,
                ..ClusterState::clone(&cluster)
            }),
        };
        let clusters = clusters.into_iter().enumerate().map(waiting).collect();
        let kept_by = KeptBy {
            clusters: snapshot.clusters.clone(),
            splits: snapshot.splits.clone(),
            effective,
            has_twins,
        };
        Upstreams { clusters, tickets, held, watched, checks, gate, kept_by }
    }

    /// Every endpoint, by its address.
    fn known_endpoints(&self) -> impl Iterator<Item = (SocketAddr, &Arc<EndpointState>)> {
        let clusters = self.kept_by.clusters.iter().zip(&self.clusters);
        clusters.flat_map(|(cluster, state)| {
            cluster.endpoints.iter().map(|endpoint| endpoint.address).zip(&state.endpoints)
        })
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
        self.checks.questions()
    }

    /// Notes how a question was answered; `None` where it is asked no more.
    pub fn answered(&self, question: &Question, good: bool, now: Instant) -> Option<Answered> {
        let watched = self.checks.of(question)?;
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
        for watched in self.checks.all() {
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
        let cluster = &**self.clusters.get(index)?;
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

/// What is made when it is first asked for.
type Lazy<'b, T> = LazyCell<T, Box<dyn FnOnce() -> T + 'b>>;

/// What there was, found by place where everything is where it was, else by key.
struct Before<'b> {
    upstreams: &'b Upstreams,
    clusters_aligned: bool,
    splits_aligned: bool,
    by_key: Lazy<'b, Map<&'b ClusterKey, Vec<usize>>>,
    by_route: Lazy<'b, Map<RouteKey, usize>>,
}

impl<'b> Before<'b> {
    fn new(upstreams: &'b Upstreams, snapshot: &Snapshot) -> Self {
        let KeptBy { clusters, splits, has_twins, .. } = &upstreams.kept_by;
        let same_cluster = |(a, b): (&Arc<Cluster>, &Arc<Cluster>)| Arc::ptr_eq(a, b) || a.key == b.key;
        Before {
            upstreams,
            clusters_aligned: !has_twins
                && clusters.len() == snapshot.clusters.len()
                && clusters.iter().zip(&snapshot.clusters).all(same_cluster),
            splits_aligned: splits.len() == snapshot.splits.len()
                && splits.iter().zip(&snapshot.splits).all(|(a, b)| Arc::ptr_eq(a, b) || a.key == b.key),
            by_key: LazyCell::new(Box::new(|| {
                let mut by_key: Map<&ClusterKey, Vec<usize>> = Map::default();
                for (index, cluster) in clusters.iter().enumerate() {
                    by_key.entry(&cluster.key).or_default().push(index);
                }
                by_key
            })),
            by_route: LazyCell::new(Box::new(|| {
                splits.iter().enumerate().map(|(index, split)| (split.key, index)).collect()
            })),
        }
    }

    /// Where the clusters of a key were.
    fn places<'i>(&'i self, index: &'i usize, key: &ClusterKey) -> &'i [usize] {
        match self.clusters_aligned {
            true => std::slice::from_ref(index),
            false => self.by_key.get(key).map_or(&[], Vec::as_slice),
        }
    }

    fn state(&self, index: usize) -> Option<(&'b Arc<Cluster>, &'b Arc<ClusterState>)> {
        let upstreams = self.upstreams;
        Some((upstreams.kept_by.clusters.get(index)?, upstreams.clusters.get(index)?))
    }

    /// The state of an endpoint that was there.
    fn endpoint(&self, places: &[usize], address: SocketAddr) -> Option<&'b Arc<EndpointState>> {
        places.iter().find_map(|&index| {
            let (cluster, state) = self.state(index)?;
            let at = cluster.endpoints.binary_search_by_key(&address, |endpoint| endpoint.address).ok()?;
            state.endpoints.get(at)
        })
    }

    /// Who is open: who was, and who is ready. Twins are one.
    fn gate(&self, snapshot: &Snapshot, states: &[Arc<ClusterState>]) -> Gate {
        let open = |(index, (cluster, state)): (usize, (&Arc<Cluster>, &Arc<ClusterState>))| {
            let was =
                self.places(&index, &cluster.key).iter().any(|&place| self.upstreams.gate.is_open(place));
            was || state.endpoints.iter().any(|endpoint| endpoint.is_ready())
        };
        let mut open: Vec<bool> = snapshot.clusters.iter().zip(states).enumerate().map(open).collect();
        if self.has_twins(snapshot) {
            let of_open = snapshot.clusters.iter().zip(&open).filter(|(_, open)| **open);
            let keys: HashSet<&ClusterKey, BuildHasherDefault<DefaultHasher>> =
                of_open.map(|(cluster, _)| &cluster.key).collect();
            open = snapshot.clusters.iter().map(|cluster| keys.contains(&cluster.key)).collect();
        }
        Gate::of(open)
    }

    fn has_twins(&self, snapshot: &Snapshot) -> bool {
        let mut seen: HashSet<&ClusterKey, BuildHasherDefault<DefaultHasher>> = HashSet::default();
        !self.clusters_aligned && !snapshot.clusters.iter().all(|cluster| seen.insert(&cluster.key))
    }

    /// The ticket of a route and weights: that which was, or a new one. `effective`: the weights, where not as written.
    fn ticket(&self, index: usize, split: &Arc<Split>, effective: Option<&[u32]>, seed: u64) -> Arc<Ticket> {
        let KeptBy { splits, effective: weights_before, .. } = &self.upstreams.kept_by;
        let place = if self.splits_aligned { Some(index) } else { self.by_route.get(&split.key).copied() };
        let before =
            place.and_then(|place| Some((place, splits.get(place)?, self.upstreams.tickets.get(place)?)));
        if let Some((place, was, ticket)) = before {
            let old = weights_before.get(&place);
            let weights_are = |old: &[u32], split: &Split| {
                split.targets.iter().map(|target| target.weight).eq(old.iter().copied())
            };
            let same = match (old, effective) {
                (None, None) => {
                    Arc::ptr_eq(was, split)
                        || was.targets.iter().map(|t| t.weight).eq(split.targets.iter().map(|t| t.weight))
                }
                (Some(old), Some(new)) => old == new,
                (Some(old), None) => weights_are(old, split),
                (None, Some(new)) => weights_are(new, was),
            };
            if same {
                return ticket.clone();
            }
        }
        let own = effective.and_then(|weights| Schedule::new(weights, seed));
        let schedule = own.map_or_else(|| split.schedule.clone(), Arc::new);
        Arc::new(Ticket::new(schedule, mix(seed, split.key)))
    }
}

/// What is being reconciled.
struct New<'b> {
    before: Before<'b>,
    old_checks: checks::Before<'b>,
    checks: Checks,
    /// Those of clusters so far, where two may share one.
    endpoints: Map<(ClusterKey, SocketAddr), Arc<EndpointState>>,
    detectors: HashSet<ClusterKey, BuildHasherDefault<DefaultHasher>>,
    seed: u64,
    now: Instant,
}

impl New<'_> {
    fn cluster(&mut self, index: usize, cluster: &Arc<Cluster>) -> Arc<ClusterState> {
        if let Some((was, state)) = self.before.state(index).filter(|_| self.before.clusters_aligned)
            && Arc::ptr_eq(was, cluster)
            && state.is_settled
        {
            return state.clone();
        }
        let (now, aligned) = (self.now, self.before.clusters_aligned);
        let places = self.before.places(&index, &cluster.key).to_vec();
        // Of twins the last one's is kept.
        let known = places.last().and_then(|&place| self.before.state(place)).map(|(_, state)| state);
        // Endpoints that are there when their cluster is first seen are as warm as each other: after a restart
        // nobody warms up.
        let joins = known.is_some().then_some(now);
        let mut state = |(place, endpoint): (usize, &Endpoint)| {
            let health = self.checks.join(&self.old_checks, endpoint, (index, place));
            let kept = self.before.endpoint(&places, endpoint.address).cloned();
            let kept = kept.unwrap_or_else(|| Arc::new(checks::begin(health, joins)));
            kept.set_health(health, now);
            match aligned {
                true => kept,
                false => {
                    self.endpoints.entry((cluster.key.clone(), endpoint.address)).or_insert(kept).clone()
                }
            }
        };
        let endpoints: Vec<Arc<EndpointState>> =
            cluster.endpoints.iter().enumerate().map(&mut state).collect();
        let balance = match known.map(|known| &known.balance).filter(|balance| balance.is_for(cluster)) {
            Some(kept) => kept.clone(),
            None => Arc::new(Balance::build(cluster, start(self.seed, &cluster.key))),
        };
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
        let limits = Arc::new(match known {
            Some(known) => known.limits.keep(&cluster.policy),
            None => Limits::begin(&cluster.policy),
        });
        let outlier = self.detector(cluster, &endpoints, &balance, &places);
        let outlier = outlier.map(|detector| (cluster.policy.clone(), detector));
        let has_probe = cluster.endpoints.iter().any(|endpoint| endpoint.probe.is_some());
        Arc::new(ClusterState {
            is_settled: !has_probe && outlier.is_none() && window.is_none(),
            endpoints,
            balance,
            limits,
            warm_at: warm_at.filter(|&warm_at| warm_at > now),
            outlier,
            awaits_ready: window.is_some(),
        })
    }

    /// The detector of a cluster, told of its endpoints; `None` where neither its policy nor a probe wants one.
    fn detector(
        &mut self,
        cluster: &Cluster,
        endpoints: &[Arc<EndpointState>],
        balance: &Arc<Balance>,
        places: &[usize],
    ) -> Option<Arc<Detector>> {
        let policy = cluster.policy.outlier.as_ref();
        // A key may stand for two services of one host, in two namespaces: each has its own, and one is kept.
        let before = || {
            places.iter().find_map(|&place| {
                let (_, detector) = self.before.state(place)?.1.outlier.as_ref()?;
                Some(detector.clone())
            })
        };
        let kept = if self.detectors.contains(&cluster.key) { None } else { before() };
        // One that was, and is wanted no more, still has to let go of whom it ejected.
        let is_wanted = policy.is_some() || cluster.endpoints.iter().any(|endpoint| endpoint.probe.is_some());
        let detector = kept.or_else(|| is_wanted.then(Arc::default))?;
        let addresses = cluster.endpoints.iter().map(|endpoint| endpoint.address);
        detector.watch(policy, addresses.zip(endpoints.iter().cloned()), balance.clone(), self.now);
        if !is_wanted {
            return None;
        }
        self.detectors.insert(cluster.key.clone());
        Some(detector)
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
