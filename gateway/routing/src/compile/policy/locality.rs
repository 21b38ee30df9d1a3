//! `localityLbSetting`: which endpoints stand behind others, and how localities share.
//!
//! Istio computes all of it from configuration alone (`loadbalancer.ApplyLocalityLoadBalancer`), so it is done
//! here; what of a priority is healthy, and spills over, is known at run time only.

use std::collections::{BTreeMap, BTreeSet};

use super::super::values::{warn, within};
use crate::compile::registry::Labels;
use crate::compile::{Surroundings, support::Written};
use crate::origin::{At, Pos};
use crate::snapshot::{Locality, Placement};
use crate::wire::destination_rule::{Distribute, Failover, LocalitySetting};
use crate::wire::sink::Sink;

/// How endpoints are spread over localities.
#[derive(Clone)]
pub(super) struct Spread {
    enabled: bool,
    /// From a locality, to localities with their weights.
    distribute: Vec<(String, Vec<(String, u32)>)>,
    /// From a region, to a region.
    failover: Vec<(String, String)>,
    /// Labels in order; some with the value that is compared in place of the gateway's.
    failover_priority: Vec<(String, Option<String>)>,
}

/// The mesh's default: on, by distance.
impl Default for Spread {
    fn default() -> Self {
        Spread { enabled: true, distribute: Vec::new(), failover: Vec::new(), failover_priority: Vec::new() }
    }
}

const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";

/// Reads and validates the setting (Istio `ValidateLocalityLbSetting`).
pub(super) fn read(
    written: &At<LocalitySetting>,
    here: &Surroundings,
    failover_works: bool,
    sink: &mut Sink<'_>,
) -> Spread {
    let LocalitySetting { enabled, distribute, failover, failover_priority } = &written.value;
    if let ([_, ..], Some(pos)) = (&**distribute, failover.key()) {
        sink.schema(pos, "\"distribute\" and \"failover\" exclude each other".into());
    }
    if let Some(label) =
        failover_priority.iter().find(|label| [REGION, ZONE, SUBZONE].contains(&label.as_str()))
        && !failover.is_empty()
    {
        let message =
            format!("\"failover\" and {:?} in \"failoverPriority\" exclude each other", label.value);
        sink.schema(label.pos, message);
    }
    let mut from: Vec<(&str, Pos)> = Vec::new();
    let mut shares = Vec::new();
    for distribute in distribute {
        let Distribute { from: source, to } = &distribute.value;
        let name = source.as_ref().map_or("", |source| source.as_str());
        from.push((name, source.as_ref().map_or(distribute.pos, |source| source.pos)));
        let targets: Vec<(&str, Pos)> = to.iter().map(|(name, _)| (name.as_str(), name.pos)).collect();
        check_localities(&targets, sink);
        let weights: Vec<(String, u32)> = to
            .iter()
            .filter_map(|(name, weight)| {
                let read = within(Some(weight), 1, 100, sink)?;
                Some((name.value.clone(), read))
            })
            .collect();
        let sum: u32 = weights.iter().map(|(_, weight)| weight).sum();
        if weights.len() == to.len() && sum != 100 {
            let pos = to.first().map_or(distribute.pos, |(name, _)| name.pos);
            sink.schema(pos, format!("the weights of \"to\" are {sum} together, not 100"));
        }
        shares.push((name.to_owned(), weights));
    }
    check_localities(&from, sink);
    let needs_outlier = failover.key().or(failover_priority.key());
    if let (Some(pos), false) = (needs_outlier, failover_works) {
        warn("fail-over needs outlierDetection beside it, and is off without", pos, sink);
    }
    if let (Some(pos), true) = (distribute.key().or(failover.key()), here.locality.is_empty()) {
        warn(
            "it is not known where this gateway runs, so no locality is its own: see the setting \"locality\"",
            pos,
            sink,
        );
    }
    Spread {
        enabled: enabled.as_ref().is_none_or(|enabled| enabled.value),
        distribute: shares,
        failover: failover.iter().map(|failover| region_pair(failover, sink)).collect(),
        failover_priority: failover_priority
            .iter()
            .map(|label| match label.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (label.value.clone(), None),
            })
            .collect(),
    }
}

fn region_pair(written: &At<Failover>, sink: &mut Sink<'_>) -> (String, String) {
    let Failover { from, to } = &written.value;
    let mut text = |region: &Option<At<String>>| {
        let region = region.as_ref();
        if let Some(region) = region.filter(|region| region.contains(['/', '*'])) {
            sink.schema(
                region.pos,
                format!("fail-over is between regions, and {:?} is not one", region.value),
            );
        }
        region.map_or_else(String::new, |region| region.value.clone())
    };
    let (from, to) = (text(from), text(to));
    if from == to {
        sink.schema(written.pos, format!("fail-over from {from:?} to itself"));
    }
    (from, to)
}

/// Istio `validateLocalities`: no empty parts, `*` at the end only, and none that overlaps with one before it. As
/// there, `region/*` after a zone of the region is taken, and `region` is not.
fn check_localities(localities: &[(&str, Pos)], sink: &mut Sink<'_>) {
    let mut before: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for &(locality, pos) in localities {
        let parts: Vec<&str> = locality.splitn(3, '/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            sink.schema(pos, format!("locality {locality:?} has an empty region, zone or sub-zone"));
            continue;
        }
        let stars = locality.matches('*').count();
        if stars > 1 || (stars == 1 && !locality.ends_with('*')) {
            sink.schema(pos, format!("locality {locality:?} has a \"*\" that is not at its end"));
            continue;
        }
        let Some((region, inside)) = parts.split_first() else { continue };
        let (all, known) = (before.contains_key("*"), before.contains_key(region));
        let zones = before.entry(region).or_default();
        let free = match *inside {
            [] => !known && zones.entry("*").or_default().insert("*"),
            [zone] => {
                !zones.contains_key("*")
                    && !zones.contains_key(zone)
                    && zones.entry(zone).or_default().insert("*")
            }
            [zone, subzone, ..] => {
                !zones.contains_key("*") && {
                    let subzones = zones.entry(zone).or_default();
                    !subzones.contains("*") && subzones.insert(subzone)
                }
            }
        };
        if all || !free {
            sink.schema(pos, format!("locality {locality:?} overlaps with one before it"));
        }
    }
}

impl Spread {
    /// Where each endpoint stands, in the order of `members`; `None` for one that gets no traffic. `failover` is
    /// whether the policy has outlier detection.
    pub(super) fn place(
        &self,
        failover: bool,
        here: &Surroundings,
        members: &[(&Locality, &Labels)],
    ) -> Vec<Option<Placement>> {
        if self.enabled && !self.distribute.is_empty() {
            let rule = self.distribute.iter().find(|(from, _)| here.locality.is_covered_by(from));
            return match rule {
                Some((_, to)) => members.iter().map(|(locality, _)| share(to, locality)).collect(),
                None => vec![Some(Placement::default()); members.len()],
            };
        }
        if !self.enabled || !failover {
            return vec![Some(Placement::default()); members.len()];
        }
        let raw: Vec<u32> =
            members.iter().map(|(locality, labels)| self.priority(here, locality, labels)).collect();
        // Priorities have no gaps.
        let dense: BTreeMap<u32, u32> =
            raw.iter().copied().collect::<BTreeSet<_>>().into_iter().zip(0..).collect();
        let placed = raw.iter().map(|raw| dense.get(raw).copied().unwrap_or_default());
        placed.map(|priority| Some(Placement { priority, ..Placement::default() })).collect()
    }

    /// An endpoint's priority before gaps are closed.
    fn priority(&self, here: &Surroundings, locality: &Locality, labels: &Labels) -> u32 {
        let by_label = self.failover_priority.iter().position(|(key, value)| {
            let own = here.labels.get(key).map(String::as_str).or_else(|| topology(&here.locality, key));
            let wanted = value.as_deref().or(own).unwrap_or_default();
            let there = labels.get(key.as_str()).map(|there| &**there).or_else(|| topology(locality, key));
            there.unwrap_or_default() != wanted
        });
        let count = self.failover_priority.len();
        let by_label = by_label.map_or(0, |first| (count - first) as u32);
        if count > 0 && self.failover.is_empty() {
            return by_label;
        }
        let to = self.failover.iter().find(|(from, _)| **from == *here.locality.region).map(|(_, to)| to);
        let by_distance = match (here.locality.distance(locality), to) {
            (3, Some(to)) if **to != *locality.region => 4,
            (distance, _) => distance,
        };
        // At most five priorities come from the distance.
        by_label * 5 + by_distance
    }
}

/// The group of the first locality of `to` that covers an endpoint's.
fn share(to: &[(String, u32)], locality: &Locality) -> Option<Placement> {
    let group = to.iter().position(|(name, _)| locality.is_covered_by(name))?;
    Some(Placement { priority: 0, group: group as u32, group_weight: to.get(group)?.1 })
}

/// The part of a locality that Kubernetes has a label for.
fn topology<'l>(locality: &'l Locality, key: &str) -> Option<&'l str> {
    let part = match key {
        REGION => &locality.region,
        ZONE => &locality.zone,
        SUBZONE => &locality.subzone,
        _ => return None,
    };
    (!part.is_empty()).then_some(part)
}
