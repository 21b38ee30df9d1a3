//! Written → run: objects cross-checked and compiled into a snapshot, every finding gathered on the way.
//!
//! ```text
//! objects ─┬─ gateways ──▶ servers ────────┐
//!          ├─ registry ──▶ services ─┐     ├─▶ listeners with virtual hosts
//!          ├─ rules ─────▶ subsets ──┴─▶ clusters ─▶ routes
//! ```
//! Compile never fails and never stops at the first fault: it leaves out what is broken and says so. Whether a
//! snapshot with errors is used is the source's policy.

mod answers;
mod clusters;
mod gateways;
mod hosts;
mod matches;
mod objects;
mod policy;
mod registry;
mod routes;
mod rules;
mod schedules;
mod splits;
mod support;
mod transforms;
mod uses;

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostics;
use crate::snapshot::{Locality, Snapshot};
use crate::wire::{self, ConfigSet};

/// What the configuration is compiled for: this process, as Istio's selectors see it.
#[derive(Clone, Debug)]
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
}

impl Default for Surroundings {
    fn default() -> Self {
        Surroundings {
            namespace: "default".into(),
            labels: BTreeMap::from([("istio".into(), "ingressgateway".into())]),
            root_namespace: "istio-system".into(),
            locality: Locality::default(),
            dangling: Dangling::Refuse,
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

/// A configuration, compiled.
#[derive(Debug)]
pub struct Compiled {
    /// What could be compiled.
    pub snapshot: Snapshot,
    /// Everything that reading and compiling found, in file order.
    pub findings: Diagnostics,
}

/// Compiles configurations, and keeps what the next one may use again.
#[derive(Debug)]
pub struct Compiler {
    schedules: schedules::Schedules,
}

impl Compiler {
    /// A compiler whose schedules are shuffled by `seed`.
    pub fn new(seed: u64) -> Self {
        Compiler { schedules: schedules::Schedules::new(seed) }
    }

    /// Compiles one revision.
    pub fn compile(&mut self, set: &ConfigSet, surroundings: &Surroundings) -> Compiled {
        self.schedules.sweep();
        let mut findings = set.findings.clone();
        let out = &mut findings;
        let objects = objects::Objects::index(set, out);
        let registry = registry::Registry::build(&objects, out);
        let rules = rules::Rules::build(&objects, &registry, surroundings, out);
        let servers = gateways::select(&objects, surroundings, out);
        let mut clusters = clusters::Clusters::new(&registry, &rules, surroundings);
        let mut splits = splits::Splits::new(&mut self.schedules);
        let (listeners, routes) =
            hosts::bind(&objects, &servers, surroundings, &mut clusters, &mut splits, out);
        let (splits, (clusters, mut uses)) = (splits.finish(), clusters.finish());
        uses.note_all(&servers.titles);
        uses.settle(out);
        wire::name_paths(out);
        out.sort();
        Compiled {
            snapshot: Snapshot { listeners, clusters, splits, routes, objects: set.documents.len() },
            findings,
        }
    }
}
