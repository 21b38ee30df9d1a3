//! Two compilations compared by all that they say.

use std::sync::Arc;

use trysail_routing::compile::Compiled;
use trysail_routing::snapshot::Action;

/// All that it says; tables of hosts in the order of their hosts.
pub(crate) fn told(compiled: &Compiled) -> String {
    let snapshot = &compiled.snapshot;
    let mut text = format!(
        "{:#?}\n{:#?}\n{:#?}\n{} {}\n",
        snapshot.tls, snapshot.clusters, snapshot.splits, snapshot.routes, snapshot.objects
    );
    for listener in &snapshot.listeners {
        let mut hosts: Vec<_> = listener.all_virtual_hosts().collect();
        hosts.sort_by_key(|host| (host.pattern.clone(), format!("{:?}", host.origin)));
        text.push_str(&format!("{:?} {:?} {}\n", listener.key, listener.origin, listener.speaks()));
        for host in hosts {
            let routes = &host.routes;
            text.push_str(&format!(
                "{:?} {} {:?} {routes:#?}\n",
                host.pattern, host.https_redirect, host.origin
            ));
        }
    }
    for finding in compiled.findings.iter() {
        text.push_str(&format!("{finding:#?}\n"));
    }
    text
}

/// Every split that a route of a snapshot has is the one of its id.
pub(crate) fn assert_whole(compiled: &Compiled) {
    for host in compiled.snapshot.listeners.iter().flat_map(|listener| listener.all_virtual_hosts()) {
        for route in &host.routes {
            if let Action::Forward(split) = &route.action {
                assert!(Arc::ptr_eq(split, &compiled.snapshot.splits[split.id.index()]), "{}", route.name);
            }
        }
    }
}

/// Where two of them say something else, with what is around it.
pub(crate) fn difference(by_edits: &Compiled, at_once: &Compiled) -> String {
    let (one, other) = (told(by_edits), told(at_once));
    let first = one.lines().zip(other.lines()).position(|(one, other)| one != other).unwrap_or_default();
    let around =
        |text: &str| text.lines().skip(first.saturating_sub(8)).take(12).collect::<Vec<_>>().join("\n");
    format!("{}\n=== at once ===\n{}", around(&one), around(&other))
}
