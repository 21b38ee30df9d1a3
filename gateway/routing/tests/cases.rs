//! Every case folder: its configuration compiled, its findings and its decisions compared with what is written.
//!
//! - `diagnostics.txt`: one line a finding, `severity[code] line:column object path: message`; absent for none.
//! - `requests.txt`: one row a request. It goes to `reviews/v1` (the host's first label, and the subset), or to
//!   several with their shares in percent, `reviews/v1 90, reviews/v2 10`; or it is answered here: `301 LOCATION`,
//!   `200 direct`, `200 preflight`, `404 no port`, `404 no virtual host`, `404 no route`, `503 no cluster`. What else happens
//!   on the way stands in parentheses, each with the line that says so.
//!
//! `UPDATE_EXPECT=1` writes what is found; read the difference.

#![expect(clippy::disallowed_methods, reason = "the cases lie in files")]

use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use trysail_routing::compile::{Compiled, Compiler, Surroundings};
use trysail_routing::decide::{Decision, Request, decide, describe, explain};
use trysail_routing::diagnostic::{Diagnostic, Diagnostics, Severity};
use trysail_routing::path::{Normalization, Refusal, canonical};
use trysail_routing::snapshot::{
    Action, ClusterId, Listener, ListenerProtocol, Redirect, Route, Snapshot, Split, TlsServer, VirtualHosts,
};
use trysail_routing::wire::{Limits, Places, Reader};
use trysail_testkit::case::{self, Case, Row, check_file};

fn compile(files: &[(Arc<str>, Arc<str>)]) -> Compiled {
    let mut reader = Reader::new("default", Limits::default());
    let set = reader.read(files.iter().map(|(name, text)| (name, text)), Diagnostics::default());
    Compiler::new(1).compile(&set, &Surroundings::default())
}

/// The YAML below a path, named by the files' own names.
fn files(path: &Path) -> Vec<(Arc<str>, Arc<str>)> {
    if path.is_file() {
        let text = std::fs::read_to_string(path).expect("a case's file can be read");
        return vec![(path.file_name().expect("a name").to_string_lossy().into(), text.into())];
    }
    let mut paths: Vec<_> =
        std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let yaml = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.flat_map(|path| files(path)).collect()
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
        text.push_str(&format!("    {}\n", hint.lines().next().unwrap_or_default()));
    }
    text
}

fn answer(snapshot: &Snapshot, row: &Row) -> String {
    let mut headers = HeaderMap::new();
    for (name, value) in &row.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field's name");
        headers.append(name, HeaderValue::from_str(value).expect("a field's value"));
    }
    let target = match canonical(row.path.as_bytes(), Normalization::Base) {
        Ok(target) => target,
        Err(Refusal::NotAbsolute) => return "404 not absolute".to_owned(),
        Err(Refusal::ZeroByte | Refusal::Form(_)) => return "400 zero byte".to_owned(),
    };
    let request = Request {
        authority: &row.host,
        method: &row.method,
        scheme: if row.https { "https" } else { "http" },
        path: &target.path,
        query: target.query.and_then(|query| std::str::from_utf8(query).ok()),
        headers: &headers,
    };
    let Some(listener) = snapshot.listeners.iter().find(|listener| listener.key.port == row.port) else {
        return "404 no port".to_owned();
    };
    let hosts = match connection(snapshot, listener, row) {
        Ok(hosts) => hosts,
        Err(answer) => return answer,
    };
    let decision = decide(hosts, &request, &mut ());
    assert_eq!(
        format!("{:?}", explain(hosts, &request).decision),
        format!("{decision:?}"),
        "explain and decide differ"
    );
    match decision {
        Decision::NoHost => "404 no virtual host".to_owned(),
        Decision::ToHttps(_) => format!("301 {}", Redirect::to_https(&request)),
        Decision::NoRoute(_) => "404 no route".to_owned(),
        Decision::Route(route, block) => match &route.action {
            Action::Forward(split) => forwarded(snapshot, route, split, &request),
            Action::Redirect(redirect) => {
                format!("{} {}", redirect.status, redirect.location(&request, block, listener.key.port))
            }
            Action::Respond(response) => format!("{} direct", response.status),
        },
    }
}

/// The virtual hosts that a row's connection leads to, or what becomes of it without a request.
fn connection<'s>(
    snapshot: &Snapshot,
    listener: &'s Listener,
    row: &Row,
) -> Result<&'s VirtualHosts, String> {
    // A row says the name that a client asks for where it is not the host's.
    let named = row.headers.iter().find(|(name, _)| name == "sni").map(|(_, value)| value.as_str());
    let name = row.https.then(|| named.unwrap_or(row.host.split(':').next().unwrap_or_default()));
    let passed = |split: Option<&Arc<Split>>| {
        split.map_or("closed: no rule".to_owned(), |split| targets(snapshot, split))
    };
    match (&listener.protocol, name) {
        (ListenerProtocol::Http(_), Some(_)) => Err("closed: not TLS".to_owned()),
        (ListenerProtocol::Tls(_), None) => Err("closed: TLS is wanted".to_owned()),
        (ListenerProtocol::Tcp(split), _) => Err(passed(split.as_ref())),
        (ListenerProtocol::Http(hosts), None) => Ok(hosts),
        (ListenerProtocol::Tls(names), Some(name)) => match names.find(name).map(|server| &**server) {
            None => Err(format!("closed: no server for {name:?}")),
            Some(TlsServer::Http(_, hosts)) => Ok(hosts),
            Some(TlsServer::Tcp(_, split)) => Err(format!("opened: {}", passed(split.as_ref()))),
            Some(TlsServer::Passthrough(split)) => Err(format!("unopened: {}", passed(Some(split)))),
        },
    }
}

/// `200 preflight`, or the targets and, in parentheses, what else happens on the way there.
fn forwarded(snapshot: &Snapshot, route: &Route, split: &Split, request: &Request<'_>) -> String {
    let Some(handling) = &route.handling else { return targets(snapshot, split) };
    if handling.cors.as_ref().is_some_and(|cors| cors.preflight(request).is_some()) {
        return "200 preflight".to_owned();
    }
    let mut places = Places::default();
    let told = describe(handling, snapshot).into_iter().map(|(told, place)| match place {
        Some(place) => format!("{told}, line {}", places.find(&route.origin_of(place)).1.line()),
        None => told,
    });
    format!("{} ({})", targets(snapshot, split), told.collect::<Vec<_>>().join("; "))
}

fn targets(snapshot: &Snapshot, split: &Split) -> String {
    let shares = split.schedule.effective();
    let sum: u32 = shares.iter().sum();
    let served = split.targets.iter().zip(shares).filter(|(_, share)| **share > 0);
    let told: Vec<String> = served
        .map(|(target, share)| {
            let name = name(snapshot, target.cluster);
            if *share == sum { name } else { format!("{name} {}", f64::from(*share * 100) / f64::from(sum)) }
        })
        .collect();
    told.join(", ")
}

fn name(snapshot: &Snapshot, id: ClusterId) -> String {
    let cluster = snapshot.cluster(id);
    if cluster.service.is_none() {
        return "503 no cluster".to_owned();
    }
    let host = cluster.key.host.split('.').next().unwrap_or_default();
    if cluster.key.subset.is_empty() { host.to_owned() } else { format!("{host}/{}", cluster.key.subset) }
}

#[test]
fn every_case_is_as_written() {
    let cases = Case::all(&case::cases());
    assert!(cases.len() >= 20, "only {} cases were found", cases.len());
    for case in &cases {
        let Compiled { snapshot, findings, .. } = compile(&files(&case.config));
        let found: String = findings.iter().map(line).collect();
        if !found.is_empty() || case.diagnostics.is_some() {
            check_file(&case.folder.join("diagnostics.txt"), &found);
        }
        let answers: Vec<String> = case.rows.iter().map(|row| answer(&snapshot, row)).collect();
        case.check_answers(&answers);
    }
}

#[test]
fn every_example_is_clean() {
    let examples = Case::all(&case::examples());
    assert!(!examples.is_empty(), "there is no example");
    for example in examples {
        let Compiled { snapshot, findings, .. } = compile(&files(&example.folder));
        let bad: Vec<String> = findings.iter().filter(|f| f.severity > Severity::Note).map(line).collect();
        assert!(bad.is_empty(), "{}: {}", example.name, bad.concat());
        assert!(snapshot.routes > 0, "{} routes nothing", example.name);
    }
}
