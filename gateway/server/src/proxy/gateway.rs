//! What every request of the process meets: what is in force, what is counted, and the settings of the data plane.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pingora_core::Error;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use trysail_edge::Reason;
use trysail_routing::path::{PathRules, Refusal};

use super::active::ActiveCell;
use super::ctx::Ctx;
use super::headers::Server;
use super::limits::Uses;
use super::measures::Measures;
use super::mirror::Mirrors;
use super::reply::Answer;
use super::traced::Traces;
use super::transport::Complaints;
use super::{strict, target};
use crate::access::AccessLog;
use crate::metrics::{Faults, Reached, RefusedRequests};
use crate::settings::{Cidr, OtherServer};

/// The data plane: what is in force, and how answers are signed.
pub(crate) struct Gateway {
    pub(crate) active: ActiveCell,
    pub(crate) server: Server,
    pub(crate) mirrors: Arc<Mirrors>,
    /// Set once the process ends.
    pub(crate) draining: Arc<AtomicBool>,
    /// How paths are made canonical, and which are refused.
    pub(crate) paths: PathRules,
    /// Requests that were refused for how they are written.
    pub(crate) refused: RefusedRequests,
    /// Whose requests are told in the answer where they went.
    pub(crate) explain_from: Vec<Cidr>,
    /// What clients of HTTPS are told that ask for a host of another server.
    pub(crate) other_server: OtherServer,
    /// How often connections to upstreams were used, where that is limited.
    pub(crate) uses: Uses,
    /// How long a connection that two sides made their own may be silent.
    pub(crate) silence: Duration,
    /// What requests may have in size, and take in time.
    pub(crate) measures: Measures,
    /// Of TLS towards upstreams that fails.
    pub(crate) complaints: Complaints,
    /// Where each request has a line, if there is such a place.
    pub(crate) access: Option<Arc<AccessLog>>,
    /// Where spans go, if they go anywhere.
    pub(crate) traces: Option<Traces>,
    /// Connections to upstreams, by how they were had.
    pub(crate) reached: Reached,
    /// Faults made on purpose.
    pub(crate) faults: Faults,
}

/// The data plane, as Pingora holds it: it takes no `Arc`, and the express lane has the same.
pub(crate) struct Shared(pub(crate) Arc<Gateway>);

impl Deref for Shared {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.0
    }
}

impl Gateway {
    /// Makes a request one that means the same to everyone, or says how it is answered.
    pub(super) fn make_canonical(&self, head: &mut RequestHeader) -> std::result::Result<(), Answer> {
        let refused = |reason| {
            self.refused.count(reason);
            Answer::refused(reason)
        };
        strict::request(head).map_err(refused)?;
        target::make_canonical(head, self.paths).map_err(|refusal| match refusal {
            Refusal::NotAbsolute => Answer::NO_ROUTE,
            Refusal::ZeroByte | Refusal::Form(_) => refused(Reason::Path),
        })
    }

    /// Why TLS failed, if that is what failed.
    pub(super) fn transport_failure(&self, peer: &HttpPeer, error: &Error, ctx: &Ctx) -> Option<String> {
        let cluster = ctx.active.snapshot.cluster(ctx.cluster?);
        self.complaints.hear(peer, error, &cluster.key)
    }
}
