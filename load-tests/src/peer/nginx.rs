//! nginx: one worker, weighted servers, connections to them kept, no log.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;

use super::{Peer, Site, free, program};
use crate::process::Launch;
use crate::scenario::{Exactness, Scenario};
use crate::table::By;
use crate::tls;
use crate::wire::Wire;

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
{fields}{routes}}}
",
            master = if site.threads > 1 { "on" } else { "off" },
            threads = site.threads,
            fields = fields(scenario.wire),
            routes = routes(scenario, site, address)?,
        );
        let file = site.folder.join("nginx.conf");
        fs::write(&file, configuration)?;
        let args = vec!["-c".into(), file.into(), "-p".into(), site.folder.into()];
        Ok(Launch { program: program("nginx").context("no nginx")?, args, address: Some(address) })
    }
}

/// Hosts are servers, prefixes are locations, values are a map's.
fn routes(scenario: &Scenario, site: &Site<'_>, address: SocketAddr) -> std::io::Result<String> {
    let listen = |options: &str| format!("    listen {address}{options};\n");
    let pass = if scenario.wire == Wire::Grpc { "grpc_pass grpc" } else { "proxy_pass http" };
    let to = |prefix: &str, upstream: &str| format!("    location {prefix} {{ {pass}://{upstream}; }}\n");
    let server = |inside: String| format!("  server {{\n{inside}  }}\n");
    // As a port of its own: together with HTTP/1.1 in the clear it is not to be had.
    let h2 = if scenario.wire.is_h2() { " http2" } else { "" };
    let tls = if scenario.wire.is_tls() { " ssl" } else { "" };
    let first = listen(&format!("{tls}{h2} reuseport backlog=4096")) + &certificate(scenario.wire, site)?;
    let Some(table) = scenario.table else { return Ok(server(first + &to(scenario.prefix, "reviews"))) };
    let rows = 0..table.rows;
    Ok(match table.by {
        By::Host => {
            let listen = |row| if row == 0 { first.clone() } else { listen("") };
            let name = |row| format!("    server_name {};\n", table.host(row));
            let servers = rows.map(|row| server(listen(row) + &name(row) + &to("/", "reviews")));
            "  server_names_hash_max_size 262144;\n  server_names_hash_bucket_size 128;\n".to_owned()
                + &servers.collect::<String>()
        }
        By::Prefix => server(first + &rows.map(|row| to(&table.prefix(row), "reviews")).collect::<String>()),
        By::Header => {
            let values = rows.filter_map(|row| Some(format!("    {} reviews;\n", table.value(row)?)));
            let values: String = values.collect();
            format!(
                "  map_hash_max_size 262144;\n  map_hash_bucket_size 128;\n  map $http_x_row $to {{\n{values}  }}\n"
            ) + &server(first + &to("/", "$to"))
        }
    })
}

fn certificate(wire: Wire, site: &Site<'_>) -> std::io::Result<String> {
    if !wire.is_tls() {
        return Ok(String::new());
    }
    let files = tls::write(site.folder)?;
    Ok(format!(
        "    ssl_certificate {};
    ssl_certificate_key {};
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    ssl_session_cache off;
",
        files.chain.display(),
        files.key.display()
    ))
}

/// What the upstreams are sent.
fn fields(wire: Wire) -> String {
    let connection = match wire {
        Wire::Grpc => return fields_of("grpc"),
        Wire::WebSocket => {
            "  proxy_set_header Connection upgrade;
  proxy_set_header Upgrade $http_upgrade;
  proxy_read_timeout 600s;
"
        }
        Wire::Http1 | Wire::Tls | Wire::H2c | Wire::H2 => "  proxy_set_header Connection \"\";\n",
    };
    format!("  proxy_http_version 1.1;\n{connection}{}", fields_of("proxy"))
}

fn fields_of(module: &str) -> String {
    let fields = ["Host $host", "X-Forwarded-For $remote_addr", "X-Forwarded-Proto $scheme"];
    fields.iter().map(|field| format!("  {module}_set_header {field};\n")).collect()
}
