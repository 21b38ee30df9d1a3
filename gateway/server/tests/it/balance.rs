//! Load balancing end to end: shares by weight, and clients that keep their endpoint.

use std::collections::{BTreeMap, BTreeSet};

use trysail_testkit::client::Reply;
use trysail_testkit::folder::Folder;

use crate::gateway::{Gateway, Reviews};

/// Hosts of the same three endpoints, each with a load balancer of its own; a path's first segment is its host.
const BALANCERS: [(&str, &str); 7] = [
    ("turns", "simple: ROUND_ROBIN"),
    ("lot", "simple: RANDOM"),
    ("header", "consistentHash: {httpHeaderName: x-user}"),
    ("query", "consistentHash: {httpQueryParameterName: user, maglev: {tableSize: 1009}}"),
    ("address", "consistentHash: {useSourceIp: true}"),
    (
        "cookie",
        "consistentHash: {httpCookie: {name: who, path: /, ttl: 1h, attributes: [{name: SameSite, value: Lax}]}}",
    ),
    ("foreign", "consistentHash: {httpCookie: {name: who}}"),
];

fn folder(reviews: &Reviews) -> Folder {
    let hosts: Vec<String> = BALANCERS.iter().map(|(name, _)| format!("{name}.test")).collect();
    let endpoints = reviews.origins.iter().zip([2, 1, 1]).map(|((version, origin), weight)| {
        let address = origin.addr();
        format!(
            "  - {{address: {}, ports: {{http: {}}}, weight: {weight}, labels: {{version: {version}}}}}\n",
            address.ip(),
            address.port()
        )
    });
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: shop}}\nspec:\n  selector: {{istio: ingressgateway}}\n  \
         servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]\n---\n\
         apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: shop}}\nspec:\n  hosts: [{}]\n  \
         resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  endpoints:\n{}---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: shop}}\nspec:\n  hosts: ['*']\n  \
         gateways: [shop]\n  http:\n",
        hosts.join(", "),
        endpoints.collect::<String>()
    );
    for (name, _) in BALANCERS {
        text.push_str(&format!(
            "  - {{match: [{{uri: {{prefix: /{name}}}}}], route: [{{destination: {{host: {name}.test}}}}]}}\n"
        ));
    }
    for (name, balancer) in BALANCERS {
        text.push_str(&format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\nspec:\n  \
             host: {name}.test\n  trafficPolicy:\n    loadBalancer: {{{balancer}}}\n"
        ));
    }
    let folder = Folder::new();
    folder.write("shop.yaml", &text);
    folder
}

fn version(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.version().expect("an answer from a version").to_owned()
}

/// How often each version answered.
fn counts(gateway: &Gateway, path: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut client = gateway.client();
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(version(&client.get("shop.test", path, &[]).expect("an answer"))).or_default() += 1;
    }
    counts
}

fn start() -> (Reviews, Folder, Gateway) {
    let reviews = Reviews::start(&["v1", "v2", "v3"]);
    let folder = folder(&reviews);
    let gateway = Gateway::start(folder.path());
    (reviews, folder, gateway)
}

#[test]
fn round_robin_is_exact_by_weight_and_a_lot_meets_everybody() {
    let (_reviews, _folder, gateway) = start();
    let expected = [("v1", 20), ("v2", 10), ("v3", 10)].map(|(version, count)| (version.to_owned(), count));
    assert_eq!(counts(&gateway, "/turns", 40), BTreeMap::from(expected));
    assert_eq!(counts(&gateway, "/lot", 200).len(), 3);
}

#[test]
fn who_is_hashed_keeps_its_endpoint_also_over_a_reload() {
    let (_reviews, folder, gateway) = start();
    let ask = |user: &str| {
        let mut client = gateway.client();
        let by_header = client.get("shop.test", "/header", &[("x-user", user)]).expect("an answer");
        let by_query = client.get("shop.test", &format!("/query?a=1&user={user}"), &[]).expect("an answer");
        (version(&by_header), version(&by_query))
    };
    let users: Vec<String> = (0..40).map(|user| format!("user-{user}")).collect();
    let first: Vec<_> = users.iter().map(|user| ask(user)).collect();
    assert_eq!(first.iter().map(|(header, _)| header).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(first.iter().map(|(_, query)| query).collect::<BTreeSet<_>>().len(), 3);
    gateway.after(|| folder.write("more.yaml", &more()), "in force after");
    assert_eq!(users.iter().map(|user| ask(user)).collect::<Vec<_>>(), first);
    // Several values in any order are one key; none is a lot.
    let mut client = gateway.client();
    let several = [[("x-user", "a"), ("x-user", "b")], [("x-user", "b"), ("x-user", "a")]]
        .map(|fields| version(&client.get("shop.test", "/header", &fields).expect("an answer")));
    assert_eq!(several[0], several[1]);
    assert_eq!(counts(&gateway, "/header", 200).len(), 3);
    // This client has one address, whatever connection it comes over.
    let met: BTreeSet<String> = (0..20).flat_map(|_| counts(&gateway, "/address", 1).into_keys()).collect();
    assert_eq!(met.len(), 1);
}

#[test]
fn a_client_without_a_cookie_gets_one_that_brings_it_back() {
    let (_reviews, _folder, gateway) = start();
    let mut met = BTreeSet::new();
    for _ in 0..20 {
        let reply = gateway.client().get("shop.test", "/cookie", &[]).expect("an answer");
        let cookie = reply.header("set-cookie").expect("a cookie").to_owned();
        let (pair, attributes) = cookie.split_once("; ").expect("attributes");
        assert_eq!(attributes, "Max-Age=3600; Path=/; SameSite=Lax; HttpOnly");
        let value = pair.strip_prefix("who=\"").and_then(|value| value.strip_suffix('"')).expect("quotes");
        assert!(value.len() == 16 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
        let first = version(&reply);
        for sent in [format!("a=b; {pair}"), format!("who={value}")] {
            let again =
                gateway.client().get("shop.test", "/cookie", &[("cookie", &sent)]).expect("an answer");
            assert_eq!(version(&again), first);
            assert_eq!(again.header("set-cookie"), None);
        }
        met.insert(first);
    }
    assert!(met.len() > 1, "all clients went to {met:?}");
    // Without a time to live none is made.
    let reply = gateway.client().get("shop.test", "/foreign", &[]).expect("an answer");
    assert_eq!((reply.status, reply.header("set-cookie")), (200, None));
}

/// An object that changes the revision and nothing else.
fn more() -> String {
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: more}\nspec:\n  hosts: [more.test]\n  \
     resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints: [{address: 10.0.0.1}]\n"
        .to_owned()
}
