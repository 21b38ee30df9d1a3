//! `trysail_config_*` and `trysail_route_*`: what is in force, and how reloads went.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, Metric, MetricFamily, MetricType};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Opts};
use trysail_routing::snapshot::{ClusterId, Snapshot, Split};
use trysail_routing::wire::Revision;
use trysail_upstream::Upstreams;

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reload {
    /// It is in force.
    Applied,
    /// It had errors; the one before it stays.
    Refused,
}

/// What is in force, and how reloads went.
pub(crate) struct Configuration {
    applied: IntCounter,
    refused: IntCounter,
    duration: Histogram,
    last_good: IntGauge,
    last_applied: IntGauge,
    kept: IntGauge,
    objects: IntGauge,
    revision: Desc,
    weight: Desc,
    effective: Desc,
    now: Mutex<Now>,
}

/// What is in force.
#[derive(Default)]
struct Now {
    revision: Revision,
    /// Its weights, which are put together when somebody asks.
    snapshot: Arc<Snapshot>,
    /// The targets that are held.
    held: BTreeSet<(usize, ClusterId)>,
}

/// One target of one route.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    route: Arc<str>,
    host: Arc<str>,
    subset: Arc<str>,
    port: u16,
}

const REVISION: &str = "trysail_config_revision_info";
const WEIGHT: &str = "trysail_route_configured_weight";
const EFFECTIVE: &str = "trysail_route_effective_weight";

impl Configuration {
    pub(super) fn new() -> prometheus::Result<Self> {
        let reloads = |result| {
            let opts = Opts::new(
                "trysail_config_reloads_total",
                "Revisions that were read, by what became of them.",
            );
            IntCounter::with_opts(opts.const_label("result", result))
        };
        let gauge = |name: &str, help: &str| IntGauge::with_opts(Opts::new(name, help));
        let desc =
            |name: &str, help: &str| Desc::new(name.to_owned(), help.to_owned(), Vec::new(), HashMap::new());
        Ok(Configuration {
            applied: reloads("applied")?,
            refused: reloads("refused")?,
            duration: Histogram::with_opts(
                HistogramOpts::new(
                    "trysail_config_reload_duration_seconds",
                    "Time from when a change was heard of until it was in force.",
                )
                .buckets(vec![0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
            )?,
            last_good: gauge(
                "trysail_config_last_reload_successful",
                "1 when the newest revision is in force, 0 when it was refused.",
            )?,
            last_applied: gauge(
                "trysail_config_applied_timestamp_seconds",
                "When the revision in force was applied, in seconds since 1970.",
            )?,
            kept: gauge(
                "trysail_config_kept_timestamp_seconds",
                "When the revision in force was kept on disk, where that is what serves, in seconds since 1970; else 0.",
            )?,
            objects: gauge("trysail_config_objects", "Objects in the revision in force.")?,
            revision: desc(
                REVISION,
                "The revision in force, by its hash and the first eight digits of it; always 1.",
            )?,
            weight: desc(WEIGHT, "The weight of each target of a route, as configured.")?,
            effective: desc(
                EFFECTIVE,
                "The weight of each target of a route that holds now: 0 while it is held.",
            )?,
            now: Mutex::default(),
        })
    }

    /// Notes how a reload ended.
    pub(crate) fn reloaded(&self, result: Reload) {
        match result {
            Reload::Applied => self.applied.inc(),
            Reload::Refused => self.refused.inc(),
        }
        self.last_good.set(i64::from(result == Reload::Applied));
    }

    /// Notes how long a change took that is in force now.
    pub(crate) fn took(&self, time: Duration) {
        self.duration.observe(time.as_secs_f64());
    }

    /// Notes that the newest revision read is the one in force, without its having been applied again.
    pub(crate) fn confirmed(&self) {
        self.last_good.set(1);
    }

    /// Notes that what is in force is not the newest revision read, though it was applied after it.
    pub(crate) fn is_behind(&self) {
        self.last_good.set(0);
    }

    /// Notes that what is in force was kept on disk at that time; or, with none, that it is not from there.
    pub(crate) fn serves_kept(&self, at: Option<SystemTime>) {
        let since = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        self.kept.set(since.map_or(0, |since| since.as_secs() as i64));
    }

    /// Whether the newest revision is in force.
    pub(crate) fn is_good(&self) -> bool {
        self.last_good.get() == 1
    }

    /// Notes what is in force from now on; `timestamp` in seconds since 1970.
    pub(crate) fn in_force(&self, revision: &Revision, snapshot: &Snapshot, timestamp: i64) {
        self.now.lock().revision = revision.clone();
        self.objects.set(snapshot.objects as i64);
        self.last_applied.set(timestamp);
    }

    /// Notes what each target gets from now on.
    pub(crate) fn split_by(&self, snapshot: &Arc<Snapshot>, upstreams: &Upstreams) {
        let mut now = self.now.lock();
        now.snapshot = snapshot.clone();
        now.held = upstreams.held().iter().map(|held| (held.split.index(), held.cluster)).collect();
    }
}

/// The weights of all targets, summed where rules share a name, or targets all that they say: a series may be there but
/// once.
fn weights(
    snapshot: &Snapshot,
    weight: impl Fn(&Split, &trysail_routing::snapshot::Target) -> u32,
) -> BTreeMap<Target, u64> {
    let mut weights = BTreeMap::new();
    for split in &snapshot.splits {
        for target in &split.targets {
            let key = &snapshot.cluster(target.cluster).key;
            let (host, subset, port) = (key.host.clone(), key.subset.clone(), key.port);
            let target_labels = Target { route: split.name.clone(), host, subset, port };
            *weights.entry(target_labels).or_default() += u64::from(weight(split, target));
        }
    }
    weights
}

/// [`Configuration`] as Prometheus' registry takes it.
pub(super) struct Collected(pub(super) Arc<Configuration>);

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        let all = &self.0;
        let simple: [&dyn Collector; 6] =
            [&all.applied, &all.duration, &all.last_good, &all.last_applied, &all.kept, &all.objects];
        let mut descs: Vec<&Desc> = simple.into_iter().flat_map(Collector::desc).collect();
        descs.extend(self.0.refused.desc());
        descs.extend([&self.0.revision, &self.0.weight, &self.0.effective]);
        descs
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let all = &self.0;
        let mut families = all.applied.collect();
        for mut refused in all.refused.collect() {
            families[0].mut_metric().extend(refused.take_metric());
        }
        families.extend(
            [&all.last_good, &all.last_applied, &all.kept, &all.objects]
                .into_iter()
                .flat_map(Collector::collect),
        );
        families.extend(all.duration.collect());
        let now = all.now.lock();
        families.push(family(
            REVISION,
            &all.revision,
            [(super::labels(&[("hash", now.revision.hash()), ("revision", now.revision.short())]), 1.0)],
        ));
        let sample = |(target, weight): (&Target, &u64)| {
            let port = target.port.to_string();
            let pairs = [
                ("destination", &*target.host),
                ("port", &port),
                ("route", &target.route),
                ("subset", &target.subset),
            ];
            (super::labels(&pairs), *weight as f64)
        };
        let (snapshot, held) = (now.snapshot.clone(), now.held.clone());
        drop(now);
        let configured = weights(&snapshot, |_, target| target.weight);
        families.push(family(WEIGHT, &all.weight, configured.iter().map(sample)));
        let effective = weights(&snapshot, |split, target| {
            let is_held = held.contains(&(split.id.index(), target.cluster));
            if is_held { 0 } else { target.weight }
        });
        families.push(family(EFFECTIVE, &all.effective, effective.iter().map(sample)));
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

fn family(
    name: &str,
    desc: &Desc,
    values: impl IntoIterator<Item = (Vec<prometheus::proto::LabelPair>, f64)>,
) -> MetricFamily {
    let metric = |(labels, value)| {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::default();
        metric.set_label(labels);
        metric.set_gauge(gauge);
        metric
    };
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(desc.help.clone());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(values.into_iter().map(metric).collect());
    family
}
