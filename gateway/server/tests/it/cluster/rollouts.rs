//! What Argo Rollouts and Flagger write, edit by edit, with requests under way: none fails, and each step is in force.

use serde_json::{Value, json};
use trysail_testkit::origin::Origin;
use trysail_testkit::wait::eventually;

use super::{Site, pod, pods};
use crate::gateway::{PATIENCE, SEED};

/// The seed's Gateway; a host of Pods with a label, and a VirtualService.
pub(super) fn objects(hosts: &[(&str, &str)], rules: &str, port: u16) -> String {
    let gateway = SEED.split("\n---\n").next().expect("the Gateway");
    let entry = |(host, selector): &(&str, &str)| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {host}}}\nspec:\n  hosts: [{host}.default.svc.cluster.local]\n  \
             resolution: STATIC\n  ports: [{{number: {port}, name: http, protocol: HTTP}}]\n  workloadSelector: {{labels: {selector}}}\n"
        )
    };
    let entries: Vec<String> = hosts.iter().map(entry).collect();
    format!("{gateway}\n---\n{}\n---\n{rules}", entries.join("\n---\n"))
}

fn weights(rules: &mut Value, weights: [Value; 2]) {
    let routes = rules["spec"]["http"][0]["route"].as_array_mut().expect("routes");
    for (route, weight) in routes.iter_mut().zip(weights) {
        route["weight"] = weight;
    }
}

/// Waits until a target has this weight.
fn weighs(site: &Site, target: &str, weight: f64) {
    let is = || site.gateway.sum("trysail_route_configured_weight", &[target]) == weight;
    eventually(PATIENCE, &format!("{target} weighs {weight}"), is);
}

/// Who answers a request, with the canary's header or without.
fn version(site: &Site, header: bool) -> String {
    let headers: &[(&str, &str)] = if header { &[("x-canary", "yes")] } else { &[] };
    let mut client = site.gateway.client();
    let reply = client.get("reviews.test", "/reviews/0", headers).expect("an answer");
    reply.version().unwrap_or_default().to_owned()
}

fn put_pods(site: &Site, origins: &[Origin], index: usize, name: &str, labels: &[(&str, &str)]) {
    site.api.put(pod(name, &origins[index].addr().ip().to_string(), labels));
}

#[test]
fn argo_rollouts_moves_subsets_by_their_pods_hash() {
    let origins = pods(&["stable", "canary"]);
    let port = origins[0].addr().port();
    let rules = "apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets:
  - {name: stable, labels: {app: shop, rollouts-pod-template-hash: aaa}}
  - {name: canary, labels: {app: shop, rollouts-pod-template-hash: aaa}}
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: shop}
spec:
  gateways: [reviews-gateway]
  hosts: ['*']
  http:
  - name: primary
    route:
    - {destination: {host: shop, subset: stable}, weight: 100}
    - {destination: {host: shop, subset: canary}, weight: 0}
";
    let hash = |hash: &'static str| [("app", "shop"), ("rollouts-pod-template-hash", hash)];
    let site = Site::start(&objects(&[("shop", "{app: shop}")], rules, port));
    put_pods(&site, &origins, 0, "stable", &hash("aaa"));
    eventually(PATIENCE, "the stable Pod answers", || version(&site, false) == "stable");
    let load = site.load();
    let subset = |index: usize, hash: &'static str| {
        site.api.edit("destinationrules", "shop", |rule| {
            rule["spec"]["subsets"][index]["labels"]["rollouts-pod-template-hash"] = hash.into();
            rule["metadata"]["annotations"]["argo-rollouts.argoproj.io/managed-by-rollouts"] = "shop".into();
        });
    };
    // The label comes together with the Pods that carry it.
    subset(1, "bbb");
    put_pods(&site, &origins, 1, "canary", &hash("bbb"));
    // A header route before the rule, and away again.
    let header = |rules: &mut Value| {
        let route = json!({"name": "set-header", "match": [{"headers": {"x-canary": {"exact": "yes"}}}],
                           "route": [{"destination": {"host": "shop", "subset": "canary"}, "weight": 100}]});
        rules["spec"]["http"].as_array_mut().expect("rules").insert(0, route);
    };
    site.api.edit("virtualservices", "shop", header);
    eventually(PATIENCE, "the header leads to the canary", || version(&site, true) == "canary");
    assert_eq!(version(&site, false), "stable");
    let no_header = |rules: &mut Value| drop(rules["spec"]["http"].as_array_mut().expect("rules").remove(0));
    site.api.edit("virtualservices", "shop", no_header);
    eventually(PATIENCE, "it does not any more", || version(&site, true) == "stable");
    for canary in [5.0, 20.0, 50.0, 100.0] {
        // As JSON has it from Go: a float.
        site.api.edit("virtualservices", "shop", |rules| {
            weights(rules, [json!(100.0 - canary), json!(canary)]);
        });
        weighs(&site, "subset=\"canary\"", canary);
    }
    // Promoted: the stable subset is what the canary was, and then the old Pods go.
    subset(0, "bbb");
    site.api.edit("virtualservices", "shop", |rules| weights(rules, [json!(100), json!(0)]));
    weighs(&site, "subset=\"stable\"", 100.0);
    eventually(PATIENCE, "the stable subset is the new one", || version(&site, false) == "canary");
    site.api.delete("pods", "default", "stable");
    eventually(PATIENCE, "the old Pod is gone", || {
        site.gateway.sum("trysail_endpoints", &[]) == 2.0 && version(&site, false) == "canary"
    });
    let tally = load.stop();
    tally.assert_all_good();
    assert!(tally.of("stable") > 0 && tally.of("canary") > 0, "{tally:?}");
}

#[test]
fn flagger_moves_hosts_and_mirrors() {
    let origins = pods(&["primary", "canary"]);
    let port = origins[0].addr().port();
    let rules = "apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: shop}
spec:
  gateways: [reviews-gateway]
  hosts: [reviews.test, shop]
  http:
  - route:
    - {destination: {host: shop-primary}, weight: 100}
    - {destination: {host: shop-canary}, weight: 0}
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: shop-primary}
spec: {host: shop-primary, trafficPolicy: {connectionPool: {http: {http1MaxPendingRequests: 1000}}}}
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: shop-canary}
spec: {host: shop-canary, trafficPolicy: {connectionPool: {http: {http1MaxPendingRequests: 1000}}}}
";
    let hosts =
        [("shop-primary", "{app: primary}"), ("shop-canary", "{app: canary}"), ("shop", "{app: primary}")];
    let site = Site::start(&objects(&hosts, rules, port));
    put_pods(&site, &origins, 0, "primary", &[("app", "primary")]);
    put_pods(&site, &origins, 1, "canary", &[("app", "canary")]);
    eventually(PATIENCE, "both are there", || site.gateway.sum("trysail_endpoints", &["healthy"]) == 2.0);
    let load = site.load();
    let edit = |edit: &dyn Fn(&mut Value)| site.api.edit("virtualservices", "shop", edit);
    let mirrored = || site.gateway.sum("trysail_mirrored_requests_total", &["sent"]);
    edit(&|rules| {
        rules["spec"]["http"][0]["mirror"] = json!({"host": "shop-canary"});
        rules["spec"]["http"][0]["mirrorPercentage"] = json!({"value": 100});
    });
    eventually(PATIENCE, "the canary has copies", || mirrored() > 10.0);
    edit(&|rules| {
        let rule = rules["spec"]["http"][0].as_object_mut().expect("a rule");
        rule.remove("mirror");
        rule.remove("mirrorPercentage");
    });
    for canary in [10, 20, 30, 40, 50] {
        edit(&|rules| weights(rules, [json!(100 - canary), json!(canary)]));
        weighs(&site, "shop-canary", f64::from(canary));
    }
    for canary in [100, 0] {
        edit(&|rules| weights(rules, [json!(100 - canary), json!(canary)]));
        weighs(&site, "shop-primary", f64::from(100 - canary));
    }
    let tally = load.stop();
    tally.assert_all_good();
    assert!(tally.of("primary") > 0 && tally.of("canary") > 0, "{tally:?}");
    // Nothing was reset: the pools and the state beside them are those of the start.
    assert!(origins.iter().all(|origin| origin.accepts() < 20), "connections were not kept");
}
