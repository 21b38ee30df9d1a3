//! VirtualServices bound to servers: which host of which port gets which routes, in which order.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Surroundings;
use super::clusters::Clusters;
use super::gateways::{GatewayServer, Servers};
use super::objects::{Objects, Of};
use super::routes::{self, Rule};
use super::splits::Splits;
use super::support::{check_export_to, fields, unsupported};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::host::{self, HostPattern};
use crate::nearest::nearest;
use crate::origin::{At, Origin};
use crate::snapshot::{HostTable, Indexes, Listener, ListenerKey, Match, Route};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::VirtualService;
use crate::wire::{Document, ObjectName};

/// A VirtualService that some server of ours serves, compiled.
struct Bound<'s> {
    document: &'s Document,
    gateways: Vec<ObjectName>,
    hosts: Vec<HostPattern>,
    /// The same as written.
    written: &'s [At<String>],
    rules: Vec<Rule>,
}

impl Bound<'_> {
    /// Where it says that it is for the hosts of a pattern.
    fn host_origin(&self, pattern: &HostPattern) -> Origin {
        // Where one of them could not be read they do not stand side by side; that was an error.
        let aligned = self.written.len() == self.hosts.len();
        let mut pairs = self.hosts.iter().zip(self.written).filter(|_| aligned);
        let host = pairs.find(|(own, _)| own.covers(pattern));
        self.document.origin(host.map_or(self.document.object.pos, |(_, host)| host.pos))
    }
}

/// What one VirtualService gives to one host through one Gateway.
struct Share<'s> {
    service: &'s ObjectName,
    gateway: &'s ObjectName,
    origin: Origin,
    routes: Vec<Arc<Route>>,
}

/// A listener that is being put together: its first server, and the shares of each host.
type Table<'s> = (&'s GatewayServer<'s>, BTreeMap<HostPattern, Vec<Share<'s>>>);

/// Binds every VirtualService to the servers of its gateways; gives the listeners and how many rules they have.
pub(super) fn bind<'s>(
    objects: &Objects<'s>,
    servers: &'s Servers<'s>,
    surroundings: &Surroundings,
    clusters: &mut Clusters<'_>,
    splits: &mut Splits<'_>,
    out: &mut Diagnostics,
) -> (Vec<Listener>, usize) {
    let known: Vec<&ObjectName> =
        objects.gateways.iter().map(|(document, _)| &document.object.name).collect();
    let mut bound: Vec<Bound<'s>> = Vec::new();
    for &service in &objects.virtual_services {
        bound.extend(compile(service, servers, &known, surroundings, clusters, splits, out));
    }
    let mut tables: BTreeMap<ListenerKey, Table<'s>> = BTreeMap::new();
    for server in &servers.ours {
        let (_, hosts) = tables.entry(server.listener).or_insert_with(|| (server, BTreeMap::new()));
        for service in bound.iter().filter(|service| service.gateways.contains(server.gateway)) {
            // The same for all of its hosts, which so share an index.
            let mut routes: Option<Vec<Arc<Route>>> = None;
            for pattern in shared_hosts(server, service.document, &service.hosts) {
                let origin = service.host_origin(&pattern);
                let shares = hosts.entry(pattern).or_default();
                let name = &service.document.object.name;
                // Istio computes a VirtualService's routes once for each Gateway, whatever servers it comes by.
                if shares.iter().all(|share| share.service != name || share.gateway != server.gateway) {
                    shares.push(Share {
                        service: name,
                        gateway: server.gateway,
                        origin,
                        routes: routes.get_or_insert_with(|| routes_under(service, server)).clone(),
                    });
                }
            }
        }
    }
    let mut indexes = Indexes::default();
    let listener = |(key, (server, hosts)): (ListenerKey, Table<'_>)| {
        let mut table = HostTable::default();
        for (pattern, shares) in hosts {
            let first = shares.first().map_or(&server.origin, |share| &share.origin).clone();
            table.insert(&pattern.clone(), Arc::new(indexes.host(pattern, first, in_order(&shares))));
        }
        Listener { key, hosts: table, origin: server.origin.clone() }
    };
    let rules = bound.iter().map(|service| service.rules.len()).sum();
    (tables.into_iter().map(listener).collect(), rules)
}

/// A VirtualService's routes under a server. Istio drops what stands after one that takes everything, as no
/// request can reach it.
fn routes_under(service: &Bound<'_>, server: &GatewayServer<'_>) -> Vec<Arc<Route>> {
    let mut routes: Vec<Arc<Route>> = Vec::new();
    for route in service.rules.iter().filter_map(|rule| rule.under(server)) {
        // For Istio each block is a route of its own, so only the block that takes everything goes behind others.
        match route.matches.iter().position(|block| block.takes_all()) {
            Some(block) if block > 0 => {
                let part = |matches: &[Arc<Match>]| {
                    Arc::new(Route { matches: matches.to_vec(), ..Route::clone(&route) })
                };
                routes.extend([part(&route.matches[..block]), part(&route.matches[block..=block])]);
                break;
            }
            Some(_) => {
                routes.push(route);
                break;
            }
            None if route.takes_all() => {
                routes.push(route);
                break;
            }
            None => routes.push(route),
        }
    }
    routes
}

/// One host's routes: VirtualService after VirtualService, and behind them all those that take everything
/// (Istio `SortVHostRoutes`), so that one host may be split over several VirtualServices.
fn in_order(shares: &[Share<'_>]) -> Vec<Arc<Route>> {
    let all = || shares.iter().flat_map(|share| &share.routes);
    let (rest, last) = (all().filter(|route| !route.takes_all()), all().filter(|route| route.takes_all()));
    rest.chain(last).cloned().collect()
}

/// The hosts that a server admits of a VirtualService's: each pair gives the narrower of the two.
fn shared_hosts<'a>(
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
    servers: &Servers<'_>,
    known_gateways: &[&ObjectName],
    surroundings: &Surroundings,
    clusters: &mut Clusters<'_>,
    splits: &mut Splits<'_>,
    out: &mut Diagnostics,
) -> Option<Bound<'s>> {
    let title = document.object.title();
    let sink = &mut document.sink(&title, out);
    let VirtualService { hosts, gateways, export_to, http, tls, tcp } = service;
    unsupported(Severity::Error, fields![tls, tcp], sink);
    check_export_to(export_to, sink);
    if http.is_empty() && tls.is_empty() && tcp.is_empty() {
        sink.schema(
            document.object.pos,
            "a VirtualService needs at least one rule of http, tls or tcp".into(),
        );
    }
    if hosts.is_empty() {
        let message =
            "a VirtualService without hosts is for delegation, which is not supported yet".to_owned();
        sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, document.object.pos, message);
    }
    let namespace = &document.object.name.namespace;
    let patterns = read_hosts(hosts, namespace, sink);
    let named = read_gateways(gateways, namespace, known_gateways, sink);
    let served: Vec<&GatewayServer<'_>> =
        servers.ours.iter().filter(|server| named.contains(server.gateway)).collect();
    let ours = !served.is_empty();
    if ours {
        clusters.uses.note(document);
    }
    if !ours {
        report_not_ours(document, gateways, &named, servers, sink);
    } else {
        report_hosts_outside(document, hosts, &patterns, &served, sink);
    }
    let mut rules: Vec<Rule> = Vec::new();
    // The place of the first rule that takes everything: kept, as looking for it at each rule is quadratic.
    let mut last: Option<usize> = None;
    for (index, route) in http.iter().enumerate() {
        let clusters = ours.then_some(&mut *clusters);
        if let Some(last) = last.and_then(|last| rules.get(last)) {
            let message = format!("this rule can never match: {} already takes every request", last.name());
            sink.add(Severity::Warning, Code::UNREACHABLE_RULE, route.pos, message);
        }
        let rule = routes::compile(document, index, route, clusters, splits, surroundings, sink);
        if last.is_none() && rule.as_ref().is_some_and(Rule::takes_all_everywhere) {
            last = Some(rules.len());
        }
        rules.extend(rule);
    }
    ours.then_some(Bound { document, gateways: named, hosts: patterns, written: hosts, rules })
}

fn read_hosts(hosts: &[At<String>], namespace: &str, sink: &mut Sink<'_>) -> Vec<HostPattern> {
    let mut patterns: Vec<HostPattern> = Vec::new();
    for host in hosts {
        match HostPattern::parse(&host::complete(host, namespace)) {
            Err(message) => {
                sink.schema(host.pos, message);
            }
            Ok(pattern) => {
                if let Some(other) = patterns.iter().find(|other| other.intersection(&pattern).is_some()) {
                    let message = format!("the hosts {other} and {pattern} of one VirtualService overlap");
                    sink.schema(host.pos, message);
                }
                patterns.push(pattern);
            }
        }
    }
    patterns
}

/// Istio `resolveGatewayName`: `name` and `./name` are in the own namespace, `namespace/name` is anywhere.
pub(super) fn gateway_name(written: &str, namespace: &Arc<str>) -> ObjectName {
    match written.split_once('/') {
        None => ObjectName { namespace: namespace.clone(), name: written.into() },
        Some((".", name)) => ObjectName { namespace: namespace.clone(), name: name.into() },
        Some((place, name)) => ObjectName { namespace: place.into(), name: name.into() },
    }
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
        let gateway_name = gateway_name(gateway, namespace);
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
            let hosts: Vec<String> = served
                .iter()
                .flat_map(|server| server.hosts.iter().map(|host| host.pattern.to_string()))
                .collect();
            sink.add(Severity::Warning, Code::HOST_NOT_FOUND_IN_GATEWAY, host.pos, message)
                .hints
                .push(format!("they admit {}", hosts.join(", ")));
        }
    }
}
