//! Documents by kind, in Istio's order, each identity once.

use std::collections::BTreeMap;

use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::wire::destination_rule::DestinationRule;
use crate::wire::gateway::Gateway;
use crate::wire::kubernetes::{EndpointSlice, Pod, Service};
use crate::wire::object::Spec;
use crate::wire::registry::{ServiceEntry, WorkloadEntry, WorkloadGroup};
use crate::wire::virtual_service::VirtualService;
use crate::wire::{ConfigSet, Document};

/// A document with its spec at hand.
pub(super) type Of<'s, T> = (&'s Document, &'s T);

/// The documents of one revision, by kind. Within a kind oldest first: by creation time, then name, then
/// namespace (Istio `configCompareByCreationTime`); files mostly have no time.
#[derive(Default)]
pub(super) struct Objects<'s> {
    pub(super) gateways: Vec<Of<'s, Gateway>>,
    pub(super) virtual_services: Vec<Of<'s, VirtualService>>,
    pub(super) destination_rules: Vec<Of<'s, DestinationRule>>,
    pub(super) service_entries: Vec<Of<'s, ServiceEntry>>,
    pub(super) workload_entries: Vec<Of<'s, WorkloadEntry>>,
    pub(super) workload_groups: Vec<Of<'s, WorkloadGroup>>,
    pub(super) services: Vec<Of<'s, Service>>,
    pub(super) endpoint_slices: Vec<Of<'s, EndpointSlice>>,
    pub(super) pods: Vec<Of<'s, Pod>>,
}

impl<'s> Objects<'s> {
    pub(super) fn index(set: &'s ConfigSet, out: &mut Diagnostics) -> Self {
        Objects::of(set.documents.iter().collect(), out)
    }

    /// Some documents alone.
    pub(super) fn of(mut documents: Vec<&'s Document>, out: &mut Diagnostics) -> Self {
        documents.sort_by_cached_key(|document| {
            let object = &document.object;
            let file = (document.piece.file.clone(), document.piece.first_line.get());
            (object.created.clone(), object.name.name.clone(), object.name.namespace.clone(), file)
        });
        let mut first = BTreeMap::new();
        let mut objects = Objects::default();
        for document in documents {
            let identity = (document.object.kind(), &document.object.name);
            if let Some(other) = first.insert(identity, document) {
                report_duplicate(document, other, out);
                continue;
            }
            match &document.object.spec {
                Spec::Gateway(spec) => objects.gateways.push((document, spec)),
                Spec::VirtualService(spec) => objects.virtual_services.push((document, spec)),
                Spec::DestinationRule(spec) => objects.destination_rules.push((document, spec)),
                Spec::ServiceEntry(spec) => objects.service_entries.push((document, spec)),
                Spec::WorkloadEntry(spec) => objects.workload_entries.push((document, spec)),
                Spec::WorkloadGroup(spec) => objects.workload_groups.push((document, spec)),
                Spec::Service(service) => objects.services.push((document, service)),
                Spec::EndpointSlice(slice) => objects.endpoint_slices.push((document, slice)),
                Spec::Pod(pod) => objects.pods.push((document, pod)),
            }
        }
        objects
    }
}

impl<'s> Objects<'s> {
    /// Gateways alone.
    pub(super) fn of_gateways(documents: &'s [Document]) -> Self {
        let gateway = |document: &'s Document| match &document.object.spec {
            Spec::Gateway(spec) => Some((document, spec)),
            _ => None,
        };
        Objects { gateways: documents.iter().filter_map(gateway).collect(), ..Objects::default() }
    }
}

fn report_duplicate(document: &Document, other: &Document, out: &mut Diagnostics) {
    let title = document.object.title();
    let message = format!("{title} is there twice");
    document
        .sink(&title, out)
        .add(Severity::Error, Code::DUPLICATE_OBJECT, document.object.pos, message)
        .hints
        .push(format!("the other one is at {}", other.named_at()));
}
