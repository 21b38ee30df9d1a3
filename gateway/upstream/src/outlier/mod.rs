//! Outlier detection: endpoints that fail again and again are left out for a while.
//!
//! Who is left out for what its probe says (`crate::health`) is published here as well, as one lock has to order all
//! that is published of a cluster.
//!
//! Sans-IO: the data plane tells how each try ended, and the process's clock sweeps. Failures are counted on the
//! endpoint without a lock; only who reaches a limit takes the cluster's lock, decides at once, and publishes who is
//! left. A cluster's detector outlives snapshots, and decides by the newest one's policy and endpoints, also for
//! requests that are still at work under an older one: else two revisions would eject twice what one may.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use trysail_routing::snapshot::policy::OutlierDetection;

use crate::balance::Balance;
use crate::endpoint::{EndpointState, Streak};

/// How a try ended. What the gateway answers itself, having asked nobody, is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// An answer of this status.
    Status(u16),
    /// gRPC's status, in the head of an answer to gRPC.
    Grpc(u32),
    /// No connection, or one that broke off before an answer.
    Failed,
    /// No answer in time.
    TimedOut,
}

/// What an endpoint was ejected for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// `consecutive5xxErrors`.
    Errors,
    /// `consecutiveGatewayErrors`.
    GatewayErrors,
    /// `consecutiveLocalOriginFailures`.
    LocalFailures,
}

impl Reason {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Errors => "5xx",
            Reason::GatewayErrors => "gateway errors",
            Reason::LocalFailures => "local origin failures",
        }
    }
}

/// An endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// For how long, at the least: it comes back with the first sweep after.
    pub time: Duration,
    /// For what.
    pub reason: Reason,
    /// For how many of it in a row.
    pub count: u32,
}

/// What ejects and takes back the endpoints of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Detector(Mutex<Ward>);

/// Whom a detector watches, and by what.
#[derive(Debug, Default)]
struct Ward {
    /// `None` where nobody is ejected any more.
    policy: Option<OutlierDetection>,
    addresses: Vec<SocketAddr>,
    /// In the order of the addresses.
    endpoints: Vec<Arc<EndpointState>>,
    balance: Option<Arc<Balance>>,
    swept: Option<Instant>,
}

impl Detector {
    /// Watches these from now on. Who is ejected stays so until the time is over, unless there is no policy.
    pub(crate) fn watch(
        &self,
        policy: Option<&OutlierDetection>,
        members: impl Iterator<Item = (SocketAddr, Arc<EndpointState>)>,
        balance: Arc<Balance>,
        now: Instant,
    ) {
        let mut ward = self.ward();
        let (addresses, endpoints) = members.unzip();
        let swept = ward.swept.or(Some(now));
        *ward = Ward { policy: policy.cloned(), addresses, endpoints, balance: Some(balance), swept };
        if policy.is_none() {
            ward.endpoints.iter().for_each(|endpoint| endpoint.set_ejected(None));
        }
        ward.publish();
    }

    /// Counts how a try on an endpoint ended, by the policy of the revision that tried; an ejection, if this led to
    /// one. The time is asked for only then.
    pub(crate) fn report(
        &self,
        policy: &OutlierDetection,
        endpoint: &Arc<EndpointState>,
        report: Report,
        now: impl FnOnce() -> Instant,
    ) -> Option<Ejection> {
        // What still comes from one that is out neither keeps it out nor brings it back.
        if endpoint.is_ejected() {
            return None;
        }
        let streaks = &endpoint.streaks;
        let reached = |streak: &Streak, limit: u32| streak.grow() >= limit && limit > 0;
        let reason = match (status(report, policy), policy.split_local) {
            (None, _) => reached(&streaks.local, policy.consecutive_local).then_some(Reason::LocalFailures),
            (Some(status @ 500..=599), split) => {
                if split {
                    streaks.local.end();
                }
                let gateway = match status {
                    502..=504 => reached(&streaks.gateway, policy.consecutive_gateway),
                    _ => {
                        streaks.gateway.end();
                        false
                    }
                };
                let error = reached(&streaks.errors, policy.consecutive_5xx);
                gateway.then_some(Reason::GatewayErrors).or(error.then_some(Reason::Errors))
            }
            (Some(_), _) => {
                streaks.end();
                None
            }
        };
        self.ward().eject(endpoint, reason?, now())
    }

    /// Takes back whom it is time for, once an interval; where they are. Who has been in for an interval is ejected
    /// for less the next time.
    pub(crate) fn sweep(&self, now: Instant) -> Vec<SocketAddr> {
        let mut ward = self.ward();
        let due =
            ward.policy.as_ref().zip(ward.swept).is_some_and(|(policy, swept)| {
                swept.checked_add(policy.interval).is_some_and(|due| due <= now)
            });
        if !due {
            return Vec::new();
        }
        ward.swept = Some(now);
        let mut back = Vec::new();
        for (address, endpoint) in ward.addresses.iter().zip(&ward.endpoints) {
            let until = endpoint.ejections().until;
            match until {
                Some(until) if until <= now => {
                    endpoint.set_ejected(None);
                    back.push(*address);
                }
                Some(_) => {}
                None => {
                    let mut ejections = endpoint.ejections();
                    ejections.multiplier = ejections.multiplier.saturating_sub(1);
                }
            }
        }
        if !back.is_empty() {
            ward.publish();
        }
        back
    }

    /// Publishes who is left, after what a probe said.
    pub(crate) fn publish(&self) {
        self.ward().publish();
    }

    /// Takes an endpoint back before its time, as its probe succeeds; whether it was ejected. Envoy's
    /// `successful_active_health_check_uneject_host`.
    pub(crate) fn take_back(&self, endpoint: &EndpointState) -> bool {
        let ward = self.ward();
        let was = endpoint.is_ejected();
        if was {
            endpoint.set_ejected(None);
            ward.publish();
        }
        was
    }

    fn ward(&self) -> MutexGuard<'_, Ward> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ward {
    fn eject(&self, endpoint: &Arc<EndpointState>, reason: Reason, now: Instant) -> Option<Ejection> {
        let policy = self.policy.as_ref()?;
        let (streak, count) = match reason {
            Reason::Errors => (&endpoint.streaks.errors, policy.consecutive_5xx),
            Reason::GatewayErrors => (&endpoint.streaks.gateway, policy.consecutive_gateway),
            Reason::LocalFailures => (&endpoint.streaks.local, policy.consecutive_local),
        };
        // Also where it may not be ejected the count begins anew.
        streak.end();
        if endpoint.is_ejected() || !self.endpoints.iter().any(|other| Arc::ptr_eq(other, endpoint)) {
            return None;
        }
        // As in Envoy, whom a probe leaves out counts for panic, and not for how many may be ejected.
        let out = self.endpoints.iter().filter(|endpoint| endpoint.is_ejected()).count();
        if 100 * (out + 1) > usize::from(policy.max_ejection_percent) * self.endpoints.len() {
            return None;
        }
        let (base, most) = (policy.base_ejection_time, policy.base_ejection_time.max(LONGEST));
        let multiplier = {
            let mut ejections = endpoint.ejections();
            if ejections.multiplier == 0 || base.saturating_mul(ejections.multiplier) < most {
                ejections.multiplier += 1;
            }
            ejections.last = Some((count, reason.as_str()));
            ejections.multiplier
        };
        let time = base.saturating_mul(multiplier).min(most);
        // A time beyond all times is the longest there is.
        let until = now.checked_add(time).or_else(|| now.checked_add(LONGEST))?;
        endpoint.set_ejected(Some(until));
        self.publish();
        Some(Ejection { time, reason, count })
    }

    fn publish(&self) {
        let panic_under = self.policy.as_ref().map_or(0, |policy| u32::from(policy.min_health_percent));
        if let Some(balance) = &self.balance {
            balance.refresh(&self.endpoints, panic_under);
        }
    }
}

/// The status that a report counts as; `None` where tries without an answer are counted by themselves.
fn status(report: Report, policy: &OutlierDetection) -> Option<u16> {
    match report {
        Report::Failed | Report::TimedOut if policy.split_local => None,
        Report::Failed => Some(503),
        Report::TimedOut => Some(504),
        Report::Grpc(code) => Some(status_of_grpc(code)),
        Report::Status(status) if policy.error_codes.is_empty() => Some(status),
        // Envoy knows of a matched code that it is an error, and not which: as little a gateway error as a 500.
        Report::Status(status) => Some(if policy.error_codes.contains(&status) { 500 } else { 200 }),
    }
}

/// Envoy `Grpc::Utility::grpcToHttpStatus`.
fn status_of_grpc(code: u32) -> u16 {
    match code {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// Envoy's `max_ejection_time`; a longer base is its own.
const LONGEST: Duration = Duration::from_secs(300);
