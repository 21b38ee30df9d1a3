//! Explain in all its forms: of files, of a running process, and in a request's own answer.

use std::process::{Command, Output};

use trysail_testkit::client::Reply;
use trysail_testkit::folder::Folder;

use crate::gateway::{Gateway, PATIENCE, Reviews, SEED, service_entry};

/// The command, with these arguments.
pub(crate) fn explain(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trysail")).arg("explain").args(arguments).output().expect("trysail runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn every_rule_is_told_with_its_place_offline() {
    let folder = Folder::new();
    // More rules than are scanned, so that the index passes over most of them.
    let mut rules = String::new();
    for number in 0..20 {
        rules.push_str(&format!(
            "  - match: [{{headers: {{end-user: {{exact: user-{number}}}}}}}]\n    directResponse: {{status: 200}}\n"
        ));
    }
    folder.write("seed.yaml", &SEED.replacen("  http:\n", &format!("  http:\n{rules}"), 1));
    folder.write("endpoints.yaml", &service_entry(&[("v1", ([127, 0, 0, 1], 9081).into())]));
    let config = folder.path().to_str().expect("UTF-8").to_owned();
    let output = explain(&["-H", "end-user: jason", &config, "GET", "http://shop.test/x/../reviews/0"]);
    let page = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{page}{}", text(&output.stderr));
    let output = explain(&[&config, "-H", "a: b", "CONNECT", "http://shop.test/"]);
    let connect = text(&output.stdout);
    assert!(connect.contains("CONNECT is not spoken: 405, flag DPE"), "{connect}{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(1));
    let output = explain(&[&config]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("say which request: trysail explain conf/ GET"));
    for (line, place) in [
        ("port       80", "seed.yaml:10"),
        ("path       canonical is /reviews/0", ""),
        ("host       shop.test  matches \"*\", the only one that fits", "seed.yaml:22"),
        ("rule 1 ✗   default/reviews http[0]: end-user \"jason\" is not \"user-0\"", "seed.yaml:26"),
        ("rule 20 ✗  default/reviews http[19]: end-user \"jason\" is not \"user-19\"", "seed.yaml:64"),
        ("rule 21 ✓  default/reviews http[20]: path starts with \"/reviews\"", "seed.yaml:68"),
        ("split      v1 50 of 100 (50.0 %), v2 50 of 100 (50.0 %)", ""),
        ("to v1      50.0 %", "seed.yaml:71"),
        ("  cluster  outbound|9080|v1|reviews.default.svc.cluster.local", "seed.yaml:86"),
        ("  endpoint 127.0.0.1:9081", ""),
        ("  endpoint none yet, so it is held: its share goes to the others", ""),
        ("  sends    GET /reviews/0, Host: shop.test", ""),
    ] {
        let found = page.lines().find(|is| is.starts_with(line));
        assert!(found.is_some_and(|found| found.contains(place)), "{line} {place}\n{page}");
    }
}

#[test]
fn a_host_of_another_server_is_told_as_it_is_answered() {
    let folder = Folder::new();
    let server = |name: &str| {
        format!(
            "  - {{port: {{number: 443, name: {name}, protocol: HTTPS}}, hosts: [{name}.test], \
             tls: {{mode: SIMPLE, credentialName: {name}}}}}\n"
        )
    };
    let service = |name: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  \
             hosts: [{name}.test]\n  gateways: [g]\n  http: [{{directResponse: {{status: 200}}}}]\n"
        )
    };
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  \
                   selector: {istio: ingressgateway}\n  servers:\n";
    folder.write(
        "shop.yaml",
        &[gateway, &server("shop"), &server("bank"), &service("shop"), &service("bank")].concat(),
    );
    let config = folder.path().to_str().expect("UTF-8").to_owned();
    for (setting, url, host, told) in [
        ("", "https://shop.test/", "bank.test", "no host matches \"bank.test\""),
        ("otherServer: 421\n", "https://shop.test/", "bank.test", "421, flag NR (setting otherServer)"),
        ("otherServer: 421\n", "https://shop.test/", "nobody.test", "no host matches \"nobody.test\""),
        ("otherServer: 421\n", "https://127.0.0.1/", "bank.test", "200 with 0 bytes"),
        ("otherServer: 421\n", "https://shop.test/", "shop.test", "200 with 0 bytes"),
    ] {
        folder.write("trysail.yaml", setting);
        let output = explain(&["-H", &format!("host: {host}"), &config, "GET", url]);
        let page = text(&output.stdout);
        assert!(page.contains(told), "{setting} {url} {host}\n{page}{}", text(&output.stderr));
    }
}

/// A rule that delegates, the delegate, and a DestinationRule: each names fields that decide.
const DECIDING: [(&str, &str); 3] = [
    (
        "root.yaml",
        r#"kind: Gateway
apiVersion: networking.istio.io/v1
metadata: {name: all}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: root}
spec:
  hosts: [shop.test]
  gateways: [all]
  http:
  - match: [{uri: {prefix: /cart}, headers: {x-a: {exact: "1"}}}]
    delegate: {name: own}
    timeout: 3s
    retries:
      attempts: 5
    corsPolicy: {allowOrigins: [{exact: "https://a.test"}]}
    headers:
      response: {set: {x-r: "1"}}
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new}
    headers: {response: {set: {x-old: "1"}}}
  - directResponse: {status: 200}
"#,
    ),
    (
        "own.yaml",
        r"kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: own}
spec:
  http:
  - match: [{uri: {prefix: /cart/old}, method: {exact: GET}}]
    fault:
      delay: {fixedDelay: 1s, percentage: {value: 10}}
      abort: {httpStatus: 500, percentage: {value: 10}}
    rewrite: {uri: /old}
    mirrors:
    - {destination: {host: s, subset: v2}}
    headers: {request: {set: {x-own: '1'}}}
    route:
    - destination: {host: s, subset: v1}
      weight: 9
      headers: {request: {set: {x-v: '1'}}, response: {remove: [server]}}
    - {destination: {host: s, subset: v2}, weight: 1}
",
    ),
    (
        "s.yaml",
        r"kind: ServiceEntry
apiVersion: networking.istio.io/v1
metadata: {name: s}
spec:
  hosts: [s.default.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1, labels: {v: v1}}, {address: 10.0.0.2, labels: {v: v2}}]
---
kind: DestinationRule
apiVersion: networking.istio.io/v1
metadata: {name: s}
spec:
  host: s
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    tls: {mode: SIMPLE, insecureSkipVerify: true}
    retryBudget: {percent: 30}
  subsets:
  - name: v1
    labels: {v: v1}
    trafficPolicy:
      outlierDetection: {maxEjectionPercent: 100}
  - name: v2
    labels: {v: v2}
    trafficPolicy:
      portLevelSettings:
      - port: {number: 80}
        connectionPool: {tcp: {maxConnections: 3}}
",
    ),
];

#[test]
fn every_field_that_decides_has_its_place() {
    let folder = Folder::new();
    DECIDING.iter().for_each(|(name, text)| folder.write(name, text));
    let config = folder.path().to_str().expect("UTF-8").to_owned();
    for (path, told) in [
        (
            "/cart/old/1",
            &[
                ("rule 1 ✓   default/own http[0]: method is \"GET\"", "own.yaml:6:48"),
                ("           and path starts with \"/cart/old\"", "own.yaml:6:19"),
                ("           and x-a is \"1\"", "root.yaml:15:46"),
                ("  match    spec.http[0].match[0]", "own.yaml:6:13"),
                ("  within   spec.http[0].match[0]", "root.yaml:15:13"),
                ("route      default/own http[0]", "own.yaml:6:5"),
                ("  for      spec.http[0].delegate", "root.yaml:16:5"),
                ("           delays 10 % by 1s", "own.yaml:8:7"),
                ("           aborts 10 % with 500", "own.yaml:9:7"),
                ("           CORS for 1 origin", "root.yaml:20:5"),
                ("           mirrors 100 % to outbound|80|v2|", "own.yaml:12:7"),
                ("           timeout 3s", "root.yaml:17:5"),
                ("           5 retries on ", "root.yaml:18:5"),
                ("  policy   spec.trafficPolicy.loadBalancer", "s.yaml:16:5"),
                ("  policy   spec.trafficPolicy.tls", "s.yaml:17:5"),
                ("  policy   spec.trafficPolicy.retryBudget", "s.yaml:18:5"),
                ("  policy   spec.subsets[0].trafficPolicy.outlierDetection", "s.yaml:23:7"),
                (
                    "  policy   spec.subsets[1].trafficPolicy.portLevelSettings[0].connectionPool",
                    "s.yaml:29:9",
                ),
                ("    by     spec.http[0].rewrite", "own.yaml:10:5"),
                ("    by     spec.http[0].headers.request", "own.yaml:13:15"),
                ("    by     spec.http[0].route[0].headers.request", "own.yaml:17:17"),
                ("    by     spec.http[0].route[0].headers.response", "own.yaml:17:45"),
            ][..],
        ),
        (
            "/old/1",
            &[
                ("  within   spec.http[0].match[0]", "root.yaml:15:13"),
                ("answers    301 to http://shop.test/new", "root.yaml:24:5"),
                ("           with x-old: 1", "root.yaml:25:15"),
            ],
        ),
        ("/", &[("answers    200 with 0 bytes", "root.yaml:26:5")]),
    ] {
        let url = format!("http://shop.test{path}");
        let page = explain(&["-H", "x-a: 1", &config, "GET", &url]);
        let page = text(&page.stdout);
        for (line, place) in told {
            let found = page.lines().any(|is| is.starts_with(line) && is.ends_with(place));
            assert!(found, "{line} {place}\n{page}");
        }
    }
    let own = explain(&["-o", "json", "-H", "x-a: 1", &config, "GET", "http://shop.test/cart/old"]);
    for place in DECIDING.map(|(name, _)| format!("{name}:1")) {
        assert!(text(&own.stdout).contains(&place), "{place}\n{}", text(&own.stdout));
    }
}

#[test]
fn a_running_process_is_asked_and_knows_whose_turn_it_is() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let gateway = Gateway::start(folder.path());
    let admin = gateway.logged("admin on ").to_string();
    // By the port that the Gateway names, and by the one that is open for it.
    let open = format!("http://shop.test:{}/reviews/0", gateway.address().port());
    for url in ["http://shop.test/reviews/0", &open] {
        let output = explain(&["--live", &admin, "GET", url]);
        let page = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{page}{}", text(&output.stderr));
        let turn = page.lines().find(|line| line.starts_with("turn ")).expect("a turn is told");
        let told: Vec<&str> = turn.split_whitespace().filter(|word| matches!(*word, "v1" | "v2")).collect();
        let this = if turn.contains("this turn v1;") { "v1" } else { "v2" };
        assert!(turn.contains("of the next 10: "), "{turn}");
        assert!(page.contains("with 0 requests"), "{page}");
        // Asking takes no turn: the next request is the one that was told, and so are those after it.
        for (at, expected) in std::iter::once(this).chain(told[told.len() - 10..].iter().copied()).enumerate()
        {
            let reply = gateway.client().get("shop.test", "/reviews/0", &[]).expect("an answer");
            assert_eq!(reply.version(), Some(expected), "request {at} of {turn}");
        }
    }
    let output = explain(&["--live", "-o", "json", &admin, "GET", "http://shop.test/nothing"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\"source\": \"live\""), "{}", text(&output.stdout));
    let nobody = explain(&["--live", "127.0.0.1:1", "GET", "http://shop.test/"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(text(&nobody.stderr).contains("nobody answers on 127.0.0.1:1"), "{}", text(&nobody.stderr));
}

/// The fields of a reply that tell a decision.
fn told(reply: &Reply) -> Vec<Option<&str>> {
    ["x-trysail-route", "x-trysail-subset", "x-trysail-endpoint", "x-trysail-revision", "x-trysail-origin"]
        .map(|name| reply.header(name))
        .to_vec()
}

#[test]
fn a_trusted_caller_is_told_in_the_answer_and_nobody_else() {
    let reviews = Reviews::start(&["v1"]);
    let folder = reviews.folder();
    folder.write("seed-reviews.yaml", &crate::gateway::weighted(1, 0));
    let address = reviews.origins["v1"].addr().to_string();
    for (from, trusted) in [("[127.0.0.0/8]", true), ("[10.0.0.0/8, '::1']", false), ("[]", false)] {
        let gateway = Gateway::spawn(folder.path(), &format!("explainFrom: {from}\n"));
        assert!(gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE).is_some());
        let get = |path: &str, headers: &[(&str, &str)]| {
            gateway.client().get("shop.test", path, headers).expect("an answer")
        };
        let reply = get("/reviews/0", &[("x-trysail-explain", "1")]);
        assert_eq!(reply.status, 200);
        if trusted {
            let [route, subset, endpoint, revision, origin] = told(&reply)[..] else { unreachable!() };
            assert_eq!(
                (route, subset, endpoint),
                (Some("default/reviews http[0]"), Some("v1"), Some(&*address))
            );
            assert_eq!(revision.map(str::len), Some(8));
            assert!(origin.is_some_and(|origin| origin.ends_with("seed-reviews.yaml:26")), "{origin:?}");
            let nowhere = get("/x", &[("x-trysail-explain", "1")]);
            assert!(nowhere.status == 404 && told(&nowhere)[3].is_some() && told(&nowhere)[0].is_none());
        } else {
            assert_eq!(told(&reply), [None; 5], "{from}");
        }
        let head = reviews.origins["v1"].last_request().expect("a request").to_lowercase();
        assert!(!head.contains("x-trysail"), "{head}");
        for ask in [&[][..], &[("x-trysail-explain", "0")]] {
            assert_eq!(told(&get("/reviews/0", ask)), [None; 5], "{from} {ask:?}");
        }
    }
}
