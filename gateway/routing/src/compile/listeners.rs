//! Servers and what is bound to them → listeners: which connection of which port gets which rules, in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::gateways::{GatewayServer, Servers, Serves};
use super::hosts::{Bound, shared_hosts};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::host::HostPattern;
use crate::origin::Origin;
use crate::snapshot::{
    HostTable, Indexes, Listener, ListenerKey, ListenerProtocol, Match, Route, ServerTls, Split, TlsId,
    TlsServer, VirtualHosts,
};
use crate::wire::ObjectName;

/// What one VirtualService gives to one host through one Gateway.
struct Share<'s> {
    service: &'s ObjectName,
    gateway: &'s ObjectName,
    routes: Vec<Arc<Route>>,
}

/// The hosts of one table of virtual hosts that is being put together.
#[derive(Default)]
struct Hosts<'s>(BTreeMap<HostPattern, Host<'s>>);

struct Host<'s> {
    https_redirect: bool,
    /// Where it is first asked for.
    origin: Origin,
    shares: Vec<Share<'s>>,
}

/// A listener that is being put together.
struct Draft<'s> {
    first: &'s GatewayServer<'s>,
    content: Content<'s>,
    /// The hosts that servers with TLS have, as written with their namespace: each may be had once.
    taken: BTreeSet<(Option<&'s str>, &'s HostPattern)>,
}

enum Content<'s> {
    Http(Hosts<'s>),
    Tls(HostTable<Arc<TlsServer>>),
    Tcp(Option<Arc<Split>>),
}

/// What listeners share.
#[derive(Default)]
struct Shared {
    /// In the order of its ids.
    tls: Vec<Arc<ServerTls>>,
    indexes: Indexes,
}

/// Binds VirtualServices to the servers of their gateways. Gives the listeners, and the TLS that they name by its id.
pub(super) fn bind<'s>(
    servers: &'s Servers<'s>,
    bound: &'s [Bound<'s>],
    out: &mut Diagnostics,
) -> (Vec<Listener>, Vec<Arc<ServerTls>>) {
    let mut shared = Shared::default();
    let mut drafts: BTreeMap<ListenerKey, Draft<'s>> = BTreeMap::new();
    for server in &servers.ours {
        let draft = drafts.entry(server.listener).or_insert_with(|| Draft {
            first: server,
            content: match &server.serves {
                Serves::Http { .. } => Content::Http(Hosts::default()),
                Serves::Https(_) | Serves::InsideTls(_) | Serves::Passthrough => {
                    Content::Tls(HostTable::default())
                }
                Serves::Tcp => Content::Tcp(None),
            },
            taken: BTreeSet::new(),
        });
        let bound: Vec<&Bound<'s>> =
            bound.iter().filter(|service| service.gateways.contains(server.gateway)).collect();
        draft.add(server, &bound, &mut shared, out);
    }
    let listener = |(key, draft): (ListenerKey, Draft<'_>)| Listener {
        key,
        protocol: match draft.content {
            Content::Http(hosts) => ListenerProtocol::Http(hosts.finish(&mut shared.indexes)),
            Content::Tls(names) => ListenerProtocol::Tls(names),
            Content::Tcp(split) => ListenerProtocol::Tcp(split),
        },
        origin: draft.first.document.origin(draft.first.port),
    };
    (drafts.into_iter().map(listener).collect(), shared.tls)
}

impl Shared {
    fn tls_id(&mut self, tls: &Arc<ServerTls>) -> TlsId {
        self.tls.push(tls.clone());
        TlsId::new(self.tls.len() - 1)
    }
}

impl<'s> Draft<'s> {
    fn add(
        &mut self,
        server: &'s GatewayServer<'s>,
        bound: &[&'s Bound<'s>],
        shared: &mut Shared,
        out: &mut Diagnostics,
    ) {
        let with_tls = !matches!(server.serves, Serves::Http { https_redirect: false } | Serves::Tcp);
        if with_tls && self.is_taken(server, out) {
            return;
        }
        match (&mut self.content, &server.serves) {
            (Content::Http(hosts), Serves::Http { https_redirect }) => {
                if *https_redirect {
                    hosts.redirect(server);
                }
                hosts.bind(server, bound);
            }
            (Content::Tls(names), Serves::Https(tls)) => {
                let mut hosts = Hosts::default();
                hosts.bind(server, bound);
                insert(names, server, TlsServer::Http(shared.tls_id(tls), hosts.finish(&mut shared.indexes)));
            }
            (Content::Tls(names), Serves::InsideTls(tls)) => {
                insert(names, server, TlsServer::Tcp(shared.tls_id(tls), stream(server, bound)));
            }
            (Content::Tls(names), Serves::Passthrough) => {
                for service in bound.iter().filter(|service| meets(server, service)) {
                    for rule in service.tls.iter().filter(|rule| rule.applies(server)) {
                        for name in rule.names(server) {
                            // The same name twice on a port: the later rule is passed over, as Istio does.
                            if names.get(name).is_none() {
                                names.insert(name, Arc::new(TlsServer::Passthrough(rule.split.clone())));
                            }
                        }
                    }
                }
            }
            (Content::Tcp(split), Serves::Tcp) => {
                if split.is_none() {
                    *split = stream(server, bound);
                }
            }
            _ => self.report(server, "is of another kind: plain HTTP, TLS and TCP can't share a port", out),
        }
    }

    /// Istio `CheckDuplicates`: a server that repeats a host is dropped whole.
    fn is_taken(&mut self, server: &'s GatewayServer<'s>, out: &mut Diagnostics) -> bool {
        let hosts = || server.hosts.iter().map(|host| (host.namespace.as_deref(), &host.pattern));
        if let Some((_, host)) = hosts().find(|host| self.taken.contains(host)) {
            self.report(server, &format!("has the host {host} already"), out);
            return true;
        }
        self.taken.extend(hosts());
        false
    }

    fn report(&self, server: &GatewayServer<'_>, what: &str, out: &mut Diagnostics) {
        let title = server.document.object.title();
        let first = self.first.document.origin(self.first.port);
        let message =
            format!("this server is not served: an older one of port {} ({first}) {what}", server.listener);
        server
            .document
            .sink(&title, out)
            .add(Severity::Warning, Code::CONFLICTING_GATEWAYS, server.port, message)
            .hints
            .push(
                "Gateways count by creation time, then by name; give this server a port or host of its own"
                    .into(),
            );
    }
}

impl Host<'_> {
    fn new(origin: Origin) -> Self {
        Host { https_redirect: false, origin, shares: Vec::new() }
    }
}

impl<'s> Hosts<'s> {
    /// Istio: a host that is listed without a namespace is sent to `https` also where no VirtualService is for it.
    fn redirect(&mut self, server: &GatewayServer<'_>) {
        for host in server.hosts.iter().filter(|host| host.namespace.is_none()) {
            let origin = || server.document.origin(server.port);
            self.0.entry(host.pattern.clone()).or_insert_with(|| Host::new(origin())).https_redirect = true;
        }
    }

    fn bind(&mut self, server: &'s GatewayServer<'s>, bound: &[&'s Bound<'s>]) {
        let redirects = matches!(server.serves, Serves::Http { https_redirect: true });
        for service in bound.iter().filter(|service| !service.rules.is_empty()) {
            // The same for all of its hosts, which so share an index.
            let mut routes: Option<Vec<Arc<Route>>> = None;
            for pattern in shared_hosts(server, service.document, &service.hosts) {
                let origin = service.host_origin(&pattern);
                let host = self.0.entry(pattern).or_insert_with(|| Host::new(origin));
                host.https_redirect |= redirects;
                let name = &service.document.object.name;
                // Istio computes a VirtualService's routes once for each Gateway, whatever servers it comes by.
                if host.shares.iter().all(|share| share.service != name || share.gateway != server.gateway) {
                    let routes = routes.get_or_insert_with(|| routes_under(service, server)).clone();
                    host.shares.push(Share { service: name, gateway: server.gateway, routes });
                }
            }
        }
    }

    fn finish(self, indexes: &mut Indexes) -> VirtualHosts {
        let mut table = HostTable::default();
        for (pattern, Host { https_redirect, origin, shares }) in self.0 {
            let routes = in_order(&shares);
            table.insert(&pattern.clone(), Arc::new(indexes.host(pattern, https_redirect, origin, routes)));
        }
        table
    }
}

fn insert(names: &mut HostTable<Arc<TlsServer>>, server: &GatewayServer<'_>, handling: TlsServer) {
    let handling = Arc::new(handling);
    for host in &server.hosts {
        names.insert(&host.pattern, handling.clone());
    }
}

/// Where a server's connections go: by the first rule of the first VirtualService that is for it.
fn stream(server: &GatewayServer<'_>, bound: &[&Bound<'_>]) -> Option<Arc<Split>> {
    let services = bound.iter().filter(|service| meets(server, service));
    let mut rules = services.flat_map(|service| &service.tcp);
    rules.find(|rule| rule.applies(server)).map(|rule| rule.split.clone())
}

/// Whether a server and a VirtualService have a host in common, which says no more of a connection.
fn meets(server: &GatewayServer<'_>, service: &Bound<'_>) -> bool {
    shared_hosts(server, service.document, &service.hosts).next().is_some()
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
                    Arc::new(Route { matches: matches.into(), ..Route::clone(&route) })
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
