//! The plain manifests: what the chart renders, written down for those without helm.

use std::fs;
use std::process::Command;

use crate::helm::{self, Manifests, path};

/// Folders of `plain/`, and the values that they are rendered with.
const FOLDERS: [(&str, &str); 2] =
    [("cluster", "source=kubernetes"), ("files", "source=files,filesFrom=trysail-files")];

#[test]
fn they_are_what_the_chart_renders() {
    for (folder, values) in FOLDERS {
        let chart = path("chart");
        let chart = chart.to_str().expect("UTF-8");
        let arguments = ["template", "trysail", chart, "--namespace", "trysail", "--set", values];
        let Some(rendered) = helm::run(&arguments) else { return };
        let rendered = rendered.expect("it renders");
        // kubectl has made these; helm has not.
        let lines = rendered.lines().filter(|line| {
            !["helm.sh/chart:", "# Source:", "app.kubernetes.io/managed-by: Helm"]
                .iter()
                .any(|mark| line.contains(mark))
        });
        let head = format!(
            "# What kubernetes/chart renders with {values}, for those without helm. UPDATE_EXPECT=1 cargo test -p trysail\n\
             # --test manifests writes it anew.\n"
        );
        let text: String =
            std::iter::once(head).chain(lines.map(|line| format!("{}\n", line.trim_end()))).collect();
        let file = path("plain").join(folder).join("trysail.yaml");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&file, &text).expect("it can be written");
        }
        let written = fs::read_to_string(&file).expect("it can be read");
        assert!(
            written == text,
            "{} is not what the chart renders: UPDATE_EXPECT=1 writes it",
            file.display()
        );
    }
}

#[test]
fn what_is_kustomized_is_there() {
    for (folder, _) in FOLDERS {
        let folder = path("plain").join(folder);
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("it can be read");
        let kustomization = &Manifests::read(&read("kustomization.yaml")).0[0];
        let manifests = Manifests::read(&read("trysail.yaml"));
        let volumes = manifests.pod()["spec"]["volumes"].as_sequence().expect("volumes").clone();
        for name in volumes.iter().filter_map(|volume| volume["configMap"]["name"].as_str()) {
            let is_it =
                |one: &serde_yaml::Value| one["kind"] == "ConfigMap" && one["metadata"]["name"] == name;
            let made = kustomization["configMapGenerator"].as_sequence();
            let made = made.is_some_and(|made| made.iter().any(|map| map["name"] == name));
            assert!(made || manifests.0.iter().any(is_it), "{name}");
        }
        for resource in kustomization["resources"].as_sequence().expect("resources") {
            assert!(folder.join(resource.as_str().expect("a path")).is_file(), "{resource:?}");
        }
    }
}

/// The files are ones that the gateway takes, with the settings that are there.
#[test]
fn the_example_is_one() {
    let manifests = fs::read_to_string(path("plain/files/trysail.yaml")).expect("it can be read");
    let folder = trysail_testkit::folder::Folder::new();
    folder.write("trysail.yaml", Manifests::read(&manifests).file("-settings", "trysail.yaml"));
    let output = Command::new(env!("CARGO_BIN_EXE_trysail"))
        .args(["check", "--settings"])
        .arg(folder.path().join("trysail.yaml"))
        .arg(path("plain/files/config"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
