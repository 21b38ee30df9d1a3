//! A configuration compiled as a whole, and kept, so that the next one costs what was edited.
//!
//! **Problem.** One weight of 10,000 hosts is edited again and again while a canary runs, and all that is compiled is what
//! it was but for one route. **Choice.** What becomes of each VirtualService is kept beside what all of them are compiled
//! with; `patch` makes anew what an edit touches. **Invariant:** a patch gives what a compilation of everything would
//! give, or is not done (`tests/scale.rs`).

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

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
use crate::wire::{self, ConfigSet, Document, Documents};

/// One compilation, with all that it is made of.
pub(super) struct Whole {
    pub(super) surroundings: Surroundings,
    /// As they were given.
    pub(super) documents: Documents,
    /// The Gateways, oldest first.
    pub(super) gateways: Vec<Document>,
    pub(super) sidecars: Sidecars,
    pub(super) registry: Registry,
    pub(super) rules: Rules,
    pub(super) clusters: Table,
    pub(super) uses: Uses,
    /// What became of each VirtualService, oldest first.
    pub(super) records: Vec<Record>,
    /// Who asks for which host, sorted; made for the first edit of one. A patch asks for what was asked for before.
    askers: Option<Box<[Asker]>>,
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
            gateways: objects.gateways.iter().map(|(document, _)| Document::clone(document)).collect(),
            can_be_patched: found.objects.is_empty() && !has_unknown && complete && all.left_out() == 0,
            sidecars,
            uses,
            records,
            askers: None,
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

    /// The VirtualServices that ask for one of some hosts, by their turns.
    pub(super) fn askers(&mut self, hosts: &BTreeSet<String>) -> Vec<usize> {
        if hosts.is_empty() {
            return Vec::new();
        }
        let (records, snapshot) = (&self.records, &self.snapshot);
        let askers = self.askers.get_or_insert_with(|| {
            let asked = |(turn, record): (usize, &Record)| {
                let of = move |id: &ClusterId| (hash(&snapshot.cluster(*id).key.host), turn);
                record.clusters.iter().map(of).collect::<Vec<_>>()
            };
            let mut askers: Box<[Asker]> = records.iter().enumerate().flat_map(asked).collect();
            askers.sort_unstable();
            askers
        });
        let asks = |turn: usize, host: &str| {
            records[turn].clusters.iter().any(|id| *snapshot.cluster(*id).key.host == *host)
        };
        let of = |host: &String| {
            let (hash, host) = (hash(host), host.clone());
            let first = askers.partition_point(|asker| asker.0 < hash);
            let alike = askers.iter().skip(first).take_while(move |asker| asker.0 == hash);
            alike.filter(move |asker| asks(asker.1, &host)).map(|asker| asker.1).collect::<Vec<_>>()
        };
        hosts.iter().flat_map(of).collect()
    }
}

/// The hash of a host and the turn of a VirtualService that asks for it.
type Asker = (u64, usize);

fn hash(host: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    host.hash(&mut hasher);
    hasher.finish()
}
