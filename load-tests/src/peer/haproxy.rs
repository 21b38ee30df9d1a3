//! HAProxy: one thread, weighted servers, connections to them kept and shared, no log.

use std::ffi::OsString;
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
pub(super) struct Haproxy;

impl Peer for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn exactness(&self) -> Exactness {
        Exactness::Drawn
    }

    fn is_there(&self, _: &Path) -> bool {
        program("haproxy").is_some()
    }

    fn prepare(&self, scenario: &Scenario, site: &Site<'_>) -> anyhow::Result<Launch> {
        let address = free()?;
        let to = if scenario.wire == Wire::Grpc { " proto h2" } else { "" };
        let kind = match scenario.wire {
            Wire::Http1 | Wire::WebSocket => String::new(),
            Wire::H2c | Wire::Grpc => " proto h2".to_owned(),
            Wire::Tls | Wire::H2 => {
                format!(" ssl crt {} alpn h2,http/1.1", tls::write(site.folder)?.both.display())
            }
        };
        let servers: String = scenario
            .split
            .iter()
            .zip(site.origins)
            .map(|((version, weight), origin)| format!("  server {version} {origin} weight {weight}{to}\n"))
            .collect();
        let configuration = format!(
            "global
  nbthread {threads}
  maxconn 9000
  tune.maxaccept 64
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  tune.ssl.cachesize 0
defaults
  mode http
  option forwardfor
  timeout connect 1s
  timeout client 600s
  timeout server 60s
  timeout tunnel 600s
  timeout http-keep-alive 600s
  option http-keep-alive
  http-reuse always
frontend load
  bind {address}{kind} backlog 4096
  http-request set-header X-Forwarded-Proto {scheme}
  {choice}
backend reviews
  balance roundrobin
{servers}",
            threads = site.threads,
            scheme = if scenario.wire.is_tls() { "https" } else { "http" },
            choice = choice(scenario, site.folder)?,
        );
        let file = site.folder.join("haproxy.cfg");
        fs::write(&file, configuration)?;
        let program = program("haproxy").context("no haproxy")?;
        let args: Vec<OsString> = vec!["-db".into(), "-f".into(), file.into()];
        Ok(Launch { program, args, address: Some(address) })
    }
}

/// How the backend is chosen: by a map, where there are many rows.
fn choice(scenario: &Scenario, folder: &Path) -> std::io::Result<String> {
    let Some(table) = scenario.table else {
        return Ok(format!("use_backend reviews if {{ path_beg {} }}", scenario.prefix));
    };
    let key = |row| match table.by {
        By::Host => table.host(row),
        By::Prefix => table.prefix(row),
        By::Header => table.value(row).unwrap_or_default(),
    };
    let rows: String = (0..table.rows).map(|row| format!("{} reviews\n", key(row))).collect();
    let file = folder.join("rows.map");
    fs::write(&file, rows)?;
    let file = file.display();
    Ok(match table.by {
        By::Host => format!("use_backend %[req.hdr(host),lower,map_str({file})]"),
        By::Prefix => format!("use_backend %[path,map_beg({file})]"),
        By::Header => format!("use_backend %[req.hdr(x-row),map_str({file})]"),
    })
}
