//! Services, with their EndpointSlices and Pods → services.

mod pods;
mod ports;
mod slices;

use std::net::IpAddr;
use std::sync::Arc;

use super::workload::{Selectable, workload};
use super::{Address, Entry, Labels, Member, Registry, labels, selects};
use crate::compile::Surroundings;
use crate::compile::export::Export;
use crate::compile::names::is_domain;
use crate::compile::objects::{Objects, Of};
use crate::compile::small::SmallMap;
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::host;
use crate::origin::At;
use crate::snapshot;
use crate::wire::kubernetes::{Service, ServiceMetadata, ServiceSpec, TargetPort};
use crate::wire::sink::Sink;
use pods::Pods;
pub(super) use pods::address_of;
use ports::ServicePort;
pub(super) use slices::{Placed, places, service_of};
use slices::{Slice, Slices};

/// Kubernetes' objects of one revision, by what they are asked for.
pub(super) struct Kubernetes<'s> {
    services: &'s [Of<'s, Service>],
    slices: Slices<'s>,
    pods: Pods<'s>,
}

impl<'s> Kubernetes<'s> {
    pub(super) fn index(objects: &'s Objects<'s>) -> Self {
        Kubernetes {
            services: &objects.services,
            slices: slices::by_service(&objects.endpoint_slices),
            pods: Pods::read(&objects.pods),
        }
    }

    /// The Pods that a ServiceEntry may select.
    pub(super) fn selectable_pods(&self) -> impl Iterator<Item = Selectable<'s>> {
        self.pods.selectable()
    }
}

impl Registry {
    /// Adds every Service that the gateway's namespace sees.
    pub(super) fn add_services(
        &mut self,
        kubernetes: &Kubernetes<'_>,
        workloads: &[Selectable<'_>],
        here: &Surroundings,
        out: &mut Diagnostics,
    ) {
        for &(document, service) in kubernetes.services {
            let name = &document.object.name;
            let (host, namespace) = (host::of_service(&name.name, &name.namespace), &name.namespace);
            let title = document.object.title();
            let Service { metadata, spec } = service;
            let ServiceSpec { kind, ports, selector, external_name } = &spec.value;
            let scopes = export_to(metadata.as_ref()).unwrap_or("*");
            if !Export::of(scopes.split(',').map(str::trim), namespace).admits(&here.namespace) {
                self.hidden.insert(host, format!("{title} is exported to {scopes:?}, and so not to here"));
                continue;
            }
            let sink = &mut document.sink(&title, out);
            let external_name = external_name
                .as_ref()
                .filter(|_| kind.as_ref().is_some_and(|kind| kind.value == "ExternalName"))
                .map(|name| name.trim_end_matches('.').to_ascii_lowercase().into());
            let ports = ports::read(ports, sink);
            let mut titles = vec![title.clone()];
            let mut members = Vec::new();
            let slices = kubernetes.slices.get(&(&**namespace, &*name.name)).map_or(&[][..], Vec::as_slice);
            for &(document, slice) in slices {
                let slice = Slice { document, slice, namespace, host: &host };
                members.extend(slice.members(&ports, &kubernetes.pods, here, sink.out));
                titles.push(document.object.title());
            }
            if let Some(name) = &external_name {
                members.push(outside(name, namespace, &host, &ports));
            }
            if !selector.is_empty() {
                members.extend(chosen(selector, namespace, workloads, &ports, &mut titles, sink));
            }
            self.by_host.entry(host.clone()).or_default().push(Entry {
                service: Arc::new(snapshot::Service { host, namespace: namespace.clone() }),
                ports: ports.into_iter().map(|port| port.port).collect(),
                origin: document.named_at(),
                subject_alt_names: Vec::new(),
                titles,
                needs_mesh: None,
                is_kubernetes: true,
                external_name,
                // The cluster makes one for every Service that selects Pods, also where there are none.
                lacks_slices: slices.is_empty() && members.is_empty() && !selector.is_empty(),
                in_turn: false,
                members,
            });
        }
    }

    /// Says which Services are another name for something that can't be looked up. What no request meets becomes a
    /// note.
    pub(super) fn report_external_names(&self, kubernetes: &Kubernetes<'_>, out: &mut Diagnostics) {
        for &(document, service) in kubernetes.services {
            let name = &document.object.name;
            let found = self.find(&host::of_service(&name.name, &name.namespace), &name.namespace);
            let end = found.and_then(|entry| entry.external_name.as_ref());
            let (Some(end), Some(written)) = (end, &service.spec.value.external_name) else { continue };
            let (message, hint) = if self.by_host.contains_key(end) {
                let message = format!("{end:?} is another name for itself, in a circle of Services");
                (message, "write the name of who answers in one of them".to_owned())
            } else if let Some(why) = self.why_hidden(end) {
                (format!("{end:?} is not for this gateway"), why.to_owned())
            } else if end.parse::<IpAddr>().is_err() && !is_domain(end) {
                (
                    format!("{end:?} is no name that can be looked up"),
                    "write a host, or an IP address".to_owned(),
                )
            } else {
                continue;
            };
            let title = document.object.title();
            let sink = &mut document.sink(&title, out);
            sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, written.pos, message).hints.push(hint);
        }
    }
}

/// The WorkloadEntries of a namespace that a Service's selector chooses as well. Istio: one answers on its own port
/// of the Service's port's name, else on `targetPort`, which may be the name of one of its own.
fn chosen(
    selector: &[(At<String>, At<String>)],
    namespace: &Arc<str>,
    workloads: &[Selectable<'_>],
    ports: &[ServicePort<'_>],
    titles: &mut Vec<String>,
    sink: &mut Sink<'_>,
) -> Vec<Member> {
    let wanted = labels(selector.iter());
    let chosen = workloads.iter().filter(|workload| {
        workload.document.object.name.namespace == *namespace && selects(&wanted, &workload.labels)
    });
    let mut members = Vec::new();
    for workload in chosen {
        titles.extend(workload.titles.iter().cloned());
        if let (Some(name), Some((key, _))) = (workload.named(), selector.first()) {
            let message = format!("it selects {name:?}, and a Service's endpoints are not looked up by name");
            let hint = format!(
                "write an IP address at {}, or a ServiceEntry with \"resolution: DNS\"",
                workload.document.named_at()
            );
            sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, key.pos, message).hints.push(hint);
            continue;
        }
        let Some(mut member) = workload.member.clone() else { continue };
        let target = |port: &ServicePort<'_>| {
            let own = |name: &str| member.ports.get(name).copied();
            let target = own(&port.port.name).or_else(|| match port.target {
                Some(TargetPort::Name(name)) => own(name),
                Some(TargetPort::Number(_)) | None => Some(port.port.target),
            });
            Some((port.port.number, target?))
        };
        let targets: SmallMap<u16, u16> = ports.iter().filter_map(target).collect();
        member.targets = targets;
        members.push(member);
    }
    members
}

/// The host outside that a Service is another name for. It answers on the Service's own ports: where nothing stands
/// between, a `targetPort` has nobody to translate it.
fn outside(name: &Arc<str>, namespace: &Arc<str>, host: &str, ports: &[ServicePort<'_>]) -> Member {
    let labels = Labels::default();
    Member {
        address: name.parse().map_or_else(|_| Address::Name(name.clone()), Address::Ip),
        ports: SmallMap::default(),
        targets: ports.iter().map(|port| (port.port.number, port.port.number)).collect(),
        workload: Arc::new(workload(&labels, None, namespace, host)),
        labels: Arc::new(labels),
        weight: 1,
        locality: Arc::default(),
        probe: None,
    }
}

/// Istio's annotation that says who sees a Service.
fn export_to(metadata: Option<&At<ServiceMetadata>>) -> Option<&str> {
    let ServiceMetadata { annotations } = &metadata?.value;
    let found = annotations.iter().find(|(key, _)| key.value == "networking.istio.io/exportTo");
    found.map(|(_, value)| value.as_str()).filter(|scopes| !scopes.trim().is_empty())
}
