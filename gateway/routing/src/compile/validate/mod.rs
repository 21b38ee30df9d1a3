//! What Istio's admission webhook refuses of an object, said of each object alone.
//!
//! Only what no other room reads into something stronger is judged here: which fields go together, and what Istio
//! refuses of a value that could be compiled. What is read is judged where it is read, so a fault is said once; these
//! rooms look at fields whatever becomes of them, and give nothing back.

mod gateway;
mod registry;

use super::delegates::is_delegate;
use super::matches::is_claim;
use super::names;
use super::objects::Of;
use super::support::Written;
use crate::host::HostPattern;
use crate::origin::At;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{HttpRoute, VirtualService};

pub(super) use gateway::gateway;
pub(super) use registry::{announced_sidecar, service_entry, workload_entry, workload_group};

/// What a rule is, by the VirtualService that it stands in and by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It acts itself.
    Independent,
    /// Another VirtualService's rules stand in for it.
    Root,
    /// It is in a VirtualService without hosts.
    Delegate,
}

/// Judges a VirtualService as written.
pub(super) fn virtual_service((document, service): Of<'_, VirtualService>, sink: &mut Sink<'_>) {
    let VirtualService { hosts, gateways, export_to: _, http, tls, tcp } = service;
    let is_delegate = is_delegate(document, service);
    if is_delegate {
        let places = [
            gateways.first().map(|gateway| (gateway.pos, "gateways")),
            tls.first().map(|rule| (rule.pos, "tls")),
            tcp.first().map(|rule| (rule.pos, "tcp")),
        ];
        for (pos, field) in places.into_iter().flatten() {
            let message =
                format!("{field:?} has no place in a VirtualService without hosts, which is a delegate");
            sink.schema(pos.back(2), message);
        }
    }
    // Istio: `mesh` beside other gateways makes it one for the mesh, as far as validation goes.
    let unread = document.is_unread(document.object.spec_pos, "gateways");
    let for_gateway =
        unread || !gateways.is_empty() && gateways.iter().all(|gateway| gateway.value != "mesh");
    let has_sni = tls.iter().flat_map(|rule| &rule.matches).any(|block| !block.sni_hosts.is_empty());
    for host in hosts {
        check_host(host, for_gateway, has_sni, sink);
    }
    for route in http {
        let role = match (is_delegate, &route.delegate) {
            (true, _) => Role::Delegate,
            (false, Some(_)) => Role::Root,
            (false, None) => Role::Independent,
        };
        if !for_gateway && !is_delegate {
            refuse_claims(route, sink);
        }
        check_route(route, role, sink);
    }
}

/// Which of its fields a rule may have together.
fn check_route(route: &HttpRoute, role: Role, sink: &mut Sink<'_>) {
    match role {
        Role::Delegate => {
            if let Some(key) = route.delegate.key() {
                sink.schema(key, "a delegate's rule can't delegate again".into());
            }
        }
        Role::Root => {
            for (key, field) in [(route.redirect.key(), "redirect"), (route.route.key(), "route")] {
                let Some(key) = key else { continue };
                sink.schema(key, format!("{field:?} and \"delegate\" exclude each other"));
            }
        }
        Role::Independent => {}
    }
    let answers = route.redirect.is_some() || route.direct_response.is_some();
    if let Some(key) = route.fault.key().filter(|_| answers && role != Role::Root) {
        sink.schema(key, "\"fault\" has no place in a rule that has no route".into());
    }
    if let (Some(_), Some(key)) = (&route.mirror, route.mirrors.key()) {
        sink.schema(key, "mirror and mirrors exclude each other".into());
    }
}

/// Istio: claims of a token are only matched at a gateway.
fn refuse_claims(route: &HttpRoute, sink: &mut Sink<'_>) {
    let names = route.matches.iter().flat_map(|block| block.headers.iter().chain(&block.without_headers));
    for (name, _) in names.filter(|(name, _)| is_claim(name)) {
        sink.schema(name.pos, format!("{:?} can only be matched at a gateway", name.value));
    }
}

/// Istio `ValidateWildcardDomain`, as far as reading hosts does not refuse them anyway.
fn check_host(host: &At<String>, for_gateway: bool, sni: bool, sink: &mut Sink<'_>) {
    if host.value == "*" && !for_gateway {
        sink.schema(host.pos, "the host \"*\" is for gateways only, and this one is for the mesh".into())
            .hints
            .push("name a Gateway under spec.gateways".into());
        return;
    }
    // `outbound_.80_._.shop.test` is how Istio's own east-west gateways name hosts.
    let automatic = for_gateway && sni && host.starts_with("outbound_.");
    // What reading it refuses is said there.
    if !automatic
        && HostPattern::parse(host).is_ok()
        && let Err(message) = names::host(host)
    {
        sink.schema(host.pos, message);
    }
}
