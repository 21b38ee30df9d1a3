//! `trysail_listeners`, `trysail_connections`, `trysail_connections_total`, `trysail_tls_handshakes_total`: clients'
//! connections by the port that they came in through.
//!
//! A port's counters are looked up when it opens; a connection adds to them, and a request to none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::{Told, family};

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// The client and we agreed.
    Done,
    /// One of both did not like what the other said, or it took too long.
    Failed,
    /// The name that was asked for is no server's.
    Unknown,
}

impl Handshake {
    const RESULTS: [&str; 3] = ["done", "failed", "unknown_name"];
}

/// The counters of one port, as Gateways number it.
#[derive(Debug, Default)]
pub(crate) struct Port {
    open: AtomicI64,
    total: AtomicU64,
    handshakes: [AtomicU64; Handshake::RESULTS.len()],
}

impl Port {
    /// A connection was taken, and is there until what is given back is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Inside {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
        Inside(self.clone())
    }

    /// A handshake ended.
    pub(crate) fn handshake(&self, result: Handshake) {
        self.handshakes[result as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Inside(Arc<Port>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All ports.
pub(crate) struct Sockets {
    descs: [Desc; 4],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listeners: usize,
    ports: BTreeMap<u16, Arc<Port>>,
}

const LISTENERS: Told = ("trysail_listeners", "Ports that are open for clients.");
const OPEN: Told = ("trysail_connections", "Connections of clients that are open.");
const TOTAL: Told = ("trysail_connections_total", "Connections of clients that were accepted.");
const HANDSHAKES: Told =
    ("trysail_tls_handshakes_total", "Handshakes of TLS with clients, by how they ended.");

impl Sockets {
    pub(super) fn new() -> prometheus::Result<Self> {
        let told = |told| super::desc(told);
        let descs = [told(LISTENERS)?, told(OPEN)?, told(TOTAL)?, told(HANDSHAKES)?];
        Ok(Sockets { descs, state: Mutex::default() })
    }

    /// The counters of a port, which go on where it was open before.
    pub(crate) fn port(&self, number: u16) -> Arc<Port> {
        self.state.lock().ports.entry(number).or_default().clone()
    }

    /// So many are open now, with these numbers. Of others nothing is said any more once their connections have ended.
    pub(crate) fn listening(&self, listeners: usize, numbers: &[u16]) {
        let mut state = self.state.lock();
        state.listeners = listeners;
        state.ports.retain(|number, port| numbers.contains(number) || port.open.load(Ordering::Relaxed) > 0);
    }
}

/// [`Sockets`] as Prometheus' registry takes it.
pub(super) struct Collected(pub(super) Arc<Sockets>);

impl Collector for Collected {
    fn desc(&self) -> Vec<&Desc> {
        self.0.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let state = self.0.state.lock();
        let ports = || state.ports.iter().map(|(number, port)| (number.to_string(), port));
        let of = |value: fn(&Port) -> f64| {
            ports().map(|(number, port)| (super::labels(&[("port", &number)]), value(port))).collect()
        };
        let handshakes = ports().flat_map(|(number, port)| {
            let results = Handshake::RESULTS.iter().zip(&port.handshakes);
            let told = results.map(|(result, count)| (result, count.load(Ordering::Relaxed)));
            let told: Vec<_> = told
                .filter(|(_, count)| *count > 0)
                .map(|(result, count)| {
                    (super::labels(&[("port", &number), ("result", result)]), count as f64)
                })
                .collect();
            told
        });
        let mut families = vec![
            family(LISTENERS, MetricType::GAUGE, vec![(Vec::new(), state.listeners as f64)]),
            family(OPEN, MetricType::GAUGE, of(|port| port.open.load(Ordering::Relaxed) as f64)),
            family(TOTAL, MetricType::COUNTER, of(|port| port.total.load(Ordering::Relaxed) as f64)),
            family(HANDSHAKES, MetricType::COUNTER, handshakes.collect()),
        ];
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}
