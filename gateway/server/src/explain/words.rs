//! The words of an answer: names of targets, what is sent and changed, and what would have caught a lost request.

use std::fmt::Write;

use trysail_routing::decide::Request;
use trysail_routing::nearest;
use trysail_routing::snapshot::policy::{Balancer, HashKey};
use trysail_routing::snapshot::{self, HeaderOps, Listener, Match, Snapshot, Split, Transform, VirtualHosts};

/// A target's short name: its subset, with its host where the split leads to several.
pub(crate) fn name(snapshot: &Snapshot, split: &Split, target: &snapshot::Target) -> String {
    let key = &snapshot.cluster(target.cluster).key;
    let one_host = split.targets.iter().all(|other| snapshot.cluster(other.cluster).key.host == key.host);
    match (&*key.subset, one_host) {
        ("", _) => key.host.to_string(),
        (subset, true) => subset.to_owned(),
        (subset, false) => format!("{}/{subset}", key.host),
    }
}

/// Which endpoint gets a request.
pub(super) fn balancer(balancer: &Balancer) -> String {
    match balancer {
        Balancer::LeastRequest(_) => "least requests".to_owned(),
        Balancer::RoundRobin(_) => "in turn".to_owned(),
        Balancer::Random => "by lot".to_owned(),
        Balancer::Hash(hash) => match &hash.key {
            None => "by lot".to_owned(),
            Some(HashKey::Header(name)) => format!("by a hash of the field {name}"),
            Some(HashKey::Cookie(cookie)) => format!("by a hash of the cookie {}", cookie.name),
            Some(HashKey::SourceIp) => "by a hash of the client's address".to_owned(),
            Some(HashKey::QueryParameter(name)) => format!("by a hash of the query parameter {name}"),
        },
    }
}

pub(super) fn no_port(listeners: &[Listener], port: u16) -> String {
    let open: Vec<String> = listeners.iter().map(|listener| listener.key.to_string()).collect();
    let open = if open.is_empty() { "no port is".to_owned() } else { format!("open is {}", open.join(", ")) };
    format!("no Gateway opens port {port}; {open}: connection refused")
}

pub(super) fn no_host(hosts: &VirtualHosts, authority: &str) -> String {
    let mut known: Vec<(String, String)> =
        hosts.values().map(|host| (host.pattern.to_string(), host.origin.to_string())).collect();
    known.sort();
    let near = nearest(authority, known.iter().map(|(pattern, _)| pattern.as_str()));
    let hint = match (known.iter().find(|(pattern, _)| Some(pattern.as_str()) == near), known.len()) {
        (Some((near, place)), _) => format!("; the nearest is {near:?} ({place})"),
        (None, 0) => "; no VirtualService is bound to this port".to_owned(),
        (None, 1..=5) => {
            let patterns: Vec<&str> = known.iter().map(|(pattern, _)| pattern.as_str()).collect();
            format!("; there is {}", patterns.join(", "))
        }
        (None, _) => String::new(),
    };
    format!("no host matches {authority:?}{hint}: 404, flag NR")
}

pub(super) fn misdirected(authority: &str, server_name: &str) -> String {
    format!(
        "the server of {server_name:?} has no host for {authority:?}, which another server of the port has: 421, flag NR \
         (setting otherServer)"
    )
}

/// The request as the target gets it: path, authority, and the fields that the route changes.
pub(super) fn sends(transform: Option<&Transform>, request: &Request<'_>, block: Option<&Match>) -> String {
    let rewrite = transform.and_then(|transform| transform.path.as_ref());
    let rewritten = rewrite.and_then(|rewrite| rewrite.apply(request.path, block));
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    let authority = transform.and_then(|transform| transform.authority.as_ref()?.to_str().ok());
    let path = rewritten.as_deref().unwrap_or(request.path);
    let mut text =
        format!("{} {path}{query}, Host: {}", request.method, authority.unwrap_or(request.authority));
    let changes = transform.map(|transform| changes(&transform.request)).unwrap_or_default();
    if !changes.is_empty() {
        let _ = write!(text, ", {changes}");
    }
    text
}

/// What operations do to fields, in their order.
pub(super) fn changes(levels: &[HeaderOps]) -> String {
    let mut parts = Vec::new();
    for ops in levels {
        parts.extend(ops.remove.iter().map(|name| format!("without {name}")));
        parts.extend(ops.set.iter().map(|(name, text)| format!("{name}: {text}")));
        parts.extend(ops.add.iter().map(|(name, text)| format!("and {name}: {text}")));
    }
    parts.join(", ")
}
