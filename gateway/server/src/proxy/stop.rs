//! Which endpoint of a cluster: the balancer asked, and the request counted on what it says.

use std::time::Instant;

use trysail_routing::snapshot::ClusterId;
use trysail_upstream::balance::PickInput;

use super::active::Active;

/// Chooses an endpoint by a hash where there is one, one of those `tried` only in need; `None` where there is none.
/// It is counted as at work until the guard is dropped.
pub(crate) fn choose(
    active: &Active,
    cluster: ClusterId,
    key: Option<u64>,
    tried: &[usize],
) -> Option<(usize, trysail_upstream::Active)> {
    let cluster = active.upstreams.cluster(cluster);
    // The clock is looked at only while somebody warms up.
    let now = cluster.warm_at().map(|warm_at| (warm_at, Instant::now()));
    let now = now.filter(|(warm_at, now)| now < warm_at).map(|(_, now)| now);
    let endpoint = cluster.pick(PickInput { key, roll: fastrand::u64(..), tried, now })?;
    Some((endpoint, cluster.endpoints.get(endpoint)?.begin()))
}
