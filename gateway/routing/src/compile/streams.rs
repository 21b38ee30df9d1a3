//! Rules for connections: `tls` by the name that a client asks for, `tcp` by the port alone.

use std::sync::Arc;

use super::clusters::Clusters;
use super::gateways::GatewayServer;
use super::names::{check_labels, read_gateway};
use super::splits::Splits;
use super::support::{fields, unsupported};
use super::values::{subnet, warn};
use crate::diagnostic::Severity;
use crate::host::{HostPattern, is_address};
use crate::origin::{At, Pos};
use crate::snapshot::Split;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{RouteDestination, TcpMatch, TcpRoute, TlsMatch, TlsRoute};
use crate::wire::{Document, ObjectName};

/// One rule: where its connections go, and which they are.
pub(super) struct StreamRule {
    pub(super) split: Arc<Split>,
    /// Any of them; never empty, but for one of `tls` that is at fault.
    pub(super) matches: Vec<StreamMatch>,
}

/// Istio evaluates port, gateways and names at a gateway, and no more.
#[derive(Default)]
pub(super) struct StreamMatch {
    /// Of `tls`; none of `tcp`.
    pub(super) names: Vec<HostPattern>,
    pub(super) port: Option<u16>,
    pub(super) gateways: Vec<ObjectName>,
}

impl StreamMatch {
    fn applies(&self, server: &GatewayServer<'_>) -> bool {
        self.port.is_none_or(|port| port == server.listener.port)
            && (self.gateways.is_empty() || self.gateways.contains(server.gateway))
    }

    /// Whether all the connections that another is for are its own, by this name if there are names. The narrowest name
    /// counts, so only the same one takes.
    pub(super) fn takes(&self, other: &StreamMatch, name: Option<&HostPattern>) -> bool {
        let gateways = self.gateways.is_empty()
            || !other.gateways.is_empty() && other.gateways.iter().all(|one| self.gateways.contains(one));
        let port = self.port.is_none() || self.port == other.port;
        gateways && port && name.map_or(self.names.is_empty(), |name| self.names.contains(name))
    }
}

impl StreamRule {
    /// Whether it is for connections that come in through a server.
    pub(super) fn applies(&self, server: &GatewayServer<'_>) -> bool {
        self.matches.iter().any(|one| one.applies(server))
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
    /// The VirtualService's hosts, as written.
    pub(super) hosts: &'a [At<String>],
    /// `None` for a VirtualService that no gateway of ours serves: its destinations need not exist.
    pub(super) clusters: Option<&'c mut Clusters<'s>>,
    pub(super) splits: &'c mut Splits<'p>,
    pub(super) sink: &'c mut Sink<'k>,
}

impl Streams<'_, '_, '_, '_, '_> {
    pub(super) fn tls(&mut self, rules: &[At<TlsRoute>]) -> Vec<StreamRule> {
        let rule = |(index, rule): (usize, &At<TlsRoute>)| {
            let TlsRoute { matches, route } = &rule.value;
            if matches.is_empty() && !self.document.is_unread(rule.pos, "match") {
                self.sink.schema(rule.pos, "a rule of tls needs a match with sniHosts".into());
            }
            let matches = matches.iter().map(|one| self.tls_match(one)).collect();
            self.rule(("tls", index, rule.pos), matches, route)
        };
        rules.iter().enumerate().filter_map(rule).collect()
    }

    pub(super) fn tcp(&mut self, rules: &[At<TcpRoute>]) -> Vec<StreamRule> {
        let rule = |(index, rule): (usize, &At<TcpRoute>)| {
            let TcpRoute { matches, route } = &rule.value;
            // No condition is fulfilled by all.
            let matches = match matches.is_empty() {
                true => vec![Some(StreamMatch::default())],
                false => matches.iter().map(|one| self.tcp_match(one)).collect(),
            };
            self.rule(("tcp", index, rule.pos), matches, route)
        };
        rules.iter().enumerate().filter_map(rule).collect()
    }

    fn rule(
        &mut self,
        place: (&str, usize, Pos),
        matches: Vec<Option<StreamMatch>>,
        route: &[At<RouteDestination>],
    ) -> Option<StreamRule> {
        let clusters = self.clusters.as_deref_mut();
        let split = self.splits.make_stream(self.document, place, route, clusters, self.sink)?;
        // Without one of its conditions a rule could be there for every connection.
        Some(StreamRule { split, matches: matches.into_iter().collect::<Option<_>>()? })
    }

    fn tls_match(&mut self, written: &At<TlsMatch>) -> Option<StreamMatch> {
        let TlsMatch { sni_hosts, port, gateways, destination_subnets, source_labels, source_namespace } =
            &written.value;
        let ignored = fields![
            destination_subnets = "destinationSubnets",
            source_labels = "sourceLabels",
            source_namespace = "sourceNamespace",
        ];
        unsupported(Severity::Warning, ignored, self.sink);
        if sni_hosts.is_empty() && !self.document.is_unread(written.pos, "sniHosts") {
            self.sink.schema(written.pos, "a match of tls needs at least one of sniHosts".into());
        }
        let names = sni_hosts.iter().filter_map(|host| self.name(host)).collect();
        self.check_ignored(destination_subnets, source_labels);
        Some(StreamMatch { names, ..self.place(port.as_ref(), gateways)? })
    }

    /// A name that a client may ask for, among the VirtualService's hosts.
    fn name(&mut self, written: &At<String>) -> Option<HostPattern> {
        let sink = &mut *self.sink;
        if is_address(written) {
            let message = format!("{:?} is an address, which TLS does not ask for by name", written.value);
            warn(message, written.pos, sink);
            return None;
        }
        let name =
            HostPattern::parse(written).map_err(|message| sink.schema(written.pos, message).severity).ok()?;
        let covers = |host: &At<String>| HostPattern::parse(host).is_ok_and(|host| host.covers(&name));
        if !self.hosts.iter().any(covers) {
            let listed: Vec<&str> = self.hosts.iter().map(|host| host.as_str()).collect();
            sink.schema(written.pos, format!("{name} is not among the VirtualService's hosts"))
                .hints
                .push(format!("they are {}", listed.join(", ")));
        }
        Some(name)
    }

    fn tcp_match(&mut self, written: &TcpMatch) -> Option<StreamMatch> {
        let TcpMatch { port, gateways, destination_subnets, source_subnet, source_labels, source_namespace } =
            written;
        let ignored = fields![
            destination_subnets = "destinationSubnets",
            source_subnet = "sourceSubnet",
            source_labels = "sourceLabels",
            source_namespace = "sourceNamespace",
        ];
        unsupported(Severity::Warning, ignored, self.sink);
        self.check_ignored(destination_subnets, source_labels);
        self.place(port.as_ref(), gateways)
    }

    /// What has no effect is judged all the same.
    fn check_ignored(&mut self, subnets: &[At<String>], labels: &[(At<String>, At<String>)]) {
        subnets.iter().for_each(|written| subnet(written, self.sink));
        check_labels(labels, self.sink);
    }

    fn place(&mut self, port: Option<&At<u16>>, gateways: &[At<String>]) -> Option<StreamMatch> {
        let namespace = &self.document.object.name.namespace;
        let named: Vec<ObjectName> =
            gateways.iter().filter_map(|gateway| read_gateway(gateway, namespace, self.sink)).collect();
        (named.len() == gateways.len()).then(|| StreamMatch {
            names: Vec::new(),
            port: port.map(|port| port.value),
            gateways: named,
        })
    }
}
