//! `loadBalancer`: which endpoint gets a request, and how localities share.

use http::{HeaderName, HeaderValue};

use super::super::values::{deprecated, duration, number, one_of, share, warn, within};
use super::Reading;
use super::locality::{self, Spread};
use crate::compile::support::{Written, fields, unsupported};
use crate::diagnostic::{Code, Severity};
use crate::origin::{At, Origin};
use crate::snapshot::policy::{self, Balancer, HashCookie, HashKey, HashTable};
use crate::wire::destination_rule::{
    BackendUtilization, ConsistentHash, CookieAttribute, HttpCookie, LoadBalancer, Maglev, RingHash,
    SimpleLoadBalancer, Warmup, ZoneAwareSetting,
};
use crate::wire::sink::Sink;

/// A `loadBalancer` block.
#[derive(Clone, Default)]
pub(super) struct LoadBalancing {
    pub(super) balancer: Balancer,
    pub(super) spread: Spread,
    /// Where it asks for PASSTHROUGH, which only a sidecar can do.
    pub(super) needs_mesh: Option<Origin>,
}

/// Envoy's ring when nothing is said, and its largest.
const RING: u32 = 1024;
const MAX_RING: u32 = 8 << 20;
/// Envoy's table of Maglev must be smaller.
const MAGLEV_END: u32 = 5_000_011;

/// Reads a `loadBalancer` block. `failover_works` is whether there is outlier detection beside it.
pub(super) fn read(
    reading: Reading<'_>,
    written: &At<Box<LoadBalancer>>,
    failover_works: bool,
    sink: &mut Sink<'_>,
) -> LoadBalancing {
    let LoadBalancer {
        simple,
        consistent_hash,
        locality_lb_setting,
        zone_aware_lb_setting,
        warmup,
        warmup_duration_secs,
        backend_utilization,
    } = &*written.value;
    one_of(
        &[
            ("simple", simple.key()),
            ("consistentHash", consistent_hash.key()),
            ("backendUtilization", backend_utilization.key()),
        ],
        sink,
    );
    one_of(
        &[
            ("localityLbSetting", locality_lb_setting.key()),
            ("zoneAwareLbSetting", zone_aware_lb_setting.key()),
        ],
        sink,
    );
    unsupported(
        Severity::Error,
        fields![zone_aware_lb_setting = "zoneAwareLbSetting", backend_utilization = "backendUtilization",],
        sink,
    );
    if let Some(setting) = zone_aware_lb_setting {
        let ZoneAwareSetting { enabled: _, failover: _, failover_priority: _, min_cluster_size } =
            &setting.value;
        within(min_cluster_size.as_ref(), 1, u32::MAX, sink);
    }
    if let Some(utilization) = backend_utilization {
        let BackendUtilization { error_utilization_penalty_percent, .. } = &utilization.value;
        number(error_utilization_penalty_percent.as_ref(), u32::MAX, sink);
    }
    let slow_start = match (warmup, warmup_duration_secs) {
        (Some(warmup), _) => self::warmup(&warmup.value, sink),
        (None, Some(window)) => duration(Some(window), sink).map(|window| policy::Warmup { window, ..FLAT }),
        (None, None) => None,
    };
    if let Some(old) = warmup_duration_secs {
        deprecated("\"warmupDurationSecs\"", "warmup: {duration: …}", old.pos.back(1), sink);
    }
    let spread = match locality_lb_setting {
        Some(setting) => locality::read(setting, reading.here, failover_works, sink),
        None => Spread::default(),
    };
    use SimpleLoadBalancer::{LeastConn, LeastRequest, Passthrough, Random, RoundRobin, Unspecified};
    let mut needs_mesh = None;
    let balancer = match (consistent_hash, simple) {
        (Some(hash), _) => Balancer::Hash(self::hash(hash, sink)),
        (None, None) => Balancer::LeastRequest(slow_start),
        (None, Some(simple)) => match simple.value {
            Unspecified | LeastRequest => Balancer::LeastRequest(slow_start),
            LeastConn => {
                deprecated("LEAST_CONN", "LEAST_REQUEST", simple.pos, sink);
                Balancer::LeastRequest(slow_start)
            }
            RoundRobin => Balancer::RoundRobin(slow_start),
            Random => Balancer::Random,
            Passthrough => {
                needs_mesh = Some(reading.document.origin(simple.pos));
                Balancer::default()
            }
        },
    };
    if let (Some(pos), Balancer::Random | Balancer::Hash(_)) =
        (warmup.key().or(warmup_duration_secs.key()), &balancer)
    {
        warn("a warm-up has a meaning for ROUND_ROBIN and LEAST_REQUEST only", pos, sink);
    }
    LoadBalancing { balancer, spread, needs_mesh }
}

/// Istio's defaults: at least a tenth, growing in a straight line.
const FLAT: policy::Warmup =
    policy::Warmup { window: std::time::Duration::ZERO, minimum: 0.1, aggression: 1.0 };

fn warmup(written: &Warmup, sink: &mut Sink<'_>) -> Option<policy::Warmup> {
    let Warmup { duration: window, minimum_percent, aggression } = written;
    let percent = share(minimum_percent.as_ref(), 100.0, sink);
    let steepness = share(aggression.as_ref(), f64::INFINITY, sink);
    if let (Some(written), Some(0.0)) = (aggression, steepness) {
        sink.schema(written.pos, "an aggression of 0 is not over 0".into());
    }
    Some(policy::Warmup {
        window: duration(Some(window), sink)?,
        minimum: percent.map_or(FLAT.minimum, |percent| percent / 100.0),
        aggression: steepness.filter(|&steepness| steepness > 0.0).unwrap_or(FLAT.aggression),
    })
}

fn hash(written: &At<Box<ConsistentHash>>, sink: &mut Sink<'_>) -> policy::ConsistentHash {
    let ConsistentHash {
        http_header_name,
        http_cookie,
        use_source_ip,
        http_query_parameter_name,
        ring_hash,
        maglev,
        minimum_ring_size,
    } = &*written.value;
    one_of(
        &[
            ("httpHeaderName", http_header_name.key()),
            ("httpCookie", http_cookie.key()),
            ("useSourceIp", use_source_ip.key()),
            ("httpQueryParameterName", http_query_parameter_name.key()),
        ],
        sink,
    );
    let old_size = minimum_ring_size.as_ref().filter(|size| size.value != 0);
    one_of(
        &[("ringHash", ring_hash.key()), ("maglev", maglev.key()), ("minimumRingSize", old_size.key())],
        sink,
    );
    if let Some(old) = old_size {
        deprecated("\"minimumRingSize\" here", "ringHash: {minimumRingSize: …}", old.pos.back(1), sink);
    }
    let key = if let Some(name) = http_header_name {
        header(name, sink)
    } else if let Some(cookie) = http_cookie {
        self::cookie(&cookie.value, sink)
    } else if use_source_ip.as_ref().is_some_and(|wanted| wanted.value) {
        Some(HashKey::SourceIp)
    } else {
        http_query_parameter_name.as_ref().map(|name| HashKey::QueryParameter(name.value.as_str().into()))
    };
    let table = match (maglev, ring_hash) {
        (Some(maglev), _) => self::maglev(maglev, sink),
        (None, Some(ring)) => {
            let RingHash { minimum_ring_size } = &ring.value;
            self::ring(minimum_ring_size.as_ref(), sink)
        }
        (None, None) => self::ring(minimum_ring_size.as_ref(), sink),
    };
    policy::ConsistentHash { key, table }
}

fn header(name: &At<String>, sink: &mut Sink<'_>) -> Option<HashKey> {
    let read = HeaderName::from_bytes(name.as_bytes());
    if read.is_err() {
        let message = format!("{:?} is not a header field's name, so it can't be hashed", name.value);
        sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, name.pos, message);
    }
    read.ok().map(HashKey::Header)
}

fn cookie(written: &HttpCookie, sink: &mut Sink<'_>) -> Option<HashKey> {
    let HttpCookie { name, path, ttl, attributes: further } = written;
    if name.is_empty() {
        sink.schema(name.pos, "a cookie needs a name".into());
        return None;
    }
    let mut attributes = String::new();
    if let Some(ttl) = ttl.as_ref().filter(|ttl| ttl.as_secs() > 0) {
        attributes.push_str(&format!("; Max-Age={}", ttl.as_secs()));
    }
    if let Some(path) = path.as_ref().filter(|path| !path.is_empty()) {
        attributes.push_str(&format!("; Path={}", path.value));
    }
    for attribute in further {
        let CookieAttribute { name, value } = &attribute.value;
        match value.as_ref().filter(|value| !value.is_empty()) {
            Some(value) => attributes.push_str(&format!("; {}={}", name.value, value.value)),
            None => attributes.push_str(&format!("; {}", name.value)),
        }
    }
    attributes.push_str("; HttpOnly");
    if HeaderValue::from_str(&format!("{}{attributes}", name.value)).is_err() {
        let message = format!("the cookie {:?} can't be written into a header field", name.value);
        sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, name.pos, message);
        return None;
    }
    let ttl = ttl.as_ref().map(|ttl| ttl.value);
    Some(HashKey::Cookie(HashCookie { name: name.value.as_str().into(), ttl, attributes: attributes.into() }))
}

fn ring(written: Option<&At<i64>>, sink: &mut Sink<'_>) -> HashTable {
    let Some(size) = written else { return HashTable::Ring { minimum: RING } };
    if size.value < 0 {
        sink.schema(size.pos, format!("{} is not 0 or more", size.value));
    }
    if size.value > i64::from(MAX_RING) {
        let message = format!("a ring of {} points is over {MAX_RING}, which it is brought to", size.value);
        sink.add(Severity::Warning, Code::UNSUPPORTED_FIELD, size.pos, message);
    }
    let minimum = match u32::try_from(size.value) {
        Ok(0) => RING,
        Ok(size) => size.min(MAX_RING),
        Err(_) => MAX_RING,
    };
    HashTable::Ring { minimum }
}

fn maglev(written: &At<Maglev>, sink: &mut Sink<'_>) -> HashTable {
    let Maglev { table_size } = &written.value;
    let Some(size) = table_size else {
        sink.schema(written.pos, "maglev needs \"tableSize\"".into());
        return HashTable::Maglev { size: 65_537 };
    };
    match u32::try_from(size.value).ok().filter(|&size| size < MAGLEV_END && is_prime(size)) {
        Some(size) => HashTable::Maglev { size },
        None => {
            sink.schema(size.pos, format!("tableSize {} is not a prime under {MAGLEV_END}", size.value));
            HashTable::Maglev { size: 65_537 }
        }
    }
}

/// As Envoy counts: 1 is one.
fn is_prime(number: u32) -> bool {
    match number {
        0 => false,
        1..4 => true,
        _ => {
            let mut factors = (3..).step_by(2).take_while(|factor| factor * factor <= number);
            !number.is_multiple_of(2) && !factors.any(|factor| number.is_multiple_of(factor))
        }
    }
}
