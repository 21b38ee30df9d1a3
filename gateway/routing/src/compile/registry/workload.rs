//! WorkloadEntries, alone and inside ServiceEntries → members.

use std::sync::Arc;

use super::group::{self, Group, Groups};
use super::{Address, Labels, Member, labels};
use crate::compile::names::is_domain;
use crate::compile::objects::Objects;
use crate::compile::small::SmallMap;
use crate::compile::support::Written;
use crate::compile::validate;
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::origin::{At, Pos};
use crate::snapshot::{Locality, Workload};
use crate::wire::Document;
use crate::wire::registry::{Resolution, WorkloadEntry};
use crate::wire::sink::Sink;

/// A WorkloadEntry that selectors may choose; without a member where it could not be read.
pub(super) struct Selectable<'s> {
    pub(super) document: &'s Document,
    pub(super) labels: Labels,
    pub(super) member: Option<Member>,
    /// Itself, and the group that it belongs to.
    pub(super) titles: Vec<String>,
}

impl Selectable<'_> {
    /// The name that stands for its address, where one does.
    pub(super) fn named(&self) -> Option<&str> {
        match &self.member.as_ref()?.address {
            Address::Name(name) => Some(name),
            Address::Ip(_) => None,
        }
    }
}

/// What an endpoint is read for.
pub(super) struct Endpoint<'e> {
    /// The labels that count.
    pub(super) labels: Labels,
    /// What a WorkloadEntry is called.
    pub(super) own_name: Option<&'e Arc<str>>,
    pub(super) namespace: &'e Arc<str>,
    /// What stands in where nothing names the workload.
    pub(super) host: &'e str,
    /// Where it has no address to point at.
    pub(super) pos: Pos,
    /// What it takes over from.
    pub(super) group: Option<&'e Group<'e>>,
    /// Its ServiceEntry's; an entry alone may be for any.
    pub(super) resolution: Option<Resolution>,
}

/// Where an endpoint is said to be.
enum Place {
    At(Address),
    Unix,
}

/// Reads every WorkloadEntry.
pub(super) fn read_all<'s>(
    objects: &Objects<'s>,
    groups: &Groups<'s>,
    out: &mut Diagnostics,
) -> Vec<Selectable<'s>> {
    objects
        .workload_entries
        .iter()
        .map(|&(document, entry)| {
            let title = document.object.title();
            let sink = &mut document.sink(&title, out);
            validate::announced_sidecar(&document.object.labels, sink);
            let own = labels(entry.labels.iter().chain(&document.object.labels));
            let group = groups.of(document, &own, sink);
            let mut labels = group.map_or_else(Labels::default, |group| group.labels.clone());
            labels.extend(own);
            let name = &document.object.name;
            // Istio names what it has made from a group by the group.
            let named = group::named(document).map(|group| Arc::from(group.as_str()));
            let read = Endpoint {
                labels: labels.clone(),
                own_name: named.as_ref().or(Some(&name.name)),
                namespace: &name.namespace,
                host: &name.name,
                pos: document.object.pos,
                group,
                resolution: None,
            };
            let member = read_member(entry, read, sink);
            let group = group.map(|group| group.document.object.title());
            let titles = [title].into_iter().chain(group).collect();
            Selectable { document, labels, member, titles }
        })
        .collect()
}

/// Reads an endpoint; `None` where nothing can be sent to it.
pub(super) fn read_member(entry: &WorkloadEntry, read: Endpoint<'_>, sink: &mut Sink<'_>) -> Option<Member> {
    let WorkloadEntry { address: _, ports, labels: _, network, locality, weight, service_account: _ } = entry;
    validate::workload_entry(entry, sink);
    let template = read.group.map(|group| group.template);
    let lent = |of: fn(&WorkloadEntry) -> &Option<At<String>>| template.and_then(|entry| of(entry).as_ref());
    let share = read_weight(entry, sink).filter(|_| weight.is_some());
    let share = share.or_else(|| template?.weight.as_ref().and_then(|w| u32::try_from(w.value).ok()));
    let address = read_address(entry, &read, sink)?;
    let network = network.as_ref().or(lent(|entry| &entry.network)).filter(|network| !network.is_empty());
    if let Some(name) = network {
        let message =
            format!("it is in network {:?}, which needs a mesh's gateway there to be reached", name.value);
        let own = entry.network.as_ref().map_or(read.pos, |own| own.pos);
        sink.add(Severity::Note, Code::NEEDS_MESH, own, message).hints.push(
            "it gets no requests; leave \"network\" out where the address can be reached from here".into(),
        );
        return None;
    }
    let Place::At(address) = address else { return None };
    let all_ports = template.iter().flat_map(|entry| &entry.ports).chain(ports);
    let said = |place: Option<&At<String>>| {
        place.filter(|place| !place.is_empty()).map(|place| Locality::parse(place))
    };
    let locality = said(locality.as_ref())
        .or_else(|| labelled_locality(&read.labels))
        .or_else(|| said(lent(|entry| &entry.locality)))
        .unwrap_or_default();
    Some(Member {
        address,
        ports: all_ports.map(|(name, number)| (name.as_str().into(), number.value)).collect(),
        targets: SmallMap::default(),
        workload: Arc::new(workload(&read.labels, read.own_name, read.namespace, read.host)),
        labels: Arc::new(read.labels),
        // Istio: 0 is as good as absent.
        weight: share.unwrap_or_default().max(1),
        locality: Arc::new(locality),
        probe: read.group.and_then(|group| group.probe.clone()),
    })
}

/// Where a label says that an endpoint runs, with dots, since a label's value can't have slashes.
fn labelled_locality(labels: &Labels) -> Option<Locality> {
    let keys = ["topology.istio.io/locality", "istio-locality"];
    let label = keys.iter().find_map(|key| labels.get(*key)).filter(|label| !label.is_empty())?;
    Some(Locality::parse(&if label.contains('/') { label.to_string() } else { label.replace('.', "/") }))
}

/// Reads `weight`; 0 where there is none.
pub(super) fn read_weight(entry: &WorkloadEntry, sink: &mut Sink<'_>) -> Option<u32> {
    let Some(weight) = &entry.weight else { return Some(0) };
    let share = u32::try_from(weight.value).ok();
    if share.is_none() {
        sink.schema(weight.pos, format!("weight {} is not within 0 to {}", weight.value, u32::MAX));
    }
    share
}

/// Reads `address`; `None` where it is none, and a finding says so.
fn read_address(entry: &WorkloadEntry, read: &Endpoint<'_>, sink: &mut Sink<'_>) -> Option<Place> {
    let looked_up = matches!(read.resolution, Some(Resolution::Dns | Resolution::DnsRoundRobin));
    let Some(address) = entry.address.as_ref().filter(|address| !address.is_empty()) else {
        match entry.network.as_ref().filter(|network| !network.is_empty() && !looked_up) {
            None => {
                sink.schema(read.pos, "an endpoint needs an address".into());
            }
            Some(network) => {
                let message = "an endpoint without an address is one of another network's gateway".to_owned();
                sink.add(Severity::Warning, Code::SCHEMA_WARNING, network.pos, message)
                    .hints
                    .push("it gets no requests here".into());
            }
        }
        return None;
    };
    if let Ok(ip) = address.parse() {
        return Some(Place::At(Address::Ip(ip)));
    }
    let fault = match address.strip_prefix("unix://") {
        Some(path) if !looked_up => match path.chars().next() {
            Some('/' | '@') if !path.ends_with('/') => match entry.ports.key() {
                None => {
                    let message = "a Unix socket as an endpoint is not supported yet".to_owned();
                    sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, address.pos, message);
                    return Some(Place::Unix);
                }
                Some(key) => {
                    sink.schema(key, "a Unix socket has no ports".into());
                    return None;
                }
            },
            _ => format!("{:?} is not a socket: write unix:///its/path, or unix://@name", address.value),
        },
        _ if read.resolution == Some(Resolution::Static) => {
            format!("{:?} is not an IP address, as resolution STATIC wants", address.value)
        }
        // Whether who chooses a WorkloadEntry looks names up is said there.
        _ if is_domain(address) => return Some(Place::At(Address::name(address))),
        _ => format!("{:?} is neither an IP address nor a name", address.value),
    };
    sink.schema(address.pos, fault);
    None
}

/// How metrics name the workload at an endpoint: by label `service.istio.io/workload-name`, else by its
/// WorkloadEntry, else as `app-version` like Bookinfo's Deployments, else as the host's first label.
pub(super) fn workload(
    labels: &Labels,
    own_name: Option<&Arc<str>>,
    namespace: &Arc<str>,
    host: &str,
) -> Workload {
    let label =
        |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key)).cloned().unwrap_or_else(|| "".into());
    let short: Arc<str> = host.split('.').next().unwrap_or(host).into();
    let (app, version) = (label(&["app"]), label(&["version"]));
    let canonical_service = label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let name = match (labels.get("service.istio.io/workload-name").or(own_name), version.is_empty()) {
        (Some(name), _) => name.clone(),
        (None, true) => short.clone(),
        (None, false) => format!("{}-{version}", if app.is_empty() { &short } else { &app }).into(),
    };
    Workload {
        name,
        namespace: namespace.clone(),
        canonical_service: if canonical_service.is_empty() { short } else { canonical_service },
        canonical_revision: label(&[
            "service.istio.io/canonical-revision",
            "app.kubernetes.io/version",
            "version",
        ]),
        app,
        version,
    }
}
