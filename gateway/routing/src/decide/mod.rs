//! Request → decision: host, then the first route in order whose conditions hold. Sees the snapshot only.

mod explain;
mod handling;
mod observe;

use std::sync::Arc;

pub use explain::{Considered, Explanation, consent, explain};
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
///
/// With `()` the rules are looked up in the host's index. Whoever looks on is told of each rule in written order, also of
/// those that the index passes over; a property test holds the two to the same answer.
pub fn decide<'s, O: Observe>(
    hosts: &'s VirtualHosts,
    request: &Request<'_>,
    observe: &mut O,
) -> Decision<'s> {
    let host = hosts.find(request.authority);
    observe.host(host);
    let Some(host) = host else { return Decision::NoHost };
    if host.https_redirect && request.scheme != "https" {
        return Decision::ToHttps(host);
    }
    // Who looks on wants every rule; who does not gets the same answer from the index.
    let taken = match O::EVERY_RULE {
        true => host.scan(request, |route, block, failed| observe.route(route, block, failed)),
        false => host.find(request),
    };
    taken.map_or(Decision::NoRoute(host), |(route, block)| Decision::Route(route, block))
}
