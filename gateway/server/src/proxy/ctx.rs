//! What one request carries from phase to phase, and gives back when it ends, however it ends.

use std::sync::Arc;
use std::time::Instant;

use trysail_routing::snapshot::{ClusterId, HeaderOps, Transform};
use trysail_upstream::balance::PickInput;

use super::active::Active;
use super::hash::Hashed;
use crate::metrics::Flag;

/// One request's memory. Loaded with one revision, which it keeps to its end.
pub(crate) struct Ctx {
    /// The revision.
    pub(crate) active: Arc<Active>,
    /// The cluster whose turn it was.
    pub(crate) cluster: Option<ClusterId>,
    /// The endpoint that was last tried.
    pub(crate) endpoint: Option<usize>,
    /// Those that were tried before it.
    tried: Vec<usize>,
    /// What its endpoint is chosen by, where that is a hash, and the cookie that keeps it.
    pub(super) hashed: Hashed,
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
            tried: Vec::new(),
            hashed: Hashed::default(),
            transform: None,
            path: None,
            tries: 0,
            status: 0,
            flag: Flag::None,
            working: None,
        }
    }

    /// What is changed of the answer's fields.
    pub(crate) fn response_ops(&self) -> &[HeaderOps] {
        self.transform.as_ref().map_or(&[], |transform| &transform.response)
    }

    /// Chooses an endpoint of the cluster, one that was tried already only in need, and counts the request on it; `false` where
    /// there is none.
    pub(crate) fn choose_endpoint(&mut self) -> bool {
        let Some(cluster) = self.cluster else { return false };
        self.tried.extend(self.endpoint);
        self.working = None;
        let cluster = self.active.upstreams.cluster(cluster);
        // The clock is looked at only while somebody warms up.
        let now = cluster.warm_at().map(|warm_at| (warm_at, Instant::now()));
        let now = now.filter(|(warm_at, now)| now < warm_at).map(|(_, now)| now);
        let input = PickInput { key: self.hashed.key, roll: fastrand::u64(..), tried: &self.tried, now };
        self.endpoint = cluster.pick(input);
        let state = self.endpoint.and_then(|endpoint| cluster.endpoints.get(endpoint));
        self.working = state.map(|endpoint| endpoint.begin());
        self.working.is_some()
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
