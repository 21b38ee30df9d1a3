//! trafficPolicy → policy: each level read and validated alone, then composed for a host's subset and port.
//!
//! Levels override each other block by block and never inside a block, as Istio has it: a subset's
//! `connectionPool.http` takes the host's `connectionPool.tcp` away (`MergeSubsetTrafficPolicy`).

mod balancer;
mod ceilings;
mod locality;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Surroundings;
use super::registry::Labels;
use super::support::{Written, fields, unsupported};
use super::values::one_of;
use crate::diagnostic::{Code, Severity};
use crate::origin::{At, Origin};
use crate::snapshot::policy::{Balancer, ConnectionPool, OutlierDetection, Protocol, RetryBudget};
use crate::snapshot::{Locality, Placement, Policy};
use crate::wire::Document;
use crate::wire::destination_rule as wire;
use crate::wire::sink::Sink;
use balancer::LoadBalancing;
use locality::Spread;
use tls::Tls;

/// A `trafficPolicy` of a host or a subset.
pub(super) struct Level {
    blocks: Blocks,
    retry_budget: Option<Arc<Block<RetryBudget>>>,
    /// `portLevelSettings`, by the service's port; the first for a port counts.
    ports: BTreeMap<u16, Blocks>,
}

/// The four blocks that a port may have of its own.
#[derive(Clone, Default)]
struct Blocks {
    balancer: Option<Arc<Block<LoadBalancing>>>,
    connection_pool: Option<Arc<Block<(ConnectionPool, Protocol)>>>,
    outlier: Option<Arc<Block<OutlierDetection>>>,
    tls: Option<Arc<Block<Tls>>>,
}

/// A block, and where it is written.
#[derive(Clone)]
struct Block<T> {
    read: T,
    origin: Origin,
}

impl<T: Clone> Block<T> {
    fn of<W>(
        written: Option<&At<W>>,
        reading: Reading<'_>,
        read: impl FnOnce(&At<W>) -> T,
    ) -> Option<Arc<Self>> {
        let origin = |written: &At<W>| reading.document.origin(written.pos.back(1));
        written.map(|written| Arc::new(Block { read: read(written), origin: origin(written) }))
    }

    /// What was read; its place goes to the others.
    fn placed(block: Option<Arc<Self>>, places: &mut Vec<Origin>) -> Option<T> {
        block.map(|block| {
            places.push(block.origin.clone());
            block.read.clone()
        })
    }
}

/// Whose policy a level is. Istio's analysis looks at a host's TLS only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LevelOf {
    Host,
    Subset,
}

/// What a policy is read for.
#[derive(Clone, Copy)]
pub(super) struct Reading<'r> {
    /// Where it is written.
    pub(super) document: &'r Document,
    /// The gateway.
    pub(super) here: &'r Surroundings,
}

/// How a host's subset and port is talked to.
pub(super) struct Composed {
    pub(super) policy: Arc<Policy>,
    /// What it asks for that only a mesh can do, each with its place.
    pub(super) needs_mesh: Vec<(Origin, &'static str)>,
    /// Where the blocks that hold are written.
    pub(super) places: Vec<Origin>,
    spread: Spread,
}

/// Reads one `trafficPolicy`.
pub(super) fn read(
    reading: Reading<'_>,
    written: &At<Box<wire::TrafficPolicy>>,
    of: LevelOf,
    sink: &mut Sink<'_>,
) -> Level {
    let wire::TrafficPolicy {
        load_balancer,
        connection_pool,
        outlier_detection,
        tls,
        port_level_settings,
        tunnel,
        proxy_protocol,
        retry_budget,
    } = &*written.value;
    let fields: &[&dyn Written] = &[
        load_balancer,
        connection_pool,
        outlier_detection,
        tls,
        port_level_settings,
        tunnel,
        proxy_protocol,
        retry_budget,
    ];
    if fields.iter().all(|field| field.key().is_none()) {
        sink.schema(written.pos, "a trafficPolicy needs at least one field".into());
    }
    one_of(&[("tunnel", tunnel.key()), ("proxyProtocol", proxy_protocol.key())], sink);
    unsupported(Severity::Error, fields![tunnel, proxy_protocol = "proxyProtocol"], sink);
    if let Some(tunnel) = tunnel {
        check_tunnel(&tunnel.value, sink);
    }
    let warn = |code| (of == LevelOf::Host).then_some(code);
    let written = (load_balancer, connection_pool, outlier_detection, tls);
    let blocks = read_blocks(reading, written, warn(Code::NO_CA_FOR_HOST), sink);
    let mut ports = BTreeMap::new();
    for port in port_level_settings {
        let pos = port.pos;
        let wire::PortPolicy { port, load_balancer, connection_pool, outlier_detection, tls } = &port.value;
        if port.is_none() {
            sink.schema(pos, "an item of portLevelSettings needs a port".into());
        }
        let fields: &[&dyn Written] = &[load_balancer, connection_pool, outlier_detection, tls];
        if fields.iter().all(|field| field.key().is_none()) {
            sink.schema(pos, "an item of portLevelSettings needs at least one field beside its port".into());
        }
        let written = (load_balancer, connection_pool, outlier_detection, tls);
        let blocks = read_blocks(reading, written, warn(Code::NO_CA_FOR_PORT), sink);
        if let Some(number) = port.as_ref().and_then(|port| port.number.as_ref()) {
            ports.entry(number.value).or_insert(blocks);
        }
    }
    let retry_budget =
        Block::of(retry_budget.as_ref(), reading, |budget| ceilings::retry_budget(&budget.value, sink));
    Level { blocks, retry_budget, ports }
}

type May<T> = Option<At<Box<T>>>;
type WrittenBlocks<'w> = (
    &'w May<wire::LoadBalancer>,
    &'w May<wire::ConnectionPool>,
    &'w May<wire::OutlierDetection>,
    &'w May<wire::ClientTls>,
);

/// Reads the blocks of a level or of one of its ports; `warn` is the code for TLS without authorities.
fn read_blocks(
    reading: Reading<'_>,
    (load_balancer, connection_pool, outlier_detection, tls): WrittenBlocks<'_>,
    warn: Option<Code>,
    sink: &mut Sink<'_>,
) -> Blocks {
    let tls = Block::of(tls.as_ref(), reading, |written| {
        let read = tls::read(reading.document, written, sink);
        if let Some(code) = warn {
            tls::warn_of_no_authorities(written, &read, code, sink);
        }
        read
    });
    let ejects = outlier_detection.is_some();
    Blocks {
        balancer: Block::of(load_balancer.as_ref(), reading, |written| {
            balancer::read(reading, written, ejects, sink)
        }),
        connection_pool: Block::of(connection_pool.as_ref(), reading, |written| {
            ceilings::connection_pool(written, sink)
        }),
        outlier: Block::of(outlier_detection.as_ref(), reading, |written| {
            ceilings::outlier(&written.value, sink)
        }),
        tls,
    }
}

/// Istio `validateTunnelSettings`.
fn check_tunnel(written: &wire::Tunnel, sink: &mut Sink<'_>) {
    let wire::Tunnel { protocol, target_host, target_port: _ } = written;
    if let Some(protocol) = protocol.as_ref().filter(|p| !["", "CONNECT", "POST"].contains(&p.as_str())) {
        sink.schema(protocol.pos, format!("a tunnel is by CONNECT or POST, not by {:?}", protocol.value));
    }
    let host = crate::host::HostPattern::parse(target_host);
    if !matches!(host, Ok(crate::host::HostPattern::Exact(_))) {
        sink.schema(target_host.pos, format!("{:?} is not a host or an address", target_host.value));
    }
}

/// Composes a host's policy and a subset's for a port of the service.
pub(super) fn compose(host: Option<&Level>, subset: Option<&Level>, port: u16) -> Composed {
    // A port's entry stands alone: it takes nothing from the level it is written in.
    let mut blocks = host.map_or_else(Blocks::default, |level| level.at(port).clone());
    let mut retry_budget = match host {
        Some(level) if !level.ports.contains_key(&port) => level.retry_budget.clone(),
        _ => None,
    };
    if let Some(subset) = subset {
        retry_budget = subset.retry_budget.clone().or(retry_budget);
        match subset.ports.get(&port) {
            // Also what it does not say goes back to its default.
            Some(own) => blocks = own.clone(),
            None => blocks.override_by(&subset.blocks),
        }
    }
    let Blocks { balancer, connection_pool, outlier, tls } = blocks;
    let mut places = Vec::new();
    let LoadBalancing { balancer, spread, needs_mesh: passthrough } =
        Block::placed(balancer, &mut places).unwrap_or_default();
    let (connection_pool, protocol) = Block::placed(connection_pool, &mut places).unwrap_or_default();
    let outlier = Block::placed(outlier, &mut places);
    let (tls, mutual) = Block::placed(tls, &mut places).map_or((None, None), |tls| (tls.tls, tls.needs_mesh));
    let retry_budget = Block::placed(retry_budget, &mut places);
    let what = [
        (passthrough, "wants the endpoint that the client chose (PASSTHROUGH), which only a sidecar knows"),
        (mutual, "wants mutual TLS by a mesh (ISTIO_MUTUAL), which a gateway alone can't speak"),
    ];
    Composed {
        policy: Arc::new(Policy { balancer, connection_pool, outlier, tls, protocol, retry_budget }),
        needs_mesh: what.into_iter().filter_map(|(origin, what)| Some((origin?, what))).collect(),
        places,
        spread,
    }
}

impl Level {
    fn at(&self, port: u16) -> &Blocks {
        self.ports.get(&port).unwrap_or(&self.blocks)
    }
}

impl Blocks {
    fn override_by(&mut self, other: &Blocks) {
        let Blocks { balancer, connection_pool, outlier, tls } = other.clone();
        self.balancer = balancer.or_else(|| self.balancer.take());
        self.connection_pool = connection_pool.or_else(|| self.connection_pool.take());
        self.outlier = outlier.or_else(|| self.outlier.take());
        self.tls = tls.or_else(|| self.tls.take());
    }
}

impl Composed {
    /// Looks for a service's own names in its servers' certificates where the rule names none, as Istio does with
    /// a ServiceEntry's. Where that can't be done, it gives the place of the rule's TLS.
    pub(super) fn look_for(&mut self, names: &[Box<str>]) -> Option<&Origin> {
        let tls = self.policy.tls.as_ref()?;
        if names.is_empty() || tls.insecure_skip_verify || !tls.subject_alt_names.is_empty() {
            return None;
        }
        let tls = Arc::make_mut(&mut self.policy).tls.as_mut()?;
        tls.subject_alt_names = names.into();
        tls.server_name().is_none().then_some(&tls.origin)
    }

    /// The port speaks HTTP/2, unless the policy says what is spoken.
    pub(super) fn speak_h2(&mut self) {
        let policy = Arc::make_mut(&mut self.policy);
        if policy.protocol == Protocol::Http1 {
            policy.protocol = Protocol::Http2;
        }
    }

    /// The addresses of a name that has several take turns, unless the policy chooses in a way of its own.
    pub(super) fn prefer_turns(&mut self) {
        let policy = Arc::make_mut(&mut self.policy);
        if policy.balancer == Balancer::LeastRequest(None) {
            policy.balancer = Balancer::RoundRobin(None);
        }
    }

    /// Where each of a cluster's endpoints stands; `None` for one that gets no traffic.
    pub(super) fn place(
        &self,
        here: &Surroundings,
        members: &[(&Locality, &Labels)],
    ) -> Vec<Option<Placement>> {
        self.spread.place(self.policy.outlier.is_some(), here, members)
    }
}
