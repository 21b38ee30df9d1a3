//! Destinations → clusters: host, subset and port resolved, each cluster made once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Surroundings;
use super::policy::{self, Composed};
use super::registry::{Entry, Labels, Member, Registry, selects};
use super::rules::Rules;
use super::uses::Uses;
use crate::diagnostic::{Code, Severity};
use crate::host;
use crate::nearest::nearest;
use crate::origin::{At, Origin};
use crate::snapshot::{Cluster, ClusterId, ClusterKey, Endpoint, Locality, Policy};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::Destination;

/// The clusters made so far, and what they are made from.
pub(super) struct Clusters<'s> {
    registry: &'s Registry,
    rules: &'s Rules,
    surroundings: &'s Surroundings,
    dangling: Severity,
    made: Vec<Arc<Cluster>>,
    ids: BTreeMap<(ClusterKey, Arc<str>), ClusterId>,
    /// The objects that what was made so far is made from.
    pub(super) uses: Uses,
    /// Hosts for which a ServiceEntry to paste was given; once is enough.
    offered: BTreeSet<Arc<str>>,
}

impl<'s> Clusters<'s> {
    pub(super) fn new(registry: &'s Registry, rules: &'s Rules, surroundings: &'s Surroundings) -> Self {
        Clusters {
            registry,
            rules,
            surroundings,
            dangling: surroundings.dangling.severity(),
            made: Vec::new(),
            ids: BTreeMap::new(),
            uses: Uses::default(),
            offered: BTreeSet::new(),
        }
    }

    pub(super) fn finish(self) -> (Vec<Arc<Cluster>>, Uses) {
        (self.made, self.uses)
    }

    /// The cluster of a destination that an object of `namespace` names. One that does not exist is a finding,
    /// and a cluster without a service.
    pub(super) fn resolve(
        &mut self,
        destination: &At<Destination>,
        namespace: &str,
        sink: &mut Sink<'_>,
    ) -> ClusterId {
        let Destination { host, subset, port } = &destination.value;
        let subset = &subset.as_ref().filter(|subset| !subset.is_empty());
        let complete: Arc<str> = host::complete(host, namespace).into();
        let subset_name: Arc<str> = subset.as_ref().map_or("", |subset| subset.as_str()).into();
        let wanted_port = port.as_ref().and_then(|port| port.number.as_ref());
        let key = |port| ClusterKey { host: complete.clone(), subset: subset_name.clone(), port };
        let missing_port = wanted_port.map_or(0, |port| port.value);

        let Some(entry) = self.registry.find(&complete, namespace) else {
            self.unknown_host(destination, &complete, namespace, sink);
            return self.insert(key(missing_port), None, Made::default());
        };
        let rule = self.rules.find(&complete, &entry.service.namespace);
        self.uses.note_all(&entry.titles);
        if let Some(rule) = rule {
            self.uses.note_all(&rule.titles);
        }
        refuse_none(destination, entry, sink);
        let number = match (wanted_port, entry.ports.as_slice()) {
            (Some(port), ports) if ports.iter().any(|p| p.number == port.value) => port.value,
            (None, [port]) => port.number,
            (wanted, ports) => {
                let numbers: Vec<String> = ports.iter().map(|port| port.number.to_string()).collect();
                let (code, at, message) = match wanted {
                    Some(port) => {
                        let message = format!("{complete:?} has no port {}", port.value);
                        (Code::REFERENCED_RESOURCE_NOT_FOUND, port.pos, message)
                    }
                    None => {
                        let message = format!("{complete:?} has several ports, so the destination needs one");
                        (Code::DESTINATION_PORT_REQUIRED, host.pos, message)
                    }
                };
                let hint = format!("it has {} ({})", numbers.join(", "), entry.origin);
                sink.add(self.dangling, code, at, message).hints.push(hint);
                return self.insert(key(missing_port), None, Made::default());
            }
        };
        let found = rule.and_then(|rule| rule.subsets.iter().find(|candidate| candidate.name == subset_name));
        let (Some(subset), None) = (subset, found) else {
            let composed = policy::compose(
                rule.and_then(|rule| rule.policy.as_ref()),
                found.and_then(|subset| subset.policy.as_ref()),
                number,
            );
            for (origin, what) in &composed.needs_mesh {
                refuse(destination, origin, what, sink);
            }
            let selected: Vec<&Member> = entry
                .members
                .iter()
                .filter(|member| found.is_none_or(|subset| selects(&subset.labels, &member.labels)))
                .collect();
            let endpoints = endpoints(entry, number, &selected, &composed, self.surroundings);
            if let (Some(subset), Some(found), true) = (subset, found, selected.is_empty()) {
                let labels: Vec<String> =
                    found.labels.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                let message = format!("no endpoint of {complete:?} carries {}", labels.join(", "));
                sink.add(Severity::Warning, Code::SUBSET_SELECTS_NOTHING, subset.pos, message)
                    .hints
                    .push("it is held until one does: its share goes to its siblings; alone, its requests are answered 503".into());
            }
            if !self.has(&key(number), entry) {
                warn_of_no_ejections(destination, &endpoints, &composed.policy, sink);
            }
            let origin = Some(found.map_or(&entry.origin, |subset| &subset.origin).clone());
            return self.insert(
                key(number),
                Some(entry),
                Made { endpoints, policy: composed.policy, origin },
            );
        };
        let message = format!("host {complete:?} has no subset {:?}", subset.value);
        let finding = sink.add(self.dangling, Code::REFERENCED_RESOURCE_NOT_FOUND, subset.pos, message);
        finding.hints.push(match rule {
            None => format!("no DestinationRule is for {complete:?}"),
            Some(rule) => {
                let names: Vec<&str> = rule.subsets.iter().map(|subset| &*subset.name).collect();
                let names = if names.is_empty() { "no subsets".to_owned() } else { names.join(", ") };
                format!("DestinationRule {} ({}) defines {names}", rule.name, rule.origin)
            }
        });
        self.insert(key(number), None, Made::default())
    }

    /// One cluster for each key; a service may be another one in another namespace.
    fn insert(&mut self, key: ClusterKey, entry: Option<&Entry>, of: Made) -> ClusterId {
        let service = entry.map(|entry| entry.service.clone());
        let namespace = service.as_ref().map_or_else(|| "".into(), |service| service.namespace.clone());
        let made = &mut self.made;
        *self.ids.entry((key.clone(), namespace)).or_insert_with(|| {
            let Made { endpoints, policy, origin } = of;
            made.push(Arc::new(Cluster { key, service, endpoints, policy, origin }));
            ClusterId::new(made.len() - 1)
        })
    }

    fn has(&self, key: &ClusterKey, entry: &Entry) -> bool {
        self.ids.contains_key(&(key.clone(), entry.service.namespace.clone()))
    }

    fn unknown_host(
        &mut self,
        destination: &At<Destination>,
        complete: &Arc<str>,
        namespace: &str,
        sink: &mut Sink<'_>,
    ) {
        let Destination { host, port, .. } = &destination.value;
        let message = match host.as_str() == &**complete {
            true => format!("there is no host {complete:?}"),
            false => format!(
                "there is no host {complete:?}, which {:?} means in namespace {namespace:?}",
                host.value
            ),
        };
        let finding = sink.add(self.dangling, Code::REFERENCED_RESOURCE_NOT_FOUND, host.pos, message);
        finding
            .hints
            .extend(nearest(complete, self.registry.hosts()).map(|near| format!("the nearest is {near:?}")));
        let port = port.as_ref().and_then(|port| port.number.as_ref()).map_or(80, |port| port.value);
        if self.offered.insert(complete.clone()) {
            finding.hints.push(self.service_entry_to_paste(complete, namespace, port));
        }
    }

    /// A ServiceEntry that makes the host exist, with an endpoint for each subset's labels.
    fn service_entry_to_paste(&self, host: &str, namespace: &str, port: u16) -> String {
        let short = host.split('.').next().unwrap_or(host);
        let mut text = format!(
            "if it is not written yet, start from this, with the endpoints' own addresses:\n\
             apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: {short}\n  namespace: {namespace}\n\
             spec:\n  hosts: [{host}]\n  resolution: STATIC\n  ports:\n  - {{number: {port}, name: http, protocol: HTTP}}\n  endpoints:\n"
        );
        let none = Vec::new();
        let subsets = self.rules.find(host, namespace).map_or(&none, |rule| &rule.subsets);
        for (index, subset) in subsets.iter().enumerate() {
            let labels: Vec<String> =
                subset.labels.iter().map(|(key, value)| format!("{key}: {value:?}")).collect();
            let last = index % 254 + 1;
            text.push_str(&format!("  - {{address: 192.0.2.{last}, labels: {{{}}}}}\n", labels.join(", ")));
        }
        if subsets.is_empty() {
            text.push_str("  - {address: 192.0.2.1}\n");
        }
        text.trim_end().to_owned()
    }
}

/// What a cluster is made of beside its name.
#[derive(Default)]
struct Made {
    endpoints: Vec<Endpoint>,
    policy: Arc<Policy>,
    /// Where it is defined.
    origin: Option<Origin>,
}

/// What our own routes would need a mesh for is an error, and never passed over.
fn refuse(destination: &At<Destination>, origin: &Origin, what: &str, sink: &mut Sink<'_>) {
    let host = &destination.value.host;
    sink.add(Severity::Error, Code::NEEDS_MESH, host.pos, format!("{:?} {what}", host.value))
        .hints
        .push(format!("it says so at {origin}"));
}

/// Envoy ejects nobody where one endpoint is more than the percentage; Istio's default of 10 needs ten of them.
fn warn_of_no_ejections(
    destination: &At<Destination>,
    endpoints: &[Endpoint],
    policy: &Policy,
    sink: &mut Sink<'_>,
) {
    let Some(outlier) = &policy.outlier else { return };
    let (percent, count) = (outlier.max_ejection_percent, endpoints.len());
    if count == 0 || usize::from(percent) * count >= 100 {
        return;
    }
    let Destination { host, subset, port: _ } = &destination.value;
    let subset = subset.as_ref().map(|subset| format!(" subset {:?}", subset.value)).unwrap_or_default();
    let message = format!(
        "outlierDetection of {:?}{subset} ejects nobody: one of {count} is more than maxEjectionPercent {percent}",
        host.value
    );
    sink.add(Severity::Warning, Code::EJECTS_NOBODY, host.pos, message)
        .hints
        .push(format!("maxEjectionPercent: {} lets one go", 100_usize.div_ceil(count)));
}

fn refuse_none(destination: &At<Destination>, entry: &Entry, sink: &mut Sink<'_>) {
    if let Some(origin) = &entry.needs_mesh {
        let what = "has resolution NONE, which only a sidecar can serve; write STATIC and endpoints";
        refuse(destination, origin, what, sink);
    }
}

/// The endpoints of a service's port, sorted, each address once, those without traffic left out.
fn endpoints(
    entry: &Entry,
    port: u16,
    members: &[&Member],
    policy: &Composed,
    here: &Surroundings,
) -> Vec<Endpoint> {
    let by_address: BTreeMap<_, _> =
        members.iter().filter_map(|member| Some((entry.address(member, port)?, *member))).collect();
    let places: Vec<(&Locality, &Labels)> =
        by_address.values().map(|member| (&*member.locality, &*member.labels)).collect();
    let placements = policy.place(here, &places);
    let placed = by_address.into_iter().zip(placements).filter_map(|((address, member), placement)| {
        Some(Endpoint {
            address,
            weight: member.weight,
            locality: member.locality.clone(),
            placement: placement?,
            workload: member.workload.clone(),
        })
    });
    placed.collect()
}
