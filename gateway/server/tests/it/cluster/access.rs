//! With the rights that the manifests give; and by kubectl, as tests reach an API server elsewhere.

use trysail_testkit::folder::Folder;
use trysail_testkit::wait::eventually;

use super::api::{Api, NAMESPACE};
use super::rollouts::objects;
use super::{QUICK, Site, pod, pods, seed, spawn_in};
use crate::gateway::{PATIENCE, Reviews, SEED};

/// The rights that the manifests give are enough, and none is missing.
#[test]
fn the_rights_of_the_manifests_are_enough() {
    let Some(api) = Api::with_switches() else { return };
    let reviews = Reviews::start(&["v1", "v2"]);
    api.apply(&seed(&reviews));
    let own = api.own();
    own.grant("gateway", include_str!("../../../../../kubernetes/plain/cluster/trysail.yaml"));
    own.require_tokens();
    let folder = Folder::new();
    folder.write("kubeconfig", &own.kubeconfig_of("gateway", NAMESPACE));
    let kubeconfig = folder.path().join("kubeconfig");
    let site = Site { gateway: spawn_in(folder, &kubeconfig, QUICK), api };
    site.said("ready after");
    assert_eq!(site.told("virtualservices", "reviews", "True").0, "Applied");
    assert_eq!(site.gateway.sum("trysail_kubernetes_connected", &[]), 10.0);
    site.gateway.after(
        || site.api.apply(&SEED.replacen("weight: 50", "weight: -50", 1)),
        "is refused, the version before it stays in force",
    );
    eventually(PATIENCE, "an Event", || !site.api.all("events").is_empty());
    let lines = site.gateway.process.lines().join("\n");
    assert!(!lines.contains("forbidden") && !lines.contains("does not allow"), "{lines}");
}

/// What tests do is done by kubectl too, as it is where `TRYSAIL_TEST_KUBECONFIG` names a server.
#[test]
fn tests_can_run_against_a_server_elsewhere() {
    let Some(own) = Api::with_switches() else { return };
    let folder = Folder::new();
    let Some(api) = Api::elsewhere(&own.kubeconfig(&folder)) else { return };
    let origins = pods(&["one", "two"]);
    let port = origins[0].addr().port();
    let site = Site::start_at(api, QUICK);
    site.api.apply(&objects(&[("shop", "{app: shop}")], SHOP, port));
    for (name, origin) in ["one", "two"].into_iter().zip(&origins) {
        site.api.put(pod(name, &origin.addr().ip().to_string(), &[("app", "shop")]));
    }
    eventually(PATIENCE, "both Pods", || site.gateway.sum("trysail_endpoints", &["healthy"]) == 2.0);
    assert_eq!(site.told("virtualservices", "shop", "True").0, "Applied");
    let load = site.load();
    site.after(|api| {
        api.edit("virtualservices", "shop", |rules| rules["spec"]["http"][0]["name"] = "first".into());
    });
    site.after(|api| api.delete("pods", "default", "two"));
    eventually(PATIENCE, "one Pod", || site.gateway.sum("trysail_endpoints", &["healthy"]) == 1.0);
    load.stop().assert_all_good();
    assert_eq!(site.api.all("pods").len(), 1);
    drop(site);
    // It has tidied up.
    assert!(own.all("pods").is_empty() && own.all("virtualservices").is_empty());
}

const SHOP: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  gateways: [reviews-gateway]
  hosts: ['*']
  http: [{route: [{destination: {host: shop}}]}]
";
