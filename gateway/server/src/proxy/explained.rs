//! A decision told in the answer itself, to callers that the settings name: `x-trysail-explain: 1`.
//!
//! Nobody else learns anything: the field is taken off every request, so that no upstream sees it and no condition.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use pingora_proxy::Session;
use trysail_routing::snapshot::{HeaderOps, Route, Value};

use super::ctx::Ctx;
use super::headers;
use crate::settings::Cidr;

static ASK: HeaderName = HeaderName::from_static("x-trysail-explain");

/// Takes the question off a request; whether it is to be answered.
pub(super) fn asked(session: &mut Session, from: &[Cidr]) -> bool {
    let Some(value) = headers::take_off(session.req_header_mut(), &ASK) else { return false };
    let peer: Option<IpAddr> = session.client_addr().and_then(|peer| peer.as_inet()).map(|peer| peer.ip());
    value == "1" && peer.is_some_and(|peer| from.iter().any(|range| range.contains(peer)))
}

/// What is told of a request that asked.
#[derive(Default)]
pub(super) struct Explained {
    route: Option<Arc<Route>>,
}

impl Explained {
    /// Notes the route that took the request.
    pub(super) fn took(&mut self, route: &Arc<Route>) {
        self.route = Some(route.clone());
    }
}

/// The fields that tell it; none where nobody asked.
pub(super) fn fields(ctx: &Ctx) -> Option<HeaderOps> {
    let explained = ctx.explained.as_ref()?;
    let cluster = ctx.cluster.map(|cluster| ctx.active.snapshot.cluster(cluster));
    let endpoint = cluster.zip(ctx.endpoint).and_then(|(cluster, at)| cluster.endpoints.get(at));
    let route = explained.route.as_ref();
    let told = [
        ("x-trysail-revision", Some(ctx.active.revision.short().to_owned())),
        ("x-trysail-hash", Some(ctx.active.revision.hash().to_owned())),
        ("x-trysail-route", route.map(|route| route.name.to_string())),
        ("x-trysail-origin", route.map(|route| route.origin.short().to_string())),
        ("x-trysail-subset", cluster.map(|cluster| cluster.key.subset.to_string())),
        ("x-trysail-endpoint", endpoint.map(|endpoint| endpoint.address.to_string())),
    ];
    let field = |(name, value): (&'static str, Option<String>)| {
        let value = value.filter(|value| !value.is_empty())?;
        let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        Some((HeaderName::from_static(name), Value::Literal(value)))
    };
    // What an upstream says under these names is not ours.
    let remove = told.iter().map(|(name, _)| HeaderName::from_static(name)).collect();
    Some(HeaderOps { remove, set: told.into_iter().filter_map(field).collect(), add: Vec::new() })
}
