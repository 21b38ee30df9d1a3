//! Envoy: one worker, weighted clusters, as Istio's gateway would be told.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::{Peer, Site, free, program};
use crate::process::Launch;
use crate::scenario::{Exactness, Scenario};
use crate::table::By;
use crate::tls;
use crate::wire::Wire;

#[derive(Debug)]
pub(super) struct Envoy;

impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn exactness(&self) -> Exactness {
        Exactness::Drawn
    }

    fn is_there(&self, _: &Path) -> bool {
        program("envoy").is_some()
    }

    fn prepare(&self, scenario: &Scenario, site: &Site<'_>) -> anyhow::Result<Launch> {
        let address = free()?;
        let protocol = if scenario.wire == Wire::Grpc { H2_UPSTREAMS } else { "" };
        let upgrades = match scenario.wire {
            Wire::WebSocket => "\n          upgrade_configs: [{upgrade_type: websocket}]",
            _ => "",
        };
        let (mut weights, mut clusters) = (String::new(), String::new());
        for ((version, weight), origin) in scenario.split.iter().zip(site.origins) {
            let _ = write!(weights, "{{name: {version}, weight: {weight}}}, ");
            let _ = write!(
                clusters,
                "
  - name: {version}
    type: STATIC
    connect_timeout: 1s{protocol}
    circuit_breakers: {{thresholds: [{{max_connections: 20000, max_pending_requests: 20000, max_requests: 20000}}]}}
    load_assignment:
      cluster_name: {version}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}",
                origin.ip(),
                origin.port()
            );
        }
        let configuration = format!(
            "node: {{id: load, cluster: load}}
static_resources:
  listeners:
  - name: load
    address: {{socket_address: {{address: {ip}, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: load
          codec_type: AUTO
          use_remote_address: true{upgrades}
          route_config:
            name: load
            virtual_hosts:{hosts}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}{tls}
  clusters:{clusters}
",
            ip = address.ip(),
            port = address.port(),
            tls = tls(scenario, site)?,
            hosts = virtual_hosts(scenario, &weights),
        );
        let file = site.folder.join("envoy.yaml");
        fs::write(&file, configuration)?;
        let threads = site.threads.to_string();
        let mut args = vec!["-c".into(), file.into(), "--concurrency".into(), threads.into()];
        args.extend(["--log-level", "error", "--disable-hot-restart"].map(Into::into));
        Ok(Launch { program: program("envoy").context("no envoy")?, args, address: Some(address) })
    }
}

/// A virtual host for each host, a route for each row: as istiod writes them.
fn virtual_hosts(scenario: &Scenario, weights: &str) -> String {
    let route = |matches: &str| {
        format!(
            "
              - match: {{{matches}}}
                route: {{weighted_clusters: {{clusters: [{weights}]}}}}"
        )
    };
    let host = |name: &str, domain: &str, routes: &str| {
        format!(
            "
            - name: {name}
              domains: ['{domain}']
              routes:{routes}"
        )
    };
    let Some(table) = scenario.table else {
        return host("all", "*", &route(&format!("prefix: {}", scenario.prefix)));
    };
    let of_row = |row| {
        let field = table.value(row).map_or_else(String::new, |value| {
            format!(", headers: [{{name: x-row, string_match: {{exact: {value}}}}}]")
        });
        route(&format!("prefix: {}{field}", table.prefix(row)))
    };
    match table.by {
        By::Host => {
            (0..table.rows).map(|row| host(&format!("r{row}"), &table.host(row), &of_row(row))).collect()
        }
        By::Prefix | By::Header => host("all", "*", &(0..table.rows).map(of_row).collect::<String>()),
    }
}

/// Of a cluster that speaks HTTP/2.
const H2_UPSTREAMS: &str = "
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}";

/// What of a filter chain ends TLS.
fn tls(scenario: &Scenario, site: &Site<'_>) -> std::io::Result<String> {
    if !scenario.wire.is_tls() {
        return Ok(String::new());
    }
    let files = tls::write(site.folder)?;
    Ok(format!(
        "
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          disable_stateless_session_resumption: true
          disable_stateful_session_resumption: true
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_params: {{tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}}
            tls_certificates: [{{certificate_chain: {{filename: {}}}, private_key: {{filename: {}}}}}]",
        files.chain.display(),
        files.key.display()
    ))
}
