//! Request → decision: host, then the first route in order whose conditions hold. Sees the snapshot only.

mod explain;
mod handling;
mod observe;

use std::sync::Arc;

pub use explain::{Considered, Explanation, explain};
pub use handling::describe;
pub use observe::Observe;

pub use crate::snapshot::Request;
use crate::snapshot::{Match, Route, VirtualHost, VirtualHosts};

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'s> {
    /// No virtual host of the listener is for its host: 404, flag NR.
    NoHost,
    /// Its virtual host wants TLS, and it came without: 301 to the same under `https`.
    ToHttps(&'s VirtualHost),
    /// Its virtual host has no route for it: 404, flag NR. Broader hosts are not asked.
    NoRoute(&'s VirtualHost),
    /// This route takes it, by this block of conditions if it has any.
    Route(&'s Arc<Route>, Option<&'s Match>),
}

/// Decides one request for one of a listener's virtual hosts, while `observe` looks on.
pub fn decide<'s>(
    hosts: &'s VirtualHosts,
    request: &Request<'_>,
    observe: &mut impl Observe,
) -> Decision<'s> {
    let host = hosts.find(request.authority);
    observe.host(host);
    let Some(host) = host else { return Decision::NoHost };
    if host.https_redirect && request.scheme != "https" {
        return Decision::ToHttps(host);
    }
    for route in &host.routes {
        // No block at all takes every request; else one that holds is enough.
        if route.matches.is_empty() {
            observe.route(route, None, None);
            return Decision::Route(route, None);
        }
        for block in &route.matches {
            let failed = block.failing(request);
            observe.route(route, Some(block), failed);
            if failed.is_none() {
                return Decision::Route(route, Some(block));
            }
        }
    }
    Decision::NoRoute(host)
}
