//! Ingresses of ingress-nginx, imported: case folders with what is written, said and decided; and what holds for any.
//!
//! A folder of `testdata/import` has an `ingress.yaml`, what is made of it (`expected.yaml`, `findings.txt`), and requests
//! with the Services that ingress-nginx would send them to, asked of the result: `web`, `web 90, web-v2 10`, `301 LOCATION`,
//! `403 direct`, `404 no route`; what upstreams are told in their place stands behind `as`. Every Service that is named gets
//! an endpoint. `UPDATE_EXPECT=1` writes what is found; read the difference.

#![expect(clippy::disallowed_methods, reason = "the cases lie in files")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use trysail_routing::compile::{Compiled, Compiler, Surroundings};
use trysail_routing::decide::{Decision, Request, decide};
use trysail_routing::diagnostic::{Diagnostic, Diagnostics, Severity};
use trysail_routing::import::{Imported, Options, nginx_ingress};
use trysail_routing::path::{Normalization, canonical};
use trysail_routing::snapshot::{Action, ListenerProtocol, Redirect, Snapshot, TlsServer};
use trysail_routing::wire::{Limits, Reader};
use trysail_testkit::case::{Case, Row, check_file};

fn import(text: &str, options: &Options) -> Imported {
    let (name, text): (Arc<str>, Arc<str>) = ("ingress.yaml".into(), text.into());
    nginx_ingress([(&name, &text)], options)
}

/// Compiles what was written, with a Service and an endpoint for everybody who is named.
fn compile(yaml: &str) -> Compiled {
    let mut services: BTreeMap<(String, String), Vec<u16>> = BTreeMap::new();
    for line in yaml.lines().filter(|line| line.contains("host: ") && line.contains(".svc.cluster.local")) {
        let Some(host) = line.split("host: ").nth(1).and_then(|rest| rest.split([',', '}']).next()) else {
            continue;
        };
        let mut labels = host.split('.');
        let mut label = || labels.next().unwrap_or_default().to_owned();
        let (name, namespace) = (label(), label());
        let port: Option<u16> = line
            .split("number: ")
            .nth(1)
            .and_then(|rest| rest.split('}').next())
            .and_then(|port| port.parse().ok());
        services.entry((namespace, name)).or_default().extend(port);
    }
    let mut text = String::new();
    for ((namespace, name), mut ports) in services {
        ports.sort_unstable();
        ports.dedup();
        if ports.is_empty() {
            ports.push(80);
        }
        let listed = |with: &str| -> String {
            ports.iter().map(|port| format!("{{name: p{port}, port: {port}{with}}}, ")).collect()
        };
        text.push_str(&format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  ports: [{}]\n",
            listed("")
        ));
        text.push_str(&format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  \
             labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports: [{}]\n\
             endpoints: [{{addresses: [10.0.0.1], conditions: {{ready: true}}}}]\n",
            listed("")
        ));
    }
    let texts: [(Arc<str>, Arc<str>); 2] =
        [("expected.yaml".into(), yaml.into()), ("services.yaml".into(), text.into())];
    let set = Reader::new("default", Limits::default())
        .read(texts.iter().map(|(name, text)| (name, text)), Diagnostics::default());
    Compiler::new(1).compile(&set, &Surroundings::default())
}

fn line(finding: &Diagnostic) -> String {
    let place = finding
        .origin
        .as_ref()
        .map(|origin| format!("{}:{}", origin.line(), origin.column()))
        .unwrap_or_default();
    let mut text = format!("{}[{}] {place}", finding.severity.word(), finding.code.id);
    for part in [&finding.object, &finding.path] {
        if !part.is_empty() {
            text.push_str(&format!(" {part}"));
        }
    }
    text.push_str(&format!(": {}\n", finding.message));
    for hint in &finding.hints {
        text.push_str(&format!("    {hint}\n"));
    }
    text
}

fn answer(snapshot: &Snapshot, row: &Row) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in &row.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field's name");
        headers.append(name, HeaderValue::from_str(value).expect("a field's value"));
    }
    let target = canonical(row.path.as_bytes(), Normalization::Base).expect("a path");
    let request = Request {
        authority: &row.host,
        method: &row.method,
        scheme: if row.https { "https" } else { "http" },
        path: &target.path,
        query: target.query.and_then(|query| std::str::from_utf8(query).ok()),
        headers: &headers,
    };
    let Some(listener) = snapshot.listeners.iter().find(|listener| listener.key.port == row.port) else {
        return "no port".to_owned();
    };
    let hosts = match &listener.protocol {
        ListenerProtocol::Http(hosts) => hosts,
        ListenerProtocol::Tls(names) => match names.find(&row.host).map(|server| &**server) {
            Some(TlsServer::Http(_, hosts)) => hosts,
            _ => return "closed".to_owned(),
        },
        ListenerProtocol::Tcp(_) => return "not HTTP".to_owned(),
    };
    match decide(hosts, &request, &mut ()) {
        Decision::NoHost => "404 no host".to_owned(),
        Decision::ToHttps(_) => format!("301 {}", Redirect::to_https(&request)),
        Decision::NoRoute(_) => "404 no route".to_owned(),
        Decision::Route(route, block) => match &route.action {
            Action::Redirect(redirect) => {
                format!("{} {}", redirect.status, redirect.location(&request, block, listener.key.port))
            }
            Action::Respond(response) => format!("{} direct", response.status),
            Action::Forward(split) => {
                let cors = route.handling.as_ref().and_then(|handling| handling.cors.as_ref());
                if cors.is_some_and(|cors| cors.preflight(&request).is_some()) {
                    return "200 preflight".to_owned();
                }
                let shares = split.schedule.effective();
                let sum: u32 = shares.iter().sum();
                let mut told = Vec::new();
                for (target, share) in split.targets.iter().zip(shares) {
                    let cluster = snapshot.cluster(target.cluster);
                    let name = cluster.key.host.split('.').next().unwrap_or_default().to_owned();
                    let percent = f64::from(*share) * 100.0 / f64::from(sum);
                    told.push(if *share == sum { name } else { format!("{name} {percent}") });
                }
                let transform = split.targets.first().and_then(|target| target.transform.as_ref());
                let path =
                    transform.and_then(|transform| transform.path.as_ref()?.apply(request.path, block));
                let host = transform.and_then(|transform| transform.authority.as_ref()?.to_str().ok());
                let new: String = host.unwrap_or_default().to_owned() + &path.unwrap_or_default();
                if new.is_empty() { told.join(", ") } else { format!("{} as {new}", told.join(", ")) }
            }
        },
    }
}

fn errors(yaml: &str) -> String {
    compile(yaml).findings.iter().filter(|finding| finding.severity == Severity::Error).map(line).collect()
}

#[test]
fn every_case_is_as_written() {
    let cases = Case::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/import"));
    assert!(cases.len() >= 10, "only {} cases were found", cases.len());
    for case in &cases {
        let text = std::fs::read_to_string(case.folder.join("ingress.yaml")).expect("an ingress.yaml");
        let imported = import(&text, &Options::default());
        check_file(&case.folder.join("expected.yaml"), &imported.yaml);
        check_file(
            &case.folder.join("findings.txt"),
            &imported.findings.iter().map(line).collect::<String>(),
        );
        let compiled = compile(&imported.yaml);
        let bad: String =
            compiled.findings.iter().filter(|finding| finding.severity > Severity::Note).map(line).collect();
        // What it warns of where an upstream's certificate is not looked at is so.
        let bad: Vec<&str> = bad
            .lines()
            .filter(|line| !line.contains("IST0128") && !line.contains("IST0129") && !line.starts_with(' '))
            .collect();
        assert!(bad.is_empty(), "{}: what was written is not clean:\n{}", case.name, bad.join("\n"));
        let answers: Vec<String> = case.rows.iter().map(|row| answer(&compiled.snapshot, row)).collect();
        case.check_answers(&answers);
    }
}

/// A valid Ingress at random: hosts that cover each other, paths of every kind, annotations with values near what they take.
fn ingress() -> impl Strategy<Value = String> {
    let host = prop::sample::select(vec!["", "a.test", "b.a.test", "'*.a.test'", "'*.test'", "c.test"]);
    let path = prop::sample::select(vec![
        "/",
        "/a",
        "/a/",
        "/a/b",
        "/A",
        "/a(/|$)(.*)",
        "/v[0-9]+",
        "/a|/b",
        "/x.y",
        "/a b",
        "/é",
        "/%41",
        "/a$",
        "/((",
        "/a//b",
    ]);
    let kind = prop::sample::select(vec!["Exact", "Prefix", "ImplementationSpecific"]);
    let service = (prop::sample::select(vec!["s", "t", "u"]), 80..82_u16);
    let rule = (host, path, kind, service);
    let annotation = prop::sample::select(ANNOTATIONS.to_vec());
    let meta = (0..6_u8, prop::sample::select(vec!["x", "y"]), prop::bool::ANY);
    let tls = prop::sample::select(vec![
        "[]",
        "[{hosts: [a.test], secretName: k}]",
        "[{secretName: k}]",
        "[{hosts: ['*.test']}]",
    ]);
    (meta, prop::collection::vec(rule, 1..4), prop::collection::btree_set(annotation, 0..6), tls).prop_map(
        |((number, namespace, default), rules, annotations, tls)| {
            let mut text = format!("---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: i{number}\n  namespace: {namespace}\n  annotations:\n    note: none\n");
            let mut said: Vec<&str> = Vec::new();
            for annotation in annotations {
                let (name, value) = annotation;
                if !said.contains(&name) {
                    text.push_str(&format!("    nginx.ingress.kubernetes.io/{name}: {value:?}\n"));
                    said.push(name);
                }
            }
            text.push_str(&format!("spec:\n  ingressClassName: nginx\n  tls: {tls}\n"));
            if default {
                text.push_str("  defaultBackend: {service: {name: rest, port: {number: 80}}}\n");
            }
            text.push_str("  rules:\n");
            for (host, path, kind, (service, port)) in rules {
                let host = if host.is_empty() { String::new() } else { format!("host: {host}, ") };
                text.push_str(&format!("  - {{{host}http: {{paths: [{{path: '{path}', pathType: {kind}, backend: {{service: {{name: {service}, port: {{number: {port}}}}}}}}}]}}}}\n"));
            }
            text
        },
    )
}

const ANNOTATIONS: &[(&str, &str)] = &[
    ("canary", "true"),
    ("canary-by-header", "X-Canary"),
    ("canary-by-header-value", "it's: \"so\""),
    ("canary-by-header-pattern", "a|b"),
    ("canary-by-cookie", "c.d"),
    ("canary-weight", "30"),
    ("canary-weight", "99999999999"),
    ("canary-weight-total", "2147483647"),
    ("rewrite-target", "/$1"),
    ("rewrite-target", "/$2/x\\y"),
    ("rewrite-target", "/"),
    ("use-regex", "true"),
    ("app-root", "/start"),
    ("permanent-redirect", "https://new.test$request_uri"),
    ("temporal-redirect", "/login?a=b"),
    ("permanent-redirect-code", "418"),
    ("ssl-redirect", "false"),
    ("force-ssl-redirect", "true"),
    ("proxy-connect-timeout", "0"),
    ("proxy-connect-timeout", "2147483647"),
    ("proxy-read-timeout", "60"),
    ("proxy-next-upstream", "error http_429 nonsense"),
    ("proxy-next-upstream-tries", "0"),
    ("enable-cors", "true"),
    ("cors-allow-origin", "https://*.a.test, *://b"),
    ("cors-allow-origin", ","),
    ("cors-max-age", "0"),
    ("cors-allow-headers", "*, x y"),
    ("upstream-vhost", "in.test"),
    ("backend-protocol", "GRPCS"),
    ("affinity", "cookie"),
    ("session-cookie-name", "a b"),
    ("session-cookie-path", "/x; y"),
    ("session-cookie-max-age", "1d"),
    ("upstream-hash-by", "$arg_a"),
    ("upstream-hash-by", "$cookie_a"),
    ("load-balance", "ewma"),
    ("server-alias", "www.a.test, c.test, *.b"),
    ("mirror-target", "http://m.x.svc.cluster.local:81$request_uri"),
    ("x-forwarded-prefix", "/100%"),
    ("auth-type", "basic"),
    ("configuration-snippet", "deny all;\n---\nkind: Gateway\n"),
    ("unheard-of", "x"),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_without_an_error(ingresses in prop::collection::vec(ingress(), 1..5), open in any::<bool>()) {
        let text = ingresses.concat();
        let options = Options { open, ..Options::default() };
        let imported = import(&text, &options);
        prop_assert_eq!(&import(&text, &options).yaml, &imported.yaml);
        let bad = errors(&imported.yaml);
        prop_assert!(bad.is_empty(), "{}\n{}\n{}", text, imported.yaml, bad);
        let protected = imported.findings.iter().any(|finding| finding.code.id == "TRY0031");
        prop_assert!(protected == text.contains("auth-type") || text.contains("canary: \"true\"") || text.contains("-snippet"));
    }

    #[test]
    fn reading_survives_any_text(text in "\\PC{0,200}", at in 0..20_usize) {
        let whole = "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a, annotations: {nginx.ingress.kubernetes.io/rewrite-target: /$1}}\nspec:\n  rules: [{http: {paths: [{path: /a, pathType: Prefix, backend: {service: {name: a, port: {number: 1}}}}]}}]\n";
        let cut = whole.char_indices().nth(at * 10).map_or(whole.len(), |(at, _)| at);
        import(&format!("{}{text}{}", &whole[..cut], &whole[cut..]), &Options::default());
    }
}

/// A location as nginx knows it: its path, how it is compared, who answers.
type Known<'p> = (&'p str, u8, &'p str);

/// Who nginx would choose among plain locations, told as the manual tells it: an exact one, else the longest prefix.
fn nginx<'p>(locations: &[Known<'p>], uri: &str) -> Option<String> {
    let (exact, specific) = (0, 2);
    let mut tree: Vec<(String, bool, &str)> = Vec::new();
    for (path, kind, backend) in locations {
        if *kind == exact || *path == "/" {
            tree.push(((*path).to_owned(), *kind == exact, backend));
        } else if *kind == specific {
            tree.push(((*path).to_owned(), false, backend));
        } else {
            let bare = path.trim_end_matches('/');
            tree.push((format!("{bare}/"), false, backend));
            if !locations.iter().any(|(other, kind, _)| other == path && *kind == exact) {
                tree.push(((*path).to_owned(), true, backend));
            }
        }
    }
    if let Some((_, _, backend)) = tree.iter().find(|(path, exact, _)| *exact && path == uri) {
        return Some((*backend).to_owned());
    }
    let here = tree.iter().any(|(path, _, _)| path == uri);
    if !here && tree.iter().any(|(path, _, _)| *path == format!("{uri}/")) {
        return Some(format!("301 http://a.test{uri}/"));
    }
    let fits = tree.iter().filter(|(path, exact, _)| !*exact && uri.starts_with(path.as_str()));
    fits.max_by_key(|(path, _, _)| path.len()).map(|(_, _, backend)| (*backend).to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn plain_paths_go_where_nginx_sends_them(
        chosen in prop::collection::btree_set((0..PATHS.len(), 0..3_u8), 1..6),
        uri in prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/", "/a/bc", "/ab", "/a/b/c", "/c"]),
    ) {
        let names = ["s0", "s1", "s2", "s3", "s4", "s5"];
        let locations: Vec<Known<'_>> = chosen.iter().zip(names).map(|((path, kind), name)| (PATHS[*path], *kind, name)).collect();
        // nginx does not start with one location twice.
        let once = |path: &str| locations.iter().filter(|(other, kind, _)| *kind != 0 && other.trim_end_matches('/') == path.trim_end_matches('/')).count() < 2;
        prop_assume!(locations.iter().all(|(path, _, _)| once(path)));
        let kinds = ["Exact", "Prefix", "ImplementationSpecific"];
        let paths: String = locations.iter().map(|(path, kind, name)| format!(
            "      - {{path: {path}, pathType: {}, backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}\n", kinds[usize::from(*kind)]
        )).collect();
        let text = format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: a}}\nspec:\n  ingressClassName: nginx\n  rules:\n  - host: a.test\n    http:\n      paths:\n{paths}");
        let imported = import(&text, &Options::default());
        let snapshot = compile(&imported.yaml).snapshot;
        let headers = HeaderMap::new();
        let request = Request { authority: "a.test", method: "GET", scheme: "http", path: uri, query: None, headers: &headers };
        let row = Row { line: 0, method: "GET".into(), https: false, port: 80, host: request.authority.into(), path: uri.into(), headers: Vec::new(), expected: String::new(), comment: String::new() };
        let wanted = nginx(&locations, uri).unwrap_or_else(|| "404 no route".to_owned());
        prop_assert_eq!(answer(&snapshot, &row), wanted, "{} in\n{}", uri, imported.yaml);
    }
}

const PATHS: [&str; 7] = ["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a/b/c"];

#[test]
fn many_are_imported_at_once() {
    let mut text = String::from("apiVersion: v1\nkind: List\nitems:\n");
    for index in 0..2_000 {
        text.push_str(&format!(
            "- apiVersion: networking.k8s.io/v1\n  kind: Ingress\n  metadata:\n    name: i{index}\n    namespace: n{}\n    \
             annotations: {{nginx.ingress.kubernetes.io/limit-rps: \"5\"}}\n  spec:\n    ingressClassName: nginx\n    rules:\n    - host: h{}.test\n      \
             http: {{paths: [{{path: /p{index}, pathType: Prefix, backend: {{service: {{name: s{index}, port: {{number: 80}}}}}}}}]}}\n",
            index % 10, index % 1_000
        ));
    }
    let imported = import(&text, &Options::default());
    assert_eq!((imported.ingresses, imported.objects), (2_000, [10, 1_000, 0]));
    assert_eq!(imported.findings.count(Severity::Error), 2_000);
    assert_eq!(imported.yaml.matches("  - match:").count(), 2_000);
}

#[test]
fn what_is_no_ingress_is_said() {
    for (text, said) in [
        ("", ""),
        ("# nothing\n", ""),
        ("a: [", "error[TRY0001]"),
        ("just text", "error[IST0106]"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", ""),
        ("apiVersion: apps/v1\nkind: Deployment\n", "note[TRY0004]"),
        (
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: A b}\nspec: {}\n",
            "error[IST0106]",
        ),
        (
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {}\n",
            "error[IST0106]",
        ),
    ] {
        let imported = import(text, &Options::default());
        let found: String = imported.findings.iter().map(line).collect();
        assert!(imported.yaml.is_empty() && found.contains(said), "{text}: {found}");
        assert_eq!(found.is_empty(), said.is_empty(), "{text}: {found}");
    }
}

#[test]
fn the_readme_shows_what_comes_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect("a file of the repository");
    let readme = read("README.md");
    let written = read("gateway/testdata/import/as_in_the_readme/expected.yaml");
    let rules = written.find("  http:\n").and_then(|at| written.get(at..)).expect("rules");
    assert!(readme.contains(&read("gateway/testdata/import/as_in_the_readme/ingress.yaml")), "the input");
    assert!(readme.contains(rules), "the rules");
}
