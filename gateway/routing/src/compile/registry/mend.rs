//! EndpointSlices and Pods that are others, in the registry that is there.
//!
//! Both come, go and change all the time, and each of them is of few Services. Those are made anew, from their own slices
//! and Pods alone; whatever more hangs on one is left to a registry that is built anew.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::kubernetes::{Kubernetes, Placed, address_of, places, service_of};
use super::{Entry, Labels, Registry, group, labels, selects, workload};
use crate::compile::Surroundings;
use crate::compile::edited::Changed;
use crate::compile::objects::Objects;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::wire::object::Spec;
use crate::wire::{Document, Documents};

/// Namespace and name.
type Name<'d> = (&'d str, &'d str);

/// What changed, as slices and ServiceEntries refer to it.
#[derive(Default)]
struct Touched<'d> {
    services: BTreeSet<Name<'d>>,
    pods: BTreeSet<Name<'d>>,
    addresses: BTreeSet<(&'d str, IpAddr)>,
    labels: Vec<(&'d str, Labels)>,
}

impl Registry {
    /// Makes the Services anew that some EndpointSlices and Pods are of. Gives the hosts that are others for it; `None`
    /// where more hangs on them. `found` is what was found of all services.
    pub(in crate::compile) fn mend(
        &mut self,
        changed: &[Changed],
        documents: &Documents,
        found: &[Diagnostic],
        here: &Surroundings,
    ) -> Option<Vec<String>> {
        let mut touched = Touched::default();
        changed.iter().flat_map(|(was, is)| [was, is]).flatten().for_each(|document| touched.note(document));
        if !touched.find_services(documents) {
            return None;
        }
        let own = touched.made_of(documents);
        let before = changed.iter().filter_map(|(was, _)| was.as_ref());
        let files: BTreeSet<&Arc<str>> =
            found.iter().filter_map(|finding| Some(&finding.origin.as_ref()?.piece.file)).collect();
        if own.iter().copied().chain(before).any(|document| files.contains(&document.piece.file)) {
            return None;
        }
        let (mut made, mut out) = (Registry::empty(here), Diagnostics::default());
        let objects = Objects::of(own, &mut out);
        let groups = group::Groups::read_all(&objects, &mut out);
        let workloads = workload::read_all(&objects, &groups, &mut out);
        made.add_services(&Kubernetes::index(&objects), &workloads, here, &mut out);
        if !out.is_empty() || !made.by_host.iter().all(|(host, new)| self.takes(host, new)) {
            return None;
        }
        let mut hosts = Vec::new();
        for (host, new) in made.by_host {
            let entry = self.by_host.get_mut(&host).and_then(|entries| entries.first_mut());
            if let (Some(entry), Some(new)) = (entry, new.into_iter().next())
                && *entry != new
            {
                hosts.push(host.to_string());
                *entry = new;
            }
        }
        Some(hosts)
    }

    /// Whether a Service made anew can stand where one of its host stands.
    fn takes(&self, host: &str, new: &[Entry]) -> bool {
        let is_plain = |entry: &Entry| entry.is_kubernetes && entry.external_name.is_none();
        let old = self.by_host.get(host).and_then(|entries| entries.first());
        old.is_some_and(is_plain) && matches!(new, [new] if is_plain(new))
    }
}

impl<'d> Touched<'d> {
    fn note(&mut self, document: &'d Document) {
        let name = &document.object.name;
        match &document.object.spec {
            Spec::EndpointSlice(_) => self.services.extend(service_of(document)),
            Spec::Pod(pod) => {
                self.pods.insert((&name.namespace, &name.name));
                self.addresses.extend(address_of(pod).map(|address| (&*name.namespace, address)));
                self.labels.push((&name.namespace, labels(document.object.labels.iter())));
            }
            _ => {}
        }
    }

    /// Adds the Services whose slices lead to Pods that are others; whether it is them alone: not where a ServiceEntry
    /// selects such a Pod.
    fn find_services(&mut self, documents: &'d Documents) -> bool {
        if self.pods.is_empty() {
            return true;
        }
        let mut services = Vec::new();
        for document in documents.iter() {
            let namespace = &*document.object.name.namespace;
            match &document.object.spec {
                Spec::ServiceEntry(entry) => {
                    let Some(selector) = &entry.workload_selector else { continue };
                    let wanted = labels(selector.labels.iter());
                    if self.labels.iter().any(|(of, labels)| *of == namespace && selects(&wanted, labels)) {
                        return false;
                    }
                }
                Spec::EndpointSlice(slice) => {
                    let leads = |place| match place {
                        Placed::Pod(pod) => self.pods.contains(&pod),
                        Placed::At(address) => self.addresses.contains(&(namespace, address)),
                    };
                    if places(slice, namespace).any(leads) {
                        services.extend(service_of(document));
                    }
                }
                _ => {}
            }
        }
        self.services.extend(services);
        true
    }

    /// The documents that the Services are made of.
    fn made_of(&self, documents: &'d Documents) -> Vec<&'d Document> {
        if self.services.is_empty() {
            return Vec::new();
        }
        let is_theirs = |document: &Document| {
            service_of(document).is_some_and(|service| self.services.contains(&service))
        };
        let (mut pods, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for document in documents.iter() {
            if let Spec::EndpointSlice(slice) = &document.object.spec
                && is_theirs(document)
            {
                let namespace = &*document.object.name.namespace;
                places(slice, namespace).for_each(|place| match place {
                    Placed::Pod(pod) => _ = pods.insert(pod),
                    Placed::At(address) => _ = addresses.insert((namespace, address)),
                });
            }
        }
        let is_of_them = |document: &&Document| {
            let name: Name<'_> = (&document.object.name.namespace, &document.object.name.name);
            match &document.object.spec {
                Spec::Service(_) => self.services.contains(&name),
                Spec::EndpointSlice(_) => is_theirs(document),
                Spec::Pod(pod) => {
                    pods.contains(&name)
                        || !addresses.is_empty()
                            && address_of(pod).is_some_and(|address| addresses.contains(&(name.0, address)))
                }
                Spec::WorkloadEntry(_) | Spec::WorkloadGroup(_) => true,
                _ => false,
            }
        };
        documents.iter().filter(is_of_them).collect()
    }
}
