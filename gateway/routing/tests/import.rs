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
        let host = line.split("host: ").nth(1).unwrap().split([',', '}']).next().unwrap();
        let mut labels = host.split('.');
        let (name, namespace) = (labels.next().unwrap().to_owned(), labels.next().unwrap().to_owned());
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
