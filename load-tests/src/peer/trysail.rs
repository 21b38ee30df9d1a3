//! Trysail itself, configured as an operator would: Istio's objects in a folder, settings in a file.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::{Peer, Site, reachable};
use crate::process::Launch;
use crate::scenario::{Exactness, Scenario};
use crate::table::{By, Table};
use crate::tls;
use crate::wire::Wire;

/// One build of it, with a feature in use where that is not [`Feature::None`].
#[derive(Debug)]
pub(super) struct Trysail {
    pub(super) name: &'static str,
    /// Beside our other executables.
    pub(super) program: &'static str,
    pub(super) feature: Feature,
}

/// What a route, its destination or the process does beside the split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Nothing.
    None,
    /// The route says how often it is tried again.
    Retries,
    /// A rule before it, with a fault, does not take the request.
    FaultMissed,
    /// All requests are copied to v1.
    Mirror,
    /// Each has a line in a file.
    AccessLog,
    /// All requests go through Pingora's proxy.
    Pingora,
    /// The endpoint is chosen by a cookie.
    HashCookie,
    /// By a header field.
    HashHeader,
    /// In turn, and not by how busy it is.
    RoundRobin,
    /// Fields are set and removed on both ways.
    Headers,
}

/// Peers by their names.
pub const FEATURES: [(&str, Feature); 9] = [
    ("trysail", Feature::None),
    ("retries", Feature::Retries),
    ("fault-missed", Feature::FaultMissed),
    ("header-operations", Feature::Headers),
    ("hash-cookie", Feature::HashCookie),
    ("hash-header", Feature::HashHeader),
    ("round-robin", Feature::RoundRobin),
    ("access-log", Feature::AccessLog),
    ("mirror", Feature::Mirror),
];

impl Feature {
    /// Further lines of the rule of a VirtualService.
    fn of_rule(self) -> &'static str {
        match self {
            Feature::Retries => {
                "\n    retries: {attempts: 2, perTryTimeout: 2s, retryOn: 'connect-failure,5xx'}"
            }
            Feature::Mirror => {
                "\n    mirrors:\n    - destination: {host: reviews.test, subset: v1, port: {number: 9080}}\n      \
                 percentage: {value: 100}"
            }
            Feature::Headers => {
                "\n    headers:\n      request: {set: {x-gateway: trysail}, remove: [x-user]}\n      \
                 response: {set: {x-served-by: gateway}, remove: [x-powered-by]}"
            }
            _ => "",
        }
    }

    /// Further lines of the DestinationRule.
    fn of_destination(self) -> &'static str {
        match self {
            Feature::HashCookie => {
                "\n  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}}}}"
            }
            Feature::HashHeader => {
                "\n  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}"
            }
            Feature::RoundRobin => "\n  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}",
            _ => "",
        }
    }
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
        fs::write(config.join("reviews.yaml"), services(scenario, self.feature, site)?)?;
        let route = route(scenario, self.feature);
        match scenario.table {
            None => fs::write(config.join("routes.yaml"), routes(scenario, self.feature, &route))?,
            Some(table) => tables(table, &route, &config)?,
        }
        let more = match self.feature {
            Feature::AccessLog => format!("accessLog: {{path: {}/access.log}}\n", site.folder.display()),
            Feature::Pingora => "expressLane: false\n".to_owned(),
            _ => String::new(),
        };
        fs::write(
            &settings,
            format!(
                "threads: {}\nmetrics: 127.0.0.1:0\nhealth: 127.0.0.1:0\nadmin: 127.0.0.1:0\n{more}",
                site.threads
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
                format!("{}=0", port(scenario)).into(),
                "--settings".into(),
                settings.into(),
            ],
        })
    }

    /// `… listening 80 → 127.0.0.1:41233 (HTTP)`; of several the first.
    fn heard(&self, line: &str) -> Option<SocketAddr> {
        let (_, bound) = line.split_once("listening ")?.1.split_once(" → ")?;
        let address = bound.split([' ', ',']).next()?;
        address.parse().ok().map(reachable)
    }
}

/// The Gateway's port.
fn port(scenario: &Scenario) -> u16 {
    if scenario.wire.is_tls() { 443 } else { 80 }
}

/// The Gateway's server.
fn server(scenario: &Scenario, site: &Site<'_>) -> std::io::Result<String> {
    if !scenario.wire.is_tls() {
        return Ok("
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*']"
            .to_owned());
    }
    let files = tls::write(site.folder)?;
    Ok(format!(
        "
  - port: {{number: 443, name: https, protocol: HTTPS}}
    hosts: ['{}']
    tls: {{mode: SIMPLE, serverCertificate: {}, privateKey: {}}}",
        scenario.host,
        files.chain.display(),
        files.key.display()
    ))
}

/// Gateway, DestinationRule and ServiceEntry for the scenario.
fn services(scenario: &Scenario, feature: Feature, site: &Site<'_>) -> std::io::Result<String> {
    let (mut subsets, mut endpoints) = (String::new(), String::new());
    for (&(version, _), origins) in scenario.split.iter().zip(site.origins.chunks(scenario.endpoints)) {
        let _ = write!(subsets, "\n  - {{name: {version}, labels: {{version: {version}}}}}");
        for origin in origins {
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
    }
    Ok(format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: load, namespace: default}}
spec:
  selector: {{istio: ingressgateway}}
  servers:{server}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: default}}
spec:
  host: reviews.test{policy}
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
  - {{number: 9080, name: http, protocol: {protocol}}}
  endpoints:{endpoints}
",
        server = server(scenario, site)?,
        policy = feature.of_destination(),
        protocol = if scenario.wire == Wire::Grpc { "GRPC" } else { "HTTP" },
    ))
}

/// Where a rule leads, and what else it does.
fn route(scenario: &Scenario, feature: Feature) -> String {
    let mut route = "    route:".to_owned();
    for &(version, weight) in scenario.split {
        let _ = write!(
            route,
            "
    - destination: {{host: reviews.test, subset: {version}, port: {{number: 9080}}}}
      weight: {weight}"
        );
    }
    route + feature.of_rule()
}

fn virtual_service(name: &str, host: &str, rules: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{host}]
  gateways: [load]
  http:{rules}
"
    )
}

/// The VirtualService of a scenario with one route.
fn routes(scenario: &Scenario, feature: Feature, route: &str) -> String {
    let before = match feature {
        Feature::FaultMissed => format!(
            "
  - match:
    - headers: {{x-fault: {{exact: 'yes'}}}}
    fault: {{abort: {{httpStatus: 500, percentage: {{value: 100}}}}}}
{route}"
        ),
        _ => String::new(),
    };
    let rule = format!("\n  - match:\n    - uri: {{prefix: {}}}\n{route}", scenario.prefix);
    virtual_service("reviews", scenario.host, &(before + &rule))
}

/// Files of a thousand rows each: of hosts a VirtualService for each row, else one for each file.
fn tables(table: Table, route: &str, config: &Path) -> std::io::Result<()> {
    const EACH: usize = 1_000;
    for first in (0..table.rows).step_by(EACH) {
        let rows = first..table.rows.min(first + EACH);
        let rule = |row: usize| {
            let field = table
                .value(row)
                .map_or_else(String::new, |value| format!("\n      headers: {{x-row: {{exact: {value}}}}}"));
            format!("\n  - match:\n    - uri: {{prefix: {}}}{field}\n{route}", table.prefix(row))
        };
        let text: String = match table.by {
            By::Host => {
                rows.map(|row| virtual_service(&format!("r{row}"), &table.host(row), &rule(row))).collect()
            }
            By::Prefix | By::Header => {
                let rules: String = rows.map(rule).collect();
                virtual_service(&format!("r{first}"), &table.host(first), &rules)
            }
        };
        fs::write(config.join(format!("routes-{first:06}.yaml")), text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log() {
        let trysail = Trysail { name: "trysail", program: "trysail", feature: Feature::None };
        let heard = |line| trysail.heard(line).map(|address| address.to_string());
        let one = "2026-11-22T19:20:01Z INFO  listening 80 → 127.0.0.1:41233 (HTTP)";
        assert_eq!(heard(one).as_deref(), Some("127.0.0.1:41233"));
        let two = "INFO  listening 80 → 0.0.0.0:8080 (HTTP), 443 → 0.0.0.0:8443 (HTTPS, 2 certificates)";
        assert_eq!(heard(two).as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(heard("INFO  conf/: 4 objects, 1 route on port 80"), None);
    }
}
