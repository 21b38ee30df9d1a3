//! `trysail_route_assigned_total`: how many requests each target of a route was given.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Metric, MetricFamily, MetricType};

use super::Board;
use crate::metrics;

const NAME: &str = "trysail_route_assigned_total";
const HELP: &str = "Requests, by the target of their route whose turn it was; counted when they come.";

/// The board as Prometheus' registry takes it.
pub(crate) struct Exported {
    board: Arc<Board>,
    desc: Desc,
}

impl Exported {
    pub(crate) fn new(board: Arc<Board>) -> prometheus::Result<Self> {
        Ok(Exported { board, desc: Desc::new(NAME.to_owned(), HELP.to_owned(), Vec::new(), HashMap::new())? })
    }
}

/// Route, host, port and subset.
type Labels = (Arc<str>, Arc<str>, u16, Arc<str>);

impl Collector for Exported {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Rules may share a name, and a rule may have one destination twice: a series may be there but once.
        let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
        let routes = self.board.0.lock();
        for (key, route) in &routes.by_key {
            for (destination, assigned) in route.assigned(&routes.destinations(*key, route)) {
                let key = destination.cluster;
                *sums.entry((route.name.clone(), key.host, key.port, key.subset)).or_default() += assigned;
            }
        }
        drop(routes);
        let metric = |((route, host, port, subset), count): (Labels, u64)| {
            let mut counter = Counter::default();
            counter.set_value(count as f64);
            let mut metric = Metric::default();
            metric.set_label(metrics::labels(&[
                ("destination", &host),
                ("port", &port.to_string()),
                ("route", &route),
                ("subset", &subset),
            ]));
            metric.set_counter(counter);
            metric
        };
        let found: Vec<Metric> = sums.into_iter().map(metric).collect();
        if found.is_empty() {
            return Vec::new();
        }
        let mut family = MetricFamily::default();
        family.set_name(NAME.to_owned());
        family.set_help(HELP.to_owned());
        family.set_field_type(MetricType::COUNTER);
        family.set_metric(found);
        vec![family]
    }
}
