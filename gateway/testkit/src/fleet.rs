//! Many hosts: a configuration of any size, with a service, its subsets and a VirtualService for each host.
//!
//! What it says of a host does not depend on how many there are, so an edit of one host is an edit of its text alone.

use std::fmt::Write;

/// So many hosts, each with as many routes.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// How many hosts, `h0.fleet.test` and on.
    pub hosts: usize,
    /// How many routes for each: all but the last are for a prefix (`/0/` and on) and go to version 1, the last is a
    /// split over both versions.
    pub routes: usize,
    /// The ports of version 1 and version 2. The first and the last host's are at 127.0.0.1, all others' at addresses of
    /// their own.
    pub ports: [u16; 2],
}

impl Fleet {
    /// The Gateway that all hosts are bound to, on a port.
    pub fn gateway(port: u16) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: fleet\nspec:\n  selector:\n    \
             istio: ingressgateway\n  servers:\n  - port:\n      number: {port}\n      name: http\n      protocol: HTTP\n    \
             hosts:\n    - \"*\"\n"
        )
    }

    /// One host's objects, with `canary` percent for version 2.
    pub fn host(&self, number: usize, canary: u32) -> String {
        let mut text = self.service(number, 1);
        text.push_str(&Self::rule(number));
        text.push_str(&self.virtual_service(number, canary));
        text
    }

    /// One host's ServiceEntry, with so many endpoints of each version.
    pub fn service(&self, number: usize, endpoints: usize) -> String {
        let mut text = format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: s{number}\n  namespace: shop\n\
             spec:\n  hosts:\n  - s{number}.shop.svc.cluster.local\n  location: MESH_INTERNAL\n  resolution: STATIC\n  \
             ports:\n  - number: 80\n    name: http\n    protocol: HTTP\n  endpoints:\n"
        );
        for (version, port) in (1..).zip(self.ports) {
            for one in 0..endpoints {
                let address = self.address(number, one);
                let _ = write!(
                    text,
                    "  - address: {address}\n    ports:\n      http: {port}\n    labels:\n      app: s{number}\n      \
                     version: v{version}\n"
                );
            }
        }
        text
    }

    fn rule(number: usize) -> String {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: s{number}\n  \
             namespace: shop\nspec:\n  host: s{number}\n  trafficPolicy:\n    connectionPool:\n      tcp:\n        \
             connectTimeout: 2s\n  subsets:\n  - name: v1\n    labels:\n      version: v1\n  - name: v2\n    labels:\n      \
             version: v2\n"
        )
    }

    fn virtual_service(&self, number: usize, canary: u32) -> String {
        let mut text = format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: h{number}\n  \
             namespace: shop\nspec:\n  hosts:\n  - h{number}.fleet.test\n  gateways:\n  - default/fleet\n  http:\n"
        );
        for route in 0..self.routes.saturating_sub(1) {
            let _ = write!(
                text,
                "  - match:\n    - uri:\n        prefix: /{route}/\n    route:\n    - destination:\n        \
                 host: s{number}\n        subset: v1\n"
            );
        }
        let rest = 100 - canary;
        let _ = write!(
            text,
            "  - route:\n    - destination:\n        host: s{number}\n        subset: v1\n      weight: {rest}\n    \
             - destination:\n        host: s{number}\n        subset: v2\n      weight: {canary}\n"
        );
        text
    }

    fn address(&self, number: usize, one: usize) -> String {
        if number == 0 || number + 1 == self.hosts {
            return "127.0.0.1".to_owned();
        }
        let [_, a, b, c] = u32::try_from(number + one * 200_000).unwrap_or(u32::MAX).to_be_bytes();
        format!("127.{}.{b}.{c}", a + 1)
    }

    /// The hosts' texts in files of at most `each` hosts, as `(name, text)`, with `canary` percent for every version 2.
    pub fn files(&self, each: usize, canary: u32) -> Vec<(String, String)> {
        let all: Vec<usize> = (0..self.hosts).collect();
        let file = |(index, hosts): (usize, &[usize])| {
            (format!("hosts-{index:05}.yaml"), hosts.iter().map(|host| self.host(*host, canary)).collect())
        };
        all.chunks(each.max(1)).enumerate().map(file).collect()
    }
}
