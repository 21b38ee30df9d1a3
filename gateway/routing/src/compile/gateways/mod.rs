//! Gateways → servers: which ports this process opens, and for which hosts.

mod suites;
mod tls;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::objects::Objects;
use super::support::{fields, unsupported};
use super::{Surroundings, names, validate};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::host::HostPattern;
use crate::origin::{At, Pos};
use crate::snapshot::{ListenerKey, ServerTls};
use crate::wire::gateway::{self, Gateway, Server, ServerPort};
use crate::wire::object::is_dns_name;
use crate::wire::sink::Sink;
use crate::wire::{Document, ObjectName};

/// One server of a Gateway that selects this process.
pub(super) struct GatewayServer<'s> {
    pub(super) document: &'s Document,
    pub(super) gateway: &'s ObjectName,
    pub(super) listener: ListenerKey,
    pub(super) serves: Serves,
    pub(super) hosts: Vec<ServerHost>,
    /// Where its port stands.
    pub(super) port: Pos,
}

/// What a server does with its connections.
pub(super) enum Serves {
    /// HTTP in the clear; with Istio's `httpsRedirect`, every request is sent to `https`.
    Http { https_redirect: bool },
    /// HTTP inside TLS that ends here.
    Https(Arc<ServerTls>),
    /// Something else inside TLS that ends here.
    InsideTls(Arc<ServerTls>),
    /// TLS that is passed on unopened.
    Passthrough,
    /// Bytes.
    Tcp,
}

/// One entry of `Server.hosts`: `[namespace/]host`.
pub(super) struct ServerHost {
    /// The only namespace whose VirtualServices may bind; `None` for all.
    pub(super) namespace: Option<String>,
    pub(super) pattern: HostPattern,
}

impl fmt::Display for ServerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}", self.pattern)
    }
}

/// What Gateways there are, as VirtualServices ask.
pub(super) struct Servers<'s> {
    /// The servers of Gateways that select this process: Gateways in order of creation, servers as listed.
    pub(super) ours: Vec<GatewayServer<'s>>,
    /// The titles of the Gateways that select this process.
    pub(super) titles: Vec<String>,
    /// The Gateways that select another.
    pub(super) others: Vec<&'s ObjectName>,
}

/// Finds the servers that are ours.
pub(super) fn select<'s>(
    objects: &Objects<'s>,
    surroundings: &Surroundings,
    out: &mut Diagnostics,
) -> Servers<'s> {
    let mut servers = Servers { ours: Vec::new(), titles: Vec::new(), others: Vec::new() };
    for &(document, gateway) in &objects.gateways {
        let title = document.object.title();
        let sink = &mut document.sink(&title, out);
        let Gateway { selector, servers: written } = gateway;
        let selected =
            selector.iter().all(|(key, value)| surroundings.labels.get(&key.value) == Some(&value.value));
        if !selected {
            let labels: Vec<String> =
                selector.iter().map(|(k, v)| format!("{}: {}", k.value, v.value)).collect();
            let message =
                format!("it selects gateways labelled {}, which this one is not", labels.join(", "));
            sink.add(Severity::Note, Code::NOT_FOR_US, document.object.pos, message)
                .hints
                .push("the setting \"labels\" gives this gateway's labels".into());
            servers.others.push(&document.object.name);
        }
        if selected {
            servers.titles.push(title.clone());
        }
        validate::gateway(document, gateway, sink);
        if written.is_empty() && !document.is_unread(document.object.spec_pos, "servers") {
            sink.schema(document.object.pos, "a Gateway needs at least one server".into());
        }
        let mut names: Vec<&str> = Vec::new();
        for server in written {
            let name = &server.port.name;
            if name.is_empty() {
                sink.schema(name.pos, "a port needs a name".into());
            } else if names.contains(&name.as_str()) {
                sink.schema(name.pos, format!("port name {:?} is there twice in this Gateway", name.value));
            }
            names.push(name);
            let Some(server) = read_server(document, server, selected, sink) else { continue };
            if selected {
                servers.ours.push(server);
            }
        }
    }
    servers
}

fn read_server<'s>(
    document: &'s Document,
    server: &At<Server>,
    selected: bool,
    sink: &mut Sink<'_>,
) -> Option<GatewayServer<'s>> {
    let Server { name: _, port, bind, hosts, tls, default_endpoint } = &server.value;
    unsupported(Severity::Error, fields![default_endpoint = "defaultEndpoint"], sink);
    let ServerPort { number, name: _, protocol, target_port } = &port.value;
    if let Some(target) = target_port {
        sink.schema(target.pos.back(1), "\"targetPort\" has no place in a Gateway".into());
    }
    let serves = read_protocol(document, protocol, tls.as_ref(), selected, sink);
    let listener = read_listener(bind.as_ref(), number, sink);
    if hosts.is_empty() && !document.is_unread(server.pos, "hosts") {
        sink.schema(server.pos, "a server needs at least one host; \"*\" is every host".into());
    }
    let namespace = &document.object.name.namespace;
    let hosts = hosts.iter().filter_map(|host| read_host(host, namespace, sink)).collect();
    let gateway = &document.object.name;
    Some(GatewayServer { document, gateway, listener: listener?, serves: serves?, hosts, port: number.pos })
}

/// Where a server listens: Istio `Server.bind` with its port.
fn read_listener(bind: Option<&At<String>>, number: &At<i64>, sink: &mut Sink<'_>) -> Option<ListenerKey> {
    if let Some((bind, path)) = bind.and_then(|bind| Some((bind, bind.strip_prefix("unix://")?))) {
        if !path.starts_with('@') && (!path.starts_with('/') || path.ends_with('/')) {
            sink.schema(bind.pos, format!("{path:?} is not the path of a socket"))
                .hints
                .push("write unix:///run/shop.sock, or unix://@name".into());
        }
        if number.value != 0 {
            sink.schema(number.pos, format!("a Unix socket has no port {}; write 0", number.value));
        }
        let message = "a Unix socket to listen on is not supported yet".to_owned();
        sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, bind.pos, message);
        return None;
    }
    let port = u16::try_from(number.value).ok().filter(|port| *port > 0);
    if port.is_none() {
        sink.schema(number.pos, format!("port {} is not within 1 to 65535", number.value));
    }
    let bind = match bind.map(|bind| (bind, bind.parse::<IpAddr>())) {
        None => None,
        Some((_, Ok(address))) => (!address.is_unspecified()).then_some(address),
        Some((bind, Err(_))) => {
            sink.schema(bind.pos, format!("{:?} is not an IP address to listen on", bind.value));
            return None;
        }
    };
    Some(ListenerKey { port: port?, bind })
}

/// Istio `Port.protocol`. Those of the HTTP family share a listener, and each takes HTTP/1 and HTTP/2; those of
/// databases are bytes to a gateway.
fn read_protocol(
    document: &Document,
    protocol: &At<String>,
    tls: Option<&At<gateway::ServerTls>>,
    selected: bool,
    sink: &mut Sink<'_>,
) -> Option<Serves> {
    let word = protocol.to_ascii_uppercase();
    let suites = tls.map(|tls| suites::known(&tls.cipher_suites, sink)).unwrap_or_default();
    match (word.as_str(), tls) {
        ("HTTP" | "HTTP2" | "GRPC", tls) => {
            let https_redirect =
                tls.and_then(|tls| tls.https_redirect.as_ref()).is_some_and(|redirect| redirect.value);
            Some(Serves::Http { https_redirect })
        }
        ("HTTPS" | "TLS", Some(written)) => {
            let http = word == "HTTPS";
            match (tls::read(document, written, &suites, http, selected, sink)?, http) {
                (tls::Ending::Passthrough, _) => Some(Serves::Passthrough),
                (tls::Ending::Here(tls), true) => Some(Serves::Https(Arc::from(tls))),
                (tls::Ending::Here(tls), false) => Some(Serves::InsideTls(Arc::from(tls))),
            }
        }
        ("HTTPS" | "TLS", None) => {
            sink.schema(protocol.pos, format!("a port of protocol {word} needs \"tls\""));
            None
        }
        ("TCP" | "MONGO" | "MYSQL" | "REDIS", _) => Some(Serves::Tcp),
        ("GRPC-WEB", _) => {
            let message = "gRPC-Web is not translated yet".to_owned();
            sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, protocol.pos, message)
                .hints
                .push("with GRPC in its place, gRPC itself is served".into());
            None
        }
        _ => {
            const KNOWN: &str = "HTTP, HTTPS, GRPC, HTTP2, MONGO, MYSQL, REDIS, TCP, TLS";
            sink.schema(protocol.pos, format!("{:?} is not a protocol", protocol.value))
                .hints
                .push(format!("it is one of {KNOWN}"));
            None
        }
    }
}

/// Istio `Server.hosts`: `dnsName` with an optional `namespace/` before it; `.` is the Gateway's own.
fn read_host(host: &At<String>, own_namespace: &str, sink: &mut Sink<'_>) -> Option<ServerHost> {
    let (namespace, name) = match host.split_once('/') {
        None | Some(("*", _)) => (None, host.rsplit('/').next().unwrap_or(host)),
        Some((".", name)) => (Some(own_namespace.to_owned()), name),
        Some((namespace, name)) if is_dns_name(namespace) => (Some(namespace.to_owned()), name),
        Some((namespace, _)) => {
            sink.schema(host.pos, format!("{namespace:?} is not a namespace"));
            return None;
        }
    };
    match names::host(name) {
        Ok(_) if !name.contains(['.', ':', '*']) => {
            sink.schema(host.pos, format!("{name:?} is a short name, which a server does not take"))
                .hints
                .push("write the whole name, as clients say it".into());
            None
        }
        Ok(pattern) => Some(ServerHost { namespace, pattern }),
        Err(message) => {
            sink.schema(host.pos, message);
            None
        }
    }
}
