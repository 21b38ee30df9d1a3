//! Names as endpoints: looked up before they are used, followed when they move, kept when nobody answers.

use std::net::SocketAddr;

use trysail_testkit::dns::{Dns, Says};
use trysail_testkit::folder::Folder;
use trysail_testkit::load::Load;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::tls::{self, Authority};
use trysail_testkit::wait::eventually;

use crate::gateway::{Gateway, PATIENCE};

/// A route to one host.
fn route(host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: shop}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [\"*\"]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: [\"*\"]
  gateways: [shop]
  http:
  - retries: {{attempts: 0}}
    route: [{{destination: {{host: {host}}}}}]
"
    )
}

/// A ServiceEntry for api.test, whose port 80 is answered at another.
fn entry(port: u16, resolution: &str, more: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: api}}\nspec:\n  hosts: [api.test]\n  \
         resolution: {resolution}\n  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]\n{more}"
    )
}

/// A gateway that asks this server, and asks again soon.
fn gateway(folder: &Folder, dns: &Dns) -> Gateway {
    let gateway = Gateway::spawn(
        folder.path(),
        &format!("dns: {{servers: ['{}'], minRefresh: 100ms, maxRefresh: 300ms}}\n", dns.addr()),
    );
    let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
    assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
    gateway
}

/// Origins v1, v2, … at 127.0.0.1, 127.0.0.2, … on one port.
fn origins(count: u8) -> Vec<Origin> {
    'next: for _ in 0..50 {
        let mut origins = vec![Origin::start(Answer::version("v1"))];
        let port = origins[0].addr().port();
        for number in 2..=count {
            let address = SocketAddr::from(([127, 0, 0, number], port));
            match Origin::start_at(address, Answer::version(&format!("v{number}"))) {
                Ok(origin) => origins.push(origin),
                Err(_) => continue 'next,
            }
        }
        return origins;
    }
    panic!("no port is free at {count} addresses");
}

fn ask(gateway: &Gateway) -> String {
    let reply = gateway.client().get("shop.test", "/", &[]).expect("an answer");
    if reply.status == 200 { reply.version().unwrap_or("-").to_owned() } else { reply.status.to_string() }
}

/// Who answers `count` requests.
fn ask_many(gateway: &Gateway, count: usize) -> Vec<(String, usize)> {
    let mut tally = std::collections::BTreeMap::new();
    for _ in 0..count {
        *tally.entry(ask(gateway)).or_default() += 1;
    }
    tally.into_iter().collect()
}

fn tally(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
    expected.iter().map(|(version, count)| ((*version).to_owned(), *count)).collect()
}

#[test]
fn every_address_of_a_name_serves_by_its_endpoints_weight() {
    let dns = Dns::start();
    dns.at("two.test", &["127.0.0.1", "127.0.0.2"]);
    dns.at("one.test", &["127.0.0.3"]);
    let origins = origins(3);
    let folder = Folder::new();
    folder.write("route.yaml", &route("api.test"));
    let more = "  endpoints:\n  - {address: Two.test, weight: 1}\n  - {address: one.test, weight: 2}\n";
    folder.write("entry.yaml", &entry(origins[0].addr().port(), "DNS", more));
    let turns = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: api}\n\
                 spec: {host: api.test, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}\n";
    folder.write("rule.yaml", turns);
    // The first request finds them: names are looked up before anything is in force.
    let gateway = gateway(&folder, &dns);
    assert_eq!(ask_many(&gateway, 40), tally(&[("v1", 10), ("v2", 10), ("v3", 20)]));
    assert_eq!(gateway.sum("trysail_dns_names", &[]), 2.0);
    assert_eq!(gateway.sum("trysail_dns_names_failing", &[]), 0.0);
    assert!(gateway.sum("trysail_dns_lookups_total", &["found"]) >= 2.0);
}

#[test]
fn addresses_that_change_are_followed_without_a_failed_request() {
    let dns = Dns::start();
    dns.at("api.test", &["127.0.0.1"]);
    let origins = origins(2);
    let folder = Folder::new();
    folder.write("route.yaml", &route("api.test"));
    folder.write("entry.yaml", &entry(origins[0].addr().port(), "DNS_ROUND_ROBIN", ""));
    let gateway = gateway(&folder, &dns);
    let load = Load::start(gateway.address(), "shop.test", "/", 2);
    eventually(PATIENCE, "v1 answers", || load.so_far().of("v1") > 20);
    gateway
        .after(|| dns.at("api.test", &["127.0.0.1", "127.0.0.2"]), "api.test is at 127.0.0.1, 127.0.0.2 now");
    eventually(PATIENCE, "v2 answers too", || load.so_far().of("v2") > 20);
    gateway.after(
        || dns.at("api.test", &["127.0.0.2"]),
        "api.test is at 127.0.0.2 now, and was at 127.0.0.1, 127.0.0.2",
    );
    eventually(PATIENCE, "v1 is left", || ask_many(&gateway, 10) == tally(&[("v2", 10)]));
    let total = load.stop();
    total.assert_all_good();
    assert!(gateway.sum("trysail_config_reloads_total", &[]) == 1.0, "a name that moves is no reload");
}

#[test]
fn a_failure_keeps_what_was_known_and_no_address_is_an_answer() {
    let dns = Dns::start();
    dns.at("api.test", &["127.0.0.1", "127.0.0.2"]);
    let origins = origins(2);
    let folder = Folder::new();
    folder.write("route.yaml", &route("api.test"));
    folder.write("entry.yaml", &entry(origins[0].addr().port(), "DNS_ROUND_ROBIN", ""));
    let gateway = gateway(&folder, &dns);
    let both = tally(&[("v1", 5), ("v2", 5)]);
    assert_eq!(ask_many(&gateway, 10), both);
    let line = gateway.after(|| dns.says("api.test", Says::Failure), "can't be looked up");
    assert!(line.ends_with("keeping the 2 addresses it had"), "{line}");
    let asked = dns.asked("api.test");
    eventually(PATIENCE, "it is tried again", || dns.asked("api.test") > asked + 4);
    assert_eq!(ask_many(&gateway, 10), both);
    assert_eq!(gateway.sum("trysail_dns_names_failing", &[]), 1.0);
    assert!(gateway.sum("trysail_dns_lookups_total", &["failed"]) >= 2.0);
    let said = gateway.process.lines().iter().filter(|line| line.contains("can't be looked up")).count();
    assert_eq!(said, 1, "said once for the whole series");
    gateway.after(|| dns.at("api.test", &["127.0.0.2"]), "api.test is at 127.0.0.2, found again after");
    eventually(PATIENCE, "v2 alone answers", || ask_many(&gateway, 4) == tally(&[("v2", 4)]));
    gateway.after(|| dns.forget("api.test"), "api.test has no address");
    eventually(PATIENCE, "nobody answers", || ask(&gateway) == "503");
    eventually(PATIENCE, "UH", || gateway.sum("istio_requests_total", &["response_flags=\"UH\""]) >= 1.0);
    gateway.after(|| dns.at("api.test", &["127.0.0.1"]), "api.test is at 127.0.0.1, found again after");
    eventually(PATIENCE, "v1 answers", || ask(&gateway) == "v1");
}

#[test]
fn a_name_that_was_never_answered_is_503_and_holds_nothing_up_for_long() {
    let dns = Dns::start();
    dns.says("api.test", Says::Silence);
    let origins = origins(1);
    let folder = Folder::new();
    folder.write("route.yaml", &route("api.test"));
    folder.write("entry.yaml", &entry(origins[0].addr().port(), "DNS", ""));
    let gateway = gateway(&folder, &dns);
    assert_eq!(ask(&gateway), "503");
    let late =
        gateway.process.wait_for_line(|line| line.contains("no answer for api.test within 2 s"), PATIENCE);
    assert!(late.is_some(), "{}", gateway.process.lines().join("\n"));
    gateway.after(|| dns.at("api.test", &["127.0.0.1"]), "api.test is at 127.0.0.1");
    eventually(PATIENCE, "it answers", || ask(&gateway) == "v1");
}

#[test]
fn names_that_no_revision_wants_any_more_are_let_be() {
    let dns = Dns::start();
    dns.at("api.test", &["127.0.0.1"]);
    dns.at("other.test", &["127.0.0.2"]);
    let origins = origins(2);
    let port = origins[0].addr().port();
    let folder = Folder::new();
    folder.write("route.yaml", &route("api.test"));
    folder.write("entry.yaml", &entry(port, "DNS", ""));
    // Nothing leads to it, so nobody looks it up.
    let unused =
        entry(port, "DNS", "").replace("api.test", "unused.test").replace("name: api", "name: unused");
    folder.write("unused.yaml", &unused);
    let gateway = gateway(&folder, &dns);
    assert_eq!(ask(&gateway), "v1");
    let other = entry(port, "DNS", "  endpoints: [{address: other.test}]\n");
    gateway.after(|| folder.write("entry.yaml", &other), "in force");
    assert_eq!(ask(&gateway), "v2");
    let asked = dns.asked("api.test");
    let others = dns.asked("other.test");
    eventually(PATIENCE, "the other is asked for", || dns.asked("other.test") > others + 8);
    assert!(dns.asked("api.test") <= asked + 2, "at most the lookup that was under way");
    assert_eq!(dns.asked("unused.test"), 0);
}

#[test]
fn names_of_workload_entries_and_of_services_outside_are_looked_up() {
    let dns = Dns::start();
    dns.at("vm.test", &["127.0.0.1"]);
    dns.at("outside.test", &["127.0.0.2"]);
    let origins = origins(2);
    let port = origins[0].addr().port();
    let folder = Folder::new();
    folder.write("route.yaml", &route("api.test"));
    let selects = "  workloadSelector: {labels: {app: api}}\n";
    folder.write("entry.yaml", &entry(port, "DNS", selects));
    folder.write(
        "vm.yaml",
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: vm}\nspec: {address: vm.test, labels: {app: api}}\n",
    );
    folder.write(
        "outside.yaml",
        &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: outside}}\n\
             spec: {{type: ExternalName, externalName: outside.test, ports: [{{port: {port}}}]}}\n"
        ),
    );
    let gateway = gateway(&folder, &dns);
    assert_eq!(ask(&gateway), "v1");
    gateway.after(|| folder.write("route.yaml", &route("outside")), "in force");
    assert_eq!(ask(&gateway), "v2");
}

#[test]
fn tls_is_begun_towards_a_host_outside() {
    let dns = Dns::start();
    dns.at("api.test", &["127.0.0.1"]);
    let authority = Authority::new("root");
    let origin = tls::https_origin(&authority.issue(&["api.test"]), None);
    let files = Folder::new();
    files.write("ca.crt", &authority.pem());
    let folder = Folder::new();
    folder.write("route.yaml", &route("api.test"));
    folder.write("entry.yaml", &entry(origin.port(), "DNS", ""));
    folder.write(
        "rule.yaml",
        &format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: api}}\nspec: {{host: api.test, \
             trafficPolicy: {{tls: {{mode: SIMPLE, caCertificates: {}/ca.crt, sni: api.test, subjectAltNames: [api.test]}}}}}}\n",
            files.path().display()
        ),
    );
    let gateway = gateway(&folder, &dns);
    let reply = gateway.client().get("shop.test", "/", &[]).expect("an answer");
    assert_eq!((reply.status, reply.text().as_str()), (200, "name api.test, 0 certificates"));
}

#[test]
fn explain_tells_of_names_what_is_known_of_them() {
    let dns = Dns::start();
    dns.at("api.test", &["127.0.0.1"]);
    let folder = Folder::new();
    folder.write("route.yaml", &route("api.test"));
    folder.write("entry.yaml", &entry(8000, "DNS", ""));
    let gateway = gateway(&folder, &dns);
    let explain = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_trysail"))
            .arg("explain")
            .args(arguments)
            .args(["GET", "http://shop.test/"])
            .output()
            .expect("trysail runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let folder = folder.path().to_str().expect("UTF-8");
    let offline = explain(&[folder]);
    assert!(offline.contains("the addresses of api.test, which are looked up when it runs"), "{offline}");
    assert!(!offline.contains("503"), "{offline}");
    let admin = gateway.logged("admin on ").to_string();
    let live = explain(&["--live", &admin]);
    assert!(live.contains("127.0.0.1:8000"), "{live}");
    gateway.after(|| dns.forget("api.test"), "has no address");
    eventually(PATIENCE, "explain says so", || {
        explain(&["--live", &admin]).contains("there is no address of api.test: 503, flag UH")
    });
}
