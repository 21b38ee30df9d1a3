//! Rules of `tls` and `tcp`.

use std::net::IpAddr;

use super::{values, warn};
use crate::host::HostPattern;
use crate::origin::At;
use crate::wire::Document;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{
    RouteDestination, TcpMatch, TcpRoute, TlsMatch, TlsRoute, VirtualService,
};

pub(super) fn check(document: &Document, service: &VirtualService, sink: &mut Sink<'_>) {
    let VirtualService { hosts, gateways: _, export_to: _, http: _, tls, tcp } = service;
    let unread = |pos, field| document.is_unread(pos, field);
    for rule in tls {
        let TlsRoute { matches, route } = &rule.value;
        if matches.is_empty() && !unread(rule.pos, "match") {
            sink.schema(rule.pos, "a rule of tls needs a match with sniHosts".into());
        }
        for block in matches {
            if block.sni_hosts.is_empty() && !unread(block.pos, "sniHosts") {
                sink.schema(block.pos, "a match of tls needs at least one of sniHosts".into());
            }
            check_tls_match(block, hosts, sink);
        }
        check_route(route, sink);
        if route.is_empty() && !unread(rule.pos, "route") {
            sink.schema(rule.pos, "a rule needs a route".into());
        }
    }
    for rule in tcp {
        let TcpRoute { matches, route } = &rule.value;
        for block in matches {
            let TcpMatch {
                port: _,
                gateways,
                destination_subnets,
                source_subnet: _,
                source_labels,
                source_namespace: _,
            } = &block.value;
            values::gateway_names(gateways, sink);
            values::labels(source_labels, sink);
            destination_subnets.iter().for_each(|subnet| values::subnet(subnet, sink));
        }
        check_route(route, sink);
        if route.is_empty() && !unread(rule.pos, "route") {
            sink.schema(rule.pos, "a rule needs a route".into());
        }
    }
}

/// Whether some rule names a host that TLS asks for.
pub(super) fn has_sni(tls: &[At<TlsRoute>]) -> bool {
    tls.iter().flat_map(|rule| &rule.matches).any(|block| !block.sni_hosts.is_empty())
}

fn check_route(route: &[At<RouteDestination>], sink: &mut Sink<'_>) {
    let Some(first) = route.first() else { return };
    for RouteDestination { destination, weight: _ } in route.iter().map(|at| &at.value) {
        values::destination(destination, sink);
    }
    values::weights(first.pos, route.iter().map(|to| to.weight.as_ref()), sink);
}

fn check_tls_match(block: &At<TlsMatch>, hosts: &[At<String>], sink: &mut Sink<'_>) {
    let TlsMatch { sni_hosts, port: _, gateways, destination_subnets, source_labels, source_namespace: _ } =
        &block.value;
    let admitted: Vec<HostPattern> = hosts.iter().filter_map(|host| HostPattern::parse(host).ok()).collect();
    for host in sni_hosts {
        if host.parse::<IpAddr>().is_ok() {
            let message = format!("{:?} is an address, which TLS does not ask for by name", host.value);
            warn(host.pos, message, sink);
            continue;
        }
        match HostPattern::parse(host) {
            Err(message) => {
                sink.schema(host.pos, message);
            }
            Ok(pattern) if !admitted.iter().any(|host| host.covers(&pattern)) => {
                let listed: Vec<&str> = hosts.iter().map(|host| host.as_str()).collect();
                sink.schema(host.pos, format!("{pattern} is not among the VirtualService's hosts"))
                    .hints
                    .push(format!("they are {}", listed.join(", ")));
            }
            Ok(_) => {}
        }
    }
    values::gateway_names(gateways, sink);
    values::labels(source_labels, sink);
    destination_subnets.iter().for_each(|subnet| values::subnet(subnet, sink));
}
