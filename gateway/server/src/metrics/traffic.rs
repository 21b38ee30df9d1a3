//! `istio_requests_total`: one set of counters for each workload that may answer, reached by index.
//!
//! A request adds one to an atomic; which one is known from its cluster, its endpoint and its status. Labels are
//! strings only at scrape time. Series are kept by what they are labelled with, so a reload goes on counting
//! where the last one stopped; those of what is gone go after a grace, in which scrapers can see their end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Metric, MetricFamily, MetricType};
use trysail_routing::snapshot::{ClusterId, Service, Snapshot, Workload};

use super::{Ended, Flags};

/// How long the series of a workload that is gone are still exported.
const GRACE: Duration = Duration::from_secs(600);

/// Statuses that have an atomic of their own. Others, and whatever has a flag, are rare and share a lock.
const COMMON: [u16; 17] =
    [200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 409, 422, 429, 500, 503];

/// Where a status stands in [`COMMON`]; `COMMON.len()` for those that do not.
const SLOTS: [u8; 600] = {
    let mut slots = [COMMON.len() as u8; 600];
    let mut slot = 0;
    while slot < COMMON.len() {
        slots[COMMON[slot] as usize] = slot as u8;
        slot += 1;
    }
    slots
};

/// How this gateway is called in Istio's `source_*` labels.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// `source_workload`, `source_canonical_service` and `source_app`.
    pub(crate) name: String,
    /// `source_workload_namespace`.
    pub(crate) namespace: String,
}

/// What a set of counters is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    /// The service's host and namespace; `None` where no cluster was chosen.
    service: Option<(Arc<str>, Arc<str>)>,
    /// Who answered; `None` where no endpoint was chosen.
    workload: Option<Arc<Workload>>,
}

/// The counters of one workload of one service.
#[derive(Debug)]
pub(crate) struct Requests {
    common: [AtomicU64; COMMON.len()],
    rare: Mutex<BTreeMap<(u16, Flags), u64>>,
}

impl Requests {
    fn new() -> Self {
        Requests { common: [const { AtomicU64::new(0) }; COMMON.len()], rare: Mutex::default() }
    }

    /// Counts one request.
    pub(crate) fn count(&self, ended: &Ended) {
        let Ended { status, flags, .. } = *ended;
        let slot = SLOTS.get(usize::from(status)).map_or(COMMON.len(), |slot| usize::from(*slot));
        match self.common.get(slot) {
            Some(counter) if flags == Flags::default() => {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            _ => *self.rare.lock().entry((status, flags)).or_default() += 1,
        }
    }

    /// Every count over zero, with its status and flag.
    fn counts(&self) -> Vec<(u16, Flags, u64)> {
        let common = COMMON
            .iter()
            .zip(&self.common)
            .map(|(code, n)| (*code, Flags::default(), n.load(Ordering::Relaxed)));
        let mut counts: Vec<_> = common.filter(|(_, _, count)| *count > 0).collect();
        counts.extend(self.rare.lock().iter().map(|((code, flags), count)| (*code, *flags, *count)));
        counts
    }
}

/// The handles of one snapshot, indexed by its ids.
#[derive(Debug)]
pub(crate) struct Handles {
    clusters: Vec<ClusterHandles>,
    /// Requests for which no cluster was chosen.
    nowhere: Arc<Requests>,
}

#[derive(Debug)]
struct ClusterHandles {
    /// Requests for which no endpoint was chosen.
    nobody: Arc<Requests>,
    endpoints: Vec<Arc<Requests>>,
}

impl Handles {
    /// The counters for a request that was to go to a cluster and, there, to an endpoint.
    pub(crate) fn of(&self, cluster: Option<ClusterId>, endpoint: Option<usize>) -> &Requests {
        let Some(cluster) = cluster else { return &self.nowhere };
        let cluster = &self.clusters[cluster.index()];
        endpoint.map_or(&cluster.nobody, |endpoint| &cluster.endpoints[endpoint])
    }
}

/// All counters, over all snapshots.
pub(crate) struct Traffic {
    source: Source,
    desc: Desc,
    series: Mutex<HashMap<Key, Series>>,
}

struct Series {
    requests: Arc<Requests>,
    /// Since when no snapshot has had it.
    gone: Option<Instant>,
}

const NAME: &str = "istio_requests_total";
const HELP: &str = "Requests that ended, by who answered them, with what status and why.";

impl Traffic {
    pub(super) fn new(source: Source) -> prometheus::Result<Self> {
        let desc = Desc::new(NAME.to_owned(), HELP.to_owned(), Vec::new(), HashMap::new())?;
        Ok(Traffic { source, desc, series: Mutex::default() })
    }

    /// The handles for a snapshot: counters that are there already, by what they are labelled with, else new ones.
    pub(crate) fn bind(&self, snapshot: &Snapshot, now: Instant) -> Handles {
        let mut series = self.series.lock();
        series.retain(|_, one| one.gone.is_none_or(|gone| now.duration_since(gone) < GRACE));
        for one in series.values_mut() {
            one.gone = one.gone.or(Some(now));
        }
        let mut handle = |service: Option<&Arc<Service>>, workload: Option<&Arc<Workload>>| {
            let service = service.map(|service| (service.host.clone(), service.namespace.clone()));
            let key = Key { service, workload: workload.cloned() };
            let one = series
                .entry(key)
                .or_insert_with(|| Series { requests: Arc::new(Requests::new()), gone: None });
            one.gone = None;
            one.requests.clone()
        };
        let nowhere = handle(None, None);
        let bind = |cluster: &Arc<trysail_routing::snapshot::Cluster>| ClusterHandles {
            nobody: handle(cluster.service.as_ref(), None),
            endpoints: cluster
                .endpoints
                .iter()
                .map(|endpoint| handle(cluster.service.as_ref(), Some(&endpoint.workload)))
                .collect(),
        };
        Handles { clusters: snapshot.clusters.iter().map(bind).collect(), nowhere }
    }

    /// Istio's labels for one count. Every label is on every series; a value that is not known is `unknown`.
    fn metric(&self, key: &Key, status: u16, flags: Flags, count: u64) -> Metric {
        let known =
            |value: &Arc<str>| if value.is_empty() { "unknown".to_owned() } else { value.to_string() };
        let of = |field: fn(&Workload) -> &Arc<str>| {
            key.workload.as_ref().map_or_else(|| "unknown".to_owned(), |workload| known(field(workload)))
        };
        let (host, namespace) = match &key.service {
            Some((host, namespace)) => (host.to_string(), namespace.to_string()),
            None => ("unknown".to_owned(), "unknown".to_owned()),
        };
        let service_name = match host.strip_suffix(".svc.cluster.local").and_then(|rest| rest.split_once('.'))
        {
            Some((name, _)) => name.to_owned(),
            None => host.clone(),
        };
        let revision = of(|workload| &workload.canonical_revision);
        let revision = if revision == "unknown" { "latest".to_owned() } else { revision };
        let Source { name, namespace: own_namespace } = &self.source;
        let mut metric = Metric::default();
        metric.set_label(super::labels(&[
            ("connection_security_policy", "unknown"),
            ("destination_app", &of(|workload| &workload.app)),
            ("destination_canonical_revision", &revision),
            ("destination_canonical_service", &of(|workload| &workload.canonical_service)),
            ("destination_cluster", "Kubernetes"),
            ("destination_principal", "unknown"),
            ("destination_service", &host),
            ("destination_service_name", &service_name),
            ("destination_service_namespace", &namespace),
            ("destination_version", &of(|workload| &workload.version)),
            ("destination_workload", &of(|workload| &workload.name)),
            ("destination_workload_namespace", &of(|workload| &workload.namespace)),
            ("grpc_response_status", ""),
            ("reporter", "source"),
            ("request_protocol", "http"),
            ("response_code", &status.to_string()),
            ("response_flags", &flags.text()),
            ("source_app", name),
            ("source_canonical_revision", "latest"),
            ("source_canonical_service", name),
            ("source_cluster", "Kubernetes"),
            ("source_principal", "unknown"),
            ("source_version", "unknown"),
            ("source_workload", name),
            ("source_workload_namespace", own_namespace),
        ]));
        let mut counter = Counter::default();
        counter.set_value(count as f64);
        metric.set_counter(counter);
        metric
    }
}

/// [`Traffic`] as Prometheus' registry takes it.
pub(super) struct Collected(pub(super) Arc<Traffic>);

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let series: Vec<(Key, Arc<Requests>)> =
            self.0.series.lock().iter().map(|(key, one)| (key.clone(), one.requests.clone())).collect();
        let metrics = series.iter().flat_map(|(key, requests)| {
            requests
                .counts()
                .into_iter()
                .map(|(status, flags, count)| self.0.metric(key, status, flags, count))
        });
        let metrics: Vec<Metric> = metrics.collect();
        if metrics.is_empty() {
            return Vec::new();
        }
        let mut family = MetricFamily::default();
        family.set_name(NAME.to_owned());
        family.set_help(HELP.to_owned());
        family.set_field_type(MetricType::COUNTER);
        family.set_metric(metrics);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Flag;
    use super::*;

    #[test]
    fn every_status_and_flag_is_counted_once() {
        let requests = Requests::new();
        for (status, flag) in
            [(200, Flag::None), (200, Flag::None), (418, Flag::None), (0, Flag::None), (999, Flag::None)]
        {
            requests.count(&Ended::at_once(status, flag));
        }
        requests.count(&Ended::at_once(200, Flag::UpstreamTimeout));
        let counts = requests.counts();
        assert_eq!(counts.iter().map(|(_, _, count)| count).sum::<u64>(), 6);
        assert!(counts.contains(&(200, Flags::default(), 2)));
        assert!(counts.contains(&(200, Flag::UpstreamTimeout.into(), 1)));
    }

    #[test]
    fn series_outlive_reloads_and_end_after_a_grace() {
        let traffic =
            Traffic::new(Source { name: "gw".to_owned(), namespace: "default".to_owned() }).unwrap();
        let start = Instant::now();
        let first = traffic.bind(&Snapshot::default(), start);
        first.of(None, None).count(&Ended::at_once(404, Flag::NoRoute));
        let second = traffic.bind(&Snapshot::default(), start);
        assert!(std::ptr::eq(first.of(None, None), second.of(None, None)));

        let gone = Key { service: Some(("a".into(), "b".into())), workload: None };
        let series = || Series { requests: Arc::new(Requests::new()), gone: None };
        traffic.series.lock().insert(gone.clone(), series());
        traffic.bind(&Snapshot::default(), start);
        assert!(traffic.series.lock().contains_key(&gone));
        traffic.bind(&Snapshot::default(), start + GRACE);
        assert!(!traffic.series.lock().contains_key(&gone));
    }
}
