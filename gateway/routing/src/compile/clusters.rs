//! Destinations → clusters: host, subset and port resolved, each cluster made once.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use super::Surroundings;
use super::names::{self, is_label};
use super::policy::{self, Composed};
use super::registry::{Address, Entry, Labels, Member, Port, Registry, selects};
use super::rules::Rules;
use super::uses::Uses;
use crate::diagnostic::{Code, Severity};
use crate::host;
use crate::nearest::nearest;
use crate::origin::Origin;
use crate::snapshot::{Cluster, ClusterId, ClusterKey, Endpoint, Locality, Policy};
use crate::wire::sink::Sink;
use crate::wire::virtual_service::Destination;

/// The clusters made so far, and what they are made from.
pub(super) struct Clusters<'s> {
    registry: &'s Registry,
    rules: &'s Rules,
    surroundings: &'s Surroundings,
    dangling: Severity,
    table: Table,
    /// Whether `table` is one that was there before: what it does not have is not added.
    is_patch: bool,
    /// Whether something was asked for that the table there was before does not have.
    is_broken: bool,
    /// The clusters that were made anew.
    remade: BTreeSet<ClusterId>,
    /// The VirtualService that is compiled, by its turn.
    turn: u32,
    /// What it asked for, in order.
    asked: Vec<ClusterId>,
    /// The objects that what was made so far is made from.
    pub(super) uses: Uses,
    policies: Policies,
    /// Hosts for which a ServiceEntry to paste was given; once is enough.
    offered: BTreeSet<Arc<str>>,
}

/// The policies that were met last: most clusters have one of few, and share it.
#[derive(Default)]
struct Policies(VecDeque<Arc<Policy>>);

impl Policies {
    fn same(&mut self, policy: Arc<Policy>) -> Arc<Policy> {
        if let Some(known) = self.0.iter().find(|known| **known == policy) {
            return known.clone();
        }
        if self.0.len() >= 16 {
            self.0.pop_front();
        }
        self.0.push_back(policy.clone());
        policy
    }
}

/// The clusters themselves.
#[derive(Default)]
pub(super) struct Table {
    pub(super) made: Vec<Arc<Cluster>>,
    /// By key and the service's namespace.
    ids: HashMap<(ClusterKey, Arc<str>), ClusterId, BuildHasherDefault<DefaultHasher>>,
    /// The turn of the VirtualService that asked for each first.
    makers: Vec<u32>,
}

impl<'s> Clusters<'s> {
    pub(super) fn new(registry: &'s Registry, rules: &'s Rules, surroundings: &'s Surroundings) -> Self {
        Clusters {
            registry,
            rules,
            surroundings,
            dangling: surroundings.dangling.severity(),
            table: Table::default(),
            is_patch: false,
            is_broken: false,
            remade: BTreeSet::new(),
            turn: 0,
            asked: Vec::new(),
            uses: Uses::default(),
            policies: Policies::default(),
            offered: BTreeSet::new(),
        }
    }

    /// Goes on with a table that has every cluster, to make some of them anew.
    pub(super) fn patching(self, table: Table) -> Self {
        Clusters { table, is_patch: true, ..self }
    }

    /// The clusters, which objects they are made from, and whether there was an unknown host.
    pub(super) fn finish(self) -> (Table, Uses, bool) {
        (self.table, self.uses, !self.offered.is_empty())
    }

    /// Begins with the VirtualService whose turn it is.
    pub(super) fn begin(&mut self, turn: u32) {
        self.turn = turn;
        self.asked.clear();
    }

    /// The clusters that the VirtualService asked for, in order.
    pub(super) fn asked(&self) -> &[ClusterId] {
        &self.asked
    }

    /// Whether the table could not be patched.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The cluster of a destination that an object of `namespace` names; `None` for a VirtualService that no gateway
    /// of ours serves, which has no `clusters`.
    pub(super) fn find(
        clusters: Option<&mut Self>,
        destination: &Destination,
        namespace: &str,
        sink: &mut Sink<'_>,
    ) -> Option<ClusterId> {
        let sound = is_destination(destination, sink);
        clusters.map(|clusters| {
            let id = clusters.resolve(destination, sound, namespace, sink);
            clusters.asked.push(id);
            id
        })
    }

    /// One that does not exist is a finding, and a cluster without a service; one that is not `sound` can't exist,
    /// and what is wrong with it has been said.
    fn resolve(
        &mut self,
        destination: &Destination,
        sound: bool,
        namespace: &str,
        sink: &mut Sink<'_>,
    ) -> ClusterId {
        let Destination { host, subset, port } = destination;
        let subset = &subset.as_ref().filter(|subset| !subset.is_empty());
        let mut complete: Arc<str> = host::complete(host, namespace).into();
        let subset_name: Arc<str> = subset.as_ref().map_or("", |subset| subset.as_str()).into();
        let wanted_port = port.as_ref().and_then(|port| port.number.as_ref());
        let missing_port = wanted_port.map_or(0, |port| port.value);
        let found = self.registry.find(&complete, namespace);
        // What a Service is another name for has the rules, the ports and the metrics.
        complete = found.map_or(complete, |entry| entry.service.host.clone());
        let key = |port| ClusterKey { host: complete.clone(), subset: subset_name.clone(), port };
        if !sound {
            return self.insert(key(missing_port), None, Made::default());
        }
        let Some(entry) = found else {
            self.unknown_host(destination, &complete, namespace, sink);
            return self.insert(key(missing_port), None, Made::default());
        };
        let rule = self.rules.find(&complete, &entry.service.namespace);
        self.uses.note_all(&entry.titles);
        if let Some(rule) = rule {
            self.uses.note_all(&rule.titles);
        }
        refuse_none(destination, entry, sink);
        let port = match (wanted_port, entry.ports.as_slice()) {
            (None, [port]) => Some(port),
            (wanted, ports) => wanted.and_then(|wanted| ports.iter().find(|p| p.number == wanted.value)),
        };
        let Some(port) = port else {
            self.no_such_port(destination, &complete, entry, sink);
            return self.insert(key(missing_port), None, Made::default());
        };
        let number = port.number;
        report_state(destination, entry, port, sink);
        let found = rule.and_then(|rule| rule.subsets.iter().find(|candidate| candidate.name == subset_name));
        let (Some(subset), None) = (subset, found) else {
            let mut composed = policy::compose(
                rule.and_then(|rule| rule.policy.as_ref()),
                found.and_then(|subset| subset.policy.as_ref()),
                number,
            );
            if port.h2 {
                composed.speak_h2();
            }
            if entry.in_turn {
                composed.prefer_turns();
            }
            for (origin, what) in &composed.needs_mesh {
                refuse(destination, origin, what, sink);
            }
            if let Some(tls) = composed.look_for(&entry.subject_alt_names) {
                let message = format!(
                    "the subjectAltNames of {complete:?} can't be looked for: TLS knows one DNS name, the one that is sent"
                );
                sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, host.pos, message).hints.extend([
                    format!("they are those of the ServiceEntry at {}, its TLS is at {tls}", entry.origin),
                    "write one DNS name in subjectAltNames, and the same or none in sni".into(),
                ]);
            }
            let selected: Vec<&Member> = entry
                .members
                .iter()
                .filter(|member| found.is_none_or(|subset| selects(&subset.labels, &member.labels)))
                .collect();
            let endpoints = endpoints(number, &selected, &composed, self.surroundings);
            let names = names(&selected);
            if let (Some(subset), Some(found), true) = (subset, found, selected.is_empty()) {
                let labels: Vec<String> =
                    found.labels.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                let message = match entry.members.is_empty() {
                    true => format!("{complete:?} has no endpoints, so subset {subset_name} has none"),
                    false => format!("no endpoint of {complete:?} carries {}", labels.join(", ")),
                };
                let finding = sink.add(Severity::Warning, Code::SUBSET_SELECTS_NOTHING, subset.pos, message);
                finding.hints.push(WHAT_COMES_OF_NOBODY.to_owned());
                let no_labels = entry.members.iter().all(|member| member.labels.is_empty());
                if entry.is_kubernetes && no_labels && !entry.members.is_empty() {
                    let hint = "labels are those of the Pods behind the endpoints, and none of these is here";
                    finding.hints.push(hint.to_owned());
                }
            }
            // Of a Service without slices, and of what needs a mesh, more has been said.
            let more_is_said = entry.lacks_slices || entry.needs_mesh.is_some();
            if subset.is_none() && entry.members.is_empty() && !more_is_said {
                let message = format!("{complete:?} has no endpoints");
                sink.add(Severity::Warning, Code::SUBSET_SELECTS_NOTHING, host.pos, message)
                    .hints
                    .extend([WHAT_COMES_OF_NOBODY.to_owned(), format!("it is defined at {}", entry.origin)]);
            }
            if !self.has(&key(number), entry) {
                warn_of_no_ejections(destination, &endpoints, &composed.policy, sink);
            }
            let origin = Some(found.map_or(&entry.origin, |subset| &subset.origin).clone());
            let (policy, policy_places) = (composed.policy, composed.places.into());
            let made = Made { endpoints, names, policy, policy_places, origin };
            return self.insert(key(number), Some(entry), made);
        };
        let message = format!("host {complete:?} has no subset {:?}", subset.value);
        let finding = sink.add(self.dangling, Code::REFERENCED_RESOURCE_NOT_FOUND, subset.pos, message);
        finding.hints.push(match rule {
            None => format!("no DestinationRule is for {complete:?}"),
            Some(rule) => {
                let names: Vec<&str> = rule.subsets.iter().map(|subset| &*subset.name).collect();
                let names = if names.is_empty() { "no subsets".to_owned() } else { names.join(", ") };
                format!("DestinationRule {} ({}) defines {names}", rule.name, rule.origin)
            }
        });
        self.insert(key(number), None, Made::default())
    }

    fn no_such_port(
        &self,
        destination: &Destination,
        complete: &Arc<str>,
        entry: &Entry,
        sink: &mut Sink<'_>,
    ) {
        let Destination { host, port, .. } = destination;
        let wanted = port.as_ref().and_then(|port| port.number.as_ref());
        let (code, at, message) = match wanted {
            Some(port) => {
                let message = format!("{complete:?} has no port {}", port.value);
                (Code::REFERENCED_RESOURCE_NOT_FOUND, port.pos, message)
            }
            None if entry.ports.is_empty() => {
                let message = format!("{complete:?} has no port");
                (Code::REFERENCED_RESOURCE_NOT_FOUND, host.pos, message)
            }
            None => {
                let message = format!("{complete:?} has several ports, so the destination needs one");
                (Code::DESTINATION_PORT_REQUIRED, host.pos, message)
            }
        };
        let numbers: Vec<String> = entry.ports.iter().map(|port| port.number.to_string()).collect();
        let numbers = if numbers.is_empty() { "none of TCP".to_owned() } else { numbers.join(", ") };
        let hint = format!("it has {numbers} ({})", entry.origin);
        sink.add(self.dangling, code, at, message).hints.push(hint);
    }

    /// One cluster for each key; a service may be another one in another namespace.
    fn insert(&mut self, key: ClusterKey, entry: Option<&Entry>, of: Made) -> ClusterId {
        let service = entry.map(|entry| entry.service.clone());
        let namespace = service.as_ref().map_or_else(|| "".into(), |service| service.namespace.clone());
        let Made { endpoints, names, policy, policy_places, origin } = of;
        let policy = self.policies.same(policy);
        let cluster = Cluster { key: key.clone(), service, endpoints, names, policy, policy_places, origin };
        let Table { made, ids, makers } = &mut self.table;
        let known = ids.get(&(key.clone(), namespace.clone())).copied();
        match known {
            Some(id) if self.is_patch => {
                // One that says what it said stays the same one, so that whoever compares sees it at once.
                if makers[id.index()] == self.turn && self.remade.insert(id) && *made[id.index()] != cluster {
                    made[id.index()] = Arc::new(cluster);
                }
                id
            }
            Some(id) => id,
            None if self.is_patch => {
                self.is_broken = true;
                ClusterId::new(0)
            }
            None => {
                let id = ClusterId::new(made.len());
                made.push(Arc::new(cluster));
                makers.push(self.turn);
                ids.insert((key, namespace), id);
                id
            }
        }
    }

    /// Whether it was made already, by this VirtualService or by one before it.
    fn has(&self, key: &ClusterKey, entry: &Entry) -> bool {
        let id = self.table.ids.get(&(key.clone(), entry.service.namespace.clone()));
        id.is_some_and(|id| {
            !self.is_patch || self.table.makers[id.index()] < self.turn || self.remade.contains(id)
        })
    }

    fn unknown_host(
        &mut self,
        destination: &Destination,
        complete: &Arc<str>,
        namespace: &str,
        sink: &mut Sink<'_>,
    ) {
        let Destination { host, port, .. } = destination;
        let message = match host.as_str() == &**complete {
            true => format!("there is no host {complete:?}"),
            false => format!(
                "there is no host {complete:?}, which {:?} means in namespace {namespace:?}",
                host.value
            ),
        };
        let finding = sink.add(self.dangling, Code::REFERENCED_RESOURCE_NOT_FOUND, host.pos, message);
        if let Some(whole) = self.registry.longer(complete) {
            finding.hints.push(names::never_completed(whole));
            return;
        }
        finding
            .hints
            .extend(nearest(complete, self.registry.hosts()).map(|near| format!("the nearest is {near:?}")));
        if let Some(why) = self.registry.why_hidden(complete) {
            finding.hints.push(why.to_owned());
            return;
        }
        let port = port.as_ref().and_then(|port| port.number.as_ref()).map_or(80, |port| port.value);
        if self.offered.insert(complete.clone()) {
            finding.hints.push(self.service_entry_to_paste(complete, namespace, port));
        }
    }

    /// A ServiceEntry that makes the host exist, with an endpoint for each subset's labels.
    fn service_entry_to_paste(&self, host: &str, namespace: &str, port: u16) -> String {
        let short = host.split('.').next().unwrap_or(host);
        let mut text = format!(
            "if it is not written yet, start from this, with the endpoints' own addresses:\n\
             apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: {short}\n  namespace: {namespace}\n\
             spec:\n  hosts: [{host}]\n  resolution: STATIC\n  ports:\n  - {{number: {port}, name: http, protocol: HTTP}}\n  endpoints:\n"
        );
        let none: &[_] = &[];
        let subsets = self.rules.find(host, namespace).map_or(none, |rule| &*rule.subsets);
        for (index, subset) in subsets.iter().enumerate() {
            let labels: Vec<String> =
                subset.labels.iter().map(|(key, value)| format!("{key}: {value:?}")).collect();
            let last = index % 254 + 1;
            text.push_str(&format!("  - {{address: 192.0.2.{last}, labels: {{{}}}}}\n", labels.join(", ")));
        }
        if subsets.is_empty() {
            text.push_str("  - {address: 192.0.2.1}\n");
        }
        text.trim_end().to_owned()
    }
}

/// A running process may have had endpoints of it before, which is not known here.
const WHAT_COMES_OF_NOBODY: &str = "until it has one: if it never had it is held, and its share goes to its \
     siblings; if it had, or is alone, its requests are answered 503";

/// What a cluster is made of beside its name.
#[derive(Default)]
struct Made {
    endpoints: Vec<Endpoint>,
    names: Vec<Arc<str>>,
    policy: Arc<Policy>,
    policy_places: Box<[Origin]>,
    /// Where it is defined.
    origin: Option<Origin>,
}

/// What our own routes would need a mesh for is an error, and never passed over.
fn refuse(destination: &Destination, origin: &Origin, what: &str, sink: &mut Sink<'_>) {
    let host = &destination.host;
    sink.add(Severity::Error, Code::NEEDS_MESH, host.pos, format!("{:?} {what}", host.value))
        .hints
        .push(format!("it says so at {origin}"));
}

/// Istio `validateDestination`: whether a service and a subset can have such names.
fn is_destination(written: &Destination, sink: &mut Sink<'_>) -> bool {
    let Destination { host, subset, port: _ } = written; // a port without its number is not read
    // Istio also takes wildcards such as `*-shop.test` here; no service has such a name.
    let name = host.strip_prefix('*').map_or(host.as_str(), |rest| rest.trim_start_matches(['-', '.']));
    let fault = match names::host(name) {
        _ if host.value == "*" => Some("\"*\" is not a destination".to_owned()),
        read => read.err(),
    };
    let is_host = fault.is_none();
    if let Some(message) = fault {
        sink.schema(host.pos, message);
    }
    let nameless = subset.as_ref().filter(|subset| !subset.is_empty() && !is_label(subset));
    if let Some(subset) = nameless {
        sink.schema(subset.pos, format!("{:?} is not the name of a subset", subset.value));
    }
    is_host && nameless.is_none()
}

/// Envoy ejects nobody where one endpoint is more than the percentage; Istio's default of 10 needs ten of them.
fn warn_of_no_ejections(
    destination: &Destination,
    endpoints: &[Endpoint],
    policy: &Policy,
    sink: &mut Sink<'_>,
) {
    let Some(outlier) = &policy.outlier else { return };
    let (percent, count) = (outlier.max_ejection_percent, endpoints.len());
    if count == 0 || usize::from(percent) * count >= 100 {
        return;
    }
    let Destination { host, subset, port: _ } = destination;
    let subset = subset.as_ref().map(|subset| format!(" subset {:?}", subset.value)).unwrap_or_default();
    let message = format!(
        "outlierDetection of {:?}{subset} ejects nobody: one of {count} is more than maxEjectionPercent {percent}",
        host.value
    );
    sink.add(Severity::Warning, Code::EJECTS_NOBODY, host.pos, message)
        .hints
        .push(format!("maxEjectionPercent: {} lets one go", 100_usize.div_ceil(count)));
}

fn refuse_none(destination: &Destination, entry: &Entry, sink: &mut Sink<'_>) {
    if let Some(origin) = &entry.needs_mesh {
        let what = "has resolution NONE, which only a sidecar can serve; write STATIC and endpoints";
        refuse(destination, origin, what, sink);
    }
}

/// What a route to one of Kubernetes' Services should know of it.
fn report_state(destination: &Destination, entry: &Entry, port: &Port, sink: &mut Sink<'_>) {
    let host = &destination.host;
    if port.grpc_web {
        let message =
            format!("port {} of {:?} speaks gRPC-Web, which is not supported yet", port.number, host.value);
        sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, host.pos, message);
    }
    if entry.lacks_slices {
        let message = format!("no EndpointSlice of {:?} is here, so nobody is known to answer", host.value);
        sink.add(Severity::Warning, Code::REFERENCED_RESOURCE_NOT_FOUND, host.pos, message).hints.push(
            format!("requests are answered 503 until there is one; the Service is at {}", entry.origin),
        );
    }
}

/// The names whose addresses are endpoints.
fn names(members: &[&Member]) -> Vec<Arc<str>> {
    let named = members.iter().filter_map(|member| match &member.address {
        Address::Name(name) => Some(name.clone()),
        Address::Ip(_) => None,
    });
    named.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The endpoints of a service's port, sorted, each address once, those without traffic left out.
fn endpoints(port: u16, members: &[&Member], policy: &Composed, here: &Surroundings) -> Vec<Endpoint> {
    let by_address: BTreeMap<_, _> = members
        .iter()
        .flat_map(|member| member.addresses(port, &here.addresses).map(|address| (address, *member)))
        .collect();
    let places: Vec<(&Locality, &Labels)> =
        by_address.values().map(|member| (&*member.locality, &*member.labels)).collect();
    let placements = policy.place(here, &places);
    let placed = by_address.into_iter().zip(placements).filter_map(|((address, member), placement)| {
        Some(Endpoint {
            address,
            weight: member.weight,
            locality: member.locality.clone(),
            placement: placement?,
            workload: member.workload.clone(),
            probe: member.probe.clone(),
        })
    });
    let mut endpoints: Vec<Endpoint> = placed.collect();
    endpoints.shrink_to_fit();
    endpoints
}
