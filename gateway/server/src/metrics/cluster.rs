//! `trysail_kubernetes_*`: how each kind of a cluster is followed.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, MetricFamily, MetricType};
use trysail_kubernetes::{Line, Standing};

use super::{Told, desc, family, labels};

const CONNECTED: Told =
    ("trysail_kubernetes_connected", "1 while changes of the kind are heard as they happen, by kind.");
const HEARD: Told = (
    "trysail_kubernetes_heard_timestamp_seconds",
    "When the API server last said anything of the kind, in seconds since 1970.",
);
const EVENTS: Told =
    ("trysail_kubernetes_events_total", "Objects that came, changed or went, as watches told, by kind.");
const LISTS: Told =
    ("trysail_kubernetes_lists_total", "Lists of all objects; more than the first are relists, by kind.");
const FAULTS: Told =
    ("trysail_kubernetes_faults_total", "Questions that the API server did not answer, or refused, by kind.");
const REFUSED: Told = (
    "trysail_kubernetes_refused_objects",
    "Objects that are not in force as they are, since they have errors.",
);

/// How a cluster is followed.
pub(crate) struct Cluster {
    standing: Arc<Standing>,
    refused: Box<dyn Fn() -> usize + Send + Sync>,
    descs: Vec<Desc>,
}

impl Cluster {
    /// `refused` tells how many objects are.
    pub(crate) fn new(
        standing: Arc<Standing>,
        refused: impl Fn() -> usize + Send + Sync + 'static,
    ) -> prometheus::Result<Self> {
        let all = [CONNECTED, HEARD, EVENTS, LISTS, FAULTS, REFUSED];
        let descs = all.into_iter().map(desc).collect::<prometheus::Result<_>>()?;
        Ok(Cluster { standing, refused: Box::new(refused), descs })
    }
}

impl Collector for Cluster {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let lines = self.standing.lines();
        let all = |told, kind, value: &dyn Fn(&Line) -> Option<f64>| {
            let samples = lines
                .iter()
                .filter_map(|(kind, line)| Some((labels(&[("kind", kind.name())]), value(line)?)));
            family(told, kind, samples.collect::<Vec<(Vec<LabelPair>, f64)>>())
        };
        let seconds =
            |time: SystemTime| time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
        let (gauge, counter) = (MetricType::GAUGE, MetricType::COUNTER);
        let refused = family(REFUSED, gauge, vec![(Vec::new(), (self.refused)() as f64)]);
        let mut families = vec![
            all(CONNECTED, gauge, &|line| Some(f64::from(u8::from(line.connected)))),
            all(HEARD, gauge, &|line| line.heard.and_then(seconds)),
            all(EVENTS, counter, &|line| Some(line.totals.events as f64)),
            all(LISTS, counter, &|line| Some(line.totals.lists as f64)),
            all(FAULTS, counter, &|line| Some(line.totals.faults as f64)),
            refused,
        ];
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}
