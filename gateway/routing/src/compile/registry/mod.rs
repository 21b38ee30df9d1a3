//! ServiceEntries, WorkloadEntries and WorkloadGroups, and Kubernetes' own objects → services: which hosts there are,
//! on which ports, and who answers there. Names as addresses stay names here: what they are looked up to is given.

mod group;
mod kubernetes;
mod mend;
mod probe;
mod service_entry;
#[cfg(test)]
mod tests;
mod workload;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::objects::{Objects, Of};
use super::small::SmallMap;
use super::{Addresses, Surroundings};
use crate::diagnostic::Diagnostics;
use crate::origin::{At, Origin};
use crate::snapshot::{Locality, Probe, Service, Workload};
use crate::wire::registry::ServiceEntry;
use kubernetes::Kubernetes;

/// Names in a row for one host; more go in a circle.
const MOST_NAMES: usize = 16;

/// Labels by key.
pub(in crate::compile) type Labels = SmallMap<Arc<str>, Arc<str>>;

/// Every service that the gateway sees, by host; for one host Kubernetes' Service first, then the oldest.
pub(in crate::compile) struct Registry {
    by_host: BTreeMap<Arc<str>, Vec<Entry>>,
    /// Services that the gateway's namespace does not see, and why.
    hidden: BTreeMap<Arc<str>, String>,
    /// What each host's ports are said to speak, and where: of the first that says so.
    protocols: BTreeMap<(Arc<str>, u16), (String, Origin)>,
    /// Where the gateway is.
    namespace: Arc<str>,
}

/// One host as one namespace defines it.
#[derive(PartialEq)]
pub(in crate::compile) struct Entry {
    pub(in crate::compile) service: Arc<Service>,
    pub(in crate::compile) ports: Vec<Port>,
    pub(in crate::compile) members: Vec<Member>,
    pub(in crate::compile) origin: Origin,
    /// `subjectAltNames`: what its servers' certificates carry, where its DestinationRule does not say.
    pub(in crate::compile) subject_alt_names: Vec<Box<str>>,
    /// The objects that it is made from.
    pub(in crate::compile) titles: Vec<String>,
    /// Where resolution NONE is said, which a route of ours can't use.
    pub(in crate::compile) needs_mesh: Option<Origin>,
    /// Whether it is a Service of Kubernetes.
    pub(in crate::compile) is_kubernetes: bool,
    /// The host that it is another name for (`type: ExternalName`).
    pub(in crate::compile) external_name: Option<Arc<str>>,
    /// Whether it selects Pods, and no EndpointSlice of it is here.
    pub(in crate::compile) lacks_slices: bool,
    /// Whether its addresses take requests in turn, whatever its rule says (`DNS_ROUND_ROBIN`).
    pub(in crate::compile) in_turn: bool,
}

/// A port of a service.
#[derive(PartialEq)]
pub(in crate::compile) struct Port {
    pub(in crate::compile) number: u16,
    name: Arc<str>,
    target: u16,
    /// Whether HTTP/2 is spoken there.
    pub(in crate::compile) h2: bool,
    /// Whether that is gRPC-Web.
    pub(in crate::compile) grpc_web: bool,
}

/// Who may answer for a service: an endpoint before its port is known.
#[derive(Clone, PartialEq)]
pub(in crate::compile) struct Member {
    pub(in crate::compile) address: Address,
    /// Its own ports, by the names of the service's.
    ports: SmallMap<Arc<str>, u16>,
    /// Where it answers, by the service's port.
    targets: SmallMap<u16, u16>,
    pub(in crate::compile) labels: Arc<Labels>,
    pub(in crate::compile) workload: Arc<Workload>,
    /// Its share, over 0.
    pub(in crate::compile) weight: u32,
    pub(in crate::compile) locality: Arc<Locality>,
    pub(in crate::compile) probe: Option<Arc<Probe>>,
}

/// Where a member is.
#[derive(Clone, PartialEq)]
pub(in crate::compile) enum Address {
    Ip(IpAddr),
    /// A name in lower case: all the addresses that it has.
    Name(Arc<str>),
}

impl Address {
    fn name(written: &str) -> Address {
        Address::Name(written.to_ascii_lowercase().into())
    }
}

impl Member {
    /// Where it answers for a port. Istio: the endpoint's own port of that name, else the port's `targetPort`, else
    /// its number. Of a name every address, with the member's own share for each.
    pub(in crate::compile) fn addresses<'m>(
        &'m self,
        number: u16,
        known: &'m Addresses,
    ) -> impl Iterator<Item = SocketAddr> + 'm {
        let addresses = match &self.address {
            Address::Ip(address) => std::slice::from_ref(address),
            Address::Name(name) => known.of(name),
        };
        let port = self.targets.get(&number).copied();
        addresses.iter().filter_map(move |address| Some(SocketAddr::new(*address, port?)))
    }
}

impl Registry {
    pub(in crate::compile) fn build(
        objects: &Objects<'_>,
        here: &Surroundings,
        out: &mut Diagnostics,
    ) -> Self {
        let groups = group::Groups::read_all(objects, out);
        let mut workloads = workload::read_all(objects, &groups, out);
        let mut registry = Registry::empty(here);
        let kubernetes = Kubernetes::index(objects);
        registry.add_services(&kubernetes, &workloads, here, out);
        workloads.extend(kubernetes.selectable_pods());
        for &entry in &objects.service_entries {
            registry.add_service_entry(entry, &workloads, out);
        }
        registry.report_external_names(&kubernetes, out);
        registry
    }

    fn empty(here: &Surroundings) -> Self {
        Registry {
            by_host: BTreeMap::new(),
            hidden: BTreeMap::new(),
            protocols: BTreeMap::new(),
            namespace: here.namespace.as_str().into(),
        }
    }

    /// The hosts that are others in another registry; `None` where one of the two has hosts that the other has not, or
    /// says where other hosts are to be found.
    pub(in crate::compile) fn differences(&self, now: &Registry) -> Option<Vec<String>> {
        let Registry { by_host, hidden, protocols: _, namespace: _ } = self;
        if !by_host.keys().eq(now.by_host.keys()) || *hidden != now.hidden {
            return None;
        }
        let pairs = by_host.iter().zip(now.by_host.values());
        let differ: Vec<_> = pairs.filter(|((_, old), new)| old != new).collect();
        let mut all = differ.iter().flat_map(|((_, old), new)| old.iter().chain(*new));
        let alias = all.any(|entry| entry.external_name.is_some());
        (!alias).then(|| differ.iter().map(|((host, _), _)| host.to_string()).collect())
    }

    /// Puts the services of a ServiceEntry that selects nobody in the place of what it gave before, for the same hosts.
    /// Gives the hosts; `None` where others have to do with one of them, or where something is found.
    pub(in crate::compile) fn renew(
        &mut self,
        entry: Of<'_, ServiceEntry>,
        here: &Surroundings,
    ) -> Option<Vec<String>> {
        let (mut own, mut out) = (Registry::empty(here), Diagnostics::default());
        own.add_service_entry(entry, &[], &mut out);
        if !out.is_empty() || !own.hidden.is_empty() {
            return None;
        }
        let hosts: Vec<String> = own.by_host.keys().map(ToString::to_string).collect();
        let is_alone = |(host, new): (&Arc<str>, &Vec<Entry>)| match (self.by_host.get(host), &**new) {
            (Some(old), [new]) => matches!(&**old, [old] if old.titles == new.titles && !old.is_kubernetes),
            _ => false,
        };
        let speaks = |(key, (word, _)): (_, &(String, Origin))| {
            self.protocols.get(key).is_some_and(|(known, _)| known == word)
        };
        // Nothing is put in before it is sure that all is.
        if !own.by_host.iter().all(is_alone) || !own.protocols.iter().all(speaks) {
            return None;
        }
        self.by_host.extend(own.by_host);
        self.protocols.extend(own.protocols);
        Some(hosts)
    }

    /// The service of a host, as routes of `namespace` see it: that namespace's own, else the first; none that is not
    /// exported to the gateway. A Service that is another name for a host here is that host.
    pub(in crate::compile) fn find(&self, host: &str, namespace: &str) -> Option<&Entry> {
        let mut entry = self.named(host, namespace)?;
        for _ in 0..MOST_NAMES {
            let other = entry.external_name.as_ref().and_then(|other| self.named(other, namespace));
            let Some(other) = other else { break };
            entry = other;
        }
        Some(entry)
    }

    fn named(&self, host: &str, namespace: &str) -> Option<&Entry> {
        let entries = self.by_host.get(host)?;
        entries.iter().find(|entry| &*entry.service.namespace == namespace).or(entries.first())
    }

    /// Whether there is a host of this name, seen by us or not.
    pub(in crate::compile) fn has(&self, host: &str) -> bool {
        self.by_host.contains_key(host) || self.hidden.contains_key(host)
    }

    /// Why a host that is there is not seen.
    pub(in crate::compile) fn why_hidden(&self, host: &str) -> Option<&str> {
        self.hidden.get(host).map(String::as_str)
    }

    /// Every host there is.
    pub(in crate::compile) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.by_host.keys().map(|host| &**host)
    }

    /// The host that a name is the beginning of, up to a dot: `reviews.default` is written where the whole of
    /// `reviews.default.svc.cluster.local` is meant.
    pub(in crate::compile) fn longer(&self, name: &str) -> Option<&str> {
        self.hosts().filter(|host| host.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))).min()
    }

    /// Kubernetes' Service of a host in a namespace: no ServiceEntry stands beside it, whichever is older.
    fn service_of_kubernetes(&self, host: &str, namespace: &str) -> Option<&Entry> {
        let mut entries = self.by_host.get(host)?.iter();
        entries.find(|entry| entry.is_kubernetes && &*entry.service.namespace == namespace)
    }

    /// Several ServiceEntries of one host in one namespace are one service with all their ports and endpoints.
    fn join(&mut self, entry: Entry) {
        let entries = self.by_host.entry(entry.service.host.clone()).or_default();
        match entries.iter_mut().find(|other| other.service.namespace == entry.service.namespace) {
            // Most hosts have one, and there are many of them.
            None => {
                entries.reserve_exact(1);
                entries.push(entry);
            }
            Some(other) => {
                let mut members = entry.members;
                if entry.in_turn {
                    // Istio: only one has the addresses of such a port, the oldest.
                    let taken = |number: &u16| other.ports.iter().any(|port| port.number == *number);
                    members.iter_mut().for_each(|member| member.targets.retain(|number, _| !taken(number)));
                    members.retain(|member| !member.targets.is_empty());
                }
                other.members.extend(members);
                other.titles.extend(entry.titles);
                if other.subject_alt_names.is_empty() {
                    other.subject_alt_names = entry.subject_alt_names;
                }
                let new = entry
                    .ports
                    .into_iter()
                    .filter(|port| other.ports.iter().all(|o| o.number != port.number));
                let new: Vec<Port> = new.collect();
                other.ports.extend(new);
                other.needs_mesh = other.needs_mesh.take().or(entry.needs_mesh);
            }
        }
    }
}

/// Whether labels carry all that is wanted. No wish is fulfilled by everyone.
pub(in crate::compile) fn selects(wanted: &Labels, labels: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Labels as written, later ones over earlier ones.
pub(in crate::compile) fn labels<'w>(written: impl Iterator<Item = &'w (At<String>, At<String>)>) -> Labels {
    written.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}
