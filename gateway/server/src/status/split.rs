//! One split as status tells it: shares and errors with their intervals, times, verdicts.

use trysail_routing::snapshot;
use trysail_upstream::State;

use super::told::{Against, Estimate, Split, Target, Total};
use super::words::{self, time};
use crate::board::interval::{self, Interval};
use crate::board::verdict::{self, Share, Verdict};
use crate::board::{Board, Tally, Totals, quantile};
use crate::proxy::Active;
use crate::render;

/// A split with its counts since its weights are in force. `None` where it was not bound, which does not happen.
pub(super) fn tell(
    active: &Active,
    board: &Board,
    split: &snapshot::Split,
    (hosts, matches): (Vec<String>, Vec<String>),
) -> Option<Split> {
    let period = active.board.period(split.id)?;
    // What ended before what was given, so that there is never more of it.
    let (tallies, assigned) = (period.tallies(), period.assigned());
    let totals = board.totals(split.key);
    let counts = Counts {
        all: tallies.iter().map(|tally| tally.requests).sum(),
        given: assigned.iter().sum(),
        weights: split.targets.iter().map(|target| u64::from(target.weight)).sum(),
        effective: active.upstreams.ticket(split.id).effective(),
    };
    let target = |(at, target): (usize, &snapshot::Target)| {
        let tally = tallies.get(at)?;
        let total = totals.get(at).cloned().unwrap_or_default();
        Some(counts.target(active, split, (at, target), tally, assigned.get(at).copied()?, &total))
    };
    let targets: Vec<Target> = split.targets.iter().enumerate().filter_map(target).collect();
    let against = against(&targets, &tallies);
    Some(Split {
        id: super::cards::id(split.key),
        route: split.name.to_string(),
        place: split.origin.to_string(),
        hosts,
        matches,
        since: time(period.since),
        for_seconds: period.since.elapsed().unwrap_or_default().as_secs_f64(),
        requests: counts.all,
        assigned: counts.given,
        targets,
        against,
    })
}

/// What a split's targets have in common.
struct Counts<'a> {
    all: u64,
    given: u64,
    weights: u64,
    effective: &'a [u32],
}

impl Counts<'_> {
    fn target(
        &self,
        active: &Active,
        split: &snapshot::Split,
        (at, target): (usize, &snapshot::Target),
        tally: &Tally,
        assigned: u64,
        total: &Totals,
    ) -> Target {
        let key = &active.snapshot.cluster(target.cluster).key;
        let slots: u64 = self.effective.iter().copied().map(u64::from).sum();
        let part = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let is_held = (active.upstreams.held().iter())
            .any(|held| held.split == split.id && held.cluster == target.cluster);
        let own = self.effective.get(at).copied().unwrap_or(0);
        // Where nobody is ready all go by what is written, to be answered 503.
        let due = part(own.into(), slots);
        let open = self.given.saturating_sub(self.all);
        let verdict = match is_held {
            true => Verdict::Held,
            false => verdict::judge(Share { due, own: tally.requests, all: self.all, open }),
        };
        Target {
            name: words::target(&active.snapshot, split, target),
            host: key.host.to_string(),
            subset: key.subset.to_string(),
            port: key.port,
            place: target.origin.to_string(),
            weight: target.weight,
            configured: percent(part(target.weight.into(), self.weights)),
            effective: percent(due),
            assigned,
            requests: tally.requests,
            observed: share(tally.requests, self.all),
            errors: tally.errors,
            error_rate: share(tally.errors, tally.requests),
            p50: tally.times.quantile(0.5).map(rounded),
            p99: tally.times.quantile(0.99).map(rounded),
            verdict: verdict.as_str().to_owned(),
            enough: verdict::enough(due),
            states: states(active, target, is_held),
            total: Total { assigned: total.assigned, requests: total.requests, errors: total.errors },
        }
    }
}

/// Each other target against the one with the greatest share, the first of several alike. Those that get nothing are
/// held against nobody.
fn against(targets: &[Target], tallies: &[Tally]) -> Vec<Against> {
    let all = || targets.iter().zip(tallies);
    let greatest = all().reduce(|best, one| if one.0.effective > best.0.effective { one } else { best });
    let Some((baseline, beside)) = greatest else { return Vec::new() };
    let others = all().filter(|(target, _)| !std::ptr::eq(*target, baseline));
    let with_requests = others.filter(|(target, tally)| tally.requests > 0 || target.effective > 0.0);
    let against = with_requests.map(|(target, tally)| Against {
        target: target.name.clone(),
        baseline: baseline.name.clone(),
        errors: interval::difference((tally.errors, tally.requests), (beside.errors, beside.requests))
            .map(|(value, interval)| estimate(value, interval, percent)),
        p50: times(tally, beside, 0.5),
        p99: times(tally, beside, 0.99),
    });
    against.collect()
}

fn times(one: &Tally, other: &Tally, q: f64) -> Option<Estimate> {
    let (value, interval) = quantile::difference(&one.times, &other.times, q)?;
    Some(estimate(value, interval, rounded))
}

fn estimate(value: f64, Interval { low, high }: Interval, unit: fn(f64) -> f64) -> Estimate {
    Estimate { value: unit(value), low: unit(low), high: unit(high) }
}

/// A share in percent, with its interval.
pub(super) fn share(own: u64, all: u64) -> Option<Estimate> {
    let interval = interval::wilson(own, all)?;
    Some(estimate(own as f64 / all as f64, interval, percent))
}

/// In percent, to four places: what is behind them is nobody's business, and fills the line.
fn percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

/// Milliseconds, to a microsecond.
pub(super) fn rounded(millis: f64) -> f64 {
    (millis * 1e3).round() / 1e3
}

/// What is to be known of a target beside its numbers.
fn states(active: &Active, target: &snapshot::Target, is_held: bool) -> Vec<String> {
    let (cluster, state) =
        (active.snapshot.cluster(target.cluster), active.upstreams.cluster(target.cluster));
    let mut states = Vec::new();
    if is_held {
        states.push("held".to_owned());
    }
    if cluster.service.is_none() {
        states.push("does not exist".to_owned());
    } else if state.endpoints.is_empty() {
        states.push("no endpoint".to_owned());
    }
    let all = state.endpoints.len();
    for out in State::ALL.into_iter().filter(|state| *state != State::Healthy) {
        let count = state.endpoints.iter().filter(|endpoint| endpoint.state() == out).count();
        if count > 0 {
            states.push(format!(
                "{} of {} {}",
                render::thousands(count as u64),
                render::thousands(all as u64),
                out.as_str()
            ));
        }
    }
    states
}
