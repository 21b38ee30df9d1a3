//! What a rule does beside choosing a target: faults, CORS, mirrors, timeout, retries.

use std::sync::Arc;

use super::clusters::Clusters;
use super::{cors, faults, retries};
use crate::origin::At;
use crate::snapshot::{Chance, Handling, Mirror};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{HttpRoute, MirrorPolicy, Percent};

/// Compiles it for a rule of an object in `namespace`; `None` where it says nothing of all that. `clusters` is
/// `None` for a VirtualService that no gateway of ours serves: mirrors need not exist there.
pub(super) fn compile(
    route: &HttpRoute,
    namespace: &str,
    clusters: Option<&mut Clusters<'_>>,
    sink: &mut Sink<'_>,
) -> Option<Arc<Handling>> {
    let timeout = route.timeout.as_ref().map(|timeout| timeout.value).filter(|time| !time.is_zero());
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
    clusters: Option<&mut Clusters<'_>>,
    sink: &mut Sink<'_>,
) -> Vec<Mirror> {
    if let (Some(_), Some(first)) = (&route.mirror, route.mirrors.first()) {
        sink.schema(first.pos, "mirror and mirrors exclude each other".into());
    }
    let whole = route.mirror_percent.as_ref().or(route.mirror_percent_snake.as_ref());
    let chance = match (&route.mirror_percentage, whole) {
        (None, Some(whole)) => whole_percent(whole, sink),
        (percentage, _) => percent(percentage.as_ref(), sink).unwrap_or(Chance::ALWAYS),
    };
    let Some(clusters) = clusters else { return Vec::new() };
    let mut mirrors = Vec::new();
    if let Some(destination) = &route.mirror {
        let destination = At { value: (*destination.value).clone(), pos: destination.pos };
        mirrors.push(Mirror { cluster: clusters.resolve(&destination, namespace, sink), chance });
    }
    for policy in &route.mirrors {
        let MirrorPolicy { destination, percentage } = &policy.value;
        let chance = percent(percentage.as_ref(), sink).unwrap_or(Chance::ALWAYS);
        mirrors.push(Mirror { cluster: clusters.resolve(destination, namespace, sink), chance });
    }
    mirrors.retain(|mirror| !mirror.chance.is_never());
    mirrors
}

/// A percentage as written; `None` where there is none. A block without a value says 0.
pub(super) fn percent(written: Option<&At<Percent>>, sink: &mut Sink<'_>) -> Option<Chance> {
    let written = written?;
    let Percent { value } = &written.value;
    let number = value.as_ref().map_or(0.0, |value| value.value);
    let chance = Chance::percent(number);
    if chance.is_none() {
        sink.schema(written.pos, format!("{number} % is not within 0 to 100"));
    }
    chance
}

/// A percentage of the deprecated kind, in whole percent.
pub(super) fn whole_percent(written: &At<i64>, sink: &mut Sink<'_>) -> Chance {
    let chance = Chance::percent(written.value as f64);
    if chance.is_none() {
        sink.schema(written.pos, format!("{} % is not within 0 to 100", written.value));
    }
    chance.unwrap_or_default()
}
