//! Endpoints as tiles, and routes as a table.

use maud::{Markup, html};

use super::words::{age, percent};
use super::{escaped, more};
use crate::render::{counted, thousands};
use crate::status::told::{ClusterOf, EndpointOf, Paged, RouteOf};

/// Endpoints by cluster.
pub(super) fn endpoints(clusters: &Paged<ClusterOf>, words: &str) -> Markup {
    html! {
        section id="endpoints" aria-labelledby="endpoints-title" {
            h2 id="endpoints-title" { "Endpoints " small { "of " (counted(clusters.total, "destination")) } }
            @for cluster in &clusters.items { (group(cluster)) }
            (more(clusters, "endpoints", words))
        }
    }
}

/// One cluster. Its id is made of what it is, so that the page finds it again.
pub(super) fn group(cluster: &ClusterOf) -> Markup {
    let ClusterOf { host, subset, port, .. } = cluster;
    html! {
        div.group id=(id(cluster)) data-live="" {
            h3 {
                (host) ":" (port) @if !subset.is_empty() { " " (subset) }
                @if cluster.held { " " span.state.wait { "‖ held" } }
                @if let Some(place) = &cluster.place { " " span.place { (place) } }
            }
            @if cluster.endpoints.is_empty() { p.soft { "no endpoint" } }
            div.tiles { @for endpoint in &cluster.endpoints { (tile(endpoint)) } }
        }
    }
}

/// The id of a cluster's part of the page: text that fits into a list of ids, and into a selector.
pub(super) fn id(cluster: &ClusterOf) -> String {
    let text = format!("e-{}-{}-{}", cluster.host, cluster.subset, cluster.port);
    text.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' })
        .collect()
}

fn tile(endpoint: &EndpointOf) -> Markup {
    let (class, mark) = match endpoint.state.as_str() {
        "healthy" => ("tile good", "✓"),
        "warming" | "pending" => ("tile wait", "…"),
        _ => ("tile bad", "✗"),
    };
    html! {
        div class=(class) {
            span { (endpoint.address) }
            small {
                (mark) " " (endpoint.state)
                @if let Some(seconds) = endpoint.for_seconds { " for " (age(seconds)) " more" }
                " · " (thousands(endpoint.active.into())) " active"
                @if !endpoint.workload.is_empty() { " · " (endpoint.workload) }
                @if let Some(why) = &endpoint.why { br; (why) }
            }
        }
    }
}

/// Every rule of every host.
pub(super) fn routes(routes: &Paged<RouteOf>, words: &str) -> Markup {
    html! {
        section id="routes" aria-labelledby="routes-title" {
            h2 id="routes-title" { "Routes " small { (counted(routes.total, "rule")) } }
            div.scroll {
                table.list {
                    thead {
                        tr {
                            @for title in ["host", "rule", "when", "goes to", "where"] { th scope="col" { (title) } }
                        }
                    }
                    tbody { @for route in &routes.items { (rule(route)) } }
                }
            }
            (more(routes, "routes", words))
        }
    }
}

fn rule(route: &RouteOf) -> Markup {
    let when = if route.matches.is_empty() { "always".to_owned() } else { route.matches.join(" or ") };
    // A host that is a pattern is no host to ask for.
    let asked = Some(&route.host).filter(|host| !host.contains('*') && !host.is_empty());
    html! {
        tr {
            th scope="row" { @if route.host.is_empty() { "(TLS)" } @else { (route.host) } " " span.soft { ":" (route.port) } }
            td {
                @if let (Some(host), "forward" | "redirect" | "respond") = (asked, route.action.as_str()) {
                    a href={ "/?url=" (escaped(&format!("http://{host}/"))) "#explain" } { (route.route) }
                } @else { (route.route) }
            }
            td { code { (when) } }
            td {
                @if route.targets.is_empty() { (route.action) }
                @for (at, target) in route.targets.iter().enumerate() {
                    @if at > 0 { ", " }
                    (target.name) @if route.targets.len() > 1 { " " (percent(Some(target.configured))) }
                }
            }
            td.place { (route.place) }
        }
    }
}
