//! The plain manifests: what the chart renders, written down for those without helm.

use std::fs;
use std::process::Command;

use crate::helm::{self, Manifests, path};

const HEAD: &str = "# What kubernetes/chart renders with filesFrom=trysail-files, for those without helm. UPDATE_EXPECT=1 cargo test -p trysail\n# --test manifests writes it anew.\n";

#[test]
fn they_are_what_the_chart_renders() {
    let chart = path("chart");
    let chart = chart.to_str().expect("UTF-8");
    let arguments =
        ["template", "trysail", chart, "--namespace", "trysail", "--set", "filesFrom=trysail-files"];
    let Some(rendered) = helm::run(&arguments) else { return };
    let rendered = rendered.expect("it renders");
    // kubectl has made these; helm has not.
    let lines = rendered.lines().filter(|line| {
        !["helm.sh/chart:", "# Source:", "app.kubernetes.io/managed-by: Helm"]
            .iter()
            .any(|mark| line.contains(mark))
    });
    let text: String =
        std::iter::once(HEAD.to_owned()).chain(lines.map(|line| format!("{}\n", line.trim_end()))).collect();
    let file = path("plain/trysail.yaml");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, &text).expect("it can be written");
    }
    let written = fs::read_to_string(&file).expect("it can be read");
    assert!(written == text, "{} is not what the chart renders: UPDATE_EXPECT=1 writes it", file.display());
}

#[test]
fn what_is_kustomized_is_there() {
    let read = |name: &str| fs::read_to_string(path("plain").join(name)).expect("it can be read");
    let kustomization = &Manifests::read(&read("kustomization.yaml")).0[0];
    let manifests = Manifests::read(&read("trysail.yaml"));
    let volumes = manifests.pod()["spec"]["volumes"].as_sequence().expect("volumes").clone();
    let wanted = volumes.iter().filter_map(|volume| volume["configMap"]["name"].as_str());
    for name in wanted {
        let made = kustomization["configMapGenerator"].as_sequence().expect("maps");
        let made = made.iter().any(|map| map["name"] == name);
        assert!(
            made || manifests
                .0
                .iter()
                .any(|one| one["kind"] == "ConfigMap" && one["metadata"]["name"] == name),
            "{name}"
        );
    }
    for resource in kustomization["resources"].as_sequence().expect("resources") {
        assert!(path("plain").join(resource.as_str().expect("a path")).is_file(), "{resource:?}");
    }
    // The files are ones that the gateway takes, with the settings that are there.
    let folder = trysail_testkit::folder::Folder::new();
    folder.write("trysail.yaml", manifests.file("-settings", "trysail.yaml"));
    let output = Command::new(env!("CARGO_BIN_EXE_trysail"))
        .args(["check", "--settings"])
        .arg(folder.path().join("trysail.yaml"))
        .arg(path("plain/files"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
