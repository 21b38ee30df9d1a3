//! DestinationRules → subsets and policies, and which rule is for a host.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Surroundings;
use super::export::{Export, Exported};
use super::names::{check_labels, domain, is_label, never_completed};
use super::objects::{Objects, Of};
use super::policy::{self, Level, LevelOf, Reading};
use super::registry::{Labels, Registry, labels, selects};
use super::support::Written;
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::host::{self, HostPattern};
use crate::nearest::nearest;
use crate::origin::{At, Origin};
use crate::wire::ObjectName;
use crate::wire::destination_rule::{DestinationRule, Subset, WorkloadLabels};
use crate::wire::sink::Sink;

/// Every DestinationRule, by namespace.
pub(super) struct Rules {
    by_namespace: BTreeMap<Arc<str>, ByHost>,
    /// The gateway's namespace and labels, and the root namespace.
    own: Arc<str>,
    labels: Labels,
    root: Arc<str>,
}

/// One namespace's rules by host; for one host several where they are not for the same clients.
type ByHost = BTreeMap<HostPattern, Box<[Rule]>>;

/// The rules of one namespace for one host pattern and the same clients, merged.
pub(super) struct Rule {
    pattern: HostPattern,
    pub(super) name: ObjectName,
    pub(super) origin: Origin,
    pub(super) subsets: Box<[RuleSubset]>,
    /// The host's own policy.
    pub(super) policy: Option<Level>,
    /// The objects that it is made from.
    pub(super) titles: Vec<String>,
    export: Export,
    /// The workloads that it is for, where it is not for all.
    workloads: Option<Labels>,
}

/// A subset's name, what it selects, and its policy.
pub(super) struct RuleSubset {
    /// Where it is defined.
    pub(super) origin: Origin,
    pub(super) name: Arc<str>,
    pub(super) labels: Labels,
    pub(super) policy: Option<Level>,
}

impl Rules {
    pub(super) fn build(
        objects: &Objects<'_>,
        registry: &Registry,
        surroundings: &Surroundings,
        out: &mut Diagnostics,
    ) -> Self {
        let own_labels = surroundings.labels.iter();
        let mut rules = Rules {
            by_namespace: BTreeMap::new(),
            own: surroundings.namespace.as_str().into(),
            labels: own_labels.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
            root: surroundings.root_namespace.as_str().into(),
        };
        for &rule in &objects.destination_rules {
            rules.add(rule, registry, surroundings, out);
        }
        rules
    }

    /// The rule for a service. Istio looks in the gateway's namespace, then the service's, then the root's; the
    /// first that has one wins, and inside it the exact host, else the longest wildcard. In the gateway's own
    /// namespace, what that namespace does not see is not there; in the others the host is picked first, so a
    /// rule for exactly this host that is exported elsewhere hides a wildcard that is exported here.
    pub(super) fn find(&self, host: &str, namespace: &str) -> Option<&Rule> {
        let patterns = patterns(host)?;
        let mut found = self.nearest(&self.own, &patterns, |rule| match self.own == self.root {
            false => rule.export.admits(&self.own),
            // The root's rules are everyone's, so they come last, but for those that are for the root alone.
            true => rule.export.is_private(&self.own),
        });
        for place in [namespace, &*self.root] {
            if found.is_empty() {
                found = self.nearest(place, &patterns, |rule| !rule.export.is_private(place));
                found.retain(|rule| rule.export.admits(&self.own));
            }
        }
        self.chosen(&found)
    }

    /// Those of a namespace's rules for the nearest of some patterns that count there.
    fn nearest(&self, place: &str, patterns: &[HostPattern], counts: impl Fn(&Rule) -> bool) -> Vec<&Rule> {
        let Some(rules) = self.by_namespace.get(place) else { return Vec::new() };
        let of = |pattern| rules.get(pattern).into_iter().flatten().filter(|rule| counts(rule)).collect();
        patterns.iter().map(of).find(|rules: &Vec<&Rule>| !rules.is_empty()).unwrap_or_default()
    }

    /// The first for workloads like ours, else the first for all. Only the gateway's own namespace can single
    /// out its workloads.
    fn chosen<'r>(&self, rules: &[&'r Rule]) -> Option<&'r Rule> {
        let mut for_all = None;
        for &rule in rules {
            match &rule.workloads {
                Some(wanted) if rule.name.namespace == self.own && selects(wanted, &self.labels) => {
                    return Some(rule);
                }
                Some(_) => {}
                None => for_all = for_all.or(Some(rule)),
            }
        }
        for_all
    }

    fn add(
        &mut self,
        (document, rule): Of<'_, DestinationRule>,
        registry: &Registry,
        here: &Surroundings,
        out: &mut Diagnostics,
    ) {
        let title = document.object.title();
        let sink = &mut document.sink(&title, out);
        let DestinationRule { host, traffic_policy, subsets, export_to, workload_selector } = rule;
        let name = &document.object.name;
        let reading = Reading { document, here };
        let workloads = workload_selector.as_ref().map(|selector| read_workloads(selector, sink));
        let exported = if workloads.is_some() { Exported::ForWorkloads } else { Exported::Object };
        let export = Export::read(export_to, &name.namespace, exported, sink);
        let policy = traffic_policy.as_ref().map(|policy| policy::read(reading, policy, LevelOf::Host, sink));
        let mut read: Vec<RuleSubset> = Vec::new();
        for subset in subsets {
            let Subset { name, labels: wanted, traffic_policy } = &subset.value;
            let policy =
                traffic_policy.as_ref().map(|policy| policy::read(reading, policy, LevelOf::Subset, sink));
            if !is_label(name) {
                sink.schema(name.pos, format!("{:?} is not a subset's name", name.value))
                    .hints
                    .push("a name has letters, digits and \"-\", at most 63 of them".into());
                continue;
            }
            if read.iter().any(|other| *other.name == *name.value) {
                sink.schema(name.pos, format!("subset {:?} is there twice", name.value));
                continue;
            }
            check_labels(wanted, sink);
            read.push(RuleSubset {
                name: name.as_str().into(),
                labels: labels(wanted.iter()),
                policy,
                origin: document.origin(subset.value.name.pos),
            });
        }
        let complete = host::complete(host, &name.namespace);
        let pattern = match HostPattern::parse(&complete) {
            Ok(pattern) => pattern,
            Err(message) => {
                // What Istio takes as well is what this gateway can't do.
                let code =
                    if domain(host).is_ok() { Code::UNSUPPORTED_FIELD } else { Code::SCHEMA_VALIDATION };
                sink.add(Severity::Error, code, host.pos, message);
                return;
            }
        };
        match domain(host) {
            Ok(()) => report_unknown(host, &complete, &pattern, registry, sink),
            Err(message) => {
                sink.schema(host.pos, message);
            }
        }
        self.join(Rule {
            pattern,
            name: name.clone(),
            origin: document.named_at(),
            subsets: read.into(),
            policy,
            titles: vec![title.clone()],
            export,
            workloads,
        });
    }

    /// Several rules of one namespace for the same host and the same clients: subsets are united, the first
    /// definition of a name wins, and so does the first policy.
    fn join(&mut self, rule: Rule) {
        let rules = self.by_namespace.entry(rule.name.namespace.clone()).or_default();
        let rules = rules.entry(rule.pattern.clone()).or_default();
        let same = |other: &&mut Rule| other.export == rule.export && other.workloads == rule.workloads;
        match rules.iter_mut().find(same) {
            None => *rules = std::mem::take(rules).into_iter().chain([rule]).collect(),
            Some(other) => {
                let new = rule
                    .subsets
                    .into_iter()
                    .filter(|subset| other.subsets.iter().all(|o| o.name != subset.name));
                let new: Vec<RuleSubset> = new.collect();
                other.subsets = std::mem::take(&mut other.subsets).into_iter().chain(new).collect();
                other.titles.extend(rule.titles);
                other.policy = other.policy.take().or(rule.policy);
            }
        }
    }
}

/// The patterns that may be for a host, the nearest first.
fn patterns(host: &str) -> Option<Vec<HostPattern>> {
    let exact = HostPattern::parse(host).ok()?;
    let suffixes = host.match_indices('.').map(|(dot, _)| HostPattern::Suffix(host[dot..].into()));
    Some([exact].into_iter().chain(suffixes).chain([HostPattern::Any]).collect())
}

/// Reads `workloadSelector` (Istio `validateWorkloadSelector`).
fn read_workloads(written: &At<WorkloadLabels>, sink: &mut Sink<'_>) -> Labels {
    let WorkloadLabels { match_labels } = &written.value;
    if match_labels.is_empty() {
        let message = "a workloadSelector without labels is for every workload of the namespace".to_owned();
        sink.add(Severity::Warning, Code::SCHEMA_WARNING, written.key().unwrap_or(written.pos), message);
    }
    for (key, value) in match_labels {
        if key.is_empty() {
            sink.schema(key.pos, "a label needs a name".into());
        }
        if key.contains('*') || value.contains('*') {
            sink.schema(key.pos, "a workloadSelector has no wildcards".into());
        }
        if value.len() > 63 {
            sink.schema(value.pos, "a label's value has at most 63 characters".into());
        }
    }
    labels(match_labels.iter())
}

fn report_unknown(
    host: &At<String>,
    complete: &str,
    pattern: &HostPattern,
    registry: &Registry,
    sink: &mut Sink<'_>,
) {
    let covered = |known: &str| HostPattern::parse(known).is_ok_and(|known| pattern.covers(&known));
    let exact = matches!(pattern, HostPattern::Exact(_));
    if registry.has(complete) || (!exact && registry.hosts().any(covered)) {
        return;
    }
    let message = format!("there is no host {complete:?}");
    let near = || nearest(complete, registry.hosts()).map(|near| format!("the nearest is {near:?}"));
    sink.add(Severity::Warning, Code::UNKNOWN_DESTINATION_RULE_HOST, host.pos, message)
        .hints
        .extend(registry.longer(complete).map(never_completed).or_else(near));
}
