//! The split as a table: what was configured, what was observed, version by version.

use std::collections::BTreeMap;

use trysail_routing::snapshot::Split;

use crate::proxy::Active;
use crate::render::thousands;

/// One version of a route.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) version: String,
    pub(super) weight: u64,
    pub(super) requests: u64,
    pub(super) errors: u64,
}

/// What was counted before the revision in force, so that observed shares are this revision's own.
#[derive(Debug, Default)]
pub(super) struct Since {
    revision: String,
    before: BTreeMap<String, (u64, u64)>,
}

impl Since {
    /// The rows of the revision in force.
    pub(super) fn rows(&mut self, active: &Active) -> Vec<Row> {
        let Some(split) = active.snapshot.splits.first() else { return Vec::new() };
        let rows = count(active, split);
        if self.revision != active.revision.hash() {
            self.revision = active.revision.hash().to_owned();
            self.before = rows.iter().map(|row| (row.version.clone(), (row.requests, row.errors))).collect();
        }
        let since = |row: Row| {
            let (requests, errors) = self.before.get(&row.version).copied().unwrap_or_default();
            Row {
                requests: row.requests.saturating_sub(requests),
                errors: row.errors.saturating_sub(errors),
                ..row
            }
        };
        rows.into_iter().map(since).collect()
    }
}

fn count(active: &Active, split: &Split) -> Vec<Row> {
    let row = |target: &trysail_routing::snapshot::Target| {
        let key = &active.snapshot.cluster(target.cluster).key;
        let version = if key.subset.is_empty() { &key.host } else { &key.subset };
        let (requests, errors) = active.requests.sum(target.cluster);
        Row { version: version.to_string(), weight: u64::from(target.weight), requests, errors }
    };
    split.targets.iter().map(row).collect()
}

/// The longest bar.
const BAR: usize = 20;

/// The table as lines, the route's name and place first.
pub(super) fn lines(active: &Active, rows: &[Row]) -> Vec<String> {
    let Some(split) = active.snapshot.splits.first() else { return vec!["no route".to_owned()] };
    let (weights, requests) = (sum(rows, |row| row.weight), sum(rows, |row| row.requests));
    let mut lines = vec![
        format!(
            "{}   {}:{}   revision {}",
            split.name,
            split.origin.piece.file,
            split.origin.line(),
            active.revision.short()
        ),
        format!(
            "{:<8}{:>12}{:>12}  {:<BAR$}{:>12}{:>10}",
            "", "configured", "observed", "", "requests", "errors"
        ),
    ];
    for row in rows {
        let percent = |part: u64, whole: u64| match whole {
            0 => "–".to_owned(),
            _ => format!("{:.1} %", 100.0 * part as f64 / whole as f64),
        };
        let bar = match requests {
            0 => String::new(),
            _ => "▇".repeat((row.requests as usize * BAR).div_ceil(requests as usize).min(BAR)),
        };
        lines.push(format!(
            "{:<8}{:>12}{:>12}  {bar:<BAR$}{:>12}{:>10}",
            row.version,
            percent(row.weight, weights),
            percent(row.requests, requests),
            thousands(row.requests),
            percent(row.errors, row.requests),
        ));
    }
    lines
}

fn sum(rows: &[Row], of: impl Fn(&Row) -> u64) -> u64 {
    rows.iter().map(of).sum()
}
