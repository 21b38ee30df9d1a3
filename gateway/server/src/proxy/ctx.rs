//! What one request carries from phase to phase, and gives back when it ends, however it ends.

use std::sync::Arc;

use trysail_routing::snapshot::{ClusterId, HeaderOps, Transform};
use trysail_upstream::balance::least_request;

use super::active::Active;
use super::explained::Explained;
use crate::metrics::Flag;

/// One request's memory. Loaded with one revision, which it keeps to its end.
pub(crate) struct Ctx {
    /// The revision.
    pub(crate) active: Arc<Active>,
    /// The cluster whose turn it was.
    pub(crate) cluster: Option<ClusterId>,
    /// The endpoint that was last tried.
    pub(crate) endpoint: Option<usize>,
    /// What is changed on the way there and back; `None` for nothing.
    pub(crate) transform: Option<Arc<Transform>>,
    /// The path that the target is told, where it is another.
    pub(crate) path: Option<String>,
    /// Connections that were asked for.
    pub(crate) tries: u32,
    /// The status that the client got; 0 until it got one.
    pub(crate) status: u16,
    /// Why the answer is what it is.
    pub(crate) flag: Flag,
    /// What the answer tells of the decision, where a caller that may ask did.
    pub(super) explained: Option<Box<Explained>>,
    /// Counts the request on its endpoint.
    working: Option<trysail_upstream::Active>,
}

impl Ctx {
    /// A request under this revision.
    pub(crate) fn new(active: Arc<Active>) -> Self {
        Ctx {
            active,
            cluster: None,
            endpoint: None,
            transform: None,
            path: None,
            tries: 0,
            status: 0,
            flag: Flag::None,
            explained: None,
            working: None,
        }
    }

    /// What is changed of the answer's fields.
    pub(crate) fn response_ops(&self) -> &[HeaderOps] {
        self.transform.as_ref().map_or(&[], |transform| &transform.response)
    }

    /// Chooses an endpoint of the cluster and counts the request on it; `false` where there is none.
    pub(crate) fn choose_endpoint(&mut self) -> bool {
        let Some(cluster) = self.cluster else { return false };
        let endpoints = &self.active.upstreams.cluster(cluster).endpoints;
        self.working = None;
        self.endpoint = least_request(endpoints, fastrand::u64(..));
        self.working = self.endpoint.map(|endpoint| endpoints[endpoint].begin());
        self.endpoint.is_some()
    }
}

/// A request is counted once, here, so that one whose future was dropped is counted too.
impl Drop for Ctx {
    fn drop(&mut self) {
        if self.status == 0 && self.flag == Flag::None {
            self.flag = Flag::DownstreamConnectionTermination;
        }
        self.active.requests.of(self.cluster, self.endpoint).count(self.status, self.flag);
    }
}
