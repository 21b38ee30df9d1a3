//! Request → decision: host, then the first route in order whose conditions hold. Sees the snapshot only.

mod explain;
mod observe;

use std::sync::Arc;

pub use explain::{Considered, Explanation, explain};
pub use observe::Observe;

pub use crate::snapshot::Request;
use crate::snapshot::{Listener, Route, VirtualHost};

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'s> {
    /// No virtual host of the listener is for its host: 404, flag NR.
    NoHost,
    /// Its virtual host has no route for it: 404, flag NR. Broader hosts are not asked.
    NoRoute(&'s VirtualHost),
    /// This route takes it.
    Route(&'s Arc<Route>),
}

/// Decides one request that came in through `listener`, while `observe` looks on.
pub fn decide<'s>(listener: &'s Listener, request: &Request<'_>, observe: &mut impl Observe) -> Decision<'s> {
    let host = listener.hosts.find(request.authority);
    observe.host(host);
    let Some(host) = host else { return Decision::NoHost };
    match host.routes.iter().find(|route| takes(route, request, observe)) {
        Some(route) => Decision::Route(route),
        None => Decision::NoRoute(host),
    }
}

/// Whether a route takes a request: one block that holds is enough, and none at all takes every request.
fn takes(route: &Arc<Route>, request: &Request<'_>, observe: &mut impl Observe) -> bool {
    if route.matches.is_empty() {
        observe.route(route, None, None);
        return true;
    }
    route.matches.iter().any(|block| {
        let failed = block.failing(request);
        observe.route(route, Some(block), failed);
        failed.is_none()
    })
}
