//! ServiceEntries, WorkloadEntries and WorkloadGroups: what Istio refuses or warns of though it could be compiled.

use crate::compile::names::{check_labels, is_domain, is_label};
use crate::compile::objects::Of;
use crate::compile::support::Written;
use crate::compile::values::{subnet, warn};
use crate::diagnostic::{Code, Severity};
use crate::origin::At;
use crate::wire::registry::{
    Resolution, ServiceEntry, ServicePort, WorkloadEntry, WorkloadGroup, WorkloadSelector,
};
use crate::wire::sink::Sink;

/// Judges a ServiceEntry as written.
pub(in super::super) fn service_entry((_, entry): Of<'_, ServiceEntry>, sink: &mut Sink<'_>) {
    let ServiceEntry {
        hosts,
        addresses,
        ports,
        location: _,
        resolution,
        endpoints,
        workload_selector,
        export_to: _, // read where it is executed
        subject_alt_names: _,
    } = entry;
    let resolution = resolution.as_ref().map_or(Resolution::None, |resolution| resolution.value);
    let by_name = matches!(resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    for host in hosts {
        if host.starts_with('*') && host.len() > 1 && !host.starts_with("*.") {
            let message =
                format!("{:?} has half a label as a wildcard: no destination is found by it", host.value);
            warn(message, host.pos, sink);
        }
        if by_name && endpoints.is_empty() && !is_domain(host) {
            let message = format!("without endpoints the host is looked up, and {:?} is no name", host.value);
            sink.schema(host.pos, message);
        }
        if resolution == Resolution::DynamicDns && !host.starts_with('*') {
            let message = format!("resolution DYNAMIC_DNS is for wildcards, and {:?} is none", host.value);
            sink.schema(host.pos, message);
        }
    }
    check_addresses(addresses, resolution, sink);
    check_ports(ports, resolution, sink);
    // Of DYNAMIC_DNS that is so for one host already.
    let several = hosts.get(1).filter(|_| !matches!(resolution, Resolution::None | Resolution::DynamicDns));
    if let (Some(host), Some(port)) = (several, ports.iter().find(|port| !tells_hosts_apart(port))) {
        let message = format!(
            "several hosts can't share port {}, whose protocol does not say which one is meant",
            port.number.value
        );
        sink.schema(host.pos, message)
            .hints
            .push("it is one of HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS".into());
    }
    if let Some(key) = endpoints.key() {
        match resolution {
            Resolution::None => {
                sink.schema(key, "resolution NONE, which is also the default, takes no endpoints".into())
                    .hints
                    .push("write \"resolution: STATIC\" where endpoints are addresses".into());
            }
            Resolution::DynamicDns => {
                sink.schema(key, "resolution DYNAMIC_DNS takes no endpoints".into());
            }
            Resolution::DnsRoundRobin if endpoints.len() > 1 => {
                sink.schema(key, "resolution DNS_ROUND_ROBIN takes at most one endpoint".into());
            }
            _ => {}
        }
    }
    let is_unix = |entry: &&At<WorkloadEntry>| {
        entry.address.as_ref().is_some_and(|address| address.starts_with("unix://"))
    };
    if resolution == Resolution::Static && ports.len() != 1 {
        for endpoint in endpoints.iter().filter(is_unix) {
            let message = format!("a Unix socket serves one port, and the ServiceEntry has {}", ports.len());
            sink.schema(endpoint.pos, message);
        }
    }
    if let Some(selector) = workload_selector {
        check_selector(selector, resolution, sink);
    }
}

fn check_addresses(addresses: &[At<String>], resolution: Resolution, sink: &mut Sink<'_>) {
    for address in addresses {
        subnet(address, sink);
        if address.contains('/') && !matches!(resolution, Resolution::None | Resolution::Static) {
            sink.schema(address.pos, "subnets are for resolution NONE and STATIC only".into());
        }
    }
    if let Some(key) = addresses.first().filter(|_| resolution == Resolution::DynamicDns) {
        sink.schema(key.pos.back(2), "resolution DYNAMIC_DNS takes no addresses".into());
    }
}

fn check_ports(ports: &[At<ServicePort>], resolution: Resolution, sink: &mut Sink<'_>) {
    for port in ports {
        let ServicePort { number: _, name, protocol, target_port: _ } = &port.value;
        if !is_label(name) {
            sink.schema(name.pos, format!("{:?} is not the name of a port", name.value));
        }
        let protocol = protocol.as_ref().filter(|_| resolution == Resolution::DynamicDns);
        if let Some(protocol) = protocol.filter(|protocol| !protocol.is_empty() && !tells_hosts_apart(port)) {
            let message = format!("resolution DYNAMIC_DNS is for HTTP and TLS, not for {}", protocol.value);
            sink.schema(protocol.pos, message);
        }
    }
}

/// Whether a connection says which host it is for: by a header, or in its ClientHello. Of a protocol that is none,
/// reading it has said so.
fn tells_hosts_apart(port: &ServicePort) -> bool {
    let word = port.protocol.as_ref().map(|protocol| protocol.to_ascii_uppercase()).unwrap_or_default();
    !matches!(word.as_str(), "" | "TCP" | "MONGO" | "MYSQL" | "REDIS")
}

/// Istio `ValidateAlphaWorkloadSelector`.
fn check_selector(written: &At<WorkloadSelector>, resolution: Resolution, sink: &mut Sink<'_>) {
    let WorkloadSelector { labels } = &written.value;
    let key = written.pos.back(1);
    if labels.is_empty() {
        warn("a workloadSelector without labels chooses every WorkloadEntry of the namespace", key, sink);
    }
    if resolution == Resolution::None {
        warn("a workloadSelector has no use under resolution NONE, which is also the default", key, sink);
    }
    for (key, value) in labels {
        if key.is_empty() {
            sink.schema(key.pos, "a label needs a name".into());
        }
        if key.contains('*') || value.contains('*') {
            sink.schema(key.pos, "a workloadSelector has no wildcards".into());
        }
        if value.len() > 63 {
            sink.schema(value.pos, "a label's value has at most 63 characters".into());
        }
    }
}

/// Judges an endpoint, alone or in a ServiceEntry; its address is read where it is executed.
pub(in super::super) fn workload_entry(entry: &WorkloadEntry, sink: &mut Sink<'_>) {
    let WorkloadEntry { address: _, ports, labels, network: _, locality: _, weight: _, service_account: _ } =
        entry;
    check_port_names(ports, sink);
    check_labels(labels, sink);
    announced_sidecar(labels, sink);
}

/// Judges a WorkloadGroup; its probe is read where it is executed.
pub(in super::super) fn workload_group(group: &WorkloadGroup, sink: &mut Sink<'_>) {
    let WorkloadGroup { metadata, template, probe: _ } = group;
    if let Some(metadata) = metadata {
        check_labels(&metadata.labels, sink);
    }
    // An address there is nobody's: each entry has its own. Istio does not look at it, nor at the labels.
    let WorkloadEntry { address: _, ports, labels, network: _, locality: _, weight: _, service_account: _ } =
        &template.value;
    check_port_names(ports, sink);
    announced_sidecar(labels, sink);
}

fn check_port_names(ports: &[(At<String>, At<u16>)], sink: &mut Sink<'_>) {
    for (name, _) in ports.iter().filter(|(name, _)| !is_label(name)) {
        sink.schema(name.pos, format!("{:?} is not the name of a port", name.value));
    }
}

/// A label that says that a sidecar waits there for a mesh's mutual TLS.
pub(in super::super) fn announced_sidecar(labels: &[(At<String>, At<String>)], sink: &mut Sink<'_>) {
    const TLS_MODE: &str = "security.istio.io/tlsMode";
    let announces =
        |(key, value): &&(At<String>, At<String>)| key.value == TLS_MODE && value.value == "istio";
    if let Some((key, _)) = labels.iter().find(announces) {
        let message = format!("{TLS_MODE} announces a sidecar, whose mutual TLS a gateway alone can't speak");
        sink.add(Severity::Warning, Code::NEEDS_MESH, key.pos, message)
            .hints
            .push("it is spoken to as its DestinationRule says, else without TLS".into());
    }
}
