//! Request → decision: host, then the first route in order whose conditions hold. Sees the snapshot only.

use std::sync::Arc;

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

/// Decides one request that came in through `listener`.
pub fn decide<'s>(listener: &'s Listener, request: &Request<'_>) -> Decision<'s> {
    let Some(host) = listener.hosts.find(request.authority) else { return Decision::NoHost };
    let takes = |route: &&Arc<Route>| {
        route.matches.is_empty()
            || route.matches.iter().any(|block| block.holds(request))
    };
    match host.routes.iter().find(takes) {
        Some(route) => Decision::Route(route),
        None => Decision::NoRoute(host),
    }
}
