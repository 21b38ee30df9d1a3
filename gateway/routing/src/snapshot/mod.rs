//! Configuration as run: immutable, complete, indexed. What a request consults, and all that it consults.
//!
//! Everything optional in the files is decided here already; regexes are built, weights are schedules, hosts
//! are tables. Dense ids ([`ClusterId`], [`SplitId`]) index the tables that live beside a snapshot: endpoint
//! state, tickets, metric handles.

mod answer;
mod cluster;
mod host_table;
mod index;
mod listener;
mod predicate;
mod request;
mod route;
pub mod schedule;
mod transform;
mod virtual_host;

use std::sync::Arc;

pub use answer::{DirectResponse, Redirect, RedirectPath, RedirectPort};
pub use cluster::{Cluster, ClusterId, ClusterKey, Endpoint, Service, Workload};
pub use host_table::HostTable;
pub use listener::{Listener, ListenerKey};
pub(crate) use predicate::parameter;
pub use predicate::{Condition, Match, Pattern, Test, ValueTest};
pub use request::Request;
pub use route::{Action, Route, RouteKey, Split, SplitId, Target};
pub use schedule::Schedule;
pub use transform::{HeaderOps, PathRewrite, Substitution, Transform};
pub(crate) use virtual_host::Indexes;
pub use virtual_host::VirtualHost;

/// One revision, ready to serve.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The ports to open, one entry for each pair of port and bind address.
    pub listeners: Vec<Listener>,
    /// Every cluster that a route names, indexed by [`ClusterId`].
    pub clusters: Vec<Arc<Cluster>>,
    /// The split of every route that forwards, indexed by [`SplitId`]; each once, whatever hosts it serves.
    pub splits: Vec<Arc<Split>>,
    /// How many rules of VirtualServices it has.
    pub routes: usize,
    /// How many objects it was made from.
    pub objects: usize,
}

impl Snapshot {
    /// The cluster of an id that this snapshot gave out.
    pub fn cluster(&self, id: ClusterId) -> &Arc<Cluster> {
        &self.clusters[id.index()]
    }
}
