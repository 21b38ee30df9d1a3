//! `check` in its forms: each object alone, and findings for programs.

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use trysail_routing::diagnostic::Code;
use trysail_testkit::folder::Folder;
use trysail_testkit::tls::Authority;

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

/// A Gateway that ends TLS, and a route to an upstream that speaks it, each as its `tls` says.
fn over_tls(server: &str, upstream: &str) -> String {
    let gateway = format!(
        "{}  selector: {{istio: ingressgateway}}\n  servers:\n  - port: {{number: 443, name: a, protocol: HTTPS}}\n    \
         hosts: [\"*\"]\n    tls: {server}\n",
        head("Gateway", "shop")
    );
    let service = format!(
        "{}  hosts: [a.test]\n  gateways: [shop]\n  http: [{{route: [{{destination: {{host: b.test}}}}]}}]\n",
        head("VirtualService", "shop")
    );
    let entry = format!(
        "{}  hosts: [b.test]\n  resolution: STATIC\n  ports: [{{number: 443, name: a, protocol: HTTPS}}]\n  \
         endpoints: [{{address: 10.0.0.1}}]\n",
        head("ServiceEntry", "b")
    );
    let rule =
        format!("{}  host: b.test\n  trafficPolicy: {{tls: {upstream}}}\n", head("DestinationRule", "b"));
    [gateway, service, entry, rule].join("---\n")
}

#[test]
fn credentials_are_judged_where_they_are() {
    let folder = Folder::new();
    let files = Folder::new();
    let authority = Authority::new("check");
    let sound = authority.issue(&["a.test"]);
    let write = |name: &str, certificate: &str, key: &str| {
        files.write(&format!("{name}/tls.crt"), certificate);
        files.write(&format!("{name}/tls.key"), key);
    };
    write("sound", &sound.certificate, &sound.key);
    write("other", &sound.certificate, &authority.issue(&["a.test"]).key);
    write("garbage", "nothing", &sound.key);
    files.write("half/tls.crt", "nothing");
    files.write("sound/ca.crt", &authority.pem());
    let directory = files.path().display().to_string();
    let settings = Folder::new();
    settings.write("settings.yaml", &format!("certificates: {directory}\n"));
    let settings = settings.path().join("settings.yaml").display().to_string();
    let (off, here) = ("{mode: DISABLE}", "{mode: SIMPLE, credentialName: sound}");
    let applied = "It would be applied.";
    let unseen = "It would be applied where the credentials that are not here are there and sound.";
    let not = "It would not be applied.";
    let pair = |at: &str, key: &str| {
        format!("serverCertificate: {at}/tls.crt, privateKey: {at}/{key}, mode: SIMPLE")
    };
    for (server, upstream, verdict, said) in [
        (here, off, applied, ""),
        (
            "{mode: SIMPLE, credentialName: nobody}",
            off,
            unseen,
            "warning[IST0101] spec.servers[0].tls.credentialName",
        ),
        (
            "{mode: SIMPLE, credentialName: ../x}",
            off,
            not,
            "error[IST0161] spec.servers[0].tls.credentialName",
        ),
        (
            "{mode: SIMPLE, credentialName: other}",
            off,
            not,
            "error[IST0161] spec.servers[0].tls.credentialName",
        ),
        (
            "{mode: SIMPLE, credentialName: garbage}",
            off,
            not,
            "error[IST0161] spec.servers[0].tls.credentialName",
        ),
        // What is not there hides nothing that is there and wrong.
        (
            "{mode: SIMPLE, credentialName: half}",
            off,
            not,
            "error[IST0161] spec.servers[0].tls.credentialName",
        ),
        (
            "{mode: SIMPLE, credentialName: half}",
            off,
            not,
            "warning[IST0101] spec.servers[0].tls.credentialName",
        ),
        (
            "{mode: SIMPLE, credentialNames: [nobody, other]}",
            off,
            not,
            "error[IST0161] spec.servers[0].tls.credentialNames[1]",
        ),
        (
            &format!(
                "{{mode: SIMPLE, tlsCertificates: [{{{}}}]}}",
                pair(&format!("{directory}/sound"), "tls.none").replace(", mode: SIMPLE", "")
            ),
            off,
            unseen,
            "warning[IST0101] spec.servers[0].tls.tlsCertificates[0].privateKey",
        ),
        (
            &format!("{{{}}}", pair(&format!("{directory}/garbage"), "tls.key")),
            off,
            not,
            "error[IST0161] spec.servers[0].tls.serverCertificate",
        ),
        (
            &format!(
                "{{{}, mode: MUTUAL, caCertificates: {directory}}}",
                pair(&format!("{directory}/sound"), "tls.key").replace(", mode: SIMPLE", "")
            ),
            off,
            not,
            "error[IST0161] spec.servers[0].tls.caCertificates",
        ),
        (here, "{mode: SIMPLE, credentialName: sound}", applied, ""),
        (
            here,
            "{mode: SIMPLE, credentialName: nobody}",
            unseen,
            "warning[IST0101] spec.trafficPolicy.tls.credentialName",
        ),
        (
            here,
            "{mode: MUTUAL, credentialName: other}",
            not,
            "error[IST0161] spec.trafficPolicy.tls.credentialName",
        ),
        (
            here,
            &format!("{{mode: SIMPLE, caCertificates: {directory}/garbage/tls.crt}}"),
            not,
            "error[IST0161] spec.trafficPolicy.tls.caCertificates",
        ),
        (
            here,
            &format!(
                "{{mode: MUTUAL, clientCertificate: {directory}/sound/tls.crt, privateKey: {directory}/other/tls.key, caCertificates: {directory}/sound/ca.crt}}"
            ),
            not,
            "error[IST0161] spec.trafficPolicy.tls.privateKey",
        ),
    ] {
        folder.write("a.yaml", &over_tls(server, upstream));
        let output = check(&["--settings", &settings], &folder);
        let page = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(page.trim_end().ends_with(verdict), "{server} {upstream}\n{page}");
        assert_eq!(output.status.code(), Some(i32::from(verdict == not)), "{server} {upstream}\n{page}");
        let (head, path) = said.split_once(' ').unwrap_or_default();
        let found = page.split("\n\n").any(|finding| finding.contains(head) && finding.contains(path));
        assert!(found, "{said}\n{page}");
        // Where it serves, what is not there is an error too.
        let mut run = Command::new(env!("CARGO_BIN_EXE_trysail"));
        run.args(["run", "-t", "--settings", &settings, "--config"]).arg(folder.path());
        let served = run.output().expect("trysail runs");
        assert_eq!(served.status.code(), Some(i32::from(verdict != applied)), "{server} {upstream}");
    }
}

#[test]
fn every_code_has_its_row_in_the_readme() {
    let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md"));
    let table = readme.split("\n## Findings\n").nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = table
        .expect("a section")
        .lines()
        .filter(|line| line.starts_with("| IST") || line.starts_with("| TRY"));
    let told: Vec<(&str, &str)> = rows
        .filter_map(|row| {
            let mut cells = row.split('|').map(str::trim).skip(1);
            Some((cells.next()?, cells.next()?))
        })
        .collect();
    let mut known: Vec<(&str, &str)> = Code::ALL.iter().map(|code| (code.id, code.name)).collect();
    known.sort_unstable();
    assert_eq!(told, known, "the README's table of findings, in order");
}
