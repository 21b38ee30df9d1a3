//! Lists to search in: routes by host, endpoints by cluster; parts of them at a time.

use std::collections::HashMap;
use std::time::Instant;

use trysail_routing::snapshot::policy::{Balancer, Warmup};
use trysail_routing::snapshot::{
    Action, Cluster, Listener, ListenerProtocol, Route, Snapshot, Split, SplitId, TlsServer,
};
use trysail_upstream::{EndpointState, State};

use super::told::{ClusterOf, EndpointOf, Paged, RouteOf, RouteTarget};
use super::{Desk, words};
use crate::proxy::Active;
use crate::render;

/// So many hosts, and blocks of conditions, are told of one route.
const TOLD: usize = 10;

/// So many entries are in a part, unless fewer are asked for.
const MOST: usize = 1_000;

/// What is asked of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    /// Words that each entry has, in any order and case.
    pub(crate) words: String,
    pub(crate) from: usize,
    pub(crate) limit: Option<usize>,
}

impl Search {
    pub(super) fn page<T>(&self, entries: impl Iterator<Item = T>, text: impl Fn(&T) -> String) -> Paged<T> {
        let wanted: Vec<String> = self.words.split_whitespace().map(str::to_lowercase).collect();
        let fits = |entry: &T| {
            let text = if wanted.is_empty() { String::new() } else { text(entry).to_lowercase() };
            wanted.iter().all(|word| text.contains(word))
        };
        let limit = self.limit.unwrap_or(MOST).min(MOST);
        let (mut total, mut items) = (0, Vec::new());
        for entry in entries.filter(fits) {
            if total >= self.from && items.len() < limit {
                items.push(entry);
            }
            total += 1;
        }
        Paged { total, from: self.from, items }
    }
}

impl Desk {
    /// Every rule on every host, as far as a search wants it.
    pub(crate) fn routes(&self, search: &Search) -> Paged<RouteOf> {
        let active = self.active.load_full();
        let snapshot = &active.snapshot;
        let mut routes: Vec<RouteOf> =
            snapshot.listeners.iter().flat_map(|listener| of_listener(snapshot, listener)).collect();
        routes.sort_by(|one, other| {
            (&one.host, one.port, one.number).cmp(&(&other.host, other.port, other.number))
        });
        search.page(routes.into_iter(), |route| {
            let targets: Vec<String> =
                route.targets.iter().map(|target| format!("{} {}", target.name, target.place)).collect();
            let RouteOf { host, route, place, matches, action, .. } = route;
            format!("{host} {route} {place} {} {action} {}", matches.join(" "), targets.join(" "))
        })
    }

    /// Every cluster with its endpoints, as far as a search wants it.
    pub(crate) fn endpoints(&self, search: &Search) -> Paged<ClusterOf> {
        let active = self.active.load_full();
        let now = Instant::now();
        let clusters = active.snapshot.clusters.iter().enumerate();
        let mut clusters: Vec<ClusterOf> =
            clusters.map(|(index, cluster)| of_cluster(&active, index, cluster, now)).collect();
        clusters.sort_by(|one, other| {
            (&one.host, &one.subset, one.port).cmp(&(&other.host, &other.subset, other.port))
        });
        search.page(clusters.into_iter(), |cluster| {
            let endpoints: Vec<String> = (cluster.endpoints.iter())
                .map(|endpoint| format!("{} {} {}", endpoint.address, endpoint.state, endpoint.workload))
                .collect();
            format!("{} {} {}", cluster.name, cluster.host, endpoints.join(" "))
        })
    }
}

/// By split: the hosts that it serves, and what its route asks of requests.
pub(super) fn serving(snapshot: &Snapshot) -> HashMap<SplitId, (Vec<String>, Vec<String>)> {
    let mut serving: HashMap<SplitId, (Vec<String>, Vec<String>)> = HashMap::new();
    for host in snapshot.listeners.iter().flat_map(Listener::all_virtual_hosts) {
        for route in &host.routes {
            let Action::Forward(split) = &route.action else { continue };
            let (hosts, matches) = serving.entry(split.id).or_default();
            let pattern = host.pattern.to_string();
            if hosts.len() < TOLD && !hosts.contains(&pattern) {
                hosts.push(pattern);
            }
            if matches.is_empty() {
                *matches = asked(route);
            }
        }
    }
    for (hosts, _) in serving.values_mut() {
        hosts.sort();
    }
    serving
}

fn asked(route: &Route) -> Vec<String> {
    route.matches.iter().take(TOLD).map(|block| words::conditions(block)).collect()
}

fn of_listener(snapshot: &Snapshot, listener: &Listener) -> Vec<RouteOf> {
    let port = listener.key.port;
    let mut routes = Vec::new();
    for host in listener.all_virtual_hosts() {
        for (at, route) in host.routes.iter().enumerate() {
            let (action, targets) = match &route.action {
                Action::Forward(split) => ("forward", targets(snapshot, split)),
                Action::Redirect(_) => ("redirect", Vec::new()),
                Action::Respond(_) => ("respond", Vec::new()),
            };
            routes.push(RouteOf {
                host: host.pattern.to_string(),
                port,
                number: at + 1,
                route: route.name.to_string(),
                place: route.origin.to_string(),
                matches: asked(route),
                action: action.to_owned(),
                targets,
            });
        }
    }
    let passed = |host: &str, split: &Split| RouteOf {
        host: host.to_owned(),
        port,
        number: 1,
        route: split.name.to_string(),
        place: split.origin.to_string(),
        matches: Vec::new(),
        action: "pass".to_owned(),
        targets: targets(snapshot, split),
    };
    match &listener.protocol {
        ListenerProtocol::Tcp(Some(split)) => routes.push(passed("*", split)),
        ListenerProtocol::Tls(names) => routes.extend(names.values().filter_map(|server| match &**server {
            TlsServer::Passthrough(split) | TlsServer::Tcp(_, Some(split)) => Some(passed("", split)),
            TlsServer::Http(..) | TlsServer::Tcp(_, None) => None,
        })),
        ListenerProtocol::Http(_) | ListenerProtocol::Tcp(None) => {}
    }
    routes
}

fn targets(snapshot: &Snapshot, split: &Split) -> Vec<RouteTarget> {
    let sum: u64 = split.targets.iter().map(|target| u64::from(target.weight)).sum();
    let target = |target| {
        let name = words::target(snapshot, split, target);
        let configured = super::split::share(target.weight.into(), sum).map_or(0.0, |share| share.value);
        RouteTarget { name, configured, place: target.origin.to_string() }
    };
    split.targets.iter().map(target).collect()
}

fn of_cluster(active: &Active, index: usize, cluster: &Cluster, now: Instant) -> ClusterOf {
    let warm = match &cluster.policy.balancer {
        Balancer::LeastRequest(Some(Warmup { window, .. }))
        | Balancer::RoundRobin(Some(Warmup { window, .. })) => Some(*window),
        _ => None,
    };
    let of = |(endpoint, state): (&trysail_routing::snapshot::Endpoint, &std::sync::Arc<EndpointState>)| {
        let is_warming = || {
            let until = state.joined().zip(warm).and_then(|(joined, window)| joined.checked_add(window));
            until.is_some_and(|until| until > now)
        };
        let told = match state.state() {
            State::Healthy if is_warming() => "warming",
            other => other.as_str(),
        };
        let until = state.ejected_until().filter(|_| state.state() == State::Ejected);
        EndpointOf {
            address: endpoint.address.to_string(),
            state: told.to_owned(),
            for_seconds: until.map(|until| until.saturating_duration_since(now).as_secs_f64()),
            why: why(state),
            active: state.active(),
            workload: endpoint.workload.name.to_string(),
        }
    };
    let states = active.upstreams.endpoints(index);
    ClusterOf {
        name: render::cluster(&cluster.key),
        host: cluster.key.host.to_string(),
        subset: cluster.key.subset.to_string(),
        port: cluster.key.port,
        place: cluster.origin.as_ref().map(ToString::to_string),
        held: active.upstreams.held().iter().any(|held| held.cluster.index() == index),
        endpoints: cluster.endpoints.iter().zip(states).map(of).collect(),
    }
}

/// Why an endpoint is left out, in a sentence; `None` for one that is not.
fn why(state: &EndpointState) -> Option<String> {
    match state.state() {
        State::Healthy => None,
        State::Pending => Some("its probe has not succeeded often enough yet".to_owned()),
        State::Unhealthy => Some("its probe fails".to_owned()),
        State::Ejected => Some(match state.ejected_for() {
            Some((count, what)) => format!("{count} consecutive {what}"),
            None => "outlier detection leaves it out".to_owned(),
        }),
    }
}
