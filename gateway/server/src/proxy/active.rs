//! What the data plane consults: one revision with all that hangs on its ids, swapped in as one.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use trysail_routing::snapshot::{Listener, Snapshot};
use trysail_routing::wire::Revision;
use trysail_upstream::Upstreams;

use super::peer::Peers;
use crate::metrics::Handles;

/// One revision in force. Immutable but for the counts inside it; it goes with its last request.
pub(crate) struct Active {
    /// The content's hash.
    pub(crate) revision: Revision,
    /// The routes and clusters.
    pub(crate) snapshot: Snapshot,
    /// Endpoint state and split tickets, by the snapshot's ids.
    pub(crate) upstreams: Upstreams,
    /// What to connect to, by the snapshot's ids.
    pub(crate) peers: Peers,
    /// Where requests are counted, by the snapshot's ids.
    pub(crate) requests: Handles,
    /// The sockets that are open, each with the index of its listener.
    pub(crate) bound: Vec<(SocketAddr, usize)>,
}

impl Active {
    /// The listener of a connection that came in on `local`; `None` where its port has gone meanwhile.
    pub(crate) fn listener(&self, local: SocketAddr) -> Option<&Listener> {
        let here = |bound: &SocketAddr| {
            bound.port() == local.port() && (bound.ip() == local.ip() || bound.ip().is_unspecified())
        };
        let (_, index) = self.bound.iter().find(|(bound, _)| here(bound))?;
        self.snapshot.listeners.get(*index)
    }
}

/// The place that a request takes its revision from, once, and keeps it to its end.
pub(crate) type ActiveCell = Arc<ArcSwap<Active>>;
