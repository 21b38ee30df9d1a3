//! The data plane as the settings have it: the proxy, what it notes, and what clients are held to.

use std::sync::Arc;

use pingora_core::protocols::http::v2::server::default_h2_options;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::http_proxy;

use crate::access::AccessLog;
use crate::listener::{Bounds, Clients, Connections, DataPlane, HeadLimits, Relay};
use crate::metrics::{Edge, Metrics};
use crate::proxy::deadline::Timed;
use crate::proxy::express::Express;
use crate::proxy::mirror::Mirrors;
use crate::proxy::transport::Complaints;
use crate::proxy::{ActiveCell, Gateway, Measures, Server, Shared, Traces, Uses};
#[cfg(feature = "otlp")]
use crate::settings::Tracing;
use crate::settings::{Bytes, Settings};
#[cfg(feature = "otlp")]
use crate::trace::Spans;

/// What serves the gateway's ports: one proxy, so that they share its upstream connections.
pub(super) fn plane(
    settings: &Settings,
    active: &ActiveCell,
    connections: &Arc<Connections>,
    metrics: &Metrics,
    (access, traces): (Option<Arc<AccessLog>>, Option<Traces>),
) -> DataPlane {
    let conf = Arc::new(ServerConf {
        // Pingora multiplies the pool by the threads.
        upstream_keepalive_pool_size: settings.upstream.pool_size.div_ceil(settings.threads),
        threads: settings.threads,
        // Counts tries; how many there are is each route's own.
        max_retries: usize::MAX,
        ..ServerConf::default()
    });
    let gateway = Gateway {
        active: active.clone(),
        server: Server::from(&settings.server_header),
        mirrors: Arc::new(Mirrors::new(
            metrics.mirrored.clone(),
            settings.mirror_requests,
            size(settings.mirror_body),
            settings.mirror_host_suffix,
        )),
        draining: connections.draining(),
        paths: settings.paths(),
        refused: metrics.refused.clone(),
        explain_from: settings.explain_from.clone(),
        other_server: settings.other_server,
        uses: Uses::default(),
        silence: settings.downstream.idle_timeout.0,
        measures: Measures {
            fields: settings.limits.fields,
            target: size(settings.limits.target),
            body: settings.limits.body.map(|body| body.0),
            body_time: settings.downstream.body_timeout.0,
            send_time: settings.downstream.send_timeout.0,
            edge: metrics.edge.clone(),
        },
        complaints: Complaints::default(),
        access: access.clone(),
        traces,
        reached: metrics.reached.clone(),
        faults: metrics.faults.clone(),
    };
    let gateway = Arc::new(gateway);
    let express = settings.express_lane.then(|| {
        let (idle, served) = (settings.upstream.pool_size, metrics.express.clone());
        Arc::new(Express::new(gateway.clone(), idle, served))
    });
    let mut proxy = http_proxy(&conf, Shared(gateway));
    let mut options = pingora_core::apps::HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(settings.downstream.idle_timeout.0);
    proxy.server_options = Some(options);
    // From Pingora's own on, which bound what h2's do not.
    let mut h2 = default_h2_options();
    h2.max_concurrent_streams(settings.limits.streams);
    h2.max_header_list_size(u32::try_from(settings.limits.headers.0).unwrap_or(u32::MAX));
    // What a stream may have in hand before the socket takes it; h2's own is 400 KB, and there are a hundred of them.
    h2.max_send_buffer_size(128 << 10);
    proxy.h2_options = Some(h2);
    let downstream = &settings.downstream;
    DataPlane {
        http: Arc::new(Timed {
            proxy: Arc::new(proxy),
            express,
            edge: metrics.edge.clone(),
            refused: metrics.refused.clone(),
        }),
        relay: Arc::new(Relay::new(downstream.idle_timeout.0, access.clone(), metrics.reached.clone())),
        active: active.clone(),
        connections: connections.clone(),
        bounds: Arc::new(bounds(settings, metrics.edge.clone())),
        refused: metrics.refused.clone(),
        sockets: metrics.sockets.clone(),
        proxy_protocol: Arc::new(settings.proxy_protocol.clone()),
        trust: Arc::new(settings.trust()),
        access,
    }
}

/// Where spans go, if the settings name a collector.
pub(super) fn traces(settings: &Settings, metrics: &Metrics) -> Option<Traces> {
    #[cfg(feature = "otlp")]
    {
        let Tracing { endpoint, sample, .. } = &settings.tracing;
        endpoint.as_ref().map(|_| Arc::new(Spans::new(*sample, metrics.spans.clone())))
    }
    #[cfg(not(feature = "otlp"))]
    {
        // Settings that name one are refused.
        let _ = (settings, metrics);
        None
    }
}

/// What the settings hold clients to.
fn bounds(settings: &Settings, edge: Arc<Edge>) -> Bounds {
    let (times, limits) = (&settings.downstream, &settings.limits);
    Bounds {
        first: times.first_request_timeout.0,
        idle: times.idle_timeout.0,
        handshake: times.handshake_timeout.0,
        head: HeadLimits {
            time: times.head_timeout.0,
            bytes: size(limits.headers),
            fields: limits.fields,
            target: size(limits.target),
        },
        send: times.send_timeout.0,
        send_minimum: size(times.send_minimum),
        frames: limits.control_frames,
        unfunded: limits.unfunded_streams,
        buffered: size(limits.buffered),
        connections: limits.connections(),
        per_listener: limits.listener_connections.unwrap_or(usize::MAX),
        per_client: limits.client_connections,
        clients: Arc::new(Clients::default()),
        edge,
    }
}

fn size(bytes: Bytes) -> usize {
    usize::try_from(bytes.0).unwrap_or(usize::MAX)
}
