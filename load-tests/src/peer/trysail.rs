//! Trysail itself, configured as an operator would: Istio's objects in a folder, settings in a file.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::{Peer, Site, reachable};
use crate::process::Launch;
use crate::scenario::{Exactness, Scenario};

/// One build of it.
#[derive(Debug)]
pub(super) struct Trysail {
    pub(super) name: &'static str,
    /// Beside our other executables.
    pub(super) program: &'static str,
    /// Whether the express lane is open.
    pub(super) express: bool,
}

impl Peer for Trysail {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_there(&self, binaries: &Path) -> bool {
        self.program == "trysail" || binaries.join(self.program).is_file()
    }

    fn exactness(&self) -> Exactness {
        Exactness::Exact
    }

    fn prepare(&self, scenario: &Scenario, site: &Site<'_>) -> anyhow::Result<Launch> {
        let config = site.folder.join("conf");
        let settings = site.folder.join("settings.yaml");
        fs::create_dir(&config)?;
        fs::write(config.join("reviews.yaml"), objects(scenario, site.origins))?;
        fs::write(
            &settings,
            format!(
                "threads: {}\nexpressLane: {}\nmetrics: 127.0.0.1:0\nhealth: 127.0.0.1:0\nadmin: 127.0.0.1:0\n",
                site.threads, self.express
            ),
        )?;
        Ok(Launch {
            program: site.binaries.join(self.program),
            address: None,
            args: vec![
                "run".into(),
                "--config".into(),
                config.into(),
                "--port".into(),
                "80=0".into(),
                "--settings".into(),
                settings.into(),
            ],
        })
    }

    /// `… listening 80 → 127.0.0.1:41233 (HTTP)`
    fn heard(&self, line: &str) -> Option<SocketAddr> {
        let (_, bound) = line.split_once("listening ")?.1.split_once("80 → ")?;
        let address = bound.split([' ', ',']).next()?;
        address.parse().ok().map(reachable)
    }
}

/// Gateway, VirtualService, DestinationRule and ServiceEntry for the scenario.
fn objects(scenario: &Scenario, origins: &[SocketAddr]) -> String {
    let (mut route, mut subsets, mut endpoints) = (String::new(), String::new(), String::new());
    for (&(version, weight), origin) in scenario.split.iter().zip(origins) {
        let _ = write!(
            route,
            "
    - destination: {{host: reviews.test, subset: {version}, port: {{number: 9080}}}}
      weight: {weight}"
        );
        let _ = write!(subsets, "\n  - {{name: {version}, labels: {{version: {version}}}}}");
        let _ = write!(
            endpoints,
            "
  - address: {}
    ports: {{http: {}}}
    labels: {{version: {version}}}",
            origin.ip(),
            origin.port()
        );
    }
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: load, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: 80, name: http, protocol: HTTP}}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: [{host}]
  gateways: [load]
  http:
  - match:
    - uri: {{prefix: {prefix}}}
    route:{route}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: default}}
spec:
  host: reviews.test
  subsets:{subsets}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: [reviews.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {{number: 9080, name: http, protocol: HTTP}}
  endpoints:{endpoints}
",
        host = scenario.host,
        prefix = scenario.prefix,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log() {
        let trysail = Trysail { name: "trysail", program: "trysail", express: false };
        let heard = |line| trysail.heard(line).map(|address| address.to_string());
        let one = "2026-11-22T19:20:01Z INFO  listening 80 → 127.0.0.1:41233 (HTTP)";
        assert_eq!(heard(one).as_deref(), Some("127.0.0.1:41233"));
        let two = "INFO  listening 80 → 0.0.0.0:8080 (HTTP), 443 → 0.0.0.0:8443 (HTTPS, 2 certificates)";
        assert_eq!(heard(two).as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(heard("INFO  conf/: 4 objects, 1 route on port 80"), None);
    }
}
