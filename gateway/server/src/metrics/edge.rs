//! `trysail_refused_connections_total` and `trysail_cut_connections_total`: clients that were turned away, or not waited
//! for any longer; and a line in the log, at most once a minute for each reason.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::warn;
use prometheus::{IntCounter, Opts, Registry};

/// Why a connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The process has as many as it may; it waits for one to end.
    Connections,
    /// The port has.
    Listener,
    /// The client's address has.
    Client,
    /// There was no descriptor for it; it waits for one.
    Descriptors,
}

/// Why a connection, or a stream of HTTP/2, was ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A request's head took too long.
    HeadTime,
    /// It was too long, or had too many fields.
    HeadSize,
    /// Its target was too long.
    Target,
    /// A request's body paused for too long.
    BodyTime,
    /// It was too long.
    BodySize,
    /// An answer was not taken.
    SendTime,
    /// An answer on a stream was not.
    StreamTime,
    /// There were too many frames that carry nothing.
    Frames,
    /// It was to begin with a header of the PROXY protocol, and did not, or not in time.
    ProxyHeader,
}

/// A reason: its label, and what the log says, with the setting to turn.
type Row = (&'static str, &'static str, &'static str);

impl Refused {
    const ROWS: [Row; 4] = [
        ("connections", "the process has as many connections as it may", "limits.connections"),
        ("listener", "a port has as many connections as it may", "limits.listenerConnections"),
        ("client", "a client's address has as many connections as it may", "limits.clientConnections"),
        (
            "descriptors",
            "no descriptors are left for connections",
            "a lower limits.connections, or a higher limit of open files (LimitNOFILE, ulimit -n)",
        ),
    ];
}

impl Cut {
    const ROWS: [Row; 9] = [
        ("head_time", "a request's head took too long", "downstream.headTimeout"),
        ("head_size", "a request's head was too long", "limits.headers, limits.fields"),
        ("target", "a request's target was too long", "limits.target"),
        ("body_time", "a request's body paused for too long", "downstream.bodyTimeout"),
        ("body_size", "a request's body was too long", "limits.body"),
        (
            "send_time",
            "a client took its answer too slowly",
            "downstream.sendTimeout, downstream.sendMinimum",
        ),
        ("stream_time", "a stream of HTTP/2 took its answer too slowly", "downstream.sendTimeout"),
        ("frames", "too many frames of HTTP/2 carried nothing", "limits.controlFrames"),
        (
            "proxy_header",
            "a connection did not begin with a header of the PROXY protocol",
            "proxyProtocol.from, proxyProtocol.optional, downstream.handshakeTimeout",
        ),
    ];
}

/// The counters.
pub(crate) struct Edge {
    refused: Vec<Told>,
    cut: Vec<Told>,
    began: Instant,
}

/// One reason's counter, and what was said of it.
struct Told {
    counter: IntCounter,
    what: &'static str,
    settings: &'static str,
    /// When the next line may be written, in milliseconds since the beginning.
    next: AtomicU64,
    /// How often it came about up to the last line.
    before: AtomicU64,
}

/// One line at most within this time.
const PAUSE: Duration = Duration::from_secs(60);

impl Edge {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let told = |name: &str, help: &str, rows: &[Row]| {
            let told = |(reason, what, settings): &Row| {
                let counter = IntCounter::with_opts(Opts::new(name, help).const_label("reason", *reason))?;
                registry.register(Box::new(counter.clone()))?;
                let (next, before) = (AtomicU64::new(0), AtomicU64::new(0));
                Ok(Told { counter, what, settings, next, before })
            };
            rows.iter().map(told).collect::<prometheus::Result<Vec<Told>>>()
        };
        Ok(Edge {
            refused: told(
                "trysail_refused_connections_total",
                "Connections that were not taken, or had to wait, by reason.",
                &Refused::ROWS,
            )?,
            cut: told(
                "trysail_cut_connections_total",
                "Connections, and streams of HTTP/2, that were ended before their time, by reason.",
                &Cut::ROWS,
            )?,
            began: Instant::now(),
        })
    }

    /// A connection was not taken.
    pub(crate) fn refused(&self, reason: Refused) {
        self.note("refused", &self.refused[reason as usize]);
    }

    /// A connection was ended.
    pub(crate) fn cut(&self, reason: Cut) {
        self.note("cut", &self.cut[reason as usize]);
    }

    fn note(&self, done: &str, told: &Told) {
        told.counter.inc();
        let now = self.began.elapsed();
        let (now, later) = (now.as_millis() as u64, (now + PAUSE).as_millis() as u64);
        let next = told.next.load(Ordering::Relaxed);
        let mine = now >= next
            && told.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine {
            let all = told.counter.get();
            let new = all - told.before.swap(all, Ordering::Relaxed).min(all);
            warn!("{done} {new}: {} (see {})", told.what, told.settings);
        }
    }
}
