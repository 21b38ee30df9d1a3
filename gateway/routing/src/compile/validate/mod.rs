//! What Istio's admission webhook refuses of an object, said of each object alone.
//!
//! Only what compiling does not say anyway is said here: `compile` turns fields into what runs and reports those it
//! cannot turn; these rooms look at fields whatever becomes of them, and give nothing back. So a field that is not
//! executed is still judged, and one that is executed is not judged twice.

mod cors;
mod faults;
mod gateway;
mod headers;
mod matches;
mod mirrors;
mod registry;
mod retries;
mod route;
mod tls_tcp;
mod values;

use super::export::{Export, Exported};
use super::objects::Of;
use crate::diagnostic::{Code, Severity};
use crate::origin::At;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::VirtualService;

pub(super) use gateway::gateway;
pub(super) use matches::is_claim;
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
    let VirtualService { hosts, gateways, export_to, http, tls, tcp } = service;
    let is_delegate = hosts.is_empty();
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
    values::gateway_names(gateways, sink);
    Export::read(export_to, &document.object.name.namespace, Exported::Object, sink);
    // Istio: `mesh` beside other gateways makes it one for the mesh, as far as validation goes.
    let for_gateway = !gateways.is_empty() && gateways.iter().all(|gateway| gateway.value != "mesh");
    for host in hosts {
        check_host(host, for_gateway, tls_tcp::has_sni(tls), sink);
    }
    for route in http {
        let role = match (is_delegate, &route.delegate) {
            (true, _) => Role::Delegate,
            (false, Some(_)) => Role::Root,
            (false, None) => Role::Independent,
        };
        if !for_gateway && !is_delegate {
            matches::refuse_claims(&route.matches, sink);
        }
        route::check(route, role, sink);
    }
    tls_tcp::check(tls, tcp, hosts, sink);
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
    if let (Err(message), false) = (values::domain(host), automatic) {
        sink.schema(host.pos, message);
    }
}

/// Istio's webhook lets it pass with a warning.
fn warn(pos: crate::origin::Pos, message: String, sink: &mut Sink<'_>) {
    sink.add(Severity::Warning, Code::SCHEMA_WARNING, pos, message);
}

/// A field that Istio has replaced by another.
fn deprecated(key: crate::origin::Pos, field: &str, instead: &str, sink: &mut Sink<'_>) {
    let message = format!("{field:?} is deprecated");
    sink.add(Severity::Warning, Code::DEPRECATED, key, message).hints.push(format!("use {instead:?}"));
}
