//! What a rule does beside choosing a target: faults, CORS, mirrors, timeout, retries.

use std::sync::Arc;

use super::clusters::Clusters;
use super::support::Written;
use super::values::{duration, percent, whole_percent};
use super::{cors, faults, retries};
use crate::origin::{Place, Pos};
use crate::snapshot::{Chance, Handling, HandlingPlaces, Mirror};
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
        places: places(route),
    };
    (!handling.is_default()).then(|| Arc::new(handling))
}

fn places(route: &HttpRoute) -> HandlingPlaces {
    let key = |field: &dyn Written| field.key().and_then(Pos::place);
    HandlingPlaces {
        delay: route.fault.as_ref().and_then(|fault| key(&fault.delay)),
        abort: route.fault.as_ref().and_then(|fault| key(&fault.abort)),
        cors: key(&route.cors_policy),
        timeout: key(&route.timeout),
        retry: key(&route.retries),
    }
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
    let mut mirror = |to: &Destination, chance: Option<Chance>, place: Option<Place>, sink: &mut Sink<'_>| {
        let cluster = Clusters::find(clusters.as_deref_mut(), to, namespace, sink)?;
        Some(Mirror { cluster, chance: chance.unwrap_or(Chance::ALWAYS), place })
    };
    let mut mirrors = Vec::new();
    if let Some(destination) = &route.mirror {
        let place = destination.key().and_then(Pos::place);
        mirrors.extend(mirror(destination, chance, place, sink));
    }
    for policy in &route.mirrors {
        let MirrorPolicy { destination, percentage } = &policy.value;
        let chance = percent(percentage.as_ref(), sink);
        mirrors.extend(mirror(destination, chance, policy.pos.place(), sink));
    }
    mirrors.retain(|mirror| !mirror.chance.is_never());
    mirrors
}
