//! EndpointSlices → members.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::pods::{Pods, named_pod};
use super::ports::{ServicePort, is_tcp};
use crate::compile::Surroundings;
use crate::compile::objects::Of;
use crate::compile::registry::workload::workload;
use crate::compile::registry::{Address, Labels, Member};
use crate::compile::small::SmallMap;
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::origin::At;
use crate::snapshot::Locality;
use crate::wire::Document;
use crate::wire::kubernetes::{Conditions, EndpointSlice, SliceEndpoint, SlicePort};

/// EndpointSlices by the namespace and name of their Service.
pub(super) type Slices<'s> = BTreeMap<(&'s str, &'s str), Vec<Of<'s, EndpointSlice>>>;

/// Sorts EndpointSlices; one that says no Service is nobody's.
pub(super) fn by_service<'s>(all: &[Of<'s, EndpointSlice>]) -> Slices<'s> {
    let mut slices = Slices::new();
    for &(document, slice) in all {
        if let Some(key) = service_of(document) {
            slices.entry(key).or_default().push((document, slice));
        }
    }
    slices
}

/// Namespace and name of the Service that an EndpointSlice is of.
pub(in crate::compile::registry) fn service_of(document: &Document) -> Option<(&str, &str)> {
    let mut labels = document.object.labels.iter();
    let (_, service) = labels.find(|(key, _)| key.value == "kubernetes.io/service-name")?;
    Some((&document.object.name.namespace, service.as_str()))
}

/// Where an endpoint leads: to the Pod that it names, else to the one that has its address.
pub(in crate::compile::registry) enum Placed<'s> {
    /// Namespace and name.
    Pod((&'s str, &'s str)),
    At(IpAddr),
}

/// Where the endpoints of a slice lead.
pub(in crate::compile::registry) fn places<'s>(
    slice: &'s EndpointSlice,
    namespace: &'s str,
) -> impl Iterator<Item = Placed<'s>> {
    let EndpointSlice { address_type: _, endpoints, ports: _ } = slice;
    endpoints.iter().flat_map(move |endpoint| {
        let SliceEndpoint { addresses, conditions: _, zone: _, deprecated_topology: _, target_ref } =
            &endpoint.value;
        let pod = named_pod(namespace, target_ref.as_ref());
        let at = addresses.iter().filter(move |_| pod.is_none()).filter_map(|address| address.parse().ok());
        let pod = pod.and_then(|name| name).map(Placed::Pod);
        pod.into_iter().chain(at.map(Placed::At))
    })
}

/// One EndpointSlice of a Service.
pub(super) struct Slice<'r> {
    pub(super) document: &'r Document,
    pub(super) slice: &'r EndpointSlice,
    pub(super) namespace: &'r Arc<str>,
    pub(super) host: &'r str,
}

impl Slice<'_> {
    /// Its endpoints that are ready.
    pub(super) fn members(
        &self,
        ports: &[ServicePort<'_>],
        pods: &Pods<'_>,
        here: &Surroundings,
        out: &mut Diagnostics,
    ) -> Vec<Member> {
        let title = self.document.object.title();
        let sink = &mut self.document.sink(&title, out);
        let EndpointSlice { address_type, endpoints, ports: own } = self.slice;
        if let Some(kind) = address_type.as_ref().filter(|kind| kind.value == "FQDN") {
            let message = "endpoints by name are left out, as Istio does".to_owned();
            sink.add(Severity::Warning, Code::UNSUPPORTED_FIELD, kind.pos, message);
            return Vec::new();
        }
        let targets: SmallMap<u16, u16> = ports.iter().filter_map(|port| target(port, own)).collect();
        // What has no Pod has no labels; the Service's name is all that is known of who answers.
        let nobody = Arc::new(Labels::default());
        let unknown = Arc::new(workload(&nobody, None, self.namespace, self.host));
        let mut members = Vec::new();
        for endpoint in endpoints {
            let SliceEndpoint { addresses, conditions, zone, deprecated_topology, target_ref } =
                &endpoint.value;
            if !is_ready(conditions.as_ref()) {
                continue;
            }
            for address in addresses {
                let Ok(ip) = address.parse::<IpAddr>() else {
                    sink.schema(address.pos, format!("{:?} is not an IP address", address.value));
                    continue;
                };
                let pod = pods.behind(self.namespace, target_ref.as_ref(), ip);
                let locality = match pod.and_then(|pod| pod.locality.clone()) {
                    Some(locality) => locality,
                    None => Arc::new(locality(zone.as_ref(), deprecated_topology, here)),
                };
                members.push(Member {
                    address: Address::Ip(ip),
                    ports: SmallMap::default(),
                    targets: targets.clone(),
                    labels: pod.map_or(&nobody, |pod| &pod.labels).clone(),
                    workload: pod.map_or(&unknown, |pod| &pod.workload).clone(),
                    weight: 1,
                    locality,
                    probe: None,
                });
            }
        }
        members
    }
}

/// Where a slice's endpoints answer for a Service's port: on the slice's port of the same name. `targetPort` is
/// already looked up by who wrote the slice.
fn target(port: &ServicePort<'_>, own: &[At<SlicePort>]) -> Option<(u16, u16)> {
    let found = own.iter().find_map(|port_of_slice| {
        let SlicePort { name, protocol, port: number } = &port_of_slice.value;
        let same = name.as_ref().map_or("", |name| name.as_str()) == &*port.port.name;
        number.as_ref().filter(|_| same && is_tcp(protocol.as_ref()))
    });
    Some((port.port.number, found?.value))
}

/// Istio `endpointHealthStatus`: ready, or nothing said of it. One that ends is not ready, and gets nothing new, also
/// where it says that it still serves.
fn is_ready(conditions: Option<&At<Conditions>>) -> bool {
    let Some(conditions) = conditions else { return true };
    let Conditions { ready } = &conditions.value;
    ready.as_ref().is_none_or(|ready| ready.value)
}

/// Where an endpoint runs, as its slice says it. A slice has no region but in the map of old; the gateway's own zone is
/// in the gateway's own region.
fn locality(
    zone: Option<&At<String>>,
    topology: &[(At<String>, At<String>)],
    here: &Surroundings,
) -> Locality {
    let of_old =
        |wanted: &str| topology.iter().find(|(key, _)| key.value == wanted).map(|(_, value)| value.as_str());
    let zone = zone.map(|zone| zone.as_str()).or(of_old("topology.kubernetes.io/zone")).unwrap_or_default();
    let own = (!zone.is_empty() && *zone == *here.locality.zone).then_some(&*here.locality.region);
    let region = of_old("topology.kubernetes.io/region").or(own).unwrap_or_default();
    Locality { region: region.into(), zone: zone.into(), subzone: "".into() }
}
