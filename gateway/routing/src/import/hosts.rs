//! Ingresses by host, as ingress-nginx gathers its servers: paths, certificates, canaries, what is left for the rest.

use std::collections::BTreeMap;

use super::read::{Read, Source};
use super::treatment::Treatment;
use crate::HostPattern;
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::origin::Pos;
use crate::wire::ObjectName;
use crate::wire::ingress::{Backend, BackendPort, BackendService};
use crate::wire::sink::Sink;

/// A host with everything that Ingresses say of it.
#[derive(Default)]
pub(super) struct Host {
    /// Its locations, each path and kind once.
    pub(super) locations: Vec<Location>,
    pub(super) aliases: Vec<String>,
    pub(super) certificate: Option<Certificate>,
    /// Where that is asked for: an Ingress by its index, and a place in it.
    pub(super) certificate_at: (usize, Pos),
    /// The Ingress that named it first: its namespace is the host's.
    pub(super) first: usize,
    /// Who answers what no path takes.
    default: Option<Location>,
    /// Its locations by what tells them apart.
    by_path: BTreeMap<(String, PathKind), usize>,
}

/// A Secret with a certificate; no name is the controller's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Certificate {
    pub(super) secret: Option<ObjectName>,
}

/// A path of a host.
#[derive(Clone)]
pub(super) struct Location {
    /// Whose it is, by its index.
    pub(super) source: usize,
    pub(super) path: String,
    pub(super) kind: PathKind,
    pub(super) pos: Pos,
    pub(super) backend: Destination,
    /// Who takes a part of it.
    pub(super) canary: Option<(usize, Pos, Destination)>,
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathKind {
    Exact,
    /// Element by element.
    Prefix,
    /// As nginx does: letter by letter.
    Specific,
}

/// A Service's port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Destination {
    pub(super) service: ObjectName,
    /// `None` where it is not known.
    pub(super) port: Option<u16>,
}

/// All hosts; `*` is the one for every other.
pub(super) type Hosts = BTreeMap<String, Host>;

/// Gathers them.
pub(super) fn gather(read: &Read, treatments: &[Treatment], out: &mut Diagnostics) -> Hosts {
    let mut hosts = Hosts::new();
    let all = || read.ingresses.iter().zip(treatments).enumerate();
    for (index, (source, treatment)) in all().filter(|(_, (_, treatment))| treatment.canary.is_none()) {
        add(index, source, treatment, read, &mut hosts, out);
    }
    for (index, (source, _)) in all().filter(|(_, (_, treatment))| treatment.canary.is_some()) {
        add_canary(index, source, read, &mut hosts, out);
    }
    for host in hosts.values_mut() {
        if let Some(default) = host.default.take().filter(|_| !host.locations.iter().any(Location::takes_all))
        {
            host.by_path.insert((default.path.clone(), default.kind), host.locations.len());
            host.locations.push(default);
        }
    }
    hosts.retain(|_, host| !host.locations.is_empty());
    alias(read, treatments, &mut hosts, out);
    hosts
}

impl Host {
    /// Whether it has a location of this path and kind.
    pub(super) fn has(&self, path: &str, kind: PathKind) -> bool {
        self.by_path.contains_key(&(path.to_owned(), kind))
    }
}

impl Location {
    fn takes_all(&self) -> bool {
        self.path == "/" && self.kind != PathKind::Exact
    }
}

fn add(
    index: usize,
    source: &Source,
    treatment: &Treatment,
    read: &Read,
    hosts: &mut Hosts,
    out: &mut Diagnostics,
) {
    let sink = &mut source.sink(out);
    let spec = &source.spec;
    let default = spec.default_backend.as_ref().and_then(|backend| {
        Some(Location {
            source: index,
            path: "/".to_owned(),
            kind: PathKind::Prefix,
            pos: backend.pos,
            backend: resolve(backend, backend.pos, source, read, sink)?,
            canary: None,
        })
    });
    if spec.rules.is_empty() {
        match default {
            Some(default) => {
                let host =
                    hosts.entry("*".to_owned()).or_insert_with(|| Host { first: index, ..Host::default() });
                if host.default.is_none() {
                    host.default = Some(default);
                }
            }
            None if spec.default_backend.is_none() => {
                sink.schema(source.pos, "an Ingress needs rules or a defaultBackend".into());
            }
            None => {}
        }
        return;
    }
    for rule in &spec.rules {
        let Some(name) = host_of(rule.host.as_ref(), sink) else { continue };
        let new = !hosts.contains_key(&name);
        let host = hosts.entry(name.clone()).or_insert_with(|| Host { first: index, ..Host::default() });
        if new || host.default.is_none() && host.locations.is_empty() {
            host.default = host.default.take().or_else(|| default.clone());
        }
        if host.certificate.is_none()
            && let Some((certificate, pos)) = certificate(&name, source, sink)
        {
            (host.certificate, host.certificate_at) = (Some(certificate), (index, pos));
        }
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let Some((text, kind)) = path_of(path, sink) else { continue };
            let place = path.path.as_ref().map_or(path.pos, |path| path.pos);
            if kind == PathKind::Specific
                && !treatment.use_regex
                && treatment.rewrite.is_none()
                && !super::paths::is_plain(&text.replace('.', ""))
            {
                let message = format!(
                    "{text:?} looks like a pattern, and is compared letter by letter, as by ingress-nginx"
                );
                sink.add(Severity::Note, Code::CARRIED_OVER_DIFFERENTLY, place, message)
                    .hints
                    .push("\"use-regex: true\" makes patterns of the paths of its host".into());
            }
            let known = host.by_path.get(&(text.clone(), kind)).and_then(|index| host.locations.get(*index));
            if let Some(other) = known {
                let first =
                    read.ingresses.get(other.source).map(|first| first.told(other.pos)).unwrap_or_default();
                let message =
                    format!("{text} of {name} is {first}'s already, which is older or first by name");
                sink.add(Severity::Warning, Code::CARRIED_OVER_DIFFERENTLY, place, message)
                    .hints
                    .push("ingress-nginx does not look at this one either".into());
                continue;
            }
            if let Some(backend) = resolve(&path.backend, place, source, read, sink) {
                host.by_path.insert((text.clone(), kind), host.locations.len());
                host.locations.push(Location {
                    source: index,
                    path: text,
                    kind,
                    pos: place,
                    backend,
                    canary: None,
                });
            }
        }
    }
}

fn add_canary(index: usize, source: &Source, read: &Read, hosts: &mut Hosts, out: &mut Diagnostics) {
    let sink = &mut source.sink(out);
    for rule in &source.spec.rules {
        let Some(name) = host_of(rule.host.as_ref(), sink) else { continue };
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let Some((text, kind)) = path_of(path, sink) else { continue };
            let place = path.path.as_ref().map_or(path.pos, |path| path.pos);
            let Some(backend) = resolve(&path.backend, place, source, read, sink) else { continue };
            let found = hosts.get_mut(&name).and_then(|host| {
                let index = host.by_path.get(&(text.clone(), kind))?;
                host.locations.get_mut(*index)
            });
            let (message, hint) = match found {
                None => (
                    format!("no other Ingress has the path {text} of {name}, so this canary gets nothing"),
                    "a canary stands beside an Ingress with the same host, path and pathType",
                ),
                Some(location) if location.canary.is_some() => (
                    format!("{text} of {name} has a canary already, so this one gets nothing"),
                    "write the shares of all into the VirtualService's route: Trysail splits between any number",
                ),
                Some(location) if location.backend == backend => (
                    format!("the canary of {text} of {name} is what it stands beside, so it changes nothing"),
                    "name the canary's own Service",
                ),
                Some(location) => {
                    location.canary = Some((index, place, backend));
                    continue;
                }
            };
            sink.add(Severity::Warning, Code::CARRIED_OVER_DIFFERENTLY, place, message)
                .hints
                .push(format!("{hint}; so it is in ingress-nginx"));
        }
    }
}

/// A host's name; without one it is for every host that no other is for.
fn host_of(written: Option<&crate::origin::At<String>>, sink: &mut Sink<'_>) -> Option<String> {
    let Some(host) = written.filter(|host| !host.is_empty()) else { return Some("*".to_owned()) };
    match HostPattern::parse(host) {
        Ok(HostPattern::Any) | Err(_) => {
            sink.schema(host.pos, format!("{:?} is not a host of an Ingress", host.value));
            None
        }
        Ok(pattern) => {
            if let HostPattern::Suffix(_) = pattern {
                let message = format!(
                    "{pattern} is for names of any number of labels here, in ingress-nginx of one more"
                );
                sink.add(Severity::Note, Code::CARRIED_OVER_DIFFERENTLY, host.pos, message);
            }
            Some(pattern.to_string())
        }
    }
}

fn path_of(path: &crate::wire::ingress::IngressPath, sink: &mut Sink<'_>) -> Option<(String, PathKind)> {
    let kind = match path.path_type.as_ref().map(|kind| (kind, kind.as_str())) {
        Some((_, "Exact")) => PathKind::Exact,
        Some((_, "Prefix")) => PathKind::Prefix,
        // One that is missing has been said.
        None | Some((_, "ImplementationSpecific")) => PathKind::Specific,
        Some((kind, _)) => {
            sink.schema(kind.pos, format!("{:?} is not a pathType", kind.value))
                .hints
                .push("it is one of Exact, Prefix, ImplementationSpecific".into());
            return None;
        }
    };
    match path.path.as_ref().filter(|path| !path.is_empty()) {
        None => Some(("/".to_owned(), kind)),
        Some(text) if text.starts_with('/') && !text.chars().any(char::is_control) => {
            Some((text.value.clone(), kind))
        }
        Some(text) => {
            sink.schema(text.pos, format!("{:?} is not a path: it begins with \"/\"", text.value));
            None
        }
    }
}

/// The Service and port that a backend means; `None` where there is none, with the reason in the sink.
fn resolve(
    backend: &Backend,
    pos: Pos,
    source: &Source,
    read: &Read,
    sink: &mut Sink<'_>,
) -> Option<Destination> {
    let Backend { service, resource } = backend;
    if let Some(resource) = resource {
        let message = "a backend that is no Service is not carried over".to_owned();
        sink.add(Severity::Error, Code::NOT_CARRIED_OVER, resource.pos, message);
        return None;
    }
    let Some(service) = service else {
        sink.schema(pos, "a backend needs a service".into());
        return None;
    };
    let BackendService { name, port } = &service.value;
    if name.contains('.') || !crate::wire::object::is_dns_name(name) {
        sink.schema(name.pos, format!("{:?} is not the name of a Service", name.value));
        return None;
    }
    let service = ObjectName { namespace: source.name.namespace.clone(), name: name.as_str().into() };
    let known = read.services.get(&service);
    let number = match port.as_ref().map(|port| &port.value) {
        Some(BackendPort { number: Some(number), name: _ }) => {
            if let Some(ports) = known.filter(|ports| ports.iter().all(|(_, port)| *port != number.value)) {
                let ports: Vec<String> = ports.iter().map(|(_, port)| port.to_string()).collect();
                let message =
                    format!("Service {service} has no port {}, it has {}", number.value, ports.join(", "));
                sink.add(Severity::Error, Code::REFERENCED_RESOURCE_NOT_FOUND, number.pos, message);
            }
            Some(number.value)
        }
        Some(BackendPort { number: None, name: Some(name) }) => {
            let number = known.and_then(|ports| {
                ports.iter().find(|(own, _)| own.as_deref() == Some(name.as_str())).map(|(_, port)| *port)
            });
            if number.is_none() {
                let message = match known {
                    None => format!(
                        "port {:?} is a name, and Service {service} is not here to give its number",
                        name.value
                    ),
                    Some(_) => format!("Service {service} has no port of the name {:?}", name.value),
                };
                sink.add(Severity::Error, Code::REFERENCED_RESOURCE_NOT_FOUND, name.pos, message).hints.push(
                    "give Services too: kubectl get ingress,service -A -o yaml | trysail import nginx-ingress -".into(),
                );
            }
            number
        }
        _ => {
            sink.schema(name.pos, "a backend's service needs a port, by number or name".into());
            None
        }
    };
    Some(Destination { service, port: number })
}

/// The Secret with the certificate for a host: of the entry that names it, else one that covers it.
fn certificate(host: &str, source: &Source, sink: &mut Sink<'_>) -> Option<(Certificate, Pos)> {
    let host = HostPattern::parse(host).ok()?;
    let covers = |name: &str, exactly: bool| {
        HostPattern::parse(name)
            .is_ok_and(|pattern| if exactly { pattern == host } else { pattern.covers(&host) })
    };
    let tls = &source.spec.tls;
    let named = |exactly: bool| tls.iter().find(|entry| entry.hosts.iter().any(|name| covers(name, exactly)));
    let entry = match named(true).or_else(|| named(false)) {
        Some(entry) => entry,
        None => {
            let entry = tls.iter().find(|entry| entry.hosts.is_empty())?;
            let message = format!("this entry names no hosts, and is taken for {host}");
            sink.add(Severity::Warning, Code::CARRIED_OVER_DIFFERENTLY, entry.pos, message)
                .hints
                .push("ingress-nginx looks into the certificate for the hosts that it is for".into());
            entry
        }
    };
    let secret = entry.secret_name.as_ref().filter(|name| crate::wire::object::is_dns_name(name));
    if secret.is_none() {
        let message = format!("the certificate for {host} is the controller's own, which is not known here");
        sink.add(Severity::Error, Code::NOT_CARRIED_OVER, entry.pos, message).hints.push(format!(
            "put it where the credential {:?} is looked for: setting certificates of trysail.yaml",
            super::gateways::DEFAULT_CERTIFICATE
        ));
    }
    let namespace = source.name.namespace.clone();
    let pos = secret.map_or(entry.pos, |name| name.pos);
    let secret = secret.map(|name| ObjectName { namespace, name: name.as_str().into() });
    Some((Certificate { secret }, pos))
}

/// Adds `server-alias`; a host that has Ingresses of its own keeps them.
fn alias(read: &Read, treatments: &[Treatment], hosts: &mut Hosts, out: &mut Diagnostics) {
    let mut taken: Vec<String> = hosts.keys().cloned().collect();
    taken.sort();
    for (name, host) in hosts.iter_mut() {
        let mut sources: Vec<usize> = host.locations.iter().map(|location| location.source).collect();
        sources.sort_unstable();
        sources.dedup();
        for source in sources {
            let (Some(treatment), Some(ingress)) = (treatments.get(source), read.ingresses.get(source))
            else {
                continue;
            };
            for alias in &treatment.aliases {
                let free = taken.binary_search(&alias.value);
                match (free, name.contains('*')) {
                    (Err(at), false) => {
                        taken.insert(at, alias.value.clone());
                        host.aliases.push(alias.value.clone());
                    }
                    (Ok(_), _) if host.aliases.contains(&alias.value) => {}
                    (_, _) => {
                        let message = format!("{:?} is not made another name of {name}", alias.value);
                        let mut sink = ingress.sink(out);
                        sink.add(Severity::Warning, Code::CARRIED_OVER_DIFFERENTLY, alias.pos, message)
                            .hints
                            .push(
                                "a host with Ingresses of its own, or another alias, keeps its own rules"
                                    .into(),
                            );
                    }
                }
            }
        }
    }
}
