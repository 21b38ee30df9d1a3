//! ServiceEntries and WorkloadEntries → services: which hosts there are, on which ports, and who answers there.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::objects::{Objects, Of};
use super::support::{check_export_to, fields, unsupported};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::host::HostPattern;
use crate::origin::{At, Origin};
use crate::snapshot::{Locality, Service, Workload};
use crate::wire::Document;
use crate::wire::registry::{Resolution, ServiceEntry, ServicePort, WorkloadEntry};
use crate::wire::sink::Sink;

/// Labels by key.
pub(super) type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// Every service, by host; for one host the oldest first.
pub(super) struct Registry {
    by_host: BTreeMap<Arc<str>, Vec<Entry>>,
}

/// One host as one namespace defines it.
pub(super) struct Entry {
    pub(super) service: Arc<Service>,
    pub(super) ports: Vec<Port>,
    pub(super) members: Vec<Member>,
    pub(super) origin: Origin,
    /// The objects that it is made from.
    pub(super) titles: Vec<String>,
    /// Where resolution NONE is said, which a route of ours can't use.
    pub(super) needs_mesh: Option<Origin>,
}

/// A port of a service.
pub(super) struct Port {
    pub(super) number: u16,
    name: Arc<str>,
    target: u16,
}

/// Who may answer for a service: an endpoint before its port is known.
#[derive(Clone)]
pub(super) struct Member {
    address: IpAddr,
    /// Its own ports, by the names of the service's.
    ports: BTreeMap<Arc<str>, u16>,
    /// Where it answers, by the service's port.
    targets: BTreeMap<u16, u16>,
    pub(super) labels: Arc<Labels>,
    pub(super) workload: Arc<Workload>,
    /// Its share, over 0.
    pub(super) weight: u32,
    pub(super) locality: Arc<Locality>,
}

/// A WorkloadEntry that selectors may choose; without a member where it could not be read.
struct Selectable<'s> {
    document: &'s Document,
    labels: Labels,
    member: Option<Member>,
}

impl Entry {
    /// Where a member answers for a port. Istio: the endpoint's own port of that name, else the port's
    /// `targetPort`, else its number.
    pub(super) fn address(&self, member: &Member, number: u16) -> Option<SocketAddr> {
        Some(SocketAddr::new(member.address, *member.targets.get(&number)?))
    }
}

impl Registry {
    pub(super) fn build(objects: &Objects<'_>, out: &mut Diagnostics) -> Self {
        let workloads: Vec<Selectable<'_>> = objects
            .workload_entries
            .iter()
            .map(|&(document, entry)| {
                let title = document.object.title();
                let sink = &mut document.sink(&title, out);
                let labels = labels(entry.labels.iter().chain(&document.object.labels));
                let name = &document.object.name;
                let own_name = Some(&name.name);
                let member = read_member(entry, labels.clone(), own_name, &name.namespace, &name.name, sink);
                Selectable { document, labels, member }
            })
            .collect();
        let mut registry = Registry { by_host: BTreeMap::new() };
        for &entry in &objects.service_entries {
            registry.add(entry, &workloads, out);
        }
        registry
    }

    /// The service of a host, as routes of `namespace` see it: that namespace's own, else the oldest.
    pub(super) fn find(&self, host: &str, namespace: &str) -> Option<&Entry> {
        let entries = self.by_host.get(host)?;
        entries.iter().find(|entry| &*entry.service.namespace == namespace).or(entries.first())
    }

    /// Whether there is a host of this name.
    pub(super) fn has(&self, host: &str) -> bool {
        self.by_host.contains_key(host)
    }

    /// Every host there is.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.by_host.keys().map(|host| &**host)
    }

    fn add(
        &mut self,
        (document, entry): Of<'_, ServiceEntry>,
        workloads: &[Selectable<'_>],
        out: &mut Diagnostics,
    ) {
        let title = document.object.title();
        let sink = &mut document.sink(&title, out);
        let ServiceEntry {
            hosts,
            addresses: _, // virtual addresses and location mean something to sidecars only
            location: _,
            ports,
            resolution,
            endpoints,
            workload_selector,
            export_to,
            subject_alt_names,
        } = entry;
        unsupported(Severity::Warning, fields![subject_alt_names = "subjectAltNames"], sink);
        check_export_to(export_to, sink);
        let needs_mesh = check_resolution(document, resolution.as_ref(), sink);
        if hosts.is_empty() {
            sink.schema(document.object.pos, "a ServiceEntry needs at least one host".into());
        }
        if let (Some(selector), Some(endpoint)) = (workload_selector, endpoints.first()) {
            let hint = format!("the selector is at {}", document.origin(selector.pos));
            sink.schema(
                endpoint.pos.back(2),
                "\"endpoints\" and \"workloadSelector\" exclude each other".into(),
            )
            .hints
            .push(hint);
        }
        let ports = read_ports(ports, document, sink);
        let namespace = &document.object.name.namespace;
        let known: Vec<&str> = ports.iter().map(|port| &*port.name).collect();
        for host in hosts {
            if let Err(message) = HostPattern::parse(host) {
                sink.schema(host.pos, message);
                continue;
            }
            if host.value == "*" {
                sink.schema(host.pos, "a ServiceEntry can't be for every host".into());
                continue;
            }
            let host: Arc<str> = host.to_ascii_lowercase().into();
            let inline = endpoints.iter().filter_map(|endpoint| {
                let foreign = endpoint.ports.iter().find(|(name, _)| !known.contains(&name.as_str()));
                if let Some((name, _)) = foreign {
                    sink.schema(name.pos, format!("the ServiceEntry has no port named {:?}", name.value));
                }
                let labels = labels(endpoint.labels.iter());
                read_member(endpoint, labels, None, namespace, &host, sink)
            });
            let mut members: Vec<Member> = inline.collect();
            let mut titles = vec![title.clone()];
            if let Some(selector) = workload_selector {
                let wanted = labels(selector.labels.iter());
                let chosen = workloads.iter().filter(|workload| {
                    workload.document.object.name.namespace == *namespace
                        && selects(&wanted, &workload.labels)
                });
                for workload in chosen {
                    titles.push(workload.document.object.title());
                    members.extend(workload.member.clone());
                }
            }
            // Each ServiceEntry's endpoints answer on its own ports, also where several are one service.
            for member in &mut members {
                let target =
                    |port: &Port| (port.number, member.ports.get(&port.name).copied().unwrap_or(port.target));
                member.targets = ports.iter().map(target).collect();
            }
            self.join(Entry {
                service: Arc::new(Service { host, namespace: namespace.clone() }),
                ports: ports
                    .iter()
                    .map(|p| Port { number: p.number, name: p.name.clone(), target: p.target })
                    .collect(),
                members,
                origin: document.named_at(),
                titles,
                needs_mesh: needs_mesh.clone(),
            });
        }
    }

    /// Several ServiceEntries of one host in one namespace are one service with all their ports and endpoints.
    fn join(&mut self, entry: Entry) {
        let entries = self.by_host.entry(entry.service.host.clone()).or_default();
        match entries.iter_mut().find(|other| other.service.namespace == entry.service.namespace) {
            None => entries.push(entry),
            Some(other) => {
                other.members.extend(entry.members);
                other.titles.extend(entry.titles);
                let new = entry
                    .ports
                    .into_iter()
                    .filter(|port| other.ports.iter().all(|o| o.number != port.number));
                let new: Vec<Port> = new.collect();
                other.ports.extend(new);
                other.needs_mesh = other.needs_mesh.take().or(entry.needs_mesh);
            }
        }
    }
}

/// Whether labels carry all that is wanted. No wish is fulfilled by everyone.
pub(super) fn selects(wanted: &Labels, labels: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Labels as written, later ones over earlier ones.
pub(super) fn labels<'w>(written: impl Iterator<Item = &'w (At<String>, At<String>)>) -> Labels {
    written.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

/// Only STATIC is executed; NONE means "where the connection was going", which only a sidecar knows.
fn check_resolution(
    document: &Document,
    written: Option<&At<Resolution>>,
    sink: &mut Sink<'_>,
) -> Option<Origin> {
    match written.map(|resolution| (resolution, resolution.value)) {
        Some((_, Resolution::Static)) => None,
        Some((resolution, Resolution::None)) => Some(document.origin(resolution.pos)),
        None => Some(document.named_at()),
        Some((resolution, Resolution::Dns | Resolution::DnsRoundRobin | Resolution::DynamicDns)) => {
            let message = "resolution by DNS is not supported yet".to_owned();
            sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, resolution.pos, message)
                .hints
                .push("write STATIC and the endpoints' addresses".into());
            None
        }
    }
}

fn read_ports(written: &[At<ServicePort>], document: &Document, sink: &mut Sink<'_>) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    if written.is_empty() {
        sink.schema(document.object.pos, "a ServiceEntry needs at least one port".into());
    }
    for port in written {
        let ServicePort { number, name, protocol, target_port } = &port.value;
        if ports.iter().any(|other| other.number == number.value || *other.name == *name.value) {
            sink.schema(number.pos, format!("port {} ({}) is there twice", number.value, name.value));
            continue;
        }
        const KNOWN: [&str; 10] =
            ["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "MYSQL", "REDIS", "TCP", "TLS"];
        if let Some(protocol) =
            protocol.as_ref().filter(|p| !KNOWN.contains(&p.to_ascii_uppercase().as_str()))
        {
            sink.schema(protocol.pos, format!("{:?} is not a protocol", protocol.value))
                .hints
                .push(format!("it is one of {}", KNOWN.join(", ")));
        }
        const HTTP2: [&str; 3] = ["HTTP2", "GRPC", "GRPC-WEB"];
        if let Some(protocol) = protocol.as_ref().filter(|p| HTTP2.contains(&p.to_ascii_uppercase().as_str()))
        {
            let message = format!(
                "{} towards a service is not supported yet: it is spoken to in HTTP/1.1",
                protocol.value
            );
            sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, protocol.pos, message);
        }
        let target = target_port.as_ref().map_or(number.value, |target| target.value);
        ports.push(Port { number: number.value, name: name.as_str().into(), target });
    }
    ports
}

/// Reads an endpoint. `own_name` is a WorkloadEntry's; `host` stands in where nothing names the workload.
fn read_member(
    entry: &WorkloadEntry,
    labels: Labels,
    own_name: Option<&Arc<str>>,
    namespace: &Arc<str>,
    host: &str,
    sink: &mut Sink<'_>,
) -> Option<Member> {
    let WorkloadEntry { address, ports, labels: _, network, locality, weight, service_account: _ } = entry;
    unsupported(Severity::Error, fields![network], sink);
    let share = weight.as_ref().map_or(Some(0), |weight| u32::try_from(weight.value).ok());
    if let (Some(weight), None) = (weight, share) {
        sink.schema(weight.pos, format!("weight {} is not within 0 to {}", weight.value, u32::MAX));
    }
    let Some(address) = address else {
        sink.schema(entry_pos(entry), "an endpoint needs an address".into());
        return None;
    };
    let Ok(ip) = address.parse::<IpAddr>() else {
        let (code, message) = match address.strip_prefix("unix://") {
            Some(_) => {
                (Code::UNSUPPORTED_FIELD, "a Unix socket as an endpoint is not supported yet".to_owned())
            }
            None => (
                Code::SCHEMA_VALIDATION,
                format!("{:?} is not an IP address, as resolution STATIC wants", address.value),
            ),
        };
        sink.add(Severity::Error, code, address.pos, message);
        return None;
    };
    Some(Member {
        address: ip,
        ports: ports.iter().map(|(name, number)| (name.as_str().into(), number.value)).collect(),
        targets: BTreeMap::new(),
        workload: Arc::new(workload(&labels, own_name, namespace, host)),
        labels: Arc::new(labels),
        // Istio: 0 is as good as absent.
        weight: share.unwrap_or_default().max(1),
        locality: Arc::new(Locality::parse(locality.as_ref().map_or("", |locality| locality.as_str()))),
    })
}

/// Somewhere in an endpoint without an address, to point at.
fn entry_pos(entry: &WorkloadEntry) -> crate::origin::Pos {
    use super::support::Written;
    entry.ports.key().or_else(|| entry.labels.key()).unwrap_or_default()
}

/// How metrics name the workload at an endpoint: by label `service.istio.io/workload-name`, else by its
/// WorkloadEntry, else as `app-version` like Bookinfo's Deployments, else as the host's first label.
fn workload(labels: &Labels, own_name: Option<&Arc<str>>, namespace: &Arc<str>, host: &str) -> Workload {
    let label =
        |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key)).cloned().unwrap_or_else(|| "".into());
    let short: Arc<str> = host.split('.').next().unwrap_or(host).into();
    let (app, version) = (label(&["app"]), label(&["version"]));
    let canonical_service = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let name = match (labels.get("service.istio.io/workload-name").or(own_name), version.is_empty()) {
        (Some(name), _) => name.clone(),
        (None, true) => short.clone(),
        (None, false) => format!("{}-{version}", if app.is_empty() { &short } else { &app }).into(),
    };
    Workload {
        name,
        namespace: namespace.clone(),
        canonical_service: if canonical_service.is_empty() { short } else { canonical_service },
        canonical_revision: label(&[
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ]),
        app,
        version,
    }
}
