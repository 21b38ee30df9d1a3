//! Istio's own validation cases: each object is read and compiled alone, and judged as Istio's webhook judges it.
//!
//! `testdata/validation` says where they come from. Rejected is what has an error of its schema or of Istio's
//! validation; what we cannot execute, and what refers to objects that are not there, does not count.

#![expect(clippy::disallowed_methods, reason = "the cases lie in files")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use trysail_routing::compile::{Surroundings, judge_alone};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::wire::{Limits, Reader};

/// One object with Istio's verdict.
struct Verdict {
    /// `TestValidateServer#1`, or the file and the object's number.
    id: String,
    /// What the case is called.
    name: String,
    valid: bool,
    /// Whether Istio warns, where its test says so.
    warns: Option<bool>,
    /// The object's text.
    object: String,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/validation").join(name)
}

fn files(name: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder(name)).expect("the cases are there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let stem = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    paths.iter().map(|path| (stem(path), std::fs::read_to_string(path).expect("a file"))).collect()
}

/// The cases of Istio's unit tests: a list of `id`, `name`, `valid` and `object`.
fn webhook() -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (_, text) in files("webhook") {
        for case in text.split("\n- id: ").skip(1) {
            let (head, object) = case.split_once("\n  object:\n").expect("a case has an object");
            let field = |name: &str| head.lines().find_map(|line| line.trim().strip_prefix(name));
            let lines = object.lines().take_while(|line| line.starts_with("    ") || line.is_empty());
            let object: Vec<&str> = lines.map(|line| line.get(4..).unwrap_or_default()).collect();
            verdicts.push(Verdict {
                id: head.lines().next().expect("a line").to_owned(),
                name: field("name:").unwrap_or_default().trim().to_owned(),
                valid: field("valid:").map(str::trim) == Some("true"),
                warns: field("warning:").map(|said| said.trim() == "true"),
                object: object.join("\n"),
            });
        }
    }
    verdicts
}

/// The cases of the CRDs' schemas: documents of `*-valid.yaml` and `*-invalid.yaml`, these with `_err`, the reason.
/// Beside them one valid object of each kind and version.
fn crd() -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (file, text) in files("crd").into_iter().chain(files("dataset")) {
        let documents = text.split("\n---").map(|document| document.trim_start_matches("---"));
        for (index, document) in documents.enumerate() {
            let object: Vec<&str> = document.lines().filter(|line| !line.starts_with("_err:")).collect();
            if object.iter().any(|line| line.starts_with("kind:")) {
                verdicts.push(Verdict {
                    id: format!("{file}#{index}"),
                    name: document.lines().find(|line| line.starts_with("_err:")).unwrap_or_default().into(),
                    valid: !file.ends_with("-invalid"),
                    warns: None,
                    object: object.join("\n"),
                });
            }
        }
    }
    verdicts
}

/// What is found in an object alone.
fn findings(text: &str) -> Vec<Diagnostic> {
    let (file, text): (Arc<str>, Arc<str>) = ("object.yaml".into(), text.into());
    let set = Reader::new("default", Limits::default()).read([(&file, &text)], Diagnostics::default());
    judge_alone(&set, &Surroundings::default()).into_iter().collect()
}

fn rejects(findings: &[Diagnostic]) -> bool {
    let counts = [Code::SCHEMA_VALIDATION, Code::SYNTAX];
    findings.iter().any(|finding| finding.severity == Severity::Error && counts.contains(&finding.code))
}

/// Whether anything is said that Istio would warn of, of this severity or a worse one.
fn said(findings: &[Diagnostic], least: Severity) -> bool {
    let counts = [Code::SCHEMA_WARNING, Code::DEPRECATED, Code::UNREACHABLE_RULE, Code::INEFFECTIVE_MATCH];
    findings.iter().any(|finding| finding.severity >= least && counts.contains(&finding.code))
}

/// What we judge otherwise than Istio, and why.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "TestValidateHTTPDirectResponse#7",
        "its bytes are the text itself; an API server would refuse them, since JSON has bytes as base64",
    ),
    (
        "TestValidateServiceEntries#58",
        "what is wrong with it is a label of a waypoint, which the case does not carry; without it it is #57",
    ),
    (
        "serviceentry-valid#0",
        "unquoted in a list in brackets, \"001:db8::\" is the key of a map, by YAML 1.2",
    ),
];

/// What Istio warns of for the sake of sidecars: virtual addresses, which nothing here listens on.
const WARNS_FOR_SIDECARS: [&str; 3] =
    ["TestValidateServiceEntries#4", "TestValidateServiceEntries#44", "TestValidateServiceEntries#45"];

#[test]
fn every_object_is_judged_as_istio_judges_it() {
    let (webhook, crd) = (webhook(), crd());
    assert_eq!(webhook.len(), 402, "cases of the webhook");
    assert!(crd.len() >= 50, "only {} cases of schemas", crd.len());
    let mut faults = Vec::new();
    for case in webhook.iter().chain(&crd) {
        let found = findings(&case.object);
        let agrees = rejects(&found) != case.valid;
        let ours = ["kind: VirtualService", "kind: Gateway", "kind: ServiceEntry", "kind: WorkloadEntry"];
        let ours = ours.iter().any(|kind| case.object.contains(kind));
        if let Some(warns) = case.warns.filter(|_| ours && !WARNS_FOR_SIDECARS.contains(&case.id.as_str()))
            && said(&found, if warns { Severity::Note } else { Severity::Warning }) != warns
        {
            faults.push(format!("{} {}: does Istio warn? {warns}", case.id, case.name));
        }
        let otherwise = OTHERWISE.iter().any(|(id, _)| *id == case.id);
        if agrees == otherwise {
            let verdict = if case.valid { "accepts" } else { "rejects" };
            let told: Vec<String> = found
                .iter()
                .map(|finding| format!("\n    {} {}: {}", finding.code.id, finding.path, finding.message))
                .collect();
            let what =
                if otherwise { "is said to be judged otherwise, and is not" } else { "is judged otherwise" };
            faults.push(format!("{} {} {what}: Istio {verdict} it{}", case.id, case.name, told.concat()));
        }
    }
    assert!(faults.is_empty(), "{} cases:\n{}", faults.len(), faults.join("\n"));
}
