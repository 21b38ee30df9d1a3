//! Every case folder: its configuration compiled, its findings and its decisions compared with what is written.
//!
//! - `diagnostics.txt`: one line a finding, `severity[code] line:column object path: message`; absent for none.
//! - `requests.txt`: one row a request. It goes to `reviews/v1` (the host's first label, and the subset), or to
//!   several with their shares in percent, `reviews/v1 90, reviews/v2 10`; or it is answered here: `301 LOCATION`,
//!   `200 direct`, `404 no port`, `404 no virtual host`, `404 no route`, `503 no cluster`.
//!
//! `UPDATE_EXPECT=1` writes what is found; read the difference.

#![expect(clippy::disallowed_methods, reason = "the cases lie in files")]

use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use trysail_routing::compile::{Compiled, Compiler, Surroundings};
use trysail_routing::decide::{Decision, Request, decide, explain};
use trysail_routing::diagnostic::{Diagnostic, Diagnostics, Severity};
use trysail_routing::path::{Normalization, Refusal, canonical};
use trysail_routing::snapshot::{Action, ClusterId, Snapshot, Split};
use trysail_routing::wire::{Limits, Reader};
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
        Err(Refusal::ZeroByte) => return "400 zero byte".to_owned(),
    };
    let request = Request {
        authority: &row.host,
        method: &row.method,
        scheme: "http",
        path: &target.path,
        query: target.query.and_then(|query| std::str::from_utf8(query).ok()),
        headers: &headers,
    };
    let Some(listener) = snapshot.listeners.iter().find(|listener| listener.key.port == row.port) else {
        return "404 no port".to_owned();
    };
    let decision = decide(listener, &request, &mut ());
    assert_eq!(
        format!("{:?}", explain(listener, &request).decision),
        format!("{decision:?}"),
        "explain and decide differ"
    );
    match decision {
        Decision::NoHost => "404 no virtual host".to_owned(),
        Decision::NoRoute(_) => "404 no route".to_owned(),
        Decision::Route(route, block) => match &route.action {
            Action::Forward(split) => targets(snapshot, split),
            Action::Redirect(redirect) => {
                format!("{} {}", redirect.status, redirect.location(&request, block, listener.key.port))
            }
            Action::Respond(response) => format!("{} direct", response.status),
        },
    }
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
        let Compiled { snapshot, findings } = compile(&files(&case.config));
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
        let Compiled { snapshot, findings } = compile(&files(&example.folder));
        let bad: Vec<String> = findings.iter().filter(|f| f.severity > Severity::Note).map(line).collect();
        assert!(bad.is_empty(), "{}: {}", example.name, bad.concat());
        assert!(snapshot.routes > 0, "{} routes nothing", example.name);
    }
}
