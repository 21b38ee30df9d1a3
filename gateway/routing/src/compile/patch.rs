//! What an edit touches, compiled anew in what is kept of the compilation before (`whole`).
//!
//! Documents are compared one by one: as long as they are as many, of the same names and in the same places, those that
//! are others are known. A VirtualService of them is compiled again, and so is whoever asks for a host whose service or
//! DestinationRule is another. Ids are given by order, so what would give or take one is not patched; nor is what one
//! object says of another's place. Everything that is not sure is left to a compilation of everything.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::clusters::Clusters;
use super::delegates::{Delegates, is_delegate};
use super::edited::{Edited, edited, is_same};
use super::gateways::{GatewayServer, Servers, Serves};
use super::hosts::{Around, Bound, Record, shared_hosts};
use super::objects::Objects;
use super::rules::Rules;
use super::schedules::Schedules;
use super::sidecars::is_for_sidecars;
use super::splits::Splits;
use super::whole::{Whole, kept};
use super::{Surroundings, gateways};
use crate::diagnostic::{Code, Diagnostics};
use crate::host;
use crate::origin::At;
use crate::snapshot::{Indexes, Listener, ListenerProtocol, Route, TlsServer, VirtualHost, VirtualHosts};
use crate::wire::object::Spec;
use crate::wire::virtual_service::VirtualService;
use crate::wire::{ConfigSet, Document};

/// The compilation of a set that is much like the one before, and how many VirtualServices were compiled for it; `None`
/// where it is too unlike.
pub(super) fn patch(
    mut whole: Whole,
    set: &ConfigSet,
    surroundings: &Surroundings,
    schedules: &mut Schedules,
) -> Option<(Whole, usize)> {
    if !whole.can_be_patched || whole.surroundings != *surroundings {
        return None;
    }
    let edited = edited(&whole.documents, &set.documents)?;
    whole.documents.clone_from(&set.documents);
    whole.snapshot.objects = set.documents.len();
    if whole.tells_of(&edited.moved) {
        return None;
    }
    let hosts = whole.renew_services(&edited, set)?;
    let compiled = whole.renew_virtual_services(&edited, &hosts, schedules)?;
    Some((whole, compiled))
}

fn service(document: &Document) -> Option<&VirtualService> {
    match &document.object.spec {
        Spec::VirtualService(service) => Some(service),
        _ => None,
    }
}

/// Whether two lists say the same, wherever they stand.
fn same(a: &[At<String>], b: &[At<String>]) -> bool {
    a.iter().map(|at| &at.value).eq(b.iter().map(|at| &at.value))
}

/// Whether a VirtualService has to do with no other: it neither delegates nor is delegated to, nor is it for sidecars.
fn stands_alone(document: &Document, service: &VirtualService) -> bool {
    !is_delegate(document, service)
        && !is_for_sidecars(service)
        && service.http.iter().all(|route| route.delegate.is_none())
}

impl Whole {
    /// Whether a finding says in words where something stands in one of these files.
    fn tells_of(&self, files: &BTreeSet<Arc<str>>) -> bool {
        let tells = |text: &String| files.iter().any(|file| text.contains(&**file));
        !files.is_empty()
            && self.all_findings().any(|finding| tells(&finding.message) || finding.hints.iter().any(tells))
    }

    /// Brings services and DestinationRules up to date. Gives the hosts of which something is another.
    fn renew_services(&mut self, edited: &Edited, set: &ConfigSet) -> Option<BTreeSet<String>> {
        let mut hosts = BTreeSet::new();
        let alone = !edited.has_other_services
            && edited.entries.iter().all(|(old, new)| self.renew_entry(old, new, &mut hosts).is_some());
        let mended = match edited.endpoints.as_slice() {
            _ if !alone => None,
            [] => Some(Vec::new()),
            all => self.registry.mend(all, &self.documents, &self.found.registry, &self.surroundings),
        };
        let needs_registry = mended.is_none();
        hosts.extend(mended.into_iter().flatten());
        if !needs_registry && edited.rules.is_empty() {
            return Some(hosts);
        }
        // Whose place is told in words elsewhere is known only to who says it; of duplicates nothing is kept.
        let objects = Objects::index(set, &mut Diagnostics::default());
        if needs_registry {
            let mut out = Diagnostics::default();
            let registry = super::registry::Registry::build(&objects, &self.surroundings, &mut out);
            hosts.extend(self.registry.differences(&registry)?);
            self.registry = registry;
            self.found.registry = kept(&mut out, &mut Diagnostics::default());
        }
        if !edited.rules.is_empty() {
            for (old, new) in &edited.rules {
                let [was, is] = [old, new].map(|document| match &document.object.spec {
                    Spec::DestinationRule(rule) => {
                        Some(host::complete(&rule.host, &document.object.name.namespace))
                    }
                    _ => None,
                });
                let (was, is) = (was?, is?);
                if was != is || was.contains('*') {
                    return None;
                }
                hosts.insert(is.to_ascii_lowercase());
                hosts.insert(is);
            }
            let mut out = Diagnostics::default();
            self.rules = Rules::build(&objects, &self.registry, &self.surroundings, &mut out);
            self.found.rules = kept(&mut out, &mut Diagnostics::default());
        }
        Some(hosts)
    }

    /// Puts a ServiceEntry's service in the place of the one before. `None` where more hangs on it than that.
    fn renew_entry(&mut self, old: &Document, new: &Document, hosts: &mut BTreeSet<String>) -> Option<()> {
        let (Spec::ServiceEntry(was), Spec::ServiceEntry(is)) = (&old.object.spec, &new.object.spec) else {
            return None;
        };
        let said_before = self.found.registry.iter().any(|finding| {
            finding.code == Code::CONFLICTING_PROTOCOL
                || finding.origin.as_ref().is_some_and(|origin| Arc::ptr_eq(&origin.piece, &old.piece))
        });
        let selects = was.workload_selector.is_some() || is.workload_selector.is_some();
        if said_before || selects || !same(&was.hosts, &is.hosts) {
            return None;
        }
        hosts.extend(self.registry.renew((new, is), &self.surroundings)?);
        Some(())
    }

    /// Compiles the VirtualServices that were edited, or that ask for a host of which something is another.
    fn renew_virtual_services(
        &mut self,
        edited: &Edited,
        hosts: &BTreeSet<String>,
        schedules: &mut Schedules,
    ) -> Option<usize> {
        let news: HashMap<usize, &Document> =
            edited.services.iter().map(|(old, new)| (address(old), new)).collect();
        let mut edited: Vec<usize> = news.keys().copied().collect();
        edited.sort_unstable();
        let is_edited = |turn: &usize| edited.binary_search(&address(&self.records[*turn].document)).is_ok();
        let mut touched: BTreeSet<usize> = (0..self.records.len()).filter(is_edited).collect();
        touched.extend(self.askers(hosts));
        if touched.is_empty() {
            return Some(0);
        }
        let documents: Vec<(usize, Document)> = touched
            .into_iter()
            .map(|turn| {
                let before = &self.records[turn].document;
                (turn, Document::clone(news.get(&address(before)).copied().unwrap_or(before)))
            })
            .collect();
        let own_clusters = std::mem::take(&mut self.clusters);
        let objects = Objects::of_gateways(&self.gateways);
        let servers = gateways::select(&objects, &self.surroundings, &mut Diagnostics::default());
        let around = Around {
            known: objects.gateways.iter().map(|(document, _)| &document.object.name).collect(),
            servers: &servers,
            delegates: Delegates::index(&[]),
            sidecars: &self.sidecars,
            surroundings: &self.surroundings,
        };
        let mut clusters =
            Clusters::new(&self.registry, &self.rules, &self.surroundings).patching(own_clusters);
        let mut splits = Splits::patching(schedules, self.snapshot.splits.clone());
        let mut listeners = self.snapshot.listeners.clone();
        let mut records = Vec::with_capacity(documents.len());
        for (turn, document) in &documents {
            let (before, is) = (&self.records[*turn], service(document)?);
            let was = service(&before.document)?;
            if !stands_alone(document, is) || !stands_alone(&before.document, was) {
                return None;
            }
            splits.resume(before.splits.start);
            let own: Vec<_> = self.snapshot.splits.get(before.splits.clone())?.to_vec();
            let (mut record, bound, _) =
                Record::compile((document, is), *turn, &around, &mut clusters, &mut splits);
            let fits = record.splits == before.splits
                && record.clusters == before.clusters
                && record.routes.len() == before.routes.len();
            if !fits || splits.is_broken() || clusters.is_broken() {
                return None;
            }
            if is_same(document, &before.document) {
                // Routes know clusters by their ids alone, and these are the same.
                splits.put_back(before.splits.start, own);
                record.routes.clone_from(&before.routes);
            } else {
                let unlike = !same(&was.hosts, &is.hosts)
                    || !same(&was.gateways, &is.gateways)
                    || !same(&was.export_to, &is.export_to)
                    || !before.is_plain
                    || !record.is_plain;
                if unlike {
                    return None;
                }
                if let Some(bound) = &bound {
                    Exchange::of(before, &record, bound)?.carry_out(&mut listeners, &servers);
                }
            }
            records.push((*turn, record));
        }
        let (table, _, has_unknown) = clusters.finish();
        let splits = splits.finish();
        if has_unknown {
            return None;
        }
        let compiled = records.len();
        for (turn, record) in records {
            self.records[turn] = record;
        }
        self.snapshot.clusters.clone_from(&table.made);
        self.clusters = table;
        self.snapshot.splits = splits;
        self.snapshot.listeners = listeners;
        Some(compiled)
    }
}

fn address(document: &Document) -> usize {
    Arc::as_ptr(&document.object).addr()
}

/// The routes of one VirtualService in the place of those before, in the virtual hosts that have these.
struct Exchange<'e> {
    bound: &'e Bound<'e>,
    before: &'e Record,
    routes: HashMap<usize, &'e Arc<Route>>,
}

impl<'e> Exchange<'e> {
    /// `None` where the new ones would not stand where the old ones do.
    fn of(before: &'e Record, record: &'e Record, bound: &'e Bound<'e>) -> Option<Self> {
        let pairs = || before.routes.iter().zip(&record.routes);
        pairs().all(|(old, new)| old.takes_all() == new.takes_all()).then(|| Exchange {
            bound,
            before,
            routes: pairs().map(|(old, new)| (Arc::as_ptr(old).addr(), new)).collect(),
        })
    }

    fn carry_out(&self, listeners: &mut [Listener], servers: &Servers<'_>) {
        let mut indexes = Indexes::default();
        for server in servers.ours.iter().filter(|server| self.bound.gateways.contains(server.gateway)) {
            let Some(listener) = listeners.iter_mut().find(|listener| listener.key == server.listener) else {
                continue;
            };
            match (&mut listener.protocol, &server.serves) {
                (ListenerProtocol::Http(hosts), Serves::Http { .. }) => {
                    self.exchange(hosts, server, &mut indexes);
                }
                (ListenerProtocol::Tls(names), Serves::Https(_)) => {
                    let Some(first) = server.hosts.first() else { continue };
                    let Some(old) = names.get(&first.pattern).cloned() else { continue };
                    let TlsServer::Http(id, hosts) = &*old else { continue };
                    let mut hosts = hosts.clone();
                    self.exchange(&mut hosts, server, &mut indexes);
                    let new = Arc::new(TlsServer::Http(*id, hosts));
                    for host in &server.hosts {
                        if names.get(&host.pattern).is_some_and(|now| Arc::ptr_eq(now, &old)) {
                            names.insert(&host.pattern, new.clone());
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn exchange(&self, hosts: &mut VirtualHosts, server: &GatewayServer<'_>, indexes: &mut Indexes) {
        let patterns: Vec<_> = shared_hosts(server, self.bound.document, &self.bound.hosts).collect();
        for pattern in patterns {
            let Some(old) = hosts.get(&pattern) else { continue };
            let new_of = |route: &Arc<Route>| self.routes.get(&Arc::as_ptr(route).addr()).copied();
            let VirtualHost { https_redirect, origin, routes, .. } = &**old;
            let origin = match Arc::ptr_eq(&origin.piece, &self.before.document.piece) {
                true => self.bound.host_origin(&pattern),
                false => origin.clone(),
            };
            let routes = routes.iter().map(|route| new_of(route).unwrap_or(route).clone()).collect();
            let new = indexes.host(pattern.clone(), *https_redirect, origin, routes);
            hosts.insert(&pattern, Arc::new(new));
        }
    }
}
