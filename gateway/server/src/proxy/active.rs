//! What the data plane consults: one revision with all that hangs on its ids, swapped in as one.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::Revision;
use trysail_upstream::Upstreams;

use super::peer::Peers;
use super::term::Term;
use crate::board;
use crate::metrics::{Endpoints, Handles, Loads};
use crate::tls::{Configs, Trusts};

/// One revision in force. Immutable but for the counts inside it; it goes with its last request.
pub(crate) struct Active {
    /// The content's hash.
    pub(crate) revision: Revision,
    /// The routes and clusters.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Endpoint state and split tickets, by the snapshot's ids.
    pub(crate) upstreams: Arc<Upstreams>,
    /// What to connect to, by the snapshot's ids.
    pub(crate) peers: Arc<Peers>,
    /// Where requests are counted, by the snapshot's ids.
    pub(crate) requests: Arc<Handles>,
    /// What the scoreboard counts, by the snapshot's ids.
    pub(crate) board: Arc<board::Handles>,
    /// Tells when its last request has ended, and how many connections are long ones.
    pub(crate) term: Term,
    /// Where retries and ceilings that are met are counted, by the snapshot's ids.
    pub(crate) loads: Arc<Loads>,
    /// Where endpoints and their ejections are counted.
    pub(crate) endpoints: Arc<Endpoints>,
    /// How TLS is ended, by the snapshot's ids.
    pub(crate) tls: Configs,
    /// What upstreams are trusted by.
    pub(crate) trusts: Trusts,
    /// The sockets that are open, each with the index of its listener.
    pub(crate) bound: Vec<(SocketAddr, usize)>,
}

impl Active {
    /// The same revision with its state reconciled anew.
    pub(crate) fn with(&self, upstreams: Upstreams, board: board::Handles, term: Term) -> Self {
        Active {
            revision: self.revision.clone(),
            snapshot: self.snapshot.clone(),
            upstreams: Arc::new(upstreams),
            peers: self.peers.clone(),
            requests: self.requests.clone(),
            board: Arc::new(board),
            term,
            loads: self.loads.clone(),
            endpoints: self.endpoints.clone(),
            tls: self.tls.clone(),
            trusts: self.trusts.clone(),
            bound: self.bound.clone(),
        }
    }
}

/// What hangs on revisions that were replaced, held until their last requests have ended: so that it is freed by whoever
/// asks for it, and not by a request.
#[derive(Default)]
pub(crate) struct Remains(Mutex<Vec<Left>>);

struct Left {
    by: Weak<Active>,
    _snapshot: Arc<Snapshot>,
    _upstreams: Arc<Upstreams>,
    _peers: Arc<Peers>,
    _requests: Arc<Handles>,
    _board: Arc<board::Handles>,
    _loads: Arc<Loads>,
}

impl Remains {
    /// Holds what a revision leaves.
    pub(crate) fn keep(&self, active: &Arc<Active>) {
        self.0.lock().push(Left {
            by: Arc::downgrade(active),
            _snapshot: active.snapshot.clone(),
            _upstreams: active.upstreams.clone(),
            _peers: active.peers.clone(),
            _requests: active.requests.clone(),
            _board: active.board.clone(),
            _loads: active.loads.clone(),
        });
    }

    /// Frees what those have left by which nobody works any more.
    pub(crate) fn free(&self) {
        self.0.lock().retain(|left| left.by.strong_count() > 0);
    }
}

/// The place that a request takes its revision from, once, and keeps it to its end.
pub(crate) type ActiveCell = Arc<ArcSwap<Active>>;
