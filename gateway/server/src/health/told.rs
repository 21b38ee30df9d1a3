//! What people read of endpoints that become healthy or unhealthy.

use trysail_upstream::health::{Answered, Question};

use crate::proxy::Active;
use crate::render;

/// `healthy 10.0.0.1:80 (reviews v1: 2 of 2 left): 1 probe in a row succeeded`.
pub(super) fn healthy(active: &Active, question: &Question, answered: &Answered, in_a_row: u32) -> String {
    let probes = render::counted(in_a_row as usize, "probe");
    format!("healthy {} ({}): {probes} in a row succeeded", question.address, left(active, answered))
}

/// `unhealthy 10.0.0.1:80 (reviews v1: 1 of 2 left): 3 probes in a row failed, the last with status 503`.
pub(super) fn unhealthy(
    active: &Active,
    question: &Question,
    answered: &Answered,
    in_a_row: u32,
    last: &str,
) -> String {
    let probes = render::counted(in_a_row as usize, "probe");
    let address = question.address;
    format!(
        "unhealthy {address} ({}): {probes} in a row failed, the last with {last}",
        left(active, answered)
    )
}

/// `returned 10.0.0.1:80 (reviews v1) before the end of its ejection, as its probe succeeded`.
pub(super) fn returned(active: &Active, question: &Question, answered: &Answered) -> String {
    let name =
        |index: &usize| active.snapshot.clusters.get(*index).map(|cluster| render::cluster(&cluster.key));
    let names: Vec<String> = answered.returned.iter().filter_map(name).collect();
    let address = question.address;
    format!(
        "returned {address} ({}) before the end of its ejection, as its probe succeeded",
        names.join(", ")
    )
}

/// How many endpoints each cluster has left; of many clusters the first few.
fn left(active: &Active, answered: &Answered) -> String {
    let of = |index: &usize| {
        let cluster = active.snapshot.clusters.get(*index)?;
        let endpoints = active.upstreams.endpoints(*index);
        let left = endpoints.iter().filter(|endpoint| endpoint.is_available()).count();
        Some(format!("{}: {left} of {} left", render::cluster(&cluster.key), endpoints.len()))
    };
    let mut told: Vec<String> = answered.clusters.iter().filter_map(of).take(TOLD).collect();
    let more = answered.clusters.len().saturating_sub(TOLD);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join(", ")
}

/// Clusters that are told by name.
const TOLD: usize = 3;
