//! `connectionPool`, `outlierDetection` and `retryBudget`: validated, with their defaults.

use std::time::Duration;

use super::super::support::{fields, unsupported};
use super::super::values::{deprecated, duration, duration_or_zero, number, one_of, share, warn, within};
use crate::compile::support::Written;
use crate::diagnostic::Severity;
use crate::origin::At;
use crate::snapshot::policy::{self, KeepAlive, Protocol};
use crate::wire::destination_rule::{
    ConnectionPool, H2UpgradePolicy, Http2KeepAlive, HttpPool, OutlierDetection, RetryBudget, TcpKeepalive,
    TcpPool,
};
use crate::wire::sink::Sink;

/// Istio's int32.
const MOST: u32 = i32::MAX as u32;

/// Reads `connectionPool`, and the protocol that it asks for.
pub(super) fn connection_pool(
    written: &At<Box<ConnectionPool>>,
    sink: &mut Sink<'_>,
) -> (policy::ConnectionPool, Protocol) {
    let ConnectionPool { tcp, http } = &*written.value;
    if tcp.is_none() && http.is_none() {
        sink.schema(written.pos, "a connectionPool needs \"tcp\" or \"http\"".into());
    }
    let mut pool = policy::ConnectionPool::default();
    let mut protocol = Protocol::default();
    if let Some(tcp) = tcp {
        self::tcp(&tcp.value, &mut pool, sink);
    }
    if let Some(http) = http {
        protocol = self::http(&http.value, &mut pool, sink);
    }
    if protocol == Protocol::Http2 {
        not_over_http2(tcp.as_ref(), http.as_ref(), sink);
    }
    (pool, protocol)
}

/// Connections of HTTP/2 are shared, and end when nobody has used them for long: their age and their requests are not
/// counted.
fn not_over_http2(tcp: Option<&At<Box<TcpPool>>>, http: Option<&At<Box<HttpPool>>>, sink: &mut Sink<'_>) {
    if let Some(TcpPool { max_connection_duration, .. }) = tcp.map(|tcp| &*tcp.value) {
        unsupported(Severity::Warning, fields![max_connection_duration = "maxConnectionDuration"], sink);
    }
    if let Some(HttpPool { max_requests_per_connection, .. }) = http.map(|http| &*http.value) {
        let field = max_requests_per_connection.as_ref().filter(|most| most.value != 0);
        unsupported(Severity::Warning, &[("maxRequestsPerConnection", &field)], sink);
    }
}

/// 0 is as good as absent: no ceiling.
fn ceiling(written: Option<&At<i64>>, sink: &mut Sink<'_>) -> Option<u32> {
    number(written, MOST, sink).filter(|&most| most > 0)
}

fn tcp(written: &TcpPool, pool: &mut policy::ConnectionPool, sink: &mut Sink<'_>) {
    let TcpPool { max_connections, connect_timeout, idle_timeout, max_connection_duration, tcp_keepalive } =
        written;
    pool.max_connections = ceiling(max_connections.as_ref(), sink);
    pool.connect_timeout = duration(connect_timeout.as_ref(), sink);
    pool.idle_timeout = duration_or_zero(idle_timeout.as_ref(), sink);
    pool.max_connection_duration = duration(max_connection_duration.as_ref(), sink);
    pool.tcp_keepalive = tcp_keepalive.as_ref().map(|written| {
        let TcpKeepalive { probes, time, interval } = &written.value;
        policy::TcpKeepalive {
            probes: kernel_probes(probes.as_ref(), sink),
            time: kernel_seconds(time.as_ref(), sink),
            interval: kernel_seconds(interval.as_ref(), sink),
        }
    });
}

/// Linux `MAX_TCP_KEEPCNT`.
const MOST_PROBES: u32 = 127;

/// Linux `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL`, in seconds.
const MOST_SECONDS: u64 = 32_767;

/// What Istio accepts and the kernel does not would fail each new connection, in Envoy too: the nearest is taken.
fn kernel_probes(written: Option<&At<i64>>, sink: &mut Sink<'_>) -> Option<u32> {
    let probes = number(written, u32::MAX, sink).filter(|&probes| probes > 0)?;
    if let Some(written) = written.filter(|_| probes > MOST_PROBES) {
        let message = format!("the kernel takes {MOST_PROBES} probes at most; {probes} count as that");
        warn(message, written.pos, sink);
    }
    Some(probes.min(MOST_PROBES))
}

/// The same of times, which it takes in whole seconds.
fn kernel_seconds(written: Option<&At<Duration>>, sink: &mut Sink<'_>) -> Option<Duration> {
    let time = duration(written, sink)?;
    let taken = Duration::from_secs(time.as_secs().clamp(1, MOST_SECONDS));
    let outside = time.as_secs() != taken.as_secs();
    if let Some(written) = written.filter(|_| outside) {
        let message = format!("the kernel takes 1s to {MOST_SECONDS}s; {time:?} counts as {taken:?}");
        warn(message, written.pos, sink);
    }
    Some(taken)
}

fn http(written: &HttpPool, pool: &mut policy::ConnectionPool, sink: &mut Sink<'_>) -> Protocol {
    let HttpPool {
        http1_max_pending_requests,
        http2_max_requests,
        max_requests_per_connection,
        max_retries,
        idle_timeout,
        h2_upgrade_policy,
        use_client_protocol,
        max_concurrent_streams,
        http2_keep_alive,
    } = written;
    pool.max_pending_requests = ceiling(http1_max_pending_requests.as_ref(), sink);
    pool.max_requests = ceiling(http2_max_requests.as_ref(), sink);
    pool.max_requests_per_connection = ceiling(max_requests_per_connection.as_ref(), sink);
    pool.max_retries = ceiling(max_retries.as_ref(), sink);
    pool.max_concurrent_streams = ceiling(max_concurrent_streams.as_ref(), sink);
    pool.idle_timeout = duration(idle_timeout.as_ref(), sink).or(pool.idle_timeout);
    pool.http2_keepalive = http2_keep_alive.as_ref().and_then(|written| {
        let Http2KeepAlive { interval, timeout } = &written.value;
        for (name, _) in [("interval", interval), ("timeout", timeout)].iter().filter(|(_, v)| v.is_none()) {
            sink.schema(written.pos, format!("http2KeepAlive needs \"{name}\""));
        }
        let (interval, timeout) = (duration(interval.as_ref(), sink), duration(timeout.as_ref(), sink));
        Some(KeepAlive { interval: interval?, timeout: timeout? })
    });
    let upgrade = h2_upgrade_policy.as_ref().filter(|policy| policy.value == H2UpgradePolicy::Upgrade);
    let client = use_client_protocol.as_ref().filter(|client| client.value);
    one_of(&[("h2UpgradePolicy: UPGRADE", upgrade.key()), ("useClientProtocol", client.key())], sink);
    match (upgrade, client) {
        (Some(_), _) => Protocol::Http2,
        (None, Some(_)) => Protocol::Client,
        (None, None) => Protocol::Http1,
    }
}

impl<T> Written for Option<&At<T>> {
    fn key(&self) -> Option<crate::origin::Pos> {
        self.and_then(Written::key)
    }
}

/// Reads `outlierDetection`.
pub(super) fn outlier(written: &OutlierDetection, sink: &mut Sink<'_>) -> policy::OutlierDetection {
    let OutlierDetection {
        consecutive_5xx_errors,
        consecutive_errors,
        consecutive_gateway_errors,
        split_external_local_origin_errors,
        consecutive_local_origin_failures,
        outlier_detection_http_error_codes,
        interval,
        base_ejection_time,
        max_ejection_percent,
        min_health_percent,
    } = written;
    let default = policy::OutlierDetection::default();
    if let Some(old) = consecutive_errors.as_ref().filter(|old| old.value != 0) {
        let instead = "consecutiveGatewayErrors or consecutive5xxErrors";
        deprecated("\"consecutiveErrors\"", instead, old.pos.back(1), sink);
    }
    // Istio has not executed it for long: only its type counts.
    if let Some(old) = consecutive_errors.as_ref().filter(|old| i32::try_from(old.value).is_err()) {
        sink.schema(old.pos, format!("{} is not a number of 32 bits", old.value));
    }
    let split_local = split_external_local_origin_errors.as_ref().is_some_and(|split| split.value);
    let local = number(consecutive_local_origin_failures.as_ref(), u32::MAX, sink);
    if let (Some(written), Some(1..), false) = (consecutive_local_origin_failures, local, split_local) {
        let message = "\"consecutiveLocalOriginFailures\" needs \"splitExternalLocalOriginErrors: true\"";
        sink.schema(written.pos.back(1), message.into());
    }
    let codes = outlier_detection_http_error_codes.iter();
    let codes = codes.filter_map(|code| within(Some(code), 100, 599, sink)).map(|code| code as u16).collect();
    let percent = |written: &Option<At<i64>>, sink: &mut Sink<'_>| {
        number(written.as_ref(), 100, sink).map(|percent| percent as u8)
    };
    policy::OutlierDetection {
        consecutive_5xx: number(consecutive_5xx_errors.as_ref(), u32::MAX, sink)
            .unwrap_or(default.consecutive_5xx),
        consecutive_gateway: number(consecutive_gateway_errors.as_ref(), u32::MAX, sink)
            .unwrap_or(default.consecutive_gateway),
        split_local,
        consecutive_local: local.unwrap_or(default.consecutive_local),
        error_codes: codes,
        interval: duration(interval.as_ref(), sink).unwrap_or(default.interval),
        base_ejection_time: duration(base_ejection_time.as_ref(), sink).unwrap_or(default.base_ejection_time),
        max_ejection_percent: percent(max_ejection_percent, sink)
            .filter(|&percent| percent > 0)
            .unwrap_or(default.max_ejection_percent),
        min_health_percent: percent(min_health_percent, sink).unwrap_or(default.min_health_percent),
    }
}

/// Reads `retryBudget`.
pub(super) fn retry_budget(written: &RetryBudget, sink: &mut Sink<'_>) -> policy::RetryBudget {
    let RetryBudget { percent, min_retry_concurrency, budget_interval } = written;
    // What runs and waits now is counted, as without it.
    let interval = budget_interval.as_ref().filter(|interval| !interval.value.is_zero());
    unsupported(Severity::Warning, &[("budgetInterval", &interval)], sink);
    policy::RetryBudget {
        percent: share(percent.as_ref(), 100.0, sink).unwrap_or(20.0),
        min_concurrency: number(min_retry_concurrency.as_ref(), u32::MAX, sink)
            .filter(|&least| least > 0)
            .unwrap_or(3),
        interval: budget_interval.as_ref().map_or(Duration::ZERO, |interval| interval.value),
    }
}
