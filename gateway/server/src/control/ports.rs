//! The ports that a revision asks for: which are had already, which are new, and which can't be had.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;

use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::snapshot::Listener;

use super::reload::Reloader;
use crate::listener::{self, Prepared};

impl Reloader {
    /// The address of every listener, with those that are new bound already.
    pub(super) fn open_ports(
        &self,
        listeners: &[Listener],
        prepared: &mut Prepared,
        findings: &mut Diagnostics,
    ) -> Vec<(SocketAddr, usize)> {
        let severity = if self.in_cluster { Severity::Warning } else { Severity::Error };
        let mut taken: BTreeMap<u16, &Listener> = BTreeMap::new();
        let mut bound = Vec::new();
        for (index, listener) in listeners.iter().enumerate() {
            let key = listener.key;
            let mapped = self.settings.ports.get(&key.port).or_else(|| self.translated.get(&key.port));
            let port = mapped.copied().unwrap_or(key.port);
            let mapped = if port == key.port { String::new() } else { format!(", mapped to {port},") };
            let refusal = |message: String| {
                Diagnostic::new(Code::PORT, severity, Some(listener.origin.clone()), message)
            };
            if let Some(other) = taken.get(&port).filter(|other| port > 0 && other.key.port != key.port) {
                let message = format!(
                    "port {}{mapped} is also that of port {} ({})",
                    key.port, other.key.port, other.origin
                );
                findings
                    .push(refusal(message).hint("the setting \"ports\" maps each port to one of its own"));
                continue;
            }
            taken.insert(port, listener);
            let wanted = SocketAddr::new(key.bind.unwrap_or(self.settings.bind), port);
            let address = match self.ports.address(&key) {
                Some(address) => Ok(address),
                None => self.ports.prepare(key, wanted, prepared),
            };
            match address {
                Ok(address) => bound.push((address, index)),
                Err(error) => {
                    let finding = refusal(format!(
                        "port {key}{mapped} can't be opened on {wanted}: {}",
                        listener::reason(&error)
                    ));
                    let finding = findings.push(finding);
                    let hint = match error.kind() {
                        ErrorKind::PermissionDenied => Some(("map it to one that may be bound", "8080")),
                        ErrorKind::AddrInUse => Some(("stop what has it, or map it to another", "PORT")),
                        _ => None,
                    };
                    finding.hints.extend(hint.map(|(what, to)| {
                        format!("{what}: --port {}={to}, or the setting \"ports\"", key.port)
                    }));
                }
            }
        }
        bound
    }
}
