//! Who of several gateways writes: the one that holds a Lease, until it lets it run out.
//!
//! As Kubernetes' own controllers do it: a Lease counts as held for as long as its holder renews it, by the clock of whoever
//! looks on, since clocks differ. Nothing that serves depends on it.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use jiff::Timestamp;
use log::{info, warn};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::api::Api;
use crate::question::{Fault, Place};

/// How long a Lease is good for without being renewed.
const LASTS: Duration = Duration::from_secs(15);

/// How often it is renewed, or looked at.
const LOOK: Duration = Duration::from_secs(3);

/// Takes part in the election.
pub(crate) struct Candidate {
    pub(crate) api: Api,
    pub(crate) namespace: String,
    pub(crate) lease: String,
    /// Who this is; nobody else is called so.
    pub(crate) identity: String,
    pub(crate) leads: Arc<watch::Sender<bool>>,
}

/// Somebody else's Lease, since when it was seen like this.
struct Seen {
    version: String,
    since: Instant,
}

impl Candidate {
    /// Takes part until the task is dropped.
    pub(crate) async fn run(self) {
        let (mut seen, mut until): (Option<Seen>, Option<Instant>) = (None, None);
        let mut said: Option<Fault> = None;
        loop {
            match self.look(&mut seen).await {
                Ok(true) => (until, said) = (Some(Instant::now() + LASTS * 2 / 3), None),
                Ok(false) => (until, said) = (None, None),
                // Who can not renew leads no longer than the others wait.
                Err(fault) => {
                    if said.as_ref() != Some(&fault) && matches!(fault, Fault::Forbidden(_)) {
                        warn!(
                            "findings are not written to the objects' status: the Lease {}/{} can't be had: {fault}; give \
                             the service account get, create and update on leases.coordination.k8s.io there",
                            self.namespace, self.lease
                        );
                    }
                    said = Some(fault);
                }
            }
            let leads = until.is_some_and(|until| Instant::now() < until);
            if self.leads.send_if_modified(|led| std::mem::replace(led, leads) != leads) && leads {
                info!(
                    "this gateway writes findings to the objects' status (Lease {}/{})",
                    self.namespace, self.lease
                );
            }
            sleep(LOOK.mul_f64(0.8 + 0.4 * fastrand::f64())).await;
        }
    }

    /// Looks at the Lease once, and takes or renews it where that is right; whether this leads.
    async fn look(&self, seen: &mut Option<Seen>) -> Result<bool, Fault> {
        let all = Place {
            group: "coordination.k8s.io",
            version: "v1",
            namespace: Some(&self.namespace),
            plural: "leases",
        }
        .path();
        let one = format!("{all}/{}", self.lease);
        let lease = match self.api.ask(Request::get(&one), None).await {
            Ok(lease) => lease,
            Err(Fault::Absent) => return self.write(Request::post(all), self.taken(None)).await,
            Err(fault) => return Err(fault),
        };
        let version = lease["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if is_free(&lease, &self.identity, version, seen, Instant::now()) {
            return self.write(Request::put(one), self.taken(Some(&lease))).await;
        }
        Ok(false)
    }

    /// Whether it was taken; not where somebody else was quicker.
    async fn write(&self, request: http::request::Builder, lease: Value) -> Result<bool, Fault> {
        match self.api.ask(request.header("content-type", "application/json"), Some(&lease)).await {
            Ok(_) => Ok(true),
            Err(Fault::Conflict) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// The Lease as it is when this holds it, from what it was before.
    fn taken(&self, before: Option<&Value>) -> Value {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let spec = before.map(|lease| &lease["spec"]);
        let is_ours = spec.is_some_and(|spec| spec["holderIdentity"] == *self.identity);
        let taken = if is_ours { spec.and_then(|spec| spec["acquireTime"].as_str()) } else { None };
        let changes = spec.and_then(|spec| spec["leaseTransitions"].as_i64()).unwrap_or(0);
        let metadata = match before {
            // With its version, so that it fails where somebody else was quicker.
            Some(lease) => lease["metadata"].clone(),
            None => json!({"name": self.lease, "namespace": self.namespace}),
        };
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": {
                "holderIdentity": self.identity, "leaseDurationSeconds": LASTS.as_secs(),
                "acquireTime": taken.unwrap_or(&now), "renewTime": now,
                "leaseTransitions": changes + i64::from(before.is_some() && !is_ours),
            },
        })
    }
}

/// Whether a Lease may be taken: it is ours, nobody's, or has been the same for longer than it is good for.
fn is_free(lease: &Value, identity: &str, version: &str, seen: &mut Option<Seen>, now: Instant) -> bool {
    let spec = &lease["spec"];
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    if holder.is_empty() || holder == identity {
        return true;
    }
    let lasts =
        spec["leaseDurationSeconds"].as_u64().map_or(LASTS, |seconds| Duration::from_secs(seconds.min(3600)));
    match seen {
        Some(seen) if seen.version == version => now.duration_since(seen.since) > lasts,
        _ => {
            *seen = Some(Seen { version: version.to_owned(), since: now });
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_free_when_it_ran_out_before_our_eyes() {
        let lease = |holder: &str| json!({"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15}});
        let (start, mut seen) = (Instant::now(), None);
        for (holder, version, after, free) in [
            ("us", "1", 0, true),
            ("", "1", 0, true),
            ("them", "1", 0, false),
            ("them", "1", 14, false),
            ("them", "2", 16, false),
            ("them", "2", 30, false),
            ("them", "2", 32, true),
        ] {
            let now = start + Duration::from_secs(after);
            assert_eq!(
                is_free(&lease(holder), "us", version, &mut seen, now),
                free,
                "{holder} {version} {after}"
            );
        }
    }
}
