//! DestinationRules → subsets, and which rule is for a host.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Surroundings;
use super::objects::{Objects, Of};
use super::registry::{Labels, Registry, labels};
use super::support::{check_export_to, fields, unsupported};
use crate::diagnostic::{Code, Diagnostics, Severity};
use crate::host::{self, HostPattern};
use crate::nearest::nearest;
use crate::origin::Origin;
use crate::wire::destination_rule::{
    ClientTlsMode, DestinationRule, LoadBalancer, SimpleLoadBalancer, Subset, TrafficPolicy,
};
use crate::wire::sink::Sink;
use crate::wire::{Document, ObjectName};

/// Every DestinationRule, by namespace.
pub(super) struct Rules {
    by_namespace: BTreeMap<Arc<str>, BTreeMap<HostPattern, Rule>>,
    /// The namespaces whose rules come before and after those of a service's own.
    own: Arc<str>,
    root: Arc<str>,
}

/// The rules of one namespace for one host pattern, merged.
pub(super) struct Rule {
    pattern: HostPattern,
    pub(super) name: ObjectName,
    pub(super) origin: Origin,
    pub(super) subsets: Vec<RuleSubset>,
    /// The objects that it is made from.
    pub(super) titles: Vec<String>,
    /// Where it asks for what only a mesh can give.
    pub(super) needs_mesh: Option<Origin>,
}

/// A subset's name and what it selects.
pub(super) struct RuleSubset {
    pub(super) name: Arc<str>,
    pub(super) labels: Labels,
    /// Where it is defined.
    pub(super) origin: Origin,
}

impl Rules {
    pub(super) fn build(
        objects: &Objects<'_>,
        registry: &Registry,
        surroundings: &Surroundings,
        out: &mut Diagnostics,
    ) -> Self {
        let mut rules = Rules {
            by_namespace: BTreeMap::new(),
            own: surroundings.namespace.as_str().into(),
            root: surroundings.root_namespace.as_str().into(),
        };
        for &rule in &objects.destination_rules {
            rules.add(rule, registry, out);
        }
        rules
    }

    /// The rule for a service. Istio looks in the gateway's namespace, then the service's, then the root's; the
    /// first that has one wins, and inside it the exact host, else the longest wildcard.
    pub(super) fn find(&self, host: &str, namespace: &str) -> Option<&Rule> {
        let exact = HostPattern::parse(host).ok()?;
        let suffixes = host.match_indices('.').map(|(dot, _)| HostPattern::Suffix(host[dot..].into()));
        let patterns: Vec<HostPattern> =
            [exact].into_iter().chain(suffixes).chain([HostPattern::Any]).collect();
        let places = [&*self.own, namespace, &*self.root];
        places.iter().find_map(|place| {
            let rules = self.by_namespace.get(*place)?;
            patterns.iter().find_map(|pattern| rules.get(pattern))
        })
    }

    fn add(&mut self, (document, rule): Of<'_, DestinationRule>, registry: &Registry, out: &mut Diagnostics) {
        let title = document.object.title();
        let sink = &mut document.sink(&title, out);
        let DestinationRule { host, traffic_policy, subsets, export_to, workload_selector } = rule;
        unsupported(Severity::Error, fields![workload_selector = "workloadSelector"], sink);
        check_export_to(export_to, sink);
        let name = &document.object.name;
        let complete = host::complete(host, &name.namespace);
        let pattern = match HostPattern::parse(&complete) {
            Ok(pattern) => pattern,
            Err(message) => {
                sink.schema(host.pos, message);
                return;
            }
        };
        let covered = |known: &str| HostPattern::parse(known).is_ok_and(|known| pattern.covers(&known));
        if !registry.has(&complete)
            && (matches!(pattern, HostPattern::Exact(_)) || !registry.hosts().any(covered))
        {
            let finding = sink.add(
                Severity::Warning,
                Code::UNKNOWN_DESTINATION_RULE_HOST,
                host.pos,
                format!("there is no host {complete:?}"),
            );
            finding
                .hints
                .extend(nearest(&complete, registry.hosts()).map(|near| format!("the nearest is {near:?}")));
        }
        let mut needs_mesh = traffic_policy.as_ref().and_then(|policy| check_policy(document, policy, sink));
        let mut read: Vec<RuleSubset> = Vec::new();
        for subset in subsets {
            let Subset { name, labels: wanted, traffic_policy } = &subset.value;
            needs_mesh = needs_mesh
                .or(traffic_policy.as_ref().and_then(|policy| check_policy(document, policy, sink)));
            if read.iter().any(|other| *other.name == *name.value) {
                sink.schema(name.pos, format!("subset {:?} is there twice", name.value));
                continue;
            }
            let origin = document.origin(name.pos);
            read.push(RuleSubset { name: name.as_str().into(), labels: labels(wanted.iter()), origin });
        }
        self.join(Rule {
            pattern,
            name: name.clone(),
            origin: document.named_at(),
            subsets: read,
            titles: vec![title.clone()],
            needs_mesh,
        });
    }

    /// Several rules of one namespace for the same host: subsets are united, the first definition of a name wins.
    fn join(&mut self, rule: Rule) {
        let rules = self.by_namespace.entry(rule.name.namespace.clone()).or_default();
        match rules.get_mut(&rule.pattern) {
            None => {
                rules.insert(rule.pattern.clone(), rule);
            }
            Some(other) => {
                let new = rule
                    .subsets
                    .into_iter()
                    .filter(|subset| other.subsets.iter().all(|o| o.name != subset.name));
                let new: Vec<RuleSubset> = new.collect();
                other.subsets.extend(new);
                other.titles.extend(rule.titles);
                other.needs_mesh = other.needs_mesh.take().or(rule.needs_mesh);
            }
        }
    }
}

/// Reports what of a policy is not executed; gives the place where it asks for mutual TLS by the mesh.
fn check_policy(document: &Document, policy: &TrafficPolicy, sink: &mut Sink<'_>) -> Option<Origin> {
    let TrafficPolicy {
        load_balancer,
        connection_pool,
        outlier_detection,
        tls,
        port_level_settings,
        tunnel,
        proxy_protocol,
        retry_budget,
    } = policy;
    unsupported(
        Severity::Error,
        fields![
            connection_pool = "connectionPool",
            outlier_detection = "outlierDetection",
            port_level_settings = "portLevelSettings",
            tunnel,
            proxy_protocol = "proxyProtocol",
            retry_budget = "retryBudget",
        ],
        sink,
    );
    if let Some(load_balancer) = load_balancer {
        check_load_balancer(load_balancer, sink);
    }
    let mode = &tls.as_ref()?.mode;
    match mode.as_ref().map_or(ClientTlsMode::Disable, |mode| mode.value) {
        ClientTlsMode::Disable => None,
        ClientTlsMode::IstioMutual => Some(document.origin(mode.as_ref()?.pos)),
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {
            unsupported(Severity::Error, fields![tls], sink);
            None
        }
    }
}

/// LEAST_REQUEST, Istio's default, is what is executed.
fn check_load_balancer(written: &LoadBalancer, sink: &mut Sink<'_>) {
    let LoadBalancer {
        simple,
        consistent_hash,
        locality_lb_setting,
        zone_aware_lb_setting,
        warmup,
        warmup_duration_secs,
        backend_utilization,
    } = written;
    unsupported(
        Severity::Error,
        fields![
            consistent_hash = "consistentHash",
            locality_lb_setting = "localityLbSetting",
            zone_aware_lb_setting = "zoneAwareLbSetting",
            warmup,
            warmup_duration_secs = "warmupDurationSecs",
            backend_utilization = "backendUtilization",
        ],
        sink,
    );
    use SimpleLoadBalancer::{LeastConn, LeastRequest, Passthrough, Random, RoundRobin, Unspecified};
    match simple.as_ref().map_or(LeastRequest, |simple| simple.value) {
        Unspecified | LeastConn | LeastRequest => {}
        RoundRobin | Random | Passthrough => unsupported(Severity::Error, fields![simple], sink),
    }
}
