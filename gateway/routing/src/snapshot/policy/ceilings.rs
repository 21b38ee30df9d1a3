//! Ceilings and times of connections and requests, retry budgets, and outlier detection.
//!
//! Counts are of one cluster (host, subset and port) in one process, over all its endpoints, as Istio's are.

use std::time::Duration;

/// Ceilings and times. `None` is no ceiling, or the process's own time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionPool {
    /// Connections at once. Istio `tcp.maxConnections`; each endpoint gets one, also over it.
    pub max_connections: Option<u32>,
    /// A connection that is not open after this is given up; `None` for the settings' 10s.
    pub connect_timeout: Option<Duration>,
    /// A connection without a request for this long is closed; zero for never, `None` for the settings' 1h.
    /// Istio `http.idleTimeout`, else `tcp.idleTimeout`.
    pub idle_timeout: Option<Duration>,
    /// A connection of this age is not used again.
    pub max_connection_duration: Option<Duration>,
    /// The kernel's probes on idle connections; `None` for off.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Requests that wait for a connection. Over it: 503, `x-envoy-overloaded: true`, flag UO.
    pub max_pending_requests: Option<u32>,
    /// Requests at once, over HTTP/1.1 too. Over it: as above.
    pub max_requests: Option<u32>,
    /// Requests over one connection; 1 for no keep-alive.
    pub max_requests_per_connection: Option<u32>,
    /// Retries at once; over it, none is made.
    pub max_retries: Option<u32>,
    /// Streams at once on one HTTP/2 connection.
    pub max_concurrent_streams: Option<u32>,
    /// Pings on HTTP/2 connections.
    pub http2_keepalive: Option<KeepAlive>,
}

/// The kernel's probes; `None` is the kernel's own figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Probes without an answer before a connection is given up, 1 to 127.
    pub probes: Option<u32>,
    /// How long a connection is idle before the first, in whole seconds, 1 to 32,767.
    pub time: Option<Duration>,
    /// How long it is from one to the next, as above.
    pub interval: Option<Duration>,
}

/// Pings over HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// From one to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// How many retries may run at once: the larger of a part of what runs and waits, and a floor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// The part, in percent, 0 to 100.
    pub percent: f64,
    /// The floor.
    pub min_concurrency: u32,
    /// Over how long requests are counted; zero for those that run or wait now.
    pub interval: Duration,
}

/// When an endpoint that answers badly is left out for a while. 0 disables a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Answers 5xx in a row, and failures to get one unless `split_local`.
    pub consecutive_5xx: u32,
    /// Answers 502, 503, 504 in a row, and failures to get one unless `split_local`.
    pub consecutive_gateway: u32,
    /// Whether failures to get an answer are counted by themselves.
    pub split_local: bool,
    /// Failures to get an answer in a row; of meaning under `split_local` only.
    pub consecutive_local: u32,
    /// The statuses that count as an error in place of 5xx; empty for 5xx.
    pub error_codes: Box<[u16]>,
    /// From one sweep to the next.
    pub interval: Duration,
    /// How long an ejection lasts, times how many there were in a row.
    pub base_ejection_time: Duration,
    /// At most so many of the endpoints are out at once, in percent, 1 to 100.
    pub max_ejection_percent: u8,
    /// Under so many percent of available endpoints all are used; 0 for never.
    pub min_health_percent: u8,
}

/// Istio's and Envoy's defaults.
impl Default for OutlierDetection {
    fn default() -> Self {
        OutlierDetection {
            consecutive_5xx: 5,
            consecutive_gateway: 0,
            split_local: false,
            consecutive_local: 5,
            error_codes: Box::default(),
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: 10,
            min_health_percent: 0,
        }
    }
}
