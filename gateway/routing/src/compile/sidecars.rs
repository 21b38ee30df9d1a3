//! Splits that only sidecars carry out: a VirtualService for the mesh does nothing for requests through a gateway.

use std::collections::BTreeMap;

use super::objects::Of;
use crate::diagnostic::{Code, Severity};
use crate::host;
use crate::wire::Document;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{HttpRoute, VirtualService};

/// The hosts that VirtualServices for the mesh alone send to subsets, each with such a VirtualService.
pub(super) struct Sidecars {
    by_host: BTreeMap<String, Document>,
}

impl Sidecars {
    pub(super) fn index(services: &[Of<'_, VirtualService>]) -> Self {
        let mut by_host = BTreeMap::new();
        for (document, service) in services {
            let namespace = &document.object.name.namespace;
            let complete = |host: &str| host::complete(host, namespace);
            if !is_for_sidecars(service) {
                continue;
            }
            let destinations = service.http.iter().flat_map(|route| &route.route).map(|to| &to.destination);
            for destination in destinations.filter(|destination| destination.subset.is_some()) {
                let host = complete(&destination.host);
                if service.hosts.iter().any(|own| complete(own) == host) {
                    by_host.entry(host).or_insert_with(|| Document::clone(document));
                }
            }
        }
        Sidecars { by_host }
    }

    /// Says of which destinations without a subset somebody may think that such a VirtualService splits them.
    pub(super) fn look(&self, route: &HttpRoute, namespace: &str, sink: &mut Sink<'_>) {
        for destination in route.route.iter().map(|to| &to.destination) {
            let other = self.by_host.get(&host::complete(&destination.host, namespace));
            let (None, Some(other)) = (&destination.subset, other) else { continue };
            let name = &other.object.name;
            let message =
                format!("subsets of VirtualService {name} have no effect here: it is for sidecars only");
            sink.add(Severity::Warning, Code::RULES_NOT_AT_GATEWAY, destination.host.pos, message)
                .hints
                .push(format!(
                    "name subsets here, or give that one (at {}) this one's gateways",
                    other.named_at()
                ));
        }
    }
}

/// Whether it is for the mesh alone.
pub(super) fn is_for_sidecars(service: &VirtualService) -> bool {
    service.gateways.iter().all(|gateway| gateway.value == "mesh")
}
