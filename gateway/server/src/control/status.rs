//! How the process fares, in one line: what `systemctl status` shows of it.

use std::collections::BTreeSet;

use trysail_routing::diagnostic::{Diagnostics, Severity};

use crate::proxy::Active;
use crate::render;

/// Subsets that are told by name; more of them are counted.
const TOLD: usize = 5;

/// `revision 81ab90f4, 4 routes on 2 ports; held: reviews v3`, with what became of the newest files where that is not
/// what serves. `kept`: it was read from the state directory, not from the files.
pub(super) fn line(active: &Active, kept: bool, refusal: Option<&str>) -> String {
    let snapshot = &active.snapshot;
    let mut line = format!(
        "revision {}{}, {} on {}",
        active.revision.short(),
        if kept { " (the last good one, kept on disk)" } else { "" },
        render::counted(snapshot.routes, "route"),
        render::counted(snapshot.listeners.len(), "port")
    );
    if let Some(refusal) = refusal {
        line.push_str(&format!("; newest refused: {refusal}"));
    }
    let held = active.upstreams.held();
    let held: BTreeSet<String> =
        held.iter().map(|held| render::cluster(&snapshot.cluster(held.cluster).key)).collect();
    if !held.is_empty() {
        let more = held.len().saturating_sub(TOLD);
        let named: Vec<String> = held.into_iter().take(TOLD).collect();
        line.push_str(&format!("; held: {}", named.join(", ")));
        if more > 0 {
            line.push_str(&format!(" and {more} more"));
        }
    }
    line
}

/// Why a revision was refused: the first error with its place, and how many there are.
pub(super) fn refusal(findings: &Diagnostics) -> String {
    let count = render::counts(findings.count(Severity::Error), 0);
    match findings.iter().find(|finding| finding.severity == Severity::Error) {
        None => count,
        Some(first) => {
            let place = first.origin.as_ref().map_or_else(String::new, |origin| format!("{origin}: "));
            format!("{count}, {place}{}", first.message)
        }
    }
}
