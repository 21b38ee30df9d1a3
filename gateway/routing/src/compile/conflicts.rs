//! Gateways that open one port for one host: Istio's analyzer reports them, and says not what becomes of them.

use std::collections::BTreeMap;

use super::gateways::{GatewayServer, Serves};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, Severity};

/// Reports every server of plain HTTP whose port, bind and host another Gateway's server has too. Of servers with
/// TLS only one has a host, which is said where the other is left out.
pub(super) fn report(servers: &[GatewayServer<'_>], out: &mut Diagnostics) {
    let mut first = BTreeMap::new();
    let plain = |server: &&GatewayServer<'_>| matches!(server.serves, Serves::Http { https_redirect: false });
    for server in servers.iter().filter(plain) {
        let mut others: Vec<String> = Vec::new();
        let mut hosts: Vec<String> = Vec::new();
        for host in &server.hosts {
            let place = (server.listener, &host.namespace, &host.pattern);
            let other = first.entry(place).or_insert(server.gateway);
            if *other != server.gateway {
                hosts.push(host.pattern.to_string());
                if !others.contains(&other.to_string()) {
                    others.push(other.to_string());
                }
            }
        }
        if others.is_empty() {
            continue;
        }
        let message = format!(
            "Gateway {} opens port {} for {} too",
            others.join(", "),
            server.listener.port,
            hosts.join(", ")
        );
        let finding = Diagnostic::new(
            Code::CONFLICTING_GATEWAYS,
            Severity::Warning,
            Some(server.document.origin(server.port)),
            message,
        )
        .hint("their routes are put together: first those of the Gateway that is older, or first by name");
        out.push(Diagnostic { object: format!("Gateway {}", server.gateway), ..finding });
    }
}
