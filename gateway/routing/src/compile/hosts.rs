//! VirtualServices, compiled as far as they can be before it is known which server they stand under.

use std::ops::Range;
use std::sync::Arc;

use super::Surroundings;
use super::clusters::Clusters;
use super::delegates::{Delegates, Standing, is_delegate};
use super::export::{Export, Exported};
use super::gateways::{GatewayServer, Servers};
use super::matches::{self, Block};
use super::names::read_gateway;
use super::objects::Of;
use super::reach::Reach;
use super::routes::{self, Rule};
use super::sidecars::Sidecars;
use super::splits::Splits;
use super::streams::{StreamRule, Streams};
use super::unserved::{List, Served};
use super::validate;
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use crate::host::{self, HostPattern};
use crate::nearest::nearest;
use crate::origin::{At, Origin};
use crate::snapshot::{ClusterId, Route};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::VirtualService;
use crate::wire::{self, Document, ObjectName};

/// A VirtualService that some server of ours serves, compiled.
pub(super) struct Bound<'s> {
    pub(super) document: &'s Document,
    /// 0 for what only our namespace sees and is in it, 1 for what others export to it, 2 for what all see: whose
    /// routes come first, before they are compared by age (Istio `VirtualServicesForGateway`).
    nearness: u8,
    pub(super) gateways: Vec<ObjectName>,
    pub(super) hosts: Vec<HostPattern>,
    /// The same as written.
    written: &'s [At<String>],
    /// Its `http` rules.
    pub(super) rules: Vec<Rule>,
    /// Its `tls` rules.
    pub(super) tls: Vec<StreamRule>,
    /// Its `tcp` rules.
    pub(super) tcp: Vec<StreamRule>,
}

impl Bound<'_> {
    /// Where it says that it is for the hosts of a pattern.
    pub(super) fn host_origin(&self, pattern: &HostPattern) -> Origin {
        // Where one of them could not be read they do not stand side by side; that was an error.
        let aligned = self.written.len() == self.hosts.len();
        let mut pairs = self.hosts.iter().zip(self.written).filter(|_| aligned);
        let host = pairs.find(|(own, _)| own.covers(pattern));
        self.document.origin(host.map_or(self.document.object.pos, |(_, host)| host.pos))
    }
}

/// What VirtualServices are compiled with.
pub(super) struct Around<'a, 's> {
    /// The Gateways that there are.
    pub(super) known: Vec<&'a ObjectName>,
    pub(super) servers: &'a Servers<'a>,
    pub(super) delegates: Delegates<'s>,
    pub(super) sidecars: &'a Sidecars,
    pub(super) surroundings: &'a Surroundings,
}

/// What became of one VirtualService, as the next compilation may use it again.
pub(super) struct Record {
    pub(super) document: Document,
    /// Its `http` rules, where a server of ours serves it.
    pub(super) routes: Box<[Arc<Route>]>,
    /// The ids of its splits.
    pub(super) splits: Range<usize>,
    /// The clusters that it asked for, in order.
    pub(super) clusters: Box<[ClusterId]>,
    pub(super) findings: Box<[Diagnostic]>,
    /// Whether all its routes stand as they are under every server of its gateways, and nothing but routes does.
    pub(super) is_plain: bool,
}

impl Record {
    /// Compiles a VirtualService, whose turn it is.
    pub(super) fn compile<'s>(
        (document, service): Of<'s, VirtualService>,
        turn: usize,
        around: &Around<'_, 's>,
        clusters: &mut Clusters<'_>,
        splits: &mut Splits<'_>,
    ) -> (Record, Option<Bound<'s>>, Diagnostics) {
        let (first, mut out) = (splits.next(), Diagnostics::default());
        clusters.begin(u32::try_from(turn).unwrap_or(u32::MAX));
        let bound = compile((document, service), around, clusters, splits, &mut out);
        wire::name_paths(&mut out);
        let rules = bound.as_ref().map_or(&[][..], |bound| &bound.rules);
        let record = Record {
            document: document.clone(),
            routes: rules.iter().map(|rule| rule.route().clone()).collect(),
            splits: first..splits.next(),
            clusters: clusters.asked().into(),
            findings: out.iter().cloned().collect(),
            is_plain: rules.iter().all(Rule::is_plain) && service.tls.is_empty() && service.tcp.is_empty(),
        };
        (record, bound, out)
    }
}

/// Compiles every VirtualService that some server of ours serves; also gives what became of each, in their order.
pub(super) fn compile_all<'s>(
    services: &[Of<'s, VirtualService>],
    around: &Around<'_, 's>,
    clusters: &mut Clusters<'_>,
    splits: &mut Splits<'_>,
    out: &mut Diagnostics,
) -> (Vec<Bound<'s>>, Vec<Record>) {
    let (mut all, mut records) = (Vec::new(), Vec::with_capacity(services.len()));
    for (turn, &service) in services.iter().enumerate() {
        let (record, bound, found) = Record::compile(service, turn, around, clusters, splits);
        all.extend(bound);
        records.push(record);
        out.leave_out(&found);
        out.extend(found);
    }
    all.sort_by_key(|service: &Bound<'s>| service.nearness);
    (all, records)
}

/// The hosts that a server admits of a VirtualService's: each pair gives the narrower of the two.
pub(super) fn shared_hosts<'a>(
    server: &'a GatewayServer<'_>,
    document: &'a Document,
    hosts: &'a [HostPattern],
) -> impl Iterator<Item = HostPattern> + 'a {
    let namespace = &document.object.name.namespace;
    let admits = move |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| **wanted == **namespace);
    let admitted = server.hosts.iter().filter(move |host| admits(&host.namespace));
    admitted.flat_map(move |host| hosts.iter().filter_map(|pattern| host.pattern.intersection(pattern)))
}

fn compile<'s>(
    (document, service): Of<'s, VirtualService>,
    around: &Around<'_, 's>,
    clusters: &mut Clusters<'_>,
    splits: &mut Splits<'_>,
    out: &mut Diagnostics,
) -> Option<Bound<'s>> {
    let Around { known: known_gateways, servers, delegates, sidecars, surroundings } = around;
    let title = document.object.title();
    let sink = &mut document.sink(&title, out);
    let VirtualService { hosts, gateways, export_to, http, tls, tcp } = service;
    validate::virtual_service((document, service), sink);
    let unread = |field| document.is_unread(document.object.spec_pos, field);
    if http.is_empty() && tls.is_empty() && tcp.is_empty() && !["http", "tls", "tcp"].into_iter().any(unread)
    {
        sink.schema(
            document.object.pos,
            "a VirtualService needs at least one rule of http, tls or tcp".into(),
        );
    }
    let namespace = &document.object.name.namespace;
    let patterns = read_hosts(hosts, namespace, sink);
    let named = read_gateways(gateways, namespace, known_gateways, sink);
    let served: Vec<&GatewayServer<'_>> =
        servers.ours.iter().filter(|server| named.contains(server.gateway)).collect();
    let export = Export::read(export_to, namespace, Exported::Object, sink);
    let visible = export.admits(&surroundings.namespace);
    let ours = !served.is_empty() && visible && !hosts.is_empty();
    if ours {
        clusters.uses.note(document);
        report_hosts_outside(document, hosts, &patterns, &served, sink);
    } else if is_delegate(document, service) {
        if !delegates.is_wanted(&document.object.name) {
            let message = "it has no hosts, and no VirtualService delegates to it".to_owned();
            sink.add(Severity::Note, Code::NOT_FOR_US, document.object.pos, message);
        }
    } else if !visible {
        let message =
            format!("it is not exported to namespace {:?}, where this gateway is", surroundings.namespace);
        sink.add(Severity::Note, Code::NOT_FOR_US, document.object.pos, message);
    } else if !unread("gateways") {
        report_not_ours(document, gateways, &named, servers, sink);
    }
    // What sidecars serve too is not ours alone to judge.
    let judged = ours && gateways.iter().all(|gateway| gateway.value != "mesh");
    let first = http.first().filter(|_| judged);
    let served_http = first.and_then(|first| Served::by(List::Http, &served, first.pos, sink));
    let mut rules: Vec<Rule> = Vec::new();
    let mut reach = Reach::default();
    let missing = if ours { surroundings.dangling.severity() } else { Severity::Note };
    for (index, route) in http.iter().enumerate() {
        if route.delegate.is_some() {
            // For what is wrong with it by itself; what it says goes into its delegate's rules.
            routes::compile(&Standing::own(document, index, route), None, splits, surroundings, sink);
            if is_delegate(document, service) {
                continue; // Delegates go one level deep, and validation has said so.
            }
        }
        for rule in delegates.stand_in(document, index, route, missing, sink) {
            let mut sink = rule.sink(sink);
            if ours {
                clusters.uses.note(rule.document);
                sidecars.look(&rule.route, &rule.document.object.name.namespace, &mut sink);
            }
            let clusters = ours.then_some(&mut *clusters);
            let compiled = routes::compile(&rule, clusters, splits, surroundings, &mut sink);
            let name = routes::name_of(rule.document, rule.index, rule.route.name.as_ref());
            match &compiled {
                Some(compiled) if !hosts.is_empty() => {
                    let blocks = compiled.blocks();
                    reach.look(&name, &rule.route, blocks, &mut sink);
                    if let Some(served) = &served_http {
                        let matches = blocks.iter().map(|block| (block.port, block.gateways.as_slice()));
                        served.look(rule.route.pos, matches, &mut sink);
                    }
                }
                // Compiled for its blocks alone; what is wrong with them has been said.
                // A delegate's are looked at where they stand.
                _ if hosts.is_empty() => {}
                _ => {
                    let mut said = Diagnostics::default();
                    let quiet = &mut Sink { out: &mut said, ..sink };
                    let namespace = &rule.document.object.name.namespace;
                    let blocks = rule.route.matches.iter();
                    let blocks = blocks
                        .filter_map(|block| matches::compile(block, None, namespace, surroundings, quiet));
                    let blocks: Vec<Block> = blocks.collect();
                    reach.look(&name, &rule.route, &blocks, &mut sink);
                }
            }
            rules.extend(compiled);
        }
    }
    let nearness =
        if export == Export::Everyone { 2 } else { u8::from(**namespace != *surroundings.namespace) };
    let mut streams = Streams { document, hosts, clusters: ours.then_some(clusters), splits, sink };
    let (tls_rules, tcp_rules) = (streams.tls(tls), streams.tcp(tcp));
    let firsts = [
        (List::Tls, tls.first().map(|rule| rule.pos), &tls_rules),
        (List::Tcp, tcp.first().map(|rule| rule.pos), &tcp_rules),
    ];
    for (list, first, rules) in firsts.into_iter().filter(|_| judged) {
        let served = first.and_then(|first| Served::by(list, &served, first, sink));
        if let Some(served) = served {
            served.look_at_streams(rules, sink);
        }
    }
    ours.then_some(Bound {
        document,
        nearness,
        gateways: named,
        hosts: patterns,
        written: hosts,
        rules,
        tls: tls_rules,
        tcp: tcp_rules,
    })
}

fn read_hosts(hosts: &[At<String>], namespace: &str, sink: &mut Sink<'_>) -> Vec<HostPattern> {
    let mut patterns: Vec<HostPattern> = Vec::new();
    let mut as_written: Vec<HostPattern> = Vec::new();
    for host in hosts {
        let pattern = match HostPattern::parse(&host::complete(host, namespace)) {
            Err(message) => {
                sink.schema(host.pos, message);
                continue;
            }
            Ok(pattern) => pattern,
        };
        let own = HostPattern::parse(host).unwrap_or_else(|_| pattern.clone());
        let overlaps = |all: &[HostPattern], one: &HostPattern| {
            all.iter().find(|other| other.intersection(one).is_some()).map(ToString::to_string)
        };
        if let Some(other) = overlaps(&as_written, &own) {
            sink.schema(host.pos, format!("the hosts {other} and {own} of one VirtualService overlap"));
        } else if let Some(other) = overlaps(&patterns, &pattern) {
            // Istio compares what is written, not what it means.
            let message = format!("the hosts {other} and {pattern} of one VirtualService overlap");
            sink.add(Severity::Warning, Code::SCHEMA_WARNING, host.pos, message);
        }
        as_written.push(own);
        patterns.push(pattern);
    }
    patterns
}

/// The Gateways that a VirtualService names and that exist.
fn read_gateways(
    gateways: &[At<String>],
    namespace: &Arc<str>,
    known: &[&ObjectName],
    sink: &mut Sink<'_>,
) -> Vec<ObjectName> {
    let mut named = Vec::new();
    for gateway in gateways.iter().filter(|gateway| gateway.value != "mesh") {
        let Some(gateway_name) = read_gateway(gateway, namespace, sink) else { continue };
        if known.contains(&&gateway_name) {
            named.push(gateway_name);
            continue;
        }
        let message = format!("there is no Gateway {gateway_name}");
        let titles: Vec<String> = known.iter().map(|name| name.to_string()).collect();
        let finding = sink.add(Severity::Error, Code::REFERENCED_RESOURCE_NOT_FOUND, gateway.pos, message);
        let near = nearest(&gateway_name.to_string(), titles.iter().map(String::as_str));
        finding.hints.push(match (near, titles.is_empty()) {
            (Some(near), _) => format!("the nearest is {near}"),
            (None, true) => "there is no Gateway at all".into(),
            (None, false) => format!("there is {}", titles.join(", ")),
        });
    }
    named
}

fn report_not_ours(
    document: &Document,
    gateways: &[At<String>],
    named: &[ObjectName],
    servers: &Servers<'_>,
    sink: &mut Sink<'_>,
) {
    let message = if gateways.iter().all(|gateway| gateway.value == "mesh") {
        "it is for sidecars only (gateway \"mesh\"), so this gateway does not use it"
    } else if named.iter().any(|name| servers.others.contains(&name)) {
        "its gateways select other processes, so this one does not use it"
    } else {
        return; // What is wrong with its gateways has been said.
    };
    sink.add(Severity::Note, Code::NOT_FOR_US, document.object.pos, message.into())
        .hints
        .push("name a Gateway under spec.gateways to serve it here".into());
}

/// Istio's analyzer warns of a host that none of the gateways' servers admits.
fn report_hosts_outside(
    document: &Document,
    hosts: &[At<String>],
    patterns: &[HostPattern],
    served: &[&GatewayServer<'_>],
    sink: &mut Sink<'_>,
) {
    if hosts.len() != patterns.len() {
        return;
    }
    for (host, pattern) in hosts.iter().zip(patterns) {
        let admitted = served
            .iter()
            .any(|server| shared_hosts(server, document, std::slice::from_ref(pattern)).next().is_some());
        if !admitted {
            let message = format!("no server of its gateways admits the host {pattern}");
            let hosts: Vec<String> =
                served.iter().flat_map(|server| server.hosts.iter().map(ToString::to_string)).collect();
            sink.add(Severity::Warning, Code::HOST_NOT_FOUND_IN_GATEWAY, host.pos, message)
                .hints
                .push(format!("they admit {}", hosts.join(", ")));
        }
    }
}
