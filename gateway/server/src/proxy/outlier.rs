//! How tries ended, told to whoever ejects endpoints; and what comes of it, told to people.
//!
//! Only what an endpoint did is told, or failed to do: not what the gateway answers in its place, nor a connection
//! that the client broke off.

use std::net::SocketAddr;
use std::time::Instant;

use http::HeaderMap;
use log::{info, warn};
use pingora_http::ResponseHeader;
use trysail_routing::snapshot::ClusterId;
use trysail_upstream::outlier::Report;
use trysail_upstream::retry::Failure;

use super::active::Active;
use super::ctx::Ctx;
use super::{grpc, retry};
use crate::render;

/// Tells that an endpoint answered a request with these fields. Interim answers say nothing of it, but that it changes the protocol does.
pub(super) fn answered(request: &HeaderMap, ctx: &Ctx, response: &ResponseHeader) {
    let Some((cluster, endpoint)) = watched(ctx) else { return };
    let status = response.status.as_u16();
    if response.status.is_informational() && status != 101 {
        return;
    }
    let grpc = match grpc::speaks(request) {
        true => retry::grpc_status(&response.headers),
        false => None,
    };
    let report = grpc.map_or(Report::Status(status), |code| Report::Grpc(u32::from(code)));
    tell(&ctx.active, cluster, endpoint, report);
}

/// Tells that an endpoint did not answer, or broke off; `resent` where the request goes again as if it had not.
pub(super) fn failed(ctx: &Ctx, failure: Failure, resent: bool) {
    let report = match failure {
        // A kept connection that had ended meanwhile says nothing of who kept it; an answer has been told.
        Failure::Stale if resent => return,
        Failure::Answer { .. } => return,
        // Too late after the answer's head is not too late to answer.
        Failure::PerTry if ctx.status > 0 => return,
        Failure::PerTry => Report::TimedOut,
        Failure::Connect | Failure::Stale | Failure::Refused | Failure::Reset => Report::Failed,
    };
    if let Some((cluster, endpoint)) = watched(ctx) {
        tell(&ctx.active, cluster, endpoint, report);
    }
}

fn watched(ctx: &Ctx) -> Option<(ClusterId, usize)> {
    let (cluster, endpoint) = (ctx.cluster?, ctx.endpoint?);
    ctx.active.upstreams.cluster(cluster).has_outlier_detection().then_some((cluster, endpoint))
}

/// Tells how a try on an endpoint ended. An ejection is logged and counted.
pub(crate) fn tell(active: &Active, cluster: ClusterId, endpoint: usize, report: Report) {
    let Some(ejection) = active.upstreams.cluster(cluster).report(endpoint, report, Instant::now) else {
        return;
    };
    let cluster = active.snapshot.cluster(cluster);
    active.endpoints.ejected(&cluster.key, ejection.reason);
    if let Some(endpoint) = cluster.endpoints.get(endpoint) {
        warn!(
            "ejected {} ({}) for {}: {} consecutive {}",
            endpoint.address,
            render::cluster(&cluster.key),
            render::time(ejection.time),
            ejection.count,
            ejection.reason.as_str()
        );
    }
}

/// Takes back the endpoints whose time is over.
pub(crate) fn sweep(active: &Active, now: Instant) {
    for (cluster, address) in active.upstreams.sweep(now) {
        returned(active, cluster, address);
    }
}

fn returned(active: &Active, cluster: usize, address: SocketAddr) {
    let name = active.snapshot.clusters.get(cluster).map(|cluster| render::cluster(&cluster.key));
    info!("returned {address} ({}) after its ejection", name.unwrap_or_default());
}
