//! The pod: its ports, its rights, its grace, and the gateway started as it says.

use std::path::Path;
use std::process::Command;

use serde_yaml::Value;
use trysail_testkit::folder::Folder;
use trysail_testkit::process::Process;

use crate::gateway::{PATIENCE, Reviews, SEED};
use crate::helm::{Manifests, template};

/// Sets of values that are rendered below.
const SETS: [&[&str]; 4] = [
    &[],
    &["--set", "kind=DaemonSet,hostPorts=true"],
    &["--set", "preStopDelaySeconds=20,drainSeconds=600,settings.trustedHops=1"],
    &["--set", "ports[0].name=web,ports[0].port=8000,ports[0].targetPort=9000,certificates={shop}"],
];

fn each(check: impl Fn(&Manifests)) {
    for values in SETS {
        let Some(rendered) = template(values) else { return };
        check(&rendered.unwrap_or_else(|said| panic!("{values:?}: {said}")));
    }
}

fn integer(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value:?} is no number"))
}

#[test]
fn the_service_the_pod_and_the_settings_have_the_same_ports() {
    each(|rendered| {
        let settings: Value =
            serde_yaml::from_str(rendered.file("-settings", "trysail.yaml")).expect("settings");
        let opened = rendered.container()["ports"].as_sequence().expect("ports");
        let service = rendered.one("Service", "trysail");
        for port in service["spec"]["ports"].as_sequence().expect("ports") {
            let container = opened.iter().find(|opened| opened["name"] == port["targetPort"]);
            let container = container.unwrap_or_else(|| panic!("{port:?} leads nowhere"));
            assert_eq!(settings["ports"][&port["port"]], container["containerPort"]);
            assert!(integer(&container["containerPort"]) >= 1024, "{container:?}");
        }
        for (wanted, number) in [("metrics", 15020), ("health", 15021)] {
            let opened = opened.iter().find(|opened| opened["name"] == wanted).expect("one");
            assert_eq!(integer(&opened["containerPort"]), number);
        }
        // And the Service finds the pods.
        let labels = &rendered.pod()["metadata"]["labels"];
        for (name, value) in service["spec"]["selector"].as_mapping().expect("labels") {
            assert_eq!(&labels[name], value);
        }
        for (name, value) in settings["labels"].as_mapping().expect("labels") {
            assert_eq!(&labels[name], value);
        }
    });
}

#[test]
fn the_grace_is_longer_than_the_drain() {
    each(|rendered| {
        let settings: Value =
            serde_yaml::from_str(rendered.file("-settings", "trysail.yaml")).expect("settings");
        let seconds = |key: &str| {
            let time = settings[key].as_str().expect("a time");
            time.strip_suffix('s').and_then(|time| time.parse::<u64>().ok()).expect("seconds")
        };
        let grace = integer(&rendered.pod()["spec"]["terminationGracePeriodSeconds"]);
        assert!(grace >= seconds("preStopDelay") + seconds("drain") + 5, "{grace}");
    });
}

/// The rules of Kubernetes' Pod Security Standard "restricted", and a root file system that is read only.
#[test]
fn the_pod_has_no_rights() {
    each(|rendered| {
        let (pod, container) = (&rendered.pod()["spec"], rendered.container());
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_ne!(integer(&pod["securityContext"]["runAsUser"]), 0);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        assert!(security["capabilities"]["add"].is_null());
        for key in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[key].is_null(), "{key}");
        }
        for volume in pod["volumes"].as_sequence().expect("volumes") {
            assert!(volume["hostPath"].is_null(), "{volume:?}");
        }
        assert!(integer(&container["startupProbe"]["failureThreshold"]) >= 30);
        assert!(container["livenessProbe"].is_null());
    });
}

/// The files and settings of the ConfigMaps, as the kubelet lays them, and the pod's own command line.
#[test]
fn the_pods_command_serves_what_the_config_maps_say() {
    let Some(rendered) = template(&["--set-file", &format!("files.shop\\.yaml={}", seed().display())]) else {
        return;
    };
    let rendered = rendered.expect("it renders");
    let reviews = Reviews::start(&["v1", "v2"]);
    let (files, settings) = (Folder::new(), Folder::new());
    let shop = rendered.file("-files", "shop.yaml");
    assert_eq!(shop.trim(), SEED.trim());
    let entry = reviews.service_entry().replace("reviews.default.svc", "reviews.edge.svc");
    files.publish(&[("shop.yaml", shop), ("reviews.yaml", &entry)]);
    let state = Folder::new();
    let said = rendered
        .file("-settings", "trysail.yaml")
        .replace("/var/lib/trysail", state.path().to_str().expect("UTF-8"))
        + "bind: 127.0.0.1\nmetrics: 127.0.0.1:0\nhealth: 127.0.0.1:0\nadmin: 127.0.0.1:0\n";
    settings.publish(&[("trysail.yaml", &said)]);

    let mounted = |argument: &Value| {
        let argument = argument.as_str().expect("a word");
        argument
            .replace("/etc/trysail/files", files.path().to_str().expect("UTF-8"))
            .replace("/etc/trysail/settings", settings.path().to_str().expect("UTF-8"))
    };
    let mut words: Vec<String> =
        rendered.container()["args"].as_sequence().expect("words").iter().map(mounted).collect();
    // The port map is there; only the number may be another's on this machine.
    words.extend(["--port".to_owned(), "80=0".to_owned()]);
    let program = Path::new(env!("CARGO_BIN_EXE_trysail"));
    let process = Process::spawn(program, &words, [("RUST_LOG", "info")]).expect("it starts");
    let listening = process.wait_for_line(|line| line.contains("listening 80 →"), PATIENCE);
    let Some(line) = listening else { panic!("not ready:\n{}", process.lines().join("\n")) };
    let address = line.split("→ ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    let address = address.parse().expect("an address");
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..100 {
        let reply = trysail_testkit::client::fetch(address, "shop.test", "/reviews/0").expect("an answer");
        *counts.entry(reply.text().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<i32>>(), [50, 50], "{counts:?}");
    process.signal_term().expect("it takes signals");
    assert!(process.wait(PATIENCE).is_some_and(|status| status.success()));
}

/// Settings of every set are taken by the program.
#[test]
fn the_settings_are_settings() {
    each(|rendered| {
        let folder = Folder::new();
        folder.write("trysail.yaml", rendered.file("-settings", "trysail.yaml"));
        let output = Command::new(env!("CARGO_BIN_EXE_trysail"))
            .args(["check", "--settings"])
            .arg(folder.path().join("trysail.yaml"))
            .arg(folder.path())
            .output()
            .expect("it runs");
        assert_ne!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

fn seed() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conf/examples/reviews/seed-reviews.yaml")
}
