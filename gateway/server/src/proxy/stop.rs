//! One endpoint, chosen, and counted as long as it is at work.

use trysail_routing::snapshot::ClusterId;
use trysail_upstream::balance::least_request;

use super::active::Active;

/// An endpoint that somebody is served by.
pub(crate) struct Stop {
    /// Its place in its cluster.
    pub(crate) endpoint: usize,
    _working: trysail_upstream::Active,
}

impl Stop {
    /// Chooses one of a cluster; `None` where there is none.
    pub(crate) fn choose(active: &Active, cluster: ClusterId) -> Option<Self> {
        let endpoints = &active.upstreams.cluster(cluster).endpoints;
        let endpoint = least_request(endpoints, fastrand::u64(..))?;
        Some(Stop { endpoint, _working: endpoints[endpoint].begin() })
    }
}
