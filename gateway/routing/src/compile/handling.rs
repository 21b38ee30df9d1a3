//! What a rule does beside choosing a target: faults, CORS, mirrors, timeout, retries.

use std::sync::Arc;

use super::clusters::Clusters;
use super::values::{duration, percent, whole_percent};
use super::{cors, faults, retries};
use crate::snapshot::{Chance, Handling, Mirror};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{Destination, HttpRoute, MirrorPolicy};

/// Compiles it for a rule of an object in `namespace`; `None` where it says nothing of all that. `clusters` is
/// `None` for a VirtualService that no gateway of ours serves: mirrors need not exist there.
pub(super) fn compile(
    route: &HttpRoute,
    namespace: &str,
    clusters: Option<&mut Clusters<'_>>,
    sink: &mut Sink<'_>,
) -> Option<Arc<Handling>> {
    let timeout = duration(route.timeout.as_ref(), sink);
    let handling = Handling {
        fault: route.fault.as_ref().and_then(|fault| faults::compile(fault, sink)),
        cors: route.cors_policy.as_ref().map(|policy| cors::compile(policy, sink)),
        mirrors: mirrors(route, namespace, clusters, sink),
        timeout,
        retry: retries::compile(route.retries.as_ref(), timeout, sink),
    };
    (!handling.is_default()).then(|| Arc::new(handling))
}

/// Istio: `mirror` with the rule's percentage, or `mirrors` each with its own; none is 100 %, 0 is off.
fn mirrors(
    route: &HttpRoute,
    namespace: &str,
    mut clusters: Option<&mut Clusters<'_>>,
    sink: &mut Sink<'_>,
) -> Vec<Mirror> {
    let mut whole =
        |written: &Option<_>, name| whole_percent(written.as_ref(), name, "mirrorPercentage", sink);
    let whole =
        [whole(&route.mirror_percent, "mirrorPercent"), whole(&route.mirror_percent_snake, "mirror_percent")];
    let chance = match &route.mirror_percentage {
        None => whole.into_iter().flatten().next(),
        percentage => percent(percentage.as_ref(), sink),
    };
    let mut mirror = |destination: &Destination, chance: Option<Chance>, sink: &mut Sink<'_>| {
        let cluster = Clusters::find(clusters.as_deref_mut(), destination, namespace, sink)?;
        Some(Mirror { cluster, chance: chance.unwrap_or(Chance::ALWAYS) })
    };
    let mut mirrors = Vec::new();
    if let Some(destination) = &route.mirror {
        mirrors.extend(mirror(destination, chance, sink));
    }
    for MirrorPolicy { destination, percentage } in route.mirrors.iter().map(|policy| &policy.value) {
        let chance = percent(percentage.as_ref(), sink);
        mirrors.extend(mirror(destination, chance, sink));
    }
    mirrors.retain(|mirror| !mirror.chance.is_never());
    mirrors
}
