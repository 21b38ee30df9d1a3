//! Configuration as run: immutable, complete, indexed. What a request consults, and all that it consults.
//!
//! Everything optional in the files is decided here already; regexes are built, weights are schedules, hosts
//! are tables. Dense ids ([`ClusterId`], [`SplitId`]) index the tables that live beside a snapshot: endpoint
//! state, tickets, metric handles.

mod answer;
mod chance;
mod cluster;
mod cors;
mod fault;
mod handling;
mod host_table;
mod index;
mod listener;
mod locality;
pub mod policy;
mod predicate;
mod probe;
mod reference;
mod request;
mod retry;
mod route;
pub mod schedule;
mod tls;
mod transform;
mod variable;
mod virtual_host;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use answer::{DirectResponse, Redirect, RedirectPath, RedirectPort};
pub use chance::Chance;
pub use cluster::{Cluster, ClusterId, ClusterKey, Endpoint, Placement, Service, Workload};
pub use cors::{Cors, Fields, Listed};
pub use fault::{Abort, Fault};
pub use handling::{Handling, HandlingPlaces, Mirror};
pub use host_table::HostTable;
pub use listener::{Listener, ListenerKey, ListenerProtocol, TlsServer, VirtualHosts};
pub use locality::Locality;
pub use policy::Policy;
pub use predicate::parameter;
pub use predicate::{Condition, Match, Pattern, Test, ValueTest};
pub use probe::{Probe, ProbeKind};
pub use reference::Reference;
pub use request::Request;
pub use retry::{Retry, RetryOn, RetrySet};
pub use route::{Action, Route, RouteKey, RoutePlaces, Split, SplitId, Target};
pub use schedule::Schedule;
pub use tls::{
    CIPHER_SUITES, Certificate, ClientCertificates, Clients, Issuers, Pins, ServerTls, TlsId, TlsVersion,
};
pub use transform::{HeaderOps, PathRewrite, Substitution, Transform, TransformPlaces};
pub(crate) use variable::is_time;
pub use variable::{Asked, Part, Tls, Value, Variable, View, date};
pub(crate) use virtual_host::Indexes;
pub use virtual_host::VirtualHost;

/// One revision, ready to serve. A clone shares what it is made of.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The ports to open, one entry for each pair of port and bind address, in the order of their keys.
    pub listeners: Vec<Listener>,
    /// How TLS is ended, for every server that ends any, indexed by [`TlsId`].
    pub tls: Vec<Arc<ServerTls>>,
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
    /// The listener of a key.
    pub fn listener(&self, key: ListenerKey) -> Option<&Listener> {
        let index = self.listeners.binary_search_by_key(&key, |listener| listener.key).ok()?;
        self.listeners.get(index)
    }

    /// The names that are to be looked up for it: of services that no route leads to, none.
    pub fn names(&self) -> BTreeSet<Arc<str>> {
        self.clusters.iter().flat_map(|cluster| cluster.names.iter().cloned()).collect()
    }

    /// The cluster of an id that this snapshot gave out.
    pub fn cluster(&self, id: ClusterId) -> &Arc<Cluster> {
        &self.clusters[id.index()]
    }
}
