//! Services with a policy → DestinationRules: one for each, for all of its ports or port by port.

use std::collections::BTreeMap;

use super::hosts::{Destination, Hosts};
use super::read::Source;
use super::treatment::{Policy, Treatment};
use super::yaml::{self, Value, list, map, number, text};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::wire::ObjectName;

impl Destination {
    /// The Service's whole name, which means the same in every namespace.
    pub(super) fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.service.name, self.service.namespace)
    }
}

/// Who asked for a port's policy, and what it is.
struct Asked<'t> {
    source: usize,
    policy: &'t Policy,
}

/// Writes the DestinationRules, in order of namespaces and names.
pub(super) fn write(
    hosts: &Hosts,
    sources: &[Source],
    treatments: &[Treatment],
    out: &mut Diagnostics,
) -> Vec<String> {
    let mut services: BTreeMap<&ObjectName, BTreeMap<Option<u16>, Asked<'_>>> = BTreeMap::new();
    let mut uses: Vec<(usize, &Destination)> = Vec::new();
    for location in hosts.values().flat_map(|host| &host.locations) {
        if treatments[location.source].redirect.is_some() {
            continue;
        }
        uses.push((location.source, &location.backend));
        // A canary is talked to as what it stands beside.
        uses.extend(location.canary.iter().map(|(_, _, backend)| (location.source, backend)));
    }
    uses.sort();
    uses.dedup();
    for (source, to) in uses {
        let policy = &treatments[source].policy;
        let ports = services.entry(&to.service).or_default();
        let first = ports.entry(to.port).or_insert(Asked { source, policy });
        if first.policy != policy {
            let other = sources[first.source].told(sources[first.source].pos);
            let port = to.port.map(|port| format!(" port {port}")).unwrap_or_default();
            let message =
                format!("Service {}{port} is talked to as Ingress {other} says, not as this one", to.service);
            let mut sink = sources[source].sink(out);
            sink.add(Severity::Error, Code::NOT_CARRIED_OVER, sources[source].pos, message)
                .hints
                .push("a DestinationRule is for a Service, whatever rule leads there: let the two agree on affinity, \
                       backend-protocol, load-balance and proxy-connect-timeout".into());
        }
    }
    let rules =
        services.into_iter().filter(|(_, ports)| ports.values().any(|asked| !asked.policy.is_default()));
    rules.map(|(service, ports)| rule(service, &ports, sources)).collect()
}

fn rule(service: &ObjectName, ports: &BTreeMap<Option<u16>, Asked<'_>>, sources: &[Source]) -> String {
    let mut told: Vec<String> = Vec::new();
    for asked in ports.values() {
        let line = format!("Of Ingress {}.", sources[asked.source].told(sources[asked.source].pos));
        if !told.contains(&line) {
            told.push(line);
        }
    }
    let first = ports.values().next().map(|asked| asked.policy);
    let alike = ports.values().all(|asked| Some(asked.policy) == first);
    let policy = match first.filter(|_| alike) {
        Some(policy) => Value::Map(policy.fields()),
        None => {
            let entry = |(port, asked): (&Option<u16>, &Asked<'_>)| {
                let mut fields =
                    vec![("port".to_owned(), map([("number", number(port.as_ref().copied()?))]))];
                fields.extend(asked.policy.fields());
                Some(Value::Map(fields)).filter(|_| !asked.policy.is_default())
            };
            map([("portLevelSettings", list(ports.iter().filter_map(entry)))])
        }
    };
    let host = format!("{}.{}.svc.cluster.local", service.name, service.namespace);
    let spec = map([("host", text(host)), ("trafficPolicy", policy)]);
    yaml::document("DestinationRule", &service.name, &service.namespace, &told, &spec)
}
