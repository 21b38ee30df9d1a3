//! The split as a table: what was configured, what was observed, version by version.

use crate::board::Tally;
use crate::proxy::Active;
use crate::render::thousands;

/// One version of a route.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) version: String,
    pub(super) weight: u64,
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// In milliseconds; `None` before the first answer.
    pub(super) p50: Option<f64>,
}

/// The versions of the first route, with what was counted since its weights are in force.
pub(super) fn rows(active: &Active) -> Vec<Row> {
    let Some(split) = active.snapshot.splits.first() else { return Vec::new() };
    let Some(period) = active.board.period(split.id) else { return Vec::new() };
    let row = |(target, tally): (&trysail_routing::snapshot::Target, Tally)| {
        let key = &active.snapshot.cluster(target.cluster).key;
        let version = if key.subset.is_empty() { &key.host } else { &key.subset };
        Row {
            version: version.to_string(),
            weight: u64::from(target.weight),
            requests: tally.requests,
            errors: tally.errors,
            p50: tally.times.quantile(0.5),
        }
    };
    split.targets.iter().zip(period.tallies()).map(row).collect()
}

/// The longest bar.
const BAR: usize = 20;

/// The table as lines, the route's name and place first.
pub(super) fn lines(active: &Active, rows: &[Row]) -> Vec<String> {
    let Some(split) = active.snapshot.splits.first() else { return vec!["no route".to_owned()] };
    let (weights, requests) = (sum(rows, |row| row.weight), sum(rows, |row| row.requests));
    let mut lines = vec![
        format!("{}   {}   revision {}", split.name, split.origin.short(), active.revision.short()),
        format!(
            "{:<8}{:>12}{:>12}  {:<BAR$}{:>12}{:>10}{:>11}",
            "", "configured", "observed", "", "requests", "errors", "p50"
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
            "{:<8}{:>12}{:>12}  {bar:<BAR$}{:>12}{:>10}{:>11}",
            row.version,
            percent(row.weight, weights),
            percent(row.requests, requests),
            thousands(row.requests),
            percent(row.errors, row.requests),
            row.p50.map_or_else(|| "–".to_owned(), |millis| format!("{millis:.1} ms")),
        ));
    }
    lines
}

fn sum(rows: &[Row], of: impl Fn(&Row) -> u64) -> u64 {
    rows.iter().map(of).sum()
}
