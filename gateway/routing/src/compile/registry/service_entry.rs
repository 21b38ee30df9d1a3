//! A ServiceEntry → the hosts that it defines.

use std::sync::Arc;

use super::workload::{Endpoint, Selectable, read_member, workload};
use super::{Address, Entry, Labels, Member, Port, Registry, labels, selects};
use crate::compile::export::{Export, Exported};
use crate::compile::names::{domain, is_domain};
use crate::compile::objects::Of;
use crate::compile::small::SmallMap;
use crate::compile::validate;
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::host::HostPattern;
use crate::origin::{At, Origin};
use crate::snapshot::Service;
use crate::wire::Document;
use crate::wire::registry::{Resolution, ServiceEntry, ServicePort};
use crate::wire::sink::Sink;

impl Registry {
    /// Adds the hosts of a ServiceEntry.
    pub(super) fn add_service_entry(
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
            ports: written_ports,
            resolution,
            endpoints,
            workload_selector,
            export_to,
            subject_alt_names,
        } = entry;
        validate::service_entry((document, entry), sink);
        let namespace = &document.object.name.namespace;
        let visible = Export::read(export_to, namespace, Exported::Service, sink).admits(&self.namespace);
        if !visible {
            let message =
                format!("it is not exported to namespace {:?}, where this gateway is", self.namespace);
            sink.add(Severity::Note, Code::NOT_FOR_US, document.object.pos, message);
        }
        // That NONE takes no endpoints has been said.
        let needs_mesh =
            check_resolution(document, resolution.as_ref(), sink).filter(|_| endpoints.is_empty());
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
        let ports = read_ports(written_ports, sink);
        let known: Vec<&str> = ports.iter().map(|port| &*port.name).collect();
        let resolves = resolution.as_ref().map_or(Resolution::None, |resolution| resolution.value);
        let looked_up = matches!(resolves, Resolution::Dns | Resolution::DnsRoundRobin);
        let inline = endpoints.iter().filter_map(|endpoint| {
            for (name, _) in endpoint.ports.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
                sink.schema(name.pos, format!("the ServiceEntry has no port named {:?}", name.value));
            }
            let read = Endpoint {
                labels: labels(endpoint.labels.iter()),
                own_name: None,
                namespace,
                host: "",
                pos: endpoint.pos,
                group: None,
                resolution: Some(resolves),
            };
            read_member(endpoint, read, sink)
        });
        let inline: Vec<Member> = inline.collect();
        for host in hosts {
            if host.value == "*" {
                sink.schema(host.pos, "a ServiceEntry can't be for every host".into());
                continue;
            }
            if domain(host).is_err() {
                sink.schema(host.pos, format!("{:?} is not a host name", host.value));
                continue;
            }
            if let Err(message) = HostPattern::parse(host) {
                // Of `*shop.test` validation warns; `shop.test.` is what Istio takes beside.
                if !host.starts_with('*') {
                    sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, host.pos, message);
                }
                continue;
            }
            let pos = host.pos;
            let host: Arc<str> = host.to_ascii_lowercase().into();
            if let Some(service) = self.service_of_kubernetes(&host, namespace) {
                let message = format!("{host:?} is a Service's, so this ServiceEntry does not count for it");
                let hint = format!("the Service is at {}", service.origin);
                sink.add(Severity::Warning, Code::NOT_FOR_US, pos, message).hints.push(hint);
                continue;
            }
            if !visible {
                let here = &self.namespace;
                let why = format!(
                    "{title} ({}) has it, and is not exported to namespace {here:?}",
                    document.named_at()
                );
                self.hidden.entry(host).or_insert(why);
                continue;
            }
            self.compare_protocols(&host, written_ports, document, sink);
            let members = inline.iter().map(|member| Member {
                workload: Arc::new(workload(&member.labels, None, namespace, &host)),
                ..member.clone()
            });
            let mut members: Vec<Member> = members.collect();
            if looked_up && endpoints.is_empty() && workload_selector.is_none() && is_domain(&host) {
                members.push(host_itself(&host, namespace));
            }
            let mut titles = vec![title.clone()];
            if let Some(selector) = workload_selector {
                let wanted = labels(selector.labels.iter());
                let chosen = workloads.iter().filter(|workload| {
                    workload.document.object.name.namespace == *namespace
                        && selects(&wanted, &workload.labels)
                });
                for workload in chosen {
                    titles.extend(workload.titles.iter().cloned());
                    match workload.named() {
                        Some(name) if resolves == Resolution::Static => {
                            let message =
                                format!("it selects {name:?}, and resolution STATIC looks no name up");
                            sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, selector.pos, message)
                                .hints
                                .push(format!(
                                    "write \"resolution: DNS\", or an IP address at {}",
                                    workload.document.named_at()
                                ));
                        }
                        _ => members.extend(workload.member.clone()),
                    }
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
                ports: ports.iter().map(|port| Port { name: port.name.clone(), ..*port }).collect(),
                members,
                origin: document.named_at(),
                subject_alt_names: subject_alt_names.iter().map(|name| name.as_str().into()).collect(),
                titles,
                needs_mesh: needs_mesh.clone(),
                is_kubernetes: false,
                external_name: None,
                lacks_slices: false,
                in_turn: resolves == Resolution::DnsRoundRobin,
            });
        }
    }

    /// Istio `ConflictingServiceEntryProtocol`: two that say different things of one host's port.
    fn compare_protocols(
        &mut self,
        host: &Arc<str>,
        ports: &[At<ServicePort>],
        document: &Document,
        sink: &mut Sink<'_>,
    ) {
        for port in ports {
            let Some(protocol) = port.protocol.as_ref().filter(|protocol| !protocol.is_empty()) else {
                continue;
            };
            let word = protocol.to_ascii_uppercase();
            let own = || (word.clone(), document.origin(protocol.pos));
            let number = port.number.value;
            let (first, origin) = self.protocols.entry((host.clone(), number)).or_insert_with(own);
            if *first != word {
                let message = format!("port {number} of {host:?} speaks {word} here, and {first} elsewhere");
                sink.add(Severity::Warning, Code::CONFLICTING_PROTOCOL, protocol.pos, message)
                    .hints
                    .push(format!("the other one is at {origin}"));
            }
        }
    }
}

/// The host where it has no endpoints and is looked up; it has no labels then, as Istio has it.
fn host_itself(host: &Arc<str>, namespace: &Arc<str>) -> Member {
    let labels = Labels::default();
    Member {
        address: Address::Name(host.clone()),
        ports: SmallMap::default(),
        targets: SmallMap::default(),
        workload: Arc::new(workload(&labels, None, namespace, host)),
        labels: Arc::new(labels),
        weight: 1,
        locality: Arc::default(),
        probe: None,
    }
}

/// NONE means "where the connection was going", which only a sidecar knows; DYNAMIC_DNS looks up what requests name.
fn check_resolution(
    document: &Document,
    written: Option<&At<Resolution>>,
    sink: &mut Sink<'_>,
) -> Option<Origin> {
    match written.map(|resolution| (resolution, resolution.value)) {
        Some((_, Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin)) => None,
        Some((resolution, Resolution::None)) => Some(document.origin(resolution.pos)),
        None => Some(document.named_at()),
        Some((resolution, Resolution::DynamicDns)) => {
            let message = "resolution DYNAMIC_DNS is not supported yet".to_owned();
            sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, resolution.pos, message)
                .hints
                .push("write DNS, and each host that requests are for".into());
            None
        }
    }
}

fn read_ports(written: &[At<ServicePort>], sink: &mut Sink<'_>) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
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
        let speaks = |wanted: &[&str]| {
            protocol.as_ref().filter(|p| wanted.iter().any(|wanted| p.eq_ignore_ascii_case(wanted)))
        };
        if let Some(protocol) = speaks(&["GRPC-WEB"]) {
            let message = format!("{} towards a service is not supported yet", protocol.value);
            sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, protocol.pos, message);
        }
        let target = target_port.as_ref().map_or(number.value, |target| target.value);
        let h2 = speaks(&["HTTP2", "GRPC"]).is_some();
        ports.push(Port { number: number.value, name: name.as_str().into(), target, h2, grpc_web: false });
    }
    ports
}
