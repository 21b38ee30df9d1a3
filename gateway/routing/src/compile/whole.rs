//! A configuration compiled as a whole, and kept, so that the next one costs what was edited.
//!
//! **Problem.** One weight of 10,000 hosts is edited again and again while a canary runs, and all that is compiled is what
//! it was but for one route. **Choice.** What becomes of each VirtualService is kept beside what all of them are compiled
//! with; `patch` makes anew what an edit touches. **Invariant:** a patch gives what a compilation of everything would
//! give, or is not done (`tests/scale.rs`).

use std::collections::BTreeSet;

use super::clusters::{Clusters, Table};
use super::delegates::Delegates;
use super::hosts::{self, Around, Record};
use super::objects::Objects;
use super::registry::Registry;
use super::rules::Rules;
use super::schedules::Schedules;
use super::sidecars::Sidecars;
use super::splits::Splits;
use super::uses::Uses;
use super::{Surroundings, conflicts, gateways, listeners};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::snapshot::{ClusterId, Snapshot};
use crate::wire::{self, ConfigSet, Document};

/// One compilation, with all that it is made of.
pub(super) struct Whole {
    pub(super) surroundings: Surroundings,
    /// As they were given.
    pub(super) documents: Vec<Document>,
    /// On which lines they stood.
    pub(super) lines: Vec<u32>,
    /// The Gateways, oldest first.
    pub(super) gateways: Vec<Document>,
    pub(super) sidecars: Sidecars,
    pub(super) registry: Registry,
    pub(super) rules: Rules,
    pub(super) clusters: Table,
    pub(super) uses: Uses,
    /// What became of each VirtualService, oldest first.
    pub(super) records: Vec<Record>,
    pub(super) snapshot: Snapshot,
    pub(super) found: Found,
    /// Whether it says things that hang on more than can be told.
    pub(super) can_be_patched: bool,
}

/// What was found beside that of VirtualServices, in this order.
#[derive(Default)]
pub(super) struct Found {
    pub(super) objects: Vec<Diagnostic>,
    pub(super) registry: Vec<Diagnostic>,
    pub(super) rules: Vec<Diagnostic>,
    pub(super) gateways: Vec<Diagnostic>,
    /// Behind those of VirtualServices.
    pub(super) listeners: Vec<Diagnostic>,
}

/// Findings as they are kept: their paths are named once.
pub(super) fn kept(found: &mut Diagnostics, all: &mut Diagnostics) -> Vec<Diagnostic> {
    wire::name_paths(found);
    all.leave_out(found);
    all.extend(found.iter().cloned());
    found.iter().cloned().collect()
}

/// On which lines of their files documents begin.
pub(super) fn lines(documents: &[Document]) -> Vec<u32> {
    documents.iter().map(|document| document.piece.first_line.get()).collect()
}

impl Whole {
    /// Compiles everything; also gives what was found, as it was met.
    pub(super) fn compile(
        set: &ConfigSet,
        surroundings: &Surroundings,
        schedules: &mut Schedules,
    ) -> (Whole, Diagnostics) {
        let mut all = Diagnostics::default();
        let mut found = Found::default();
        let mut out = Diagnostics::default();
        let objects = Objects::index(set, &mut out);
        found.objects = kept(&mut std::mem::take(&mut out), &mut all);
        let registry = Registry::build(&objects, surroundings, &mut out);
        found.registry = kept(&mut std::mem::take(&mut out), &mut all);
        let rules = Rules::build(&objects, &registry, surroundings, &mut out);
        found.rules = kept(&mut std::mem::take(&mut out), &mut all);
        let servers = gateways::select(&objects, surroundings, &mut out);
        conflicts::report(&servers.ours, &mut out);
        found.gateways = kept(&mut std::mem::take(&mut out), &mut all);
        let sidecars = Sidecars::index(&objects.virtual_services);
        let around = Around {
            known: objects.gateways.iter().map(|(document, _)| &document.object.name).collect(),
            servers: &servers,
            delegates: Delegates::index(&objects.virtual_services),
            sidecars: &sidecars,
            surroundings,
        };
        let mut clusters = Clusters::new(&registry, &rules, surroundings);
        let mut splits = Splits::new(schedules);
        let (bound, records) =
            hosts::compile_all(&objects.virtual_services, &around, &mut clusters, &mut splits, &mut all);
        let routes =
            bound.iter().map(|service| service.rules.len() + service.tls.len() + service.tcp.len()).sum();
        let (listeners, tls) = listeners::bind(&servers, &bound, &mut out);
        found.listeners = kept(&mut out, &mut all);
        let (splits, (clusters, mut uses, has_unknown)) = (splits.finish(), clusters.finish());
        uses.note_all(&servers.titles);
        let complete = clusters.made.iter().all(|cluster| cluster.service.is_some());
        let snapshot = Snapshot {
            listeners,
            tls,
            clusters: clusters.made.clone(),
            splits,
            routes,
            objects: set.documents.len(),
        };
        let whole = Whole {
            surroundings: surroundings.clone(),
            documents: set.documents.clone(),
            lines: lines(&set.documents),
            gateways: objects.gateways.iter().map(|(document, _)| Document::clone(document)).collect(),
            can_be_patched: found.objects.is_empty() && !has_unknown && complete && all.left_out() == 0,
            sidecars,
            uses,
            records,
            snapshot,
            found,
            clusters,
            rules,
            registry,
        };
        (whole, all)
    }

    /// Everything that was found, as it was met.
    pub(super) fn found(&self) -> Diagnostics {
        let mut all = Diagnostics::default();
        all.extend(self.all_findings().cloned());
        all
    }

    /// The same, one by one.
    pub(super) fn all_findings(&self) -> impl Iterator<Item = &Diagnostic> {
        let Found { objects, registry, rules, gateways, listeners } = &self.found;
        let before = [objects, registry, rules, gateways].into_iter().flatten();
        before.chain(self.records.iter().flat_map(|record| &record.findings)).chain(listeners)
    }

    /// Whether a VirtualService asks for one of some hosts.
    pub(super) fn asks_for(&self, record: &Record, hosts: &BTreeSet<String>) -> bool {
        let of = |id: &ClusterId| hosts.contains(&*self.snapshot.cluster(*id).key.host);
        record.clusters.iter().any(of)
    }
}
