//! Written → run: objects cross-checked and compiled into a snapshot, every finding gathered on the way.
//!
//! ```text
//! objects ─┬─ gateways ──▶ servers ────────┐
//!          ├─ registry ──▶ services ─┐     ├─▶ listeners with virtual hosts
//!          ├─ rules ─────▶ subsets ──┴─▶ clusters ─▶ routes
//! ```
//! Compile never fails and never stops at the first fault: it leaves out what is broken and says so. Whether a
//! snapshot with errors is used is the source's policy.

mod addresses;
mod alone;
mod answers;
mod base64;
mod clusters;
mod conflicts;
mod cors;
mod delegates;
mod edited;
mod export;
mod faults;
mod gateways;
mod handling;
mod hosts;
mod listeners;
mod matches;
mod names;
mod objects;
mod patch;
mod policy;
mod reach;
mod registry;
mod retries;
mod routes;
mod rules;
mod schedules;
mod sidecars;
mod small;
mod splits;
mod streams;
mod support;
mod transforms;
mod unserved;
mod uses;
mod validate;
mod values;
mod variables;
mod whole;

use std::collections::BTreeMap;
use std::fmt;

pub use addresses::Addresses;
pub use alone::judge_alone;

use crate::diagnostic::{Diagnostics, Severity};
use crate::snapshot::{Locality, Snapshot};
use crate::wire::{self, ConfigSet};

/// What the configuration is compiled for: this process, as Istio's selectors see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    /// The gateway's namespace.
    pub namespace: String,
    /// The gateway's labels, which Gateways select.
    pub labels: BTreeMap<String, String>,
    /// Istio's root namespace, whose DestinationRules are everyone's default.
    pub root_namespace: String,
    /// Where the gateway runs; empty where that is not known.
    pub locality: Locality,
    /// What a route to nothing means.
    pub dangling: Dangling,
    /// The machine's name: `%HOSTNAME%`.
    pub hostname: String,
    /// The process's environment: `%ENVIRONMENT(…)%`.
    pub environment: BTreeMap<String, String>,
    /// What names as endpoints resolve to; nothing of any where files are only judged.
    pub addresses: Addresses,
}

impl Default for Surroundings {
    fn default() -> Self {
        Surroundings {
            namespace: "default".into(),
            labels: BTreeMap::from([("istio".into(), "ingressgateway".into())]),
            root_namespace: "istio-system".into(),
            locality: Locality::default(),
            dangling: Dangling::Refuse,
            hostname: String::new(),
            environment: BTreeMap::new(),
            addresses: Addresses::default(),
        }
    }
}

/// What a route to a host or subset that does not exist means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dangling {
    /// An error.
    #[default]
    Refuse,
    /// A warning; requests are answered 503 NC, as Istio does.
    Serve,
}

impl Dangling {
    fn severity(self) -> Severity {
        match self {
            Dangling::Refuse => Severity::Error,
            Dangling::Serve => Severity::Warning,
        }
    }
}

/// A configuration, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// What could be compiled.
    pub snapshot: Snapshot,
    /// Everything that reading and compiling found, in file order.
    pub findings: Diagnostics,
    /// How many VirtualServices were compiled for it; the others are those of the compilation before.
    pub compiled: usize,
}

/// Compiles configurations, and keeps what the next one may use again.
pub struct Compiler {
    schedules: schedules::Schedules,
    before: Option<whole::Whole>,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

impl Compiler {
    /// A compiler whose schedules are shuffled by `seed`.
    pub fn new(seed: u64) -> Self {
        Compiler { schedules: schedules::Schedules::new(seed), before: None }
    }

    /// Compiles one revision.
    pub fn compile(&mut self, set: &ConfigSet, surroundings: &Surroundings) -> Compiled {
        self.schedules.sweep();
        let before = self.before.take();
        let patched = before.and_then(|before| patch::patch(before, set, surroundings, &mut self.schedules));
        let (whole, compiled, mut found) = match patched {
            Some((whole, compiled)) => {
                let found = whole.found();
                (whole, compiled, found)
            }
            None => {
                let (whole, found) = whole::Whole::compile(set, surroundings, &mut self.schedules);
                let compiled = whole.records.len();
                (whole, compiled, found)
            }
        };
        whole.uses.settle(&mut found);
        let mut findings = set.findings.clone();
        findings.leave_out(&found);
        findings.extend(found);
        wire::name_paths(&mut findings);
        findings.sort();
        findings.say_once();
        let snapshot = whole.snapshot.clone();
        self.before = Some(whole);
        Compiled { snapshot, findings, compiled }
    }

    /// What is found on the way, as it is met.
    fn found(&mut self, set: &ConfigSet, surroundings: &Surroundings) -> Diagnostics {
        self.schedules.sweep();
        whole::Whole::compile(set, surroundings, &mut self.schedules).1
    }
}
