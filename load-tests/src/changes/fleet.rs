//! A configuration of many hosts that is edited while it serves: written for Trysail and for nginx, one host at a time.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// So many hosts, each with a service of its own that has an endpoint of each version.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Hosts, `h0.fleet.test` and on. The last one is edited.
    pub hosts: usize,
    /// Of v1 and v2.
    pub origins: [SocketAddr; 2],
}

/// What is said of the last host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last {
    /// The version that its route leads to, from 0.
    pub route: usize,
    /// Whether the endpoints of the two versions have changed places.
    pub swapped: bool,
}

impl Last {
    /// As it begins.
    pub const FIRST: Last = Last { route: 0, swapped: false };

    /// The version whose origin answers.
    #[must_use]
    pub fn answers(self) -> usize {
        self.route ^ usize::from(self.swapped)
    }
}

impl Fleet {
    /// The host of a number.
    #[must_use]
    pub fn host(number: usize) -> String {
        format!("h{number}.fleet.test")
    }

    /// The last host's number.
    #[must_use]
    pub fn last(&self) -> usize {
        self.hosts.saturating_sub(1)
    }

    /// Istio's objects: files of a hundred hosts each, and two for the last host alone.
    pub fn write_objects(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join("gateway.yaml"), GATEWAY)?;
        for first in (0..self.last()).step_by(100) {
            let hosts = first..self.last().min(first + 100);
            let text: String = hosts.map(|host| self.service(host, false) + &route(host, 0)).collect();
            fs::write(folder.join(format!("hosts-{first:06}.yaml")), text)?;
        }
        self.prepare(folder, Last::FIRST)?.iter().try_for_each(|(from, to)| fs::rename(from, to))
    }

    /// Writes what is said of the last host beside what is there; what to rename to what, its service first.
    pub fn prepare(&self, folder: &Path, last: Last) -> io::Result<[(PathBuf, PathBuf); 2]> {
        let put = |name: &str, text: String| {
            let new = folder.join(format!(".{name}.new"));
            fs::write(&new, text).map(|()| (new, folder.join(name)))
        };
        let number = self.last();
        Ok([
            put("last-service.yaml", self.service(number, last.swapped))?,
            put("last-route.yaml", route(number, last.route))?,
        ])
    }

    /// The same for nginx: a server and two upstreams for each host.
    #[must_use]
    pub fn nginx(&self, address: SocketAddr, folder: &Path, last: Last) -> String {
        let folder = folder.display();
        let mut text = format!(
            "daemon off;\nmaster_process on;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log crit;
events {{ worker_connections 16000; multi_accept on; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server_names_hash_max_size 262144;
  server_names_hash_bucket_size 128;
  proxy_http_version 1.1;
  proxy_set_header Connection \"\";
  proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;\n"
        );
        for host in 0..self.hosts {
            let version = if host == self.last() { last.answers() } else { 0 };
            let (origin, name) = (self.origins[version], Self::host(host));
            let _ = write!(
                text,
                "  upstream u{host} {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}
  server {{ listen {address}{once}; server_name {name}; location / {{ proxy_pass http://u{host}; }} }}\n",
                once = if host == 0 { " reuseport backlog=4096" } else { "" },
            );
        }
        text + "}\n"
    }

    fn service(&self, number: usize, swapped: bool) -> String {
        let mut origins = self.origins;
        if swapped {
            origins.reverse();
        }
        let endpoint = |(version, origin): (usize, &SocketAddr)| {
            let (ip, port) = (origin.ip(), origin.port());
            format!(
                "  - {{address: {ip}, ports: {{http: {port}}}, labels: {{app: s{number}, version: v{version}}}}}\n"
            )
        };
        let endpoints: String = (1..).zip(&origins).map(endpoint).collect();
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s{number}, namespace: shop}}
spec:\n  hosts: [s{number}.shop.svc.cluster.local]\n  location: MESH_INTERNAL\n  resolution: STATIC
  ports:\n  - {{number: 80, name: http, protocol: HTTP}}\n  endpoints:\n{endpoints}"
        )
    }
}

const GATEWAY: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: fleet, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*/*']
";

/// A host's DestinationRule and VirtualService, which leads to one version.
fn route(number: usize, version: usize) -> String {
    let weights = [100 - 100 * version.min(1), 100 * version.min(1)];
    let host = Fleet::host(number);
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s{number}, namespace: shop}}
spec:\n  host: s{number}\n  subsets:\n  - {{name: v1, labels: {{version: v1}}}}\n  - {{name: v2, labels: {{version: v2}}}}
---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: h{number}, namespace: shop}}
spec:\n  hosts: [{host}]\n  gateways: [fleet]\n  http:\n  - route:
    - {{destination: {{host: s{number}, subset: v1}}, weight: {one}}}
    - {{destination: {{host: s{number}, subset: v2}}, weight: {two}}}\n",
        one = weights[0],
        two = weights[1],
    )
}
