//! Virtual hosts: a host pattern, and its routes in the order in which they are tried.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use super::index::RouteIndex;
use super::predicate::{Condition, Match};
use super::request::Request;
use super::route::Route;
use crate::host::HostPattern;
use crate::origin::Origin;

/// One host pattern with its routes.
#[derive(Debug)]
pub struct VirtualHost {
    /// The hosts it is for.
    pub pattern: HostPattern,
    /// Istio `tls.httpsRedirect`: every request that did not come by TLS is sent to `https`.
    pub https_redirect: bool,
    /// Where the first VirtualService that is for it says so; of one without, the Gateway.
    pub origin: Origin,
    /// Its routes, in the order in which they are tried.
    pub routes: Box<[Arc<Route>]>,
    /// Which of them a request can fulfil at all; `None` where they are few.
    index: Option<Arc<RouteIndex>>,
}

/// An index, and the routes that it is of.
type Kept = (Arc<RouteIndex>, Vec<Arc<Route>>);

/// The indexes made so far: virtual hosts with the same routes, such as those of one VirtualService for many hosts,
/// share one.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    /// By the routes' addresses, which stay theirs as the routes are kept along.
    by_routes: HashMap<Vec<usize>, Kept, BuildHasherDefault<DefaultHasher>>,
}

impl Indexes {
    /// A virtual host of routes in the order in which they are tried.
    pub(crate) fn host(
        &mut self,
        pattern: HostPattern,
        https_redirect: bool,
        origin: Origin,
        routes: Vec<Arc<Route>>,
    ) -> VirtualHost {
        let index = RouteIndex::is_worth_it(&routes).then(|| {
            let key: Vec<usize> = routes.iter().map(|route| Arc::as_ptr(route).addr()).collect();
            let make = || (Arc::new(RouteIndex::build(&routes)), routes.clone());
            self.by_routes.entry(key).or_insert_with(make).0.clone()
        });
        VirtualHost { pattern, https_redirect, origin, routes: routes.into(), index }
    }
}

/// A route that takes a request, and by which of its blocks; by none where it has none.
pub(super) type Taken<'s> = (&'s Arc<Route>, Option<&'s Match>);

impl VirtualHost {
    /// The first route, in order, that takes a request. Asks only the blocks that the index can not rule out.
    pub fn find(&self, request: &Request<'_>) -> Option<Taken<'_>> {
        let Some(index) = &self.index else { return self.scan(request, |_, _, _| {}) };
        let (route, block) = index.find(&self.routes, request)?;
        let route = self.routes.get(route as usize)?;
        Some((route, block.and_then(|block| route.matches.get(block as usize)).map(|block| &**block)))
    }

    /// The same by asking every block up to the one that takes it, in order. `asked` is told of each: its route,
    /// the block if it is one, and the first condition that does not hold.
    pub fn scan(
        &self,
        request: &Request<'_>,
        mut asked: impl FnMut(&Arc<Route>, Option<&Match>, Option<&Condition>),
    ) -> Option<Taken<'_>> {
        for route in &self.routes {
            // No block at all takes every request; else one that holds is enough.
            if route.matches.is_empty() {
                asked(route, None, None);
                return Some((route, None));
            }
            for block in &route.matches {
                let failed = block.failing(request);
                asked(route, Some(block), failed);
                if failed.is_none() {
                    return Some((route, Some(block)));
                }
            }
        }
        None
    }
}
