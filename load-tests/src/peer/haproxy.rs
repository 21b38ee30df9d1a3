//! HAProxy: one thread, weighted servers, connections to them kept and shared, no log.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::{Peer, Site, free, program};
use crate::process::Launch;
use crate::scenario::{Exactness, Scenario};

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
        let servers: String = scenario
            .split
            .iter()
            .zip(site.origins)
            .map(|((version, weight), origin)| format!("  server {version} {origin} weight {weight}\n"))
            .collect();
        let configuration = format!(
            "global
  nbthread {threads}
  maxconn 9000
  tune.maxaccept 64
defaults
  mode http
  option forwardfor
  timeout connect 1s
  timeout client 600s
  timeout server 60s
  timeout http-keep-alive 600s
  option http-keep-alive
  http-reuse always
frontend load
  bind {address} backlog 4096
  acl reviews path_beg {prefix}
  http-request set-header X-Forwarded-Proto http
  use_backend reviews if reviews
backend reviews
  balance roundrobin
{servers}",
            threads = site.threads,
            prefix = scenario.prefix,
        );
        let file = site.folder.join("haproxy.cfg");
        fs::write(&file, configuration)?;
        let program = program("haproxy").context("no haproxy")?;
        let args: Vec<OsString> = vec!["-db".into(), "-f".into(), file.into()];
        Ok(Launch { program, args, address: Some(address) })
    }
}
