//! Rules for connections: `tls` by the name that a client asks for, `tcp` by the port alone.

use std::sync::Arc;

use super::clusters::Clusters;
use super::gateways::GatewayServer;
use super::hosts::gateway_name;
use super::splits::Splits;
use super::support::{fields, unsupported};
use crate::diagnostic::Severity;
use crate::host::HostPattern;
use crate::origin::{At, Pos};
use crate::snapshot::Split;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{RouteDestination, TcpMatch, TcpRoute, TlsMatch, TlsRoute};
use crate::wire::{Document, ObjectName};

/// One rule: where its connections go, and which they are.
pub(super) struct StreamRule {
    pub(super) split: Arc<Split>,
    matches: Vec<StreamMatch>,
}

/// Istio evaluates port, gateways and names at a gateway, and no more.
struct StreamMatch {
    names: Vec<HostPattern>,
    port: Option<u16>,
    gateways: Vec<ObjectName>,
}

impl StreamMatch {
    fn applies(&self, server: &GatewayServer<'_>) -> bool {
        self.port.is_none_or(|port| port == server.listener.port)
            && (self.gateways.is_empty() || self.gateways.contains(server.gateway))
    }
}

impl StreamRule {
    /// Whether it is for connections that come in through a server. No condition is fulfilled by all.
    pub(super) fn applies(&self, server: &GatewayServer<'_>) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|one| one.applies(server))
    }

    /// The names for which it is there under a server.
    pub(super) fn names<'a>(
        &'a self,
        server: &'a GatewayServer<'_>,
    ) -> impl Iterator<Item = &'a HostPattern> {
        self.matches.iter().filter(|one| one.applies(server)).flat_map(|one| &one.names)
    }
}

/// Compiles the rules of one VirtualService.
pub(super) struct Streams<'a, 's, 'c, 'p, 'k> {
    pub(super) document: &'a Document,
    /// `None` for a VirtualService that no gateway of ours serves: its destinations need not exist.
    pub(super) clusters: Option<&'c mut Clusters<'s>>,
    pub(super) splits: &'c mut Splits<'p>,
    pub(super) sink: &'c mut Sink<'k>,
}

impl Streams<'_, '_, '_, '_, '_> {
    pub(super) fn tls(&mut self, rules: &[At<TlsRoute>]) -> Vec<StreamRule> {
        let rule = |(index, rule): (usize, &At<TlsRoute>)| {
            let TlsRoute { matches, route } = &rule.value;
            let matches = matches.iter().map(|one| self.tls_match(one)).collect();
            self.rule(("tls", index, rule.pos), matches, route)
        };
        rules.iter().enumerate().filter_map(rule).collect()
    }

    pub(super) fn tcp(&mut self, rules: &[At<TcpRoute>]) -> Vec<StreamRule> {
        let rule = |(index, rule): (usize, &At<TcpRoute>)| {
            let TcpRoute { matches, route } = &rule.value;
            let matches = matches.iter().map(|one| self.tcp_match(one)).collect();
            self.rule(("tcp", index, rule.pos), matches, route)
        };
        rules.iter().enumerate().filter_map(rule).collect()
    }

    fn rule(
        &mut self,
        place: (&str, usize, Pos),
        matches: Vec<StreamMatch>,
        route: &[At<RouteDestination>],
    ) -> Option<StreamRule> {
        let clusters = self.clusters.as_deref_mut();
        let split = self.splits.make_stream(self.document, place, route, clusters, self.sink)?;
        Some(StreamRule { split, matches })
    }

    fn tls_match(&mut self, written: &TlsMatch) -> StreamMatch {
        let TlsMatch { sni_hosts, port, gateways, destination_subnets, source_labels, source_namespace } =
            written;
        let ignored = fields![
            destination_subnets = "destinationSubnets",
            source_labels = "sourceLabels",
            source_namespace = "sourceNamespace",
        ];
        unsupported(Severity::Warning, ignored, self.sink);
        // What is no host name is a matter of the schema, and said there.
        let names = sni_hosts.iter().filter_map(|host| HostPattern::parse(host).ok()).collect();
        StreamMatch { names, ..self.place(port.as_ref(), gateways) }
    }

    fn tcp_match(&mut self, written: &TcpMatch) -> StreamMatch {
        let TcpMatch { port, gateways, destination_subnets, source_subnet, source_labels, source_namespace } =
            written;
        let ignored = fields![
            destination_subnets = "destinationSubnets",
            source_subnet = "sourceSubnet",
            source_labels = "sourceLabels",
            source_namespace = "sourceNamespace",
        ];
        unsupported(Severity::Warning, ignored, self.sink);
        self.place(port.as_ref(), gateways)
    }

    fn place(&self, port: Option<&At<u16>>, gateways: &[At<String>]) -> StreamMatch {
        let namespace = &self.document.object.name.namespace;
        StreamMatch {
            names: Vec::new(),
            port: port.map(|port| port.value),
            gateways: gateways.iter().map(|gateway| gateway_name(gateway, namespace)).collect(),
        }
    }
}
