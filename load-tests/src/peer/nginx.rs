//! nginx: one worker, weighted servers, connections to them kept, no log.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::{Peer, Site, free, program};
use crate::process::Launch;
use crate::scenario::{Exactness, Scenario};

#[derive(Debug)]
pub(super) struct Nginx;

impl Peer for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    /// Its weighted round robin is smooth, and one for each upstream of a worker.
    fn exactness(&self) -> Exactness {
        Exactness::Drawn
    }

    fn is_there(&self, _: &Path) -> bool {
        program("nginx").is_some()
    }

    fn prepare(&self, scenario: &Scenario, site: &Site<'_>) -> anyhow::Result<Launch> {
        let (address, folder) = (free()?, site.folder.display());
        let servers: String = scenario
            .split
            .iter()
            .zip(site.origins)
            .map(|((_, weight), origin)| format!("    server {origin} weight={weight};\n"))
            .collect();
        let configuration = format!(
            "daemon off;
master_process {master};
worker_processes {threads};
pid {folder}/pid;
error_log {folder}/error.log crit;
events {{ worker_connections 16000; multi_accept on; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream reviews {{
{servers}    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address} reuseport backlog=4096;
    location {prefix} {{
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_pass http://reviews;
    }}
  }}
}}
",
            master = if site.threads > 1 { "on" } else { "off" },
            threads = site.threads,
            prefix = scenario.prefix,
        );
        let file = site.folder.join("nginx.conf");
        fs::write(&file, configuration)?;
        let args = vec!["-c".into(), file.into(), "-p".into(), site.folder.into()];
        Ok(Launch { program: program("nginx").context("no nginx")?, args, address: Some(address) })
    }
}
