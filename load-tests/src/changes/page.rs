//! The page on changes, as Markdown and as JSON.

use serde::Serialize;

use super::Extent;
use crate::machine::Machine;
use crate::report::{table, thousands};
use crate::stats::Spread;

/// All that was found.
#[derive(Debug, Serialize)]
pub struct Page {
    hosts: usize,
    edits: usize,
    connections: usize,
    placement: String,
    machine: Machine,
    /// Edits of each kind and peer.
    pub changes: Vec<Change>,
    /// What goes on beside the load.
    pub loads: Vec<Load>,
}

/// Edits of one kind.
#[derive(Debug, Serialize)]
pub struct Change {
    /// Whose configuration.
    pub peer: &'static str,
    /// What of it.
    pub what: &'static str,
    /// Milliseconds from the file's being in place to the first answer by it.
    pub served_ms: Spread,
    /// Of the other host's answers, in microseconds.
    pub p99_before_us: u32,
    /// The same while edits go on.
    pub p99_meanwhile_us: u32,
    /// Right answers of the other host meanwhile.
    pub requests: u64,
    /// Wrong answers and closed connections.
    pub failed: u64,
    /// The first of them in words.
    pub first_error: Option<String>,
}

/// A disturbance beside a load.
#[derive(Debug, Serialize)]
pub struct Load {
    /// Of what kind.
    pub what: &'static str,
    /// How often it came.
    pub times: u64,
    /// Of the last page of metrics, where those are read.
    pub bytes: usize,
    /// The process's CPU per request with it over that without.
    pub cpu_ratio: Spread,
    /// In microseconds.
    pub p99_without_us: u32,
    /// In microseconds.
    pub p99_with_us: u32,
    /// Wrong answers and closed connections.
    pub failed: u64,
}

impl Change {
    /// In a line.
    #[must_use]
    pub fn said(&self) -> String {
        let Spread { median, min, max } = self.served_ms;
        format!(
            "{}, {}: served after {median:.1} ms ({min:.1} to {max:.1}), {} failed",
            self.peer, self.what, self.failed
        )
    }
}

impl Load {
    /// In a line.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}: {:.3} of the CPU per request, {} failed", self.what, self.cpu_ratio.median, self.failed)
    }
}

/// Milliseconds, of edits of a route and of endpoints, at most.
const AIM_MS: f64 = 20.0;

impl Page {
    pub(super) fn new(extent: Extent, placement: String, machine: Machine) -> Self {
        let Extent { hosts, edits, connections, seconds: _ } = extent;
        Page { hosts, edits, connections, placement, machine, changes: Vec::new(), loads: Vec::new() }
    }

    /// Requests of Trysail that failed, in words.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let of_edits = self.changes.iter().filter(|change| change.peer == "trysail" && change.failed > 0);
        let of_edits = of_edits.map(|change| {
            let first = change.first_error.as_deref().unwrap_or_default();
            format!("{}: {} requests failed, the first: {first}", change.what, change.failed)
        });
        let of_loads = self.loads.iter().filter(|load| load.failed > 0);
        of_edits
            .chain(of_loads.map(|load| format!("{}: {} requests failed", load.what, load.failed)))
            .collect()
    }

    /// The page that is printed and kept.
    #[must_use]
    pub fn markdown(&self) -> String {
        let ms = |us: u32| format!("{:.2} ms", f64::from(us) / 1e3);
        let mut rows = vec![
            [
                "edit of the last host",
                "file in place → first answer",
                "least",
                "most",
                "p99 before",
                "p99 meanwhile",
                "failed",
                "aim",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        for change in &self.changes {
            let Spread { median, min, max } = change.served_ms;
            let aim = match change.peer {
                "trysail" if median <= AIM_MS => format!("{AIM_MS:.0} ms, met"),
                "trysail" => format!("{AIM_MS:.0} ms, **not met**"),
                _ => "–".to_owned(),
            };
            rows.push(vec![
                format!("{}, {}", change.peer, change.what),
                format!("{median:.1} ms"),
                format!("{min:.1} ms"),
                format!("{max:.1} ms"),
                ms(change.p99_before_us),
                ms(change.p99_meanwhile_us),
                thousands(change.failed as f64),
                aim,
            ]);
        }
        let mut beside = vec![
            [
                "beside the load",
                "CPU per request, with / without",
                "least",
                "most",
                "p99 without",
                "p99 with",
                "failed",
            ]
            .map(str::to_owned)
            .to_vec(),
        ];
        for load in &self.loads {
            let Spread { median, min, max } = load.cpu_ratio;
            let bytes = match load.bytes {
                0 => String::new(),
                bytes => format!(" ({} KiB)", thousands(bytes as f64 / 1024.0)),
            };
            beside.push(vec![
                format!("{}{bytes}", load.what),
                format!("{median:.3}"),
                format!("{min:.3}"),
                format!("{max:.3}"),
                ms(load.p99_without_us),
                ms(load.p99_with_us),
                thousands(load.failed as f64),
            ]);
        }
        let Machine { date, cpu, processors, kernel, rustc, profile, revision, load_average } = &self.machine;
        format!(
            "# changes\n\n{} hosts, each with a service of its own; the last is edited, the first is asked over {} connections all \
             the time. {} edits of each kind; medians. \"Failed\" are wrong answers and connections that were closed.\n\n{}\n{}\n\
             {placement}. The p99 is that of a closed loop: compare before with meanwhile.\n\n\
             {cpu}, processors: {processors}, {kernel}; {rustc}, profile {profile}, revision {revision}; {date}, load average \
             {load_average}.\n",
            thousands(self.hosts as f64),
            self.connections,
            self.edits,
            table(&rows),
            table(&beside),
            placement = self.placement,
        )
    }
}
