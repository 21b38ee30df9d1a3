//! Which endpoint of a cluster gets the next request.
//!
//! ```text
//! cluster ─▶ priority ─▶ group ─▶ endpoint        by lot, in turn, by how busy they are
//!                 └────▶ ring or table ─▶ endpoint    where the request has a key
//! ```
//! Everything that depends on configuration alone (cycles, rings, tables) is built when a snapshot is swapped in,
//! and kept over reloads that leave it alone; choosing allocates nothing. Chance and time come in as arguments.
//! What depends on who is available (shares of priorities, panic) is published when that changes; while everybody
//! is, a request reads one flag for it.

mod group;
pub mod key;
mod least_request;
mod lot;
mod maglev;
pub mod priority;
mod ring;
mod round_robin;
#[cfg(test)]
mod tests;
mod warmup;
mod xxh64;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use trysail_routing::snapshot::policy::{Balancer, ConsistentHash, HashTable};
use trysail_routing::snapshot::{Cluster, Placement};

use crate::endpoint::EndpointState;
use group::{Group, View};
use lot::again;
use maglev::Maglev;
use ring::Ring;

/// What an endpoint is chosen by.
#[derive(Clone, Copy, Debug)]
pub struct PickInput<'i> {
    /// The request's key, where the cluster's balancer wants one and the request has it.
    pub key: Option<u64>,
    /// 64 random bits.
    pub roll: u64,
    /// Endpoints that were tried already: they come last.
    pub tried: &'i [usize],
    /// The time; needed only before [`crate::ClusterState::warm_at`].
    pub now: Option<Instant>,
}

/// A cluster's endpoints as its balancer sees them, with whose turn it is. Kept as long as its shape.
#[derive(Debug)]
pub struct Balance {
    shape: Shape,
    priorities: Box<[Priority]>,
    /// Whether anybody is left out, so that each has to be asked.
    some_out: AtomicBool,
}

/// What a balance is made from; the same shape is the same balance.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    balancer: Balancer,
    endpoints: Vec<(SocketAddr, u32, Placement)>,
}

/// The endpoints that are asked together. Never empty.
#[derive(Debug)]
struct Priority {
    groups: Box<[Group]>,
    table: Option<Table>,
    /// Percent of the traffic.
    load: AtomicU32,
    /// Whether so few are available that all are used.
    panic: AtomicBool,
}

#[derive(Debug)]
enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

/// An endpoint with its share of its priority: all shares are 1 together.
struct Weighed {
    index: u32,
    address: SocketAddr,
    share: f64,
}

impl Balance {
    /// The balance of a cluster; `seed` is where turns begin.
    pub(crate) fn build(cluster: &Cluster, seed: u64) -> Self {
        let shape = Shape::of(cluster);
        let mut by_priority: BTreeMap<u32, BTreeMap<u32, Vec<u32>>> = BTreeMap::new();
        for (index, (_, _, placement)) in (0..).zip(&shape.endpoints) {
            by_priority
                .entry(placement.priority)
                .or_default()
                .entry(placement.group)
                .or_default()
                .push(index);
        }
        let priorities: Box<[Priority]> =
            by_priority.into_values().map(|groups| Priority::build(&shape, groups, seed)).collect();
        let balance = Balance { shape, priorities, some_out: AtomicBool::new(false) };
        balance.refresh(&[], 0);
        balance
    }

    /// Publishes who is available of `endpoints`, the cluster's in the snapshot's order. Under `panic_under` percent
    /// of a priority all of it are used; 0 for never.
    pub(crate) fn refresh(&self, endpoints: &[Arc<EndpointState>], panic_under: u32) {
        let available = |index: usize| endpoints.get(index).is_none_or(|endpoint| endpoint.is_available());
        let known = |index: usize| endpoints.get(index).is_none_or(|endpoint| !endpoint.is_new());
        // Who was never ready does not count at all, so that those who come spill no traffic (Envoy's
        // `ignore_new_hosts_until_first_hc`; Istio does not even tell Envoy of them).
        let health = |priority: &Priority| (priority.count(available), priority.count(known));
        let totals: Vec<(u32, u32)> = self.priorities.iter().map(health).collect();
        let panics = priority::panics(&totals, panic_under);
        let loads = match panics.iter().all(|panic| *panic) {
            true => priority::by_size(&totals),
            false => priority::loads(&totals),
        };
        for (priority, (load, panic)) in self.priorities.iter().zip(loads.into_iter().zip(panics)) {
            priority.load.store(load, Ordering::Relaxed);
            priority.panic.store(panic, Ordering::Relaxed);
        }
        let is_out = |(priority, (open, _)): (&Priority, &(u32, u32))| *open < priority.len();
        self.some_out.store(self.priorities.iter().zip(&totals).any(is_out), Ordering::Relaxed);
    }

    /// Whether it is what would be built for a cluster.
    pub(crate) fn is_for(&self, cluster: &Cluster) -> bool {
        self.shape == Shape::of(cluster)
    }

    /// Chooses an endpoint: its index in the snapshot's cluster, or `None` where it has none. `endpoints` are the
    /// cluster's, in the snapshot's order.
    pub fn pick(&self, endpoints: &[Arc<EndpointState>], input: PickInput<'_>) -> Option<usize> {
        let fresh = self.choose(endpoints, input, |endpoint| !input.tried.contains(&endpoint));
        if fresh.is_some() || input.tried.is_empty() {
            return fresh;
        }
        self.choose(endpoints, PickInput { tried: &[], ..input }, |_| true)
    }

    fn choose(
        &self,
        endpoints: &[Arc<EndpointState>],
        input: PickInput<'_>,
        fresh: impl Fn(usize) -> bool + Copy,
    ) -> Option<usize> {
        let first = match self.priorities.len() {
            0 | 1 => 0,
            _ => {
                let loads = self.priorities.iter().map(|priority| priority.load.load(Ordering::Relaxed));
                priority::choose(loads, input.key.unwrap_or_else(|| again(input.roll, 1)))
            }
        };
        let some_out = self.some_out.load(Ordering::Relaxed);
        let later = (0..self.priorities.len()).filter(|&priority| priority != first);
        let mut order = std::iter::once(first).chain(later).filter_map(|index| self.priorities.get(index));
        order.find_map(|priority| {
            let panic = some_out && priority.panic.load(Ordering::Relaxed);
            let view = View {
                endpoints,
                balancer: &self.shape.balancer,
                lot: input.roll,
                now: input.now,
                all_open: input.tried.is_empty() && !some_out,
                some_out: some_out && !panic,
            };
            // Also in a panic, nothing goes to who was never ready.
            let takes = |endpoint: &EndpointState| match panic {
                true => !endpoint.is_new(),
                false => endpoint.is_available(),
            };
            let available = |index: usize| endpoints.get(index).is_some_and(|endpoint| takes(endpoint));
            priority.pick(&view, input.key, |index| fresh(index) && (!some_out || available(index)))
        })
    }
}

impl Shape {
    fn of(cluster: &Cluster) -> Self {
        Shape {
            balancer: cluster.policy.balancer.clone(),
            endpoints: cluster.endpoints.iter().map(|e| (e.address, e.weight.max(1), e.placement)).collect(),
        }
    }
}

impl Priority {
    fn build(shape: &Shape, groups: BTreeMap<u32, Vec<u32>>, seed: u64) -> Self {
        let of = |index: &u32| shape.endpoints.get(*index as usize);
        let groups: Vec<(u32, Vec<(u32, u32)>)> = groups
            .into_values()
            .map(|members| {
                let weight =
                    members.first().and_then(of).map_or(1, |(_, _, place)| place.group_weight.max(1));
                let weighed = members.iter().filter_map(|index| Some((*index, of(index)?.1)));
                (weight, weighed.collect())
            })
            .collect();
        let table = match &shape.balancer {
            Balancer::Hash(ConsistentHash { key: Some(_), table }) => {
                let endpoints = weighed(shape, &groups);
                Some(match *table {
                    HashTable::Ring { minimum } => Table::Ring(Ring::build(&endpoints, minimum)),
                    HashTable::Maglev { size } => Table::Maglev(Maglev::build(&endpoints, size)),
                })
            }
            _ => None,
        };
        let build = |(weight, members)| Group::build(weight, members, &shape.balancer, seed);
        Priority {
            groups: groups.into_iter().map(build).collect(),
            table,
            load: AtomicU32::new(0),
            panic: AtomicBool::new(false),
        }
    }

    fn len(&self) -> u32 {
        self.groups.iter().map(|group| group.len() as u32).sum()
    }

    fn count(&self, open: impl Fn(usize) -> bool + Copy) -> u32 {
        self.groups.iter().map(|group| group.count_open(open) as u32).sum()
    }

    fn pick(&self, view: &View<'_>, key: Option<u64>, open: impl Fn(usize) -> bool + Copy) -> Option<usize> {
        if let (Some(key), Some(table)) = (key, &self.table) {
            // A table goes round once before it says that there is nobody.
            let any = view.all_open || self.groups.iter().any(|group| group.has_open(open));
            return match table {
                _ if !any => None,
                Table::Ring(ring) => ring.find(key, open),
                Table::Maglev(maglev) => maglev.find(key, open),
            };
        }
        if let [group] = &*self.groups {
            return group.choose(view, open);
        }
        let open_groups = self.groups.iter().enumerate().filter(|(_, group)| group.has_open(open));
        let weighed = open_groups
            .map(|(index, group)| (index, f64::from(group.weight) * group.provisioned(view, open)));
        let group = lot::by_weight(weighed, again(view.lot, 2))?;
        self.groups.get(group)?.choose(view, open)
    }
}

/// Endpoints with their shares of a priority: their group's share, by their weights.
fn weighed(shape: &Shape, groups: &[(u32, Vec<(u32, u32)>)]) -> Vec<Weighed> {
    let all: f64 = groups.iter().map(|(weight, _)| f64::from(*weight)).sum();
    let mut endpoints = Vec::new();
    for (weight, members) in groups {
        let sum: f64 = members.iter().map(|(_, weight)| f64::from(*weight)).sum();
        for &(index, own) in members {
            let Some(&(address, ..)) = shape.endpoints.get(index as usize) else { continue };
            let share = f64::from(*weight) / all * f64::from(own) / sum;
            endpoints.push(Weighed { index, address, share });
        }
    }
    endpoints
}
