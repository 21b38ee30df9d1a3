//! Who looks on while a decision is made. `()` sees nothing and costs nothing; `explain` writes everything down.

use std::sync::Arc;

use crate::snapshot::{Condition, Match, Route, VirtualHost};

/// Told of each step of a decision, in order.
pub trait Observe {
    /// Whether it is told of every rule, in written order; else rules are looked up in an index, and none is told.
    const EVERY_RULE: bool = true;

    /// The virtual host for the request's authority was looked up.
    fn host(&mut self, _host: Option<&Arc<VirtualHost>>) {}

    /// A block of a route's conditions was asked; `failed` is the first that does not hold, `None` where all do.
    /// A route without conditions takes every request, and is told without a block.
    fn route(&mut self, _route: &Arc<Route>, _block: Option<&Match>, _failed: Option<&Condition>) {}
}

impl Observe for () {
    const EVERY_RULE: bool = false;
}
