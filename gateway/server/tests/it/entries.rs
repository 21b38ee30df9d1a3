//! ServiceEntries, WorkloadEntries and WorkloadGroups: who is reached by them, and under which name.

use std::net::SocketAddr;

use trysail_testkit::folder::Folder;
use trysail_testkit::tls::{self, Authority};

use crate::gateway::{Gateway, HTTP, shop};

const RULES: &str = "  http: [{route: [{destination: {host: cart.team}}]}]\n";

/// A service of another namespace, whose one entry has its port from a group.
fn service(endpoint: SocketAddr, more: &str) -> String {
    let (address, port) = (endpoint.ip(), endpoint.port());
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: cart, namespace: team}}
spec:
  hosts: [cart.team]
  resolution: STATIC
  ports: [{{number: 443, name: https, protocol: HTTPS}}]
  workloadSelector: {{labels: {{app: cart}}}}
  {more}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: carts, namespace: team}}
spec: {{metadata: {{labels: {{app: cart}}}}, template: {{ports: {{https: {port}}}}}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: cart-1, namespace: team, annotations: {{istio.io/autoRegistrationGroup: carts}}}}
spec: {{address: {address}}}
"
    )
}

#[test]
fn names_are_checked_as_the_service_says_and_only_what_is_exported_is_there() {
    let authority = Authority::new("root");
    let folder = Folder::new();
    let files = Folder::new();
    files.write("ca.crt", &authority.pem());
    let endpoint = tls::https_origin(&authority.issue(&["origin.test"]), None);
    folder.write("route.yaml", &shop(HTTP, RULES));
    folder.write(
        "rule.yaml",
        &format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: cart}}\n\
             spec: {{host: cart.team, trafficPolicy: {{tls: {{mode: SIMPLE, caCertificates: {}/ca.crt}}}}}}\n",
            files.path().display()
        ),
    );
    folder.write("cart.yaml", &service(endpoint, "subjectAltNames: [origin.test]"));
    let gateway = Gateway::start(folder.path());
    assert_eq!(ask(&gateway), "name origin.test, 0 certificates");
    gateway
        .after(|| folder.write("cart.yaml", &service(endpoint, "subjectAltNames: [wrong.test]")), "in force");
    assert_eq!(ask(&gateway), "503");
    let refused = gateway.after(
        || {
            folder
                .write("cart.yaml", &service(endpoint, "subjectAltNames: [origin.test]\n  exportTo: [\".\"]"))
        },
        "error[IST0101]",
    );
    assert!(refused.contains("there is no host \"cart.team\""), "{refused}");
    gateway.after(
        || {
            folder.write(
                "cart.yaml",
                &service(endpoint, "subjectAltNames: [origin.test]\n  exportTo: [default]"),
            )
        },
        "in force",
    );
    assert_eq!(ask(&gateway), "name origin.test, 0 certificates");
}

fn ask(gateway: &Gateway) -> String {
    let reply = gateway.client().get("shop.test", "/", &[]).expect("an answer");
    if reply.status == 200 { reply.text() } else { reply.status.to_string() }
}
