//! `trysail_express_requests_total`: requests that went by the express lane, and not through Pingora's proxy.

use prometheus::{IntCounter, Registry};

/// The counter.
pub(super) fn counter(registry: &Registry) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::new(
        "trysail_express_requests_total",
        "Requests that went by the express lane (setting expressLane).",
    )?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}
