//! `check` in its forms: each object alone, and findings for programs.

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use trysail_testkit::folder::Folder;

fn check(arguments: &[&str], folder: &Folder) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trysail"));
    command.arg("check").args(arguments).arg(folder.path()).stdin(Stdio::null());
    command.output().expect("trysail runs")
}

fn head(kind: &str, name: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n")
}

#[test]
fn each_object_alone_is_judged_as_the_webhook_judges_it() {
    let gateway = |tls: &str| {
        let port = "{number: 1, name: a, protocol: HTTPS}";
        format!("{}  servers: [{{port: {port}, hosts: [\"*\"], tls: {tls}}}]\n", head("Gateway", "shop"))
    };
    let service = |rule: &str| {
        format!("{}  hosts: [a.test]\n  gateways: [x]\n  http: [{rule}]\n", head("VirtualService", "shop"))
    };
    let claim = "{match: [{headers: {\"@request.auth.claims.a\": {exact: b}}}], redirect: {uri: /}}";
    for (text, arguments, code, out) in [
        // What it refers to is not there, and is not asked for.
        (service("{route: [{destination: {host: b, subset: c}}]}"), vec![], 0, "Each would be accepted"),
        (
            service("{route: [{destination: {host: b}, weight: -1}, {destination: {host: b}}]}"),
            vec![],
            1,
            "IST0106",
        ),
        (service("{timeout: 0s, redirect: {uri: /}}"), vec![], 1, "Not all would be accepted"),
        // Istio accepts it, and we can't do it.
        (gateway("{mode: ISTIO_MUTUAL}"), vec![], 0, "Each would be accepted"),
        (service(claim), vec![], 0, "warning[IST0149]"),
        (service(claim), vec!["--strict"], 1, "warning[IST0149]"),
        (gateway("{mode: MUTUAL}"), vec![], 1, "IST0106"),
        ("kind: [".to_owned(), vec![], 1, "TRY0001"),
    ] {
        let folder = Folder::new();
        folder.write("a.yaml", &text);
        let output = check(&[&["--per-object"], arguments.as_slice()].concat(), &folder);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}\n{said}");
        assert!(said.contains(out), "{text}\n{said}");
    }
}

#[test]
fn findings_for_programs_are_whole() {
    let folder = Folder::new();
    let text = "  hosts: [a.test]\n  gateways: [x]\n  http: [{timeout: 1us, redirect: {uri: /}}]\n";
    folder.write("a.yaml", &format!("{}{text}", head("VirtualService", "shop")));
    let parsed = |form: &str| -> Value {
        let output = check(&["-o", form], &folder);
        assert_eq!(output.status.code(), Some(1));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let list = parsed("json");
    let list = list.as_array().expect("a list");
    assert!(list.len() >= 2, "{list:?}");
    for finding in list {
        let keys = [
            "code",
            "documentationUrl",
            "level",
            "message",
            "origin",
            "reference",
            "line",
            "column",
            "path",
            "hint",
        ];
        for key in keys {
            assert!(finding.get(key).is_some(), "{key}: {finding}");
        }
    }
    let finding = list.iter().find(|finding| finding["code"] == "IST0106").expect("a schema finding");
    assert_eq!(finding["level"], "Error");
    assert_eq!(finding["origin"], "VirtualService default/shop");
    assert_eq!(finding["path"], "spec.http[0].timeout");
    assert_eq!(finding["line"], 7);
    assert!(finding["reference"].as_str().is_some_and(|place| place.ends_with("a.yaml:7:20")), "{finding}");
    let log = parsed("sarif");
    assert_eq!(log["version"], "2.1.0");
    assert_eq!(log["runs"][0]["tool"]["driver"]["name"], "trysail");
    assert_eq!(log["runs"][0]["results"].as_array().map(Vec::len), Some(list.len()));
}
