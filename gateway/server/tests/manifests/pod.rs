//! The pod: its ports, its rights, its grace, and the gateway started as it says.

use std::path::Path;
use std::process::Command;

use serde_yaml::Value;
use trysail_testkit::folder::Folder;
use trysail_testkit::process::Process;

use crate::gateway::{PATIENCE, Reviews, SEED};
use crate::helm::{Manifests, template};

/// Sets of values that are rendered below.
const SETS: [&[&str]; 6] = [
    &[],
    &["--set", "namespaces={shop,cart},writeStatus=false"],
    &["--set", "source=files"],
    &["--set", "kind=DaemonSet,hostPorts=true"],
    &["--set", "preStopDelaySeconds=20,drainSeconds=600,settings.trustedHops=1"],
    &[
        "--set",
        "ports[0].name=web,ports[0].port=8000,ports[0].targetPort=9000,source=files,certificates={shop}",
    ],
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
        // A token only where the API server is asked.
        assert_eq!(pod["automountServiceAccountToken"] == true, rendered.has("RoleBinding"));
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
        // What would end a gateway that waits.
        assert!(container["livenessProbe"].is_null() && container["startupProbe"].is_null());
    });
}

/// The files and settings of the ConfigMaps, as the kubelet lays them, and the pod's own command line.
#[test]
fn the_pods_command_serves_what_the_config_maps_say() {
    let file = format!("files.shop\\.yaml={}", seed().display());
    let Some(rendered) = template(&["--set", "source=files", "--set-file", &file]) else { return };
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

/// Of the cluster's objects it may read what it follows, and write what it finds; of its own namespace alone it reads Secrets.
#[test]
fn rights_are_those_that_are_needed() {
    // Values, roles by kind and namespace, and who may write.
    let table: [(&[&str], &[&str], bool); 4] = [
        (&[], &["ClusterRole -", "Role edge"], true),
        (&["--set", "writeStatus=false"], &["ClusterRole -", "Role edge"], false),
        (&["--set", "namespaces={shop,cart}"], &["Role cart", "Role edge", "Role shop"], true),
        (&["--set", "source=files"], &[], false),
    ];
    for (values, expected, writes) in table {
        let Some(rendered) = template(values) else { return };
        let rendered = rendered.expect("it renders");
        let (mut roles, mut verbs) = (Vec::new(), std::collections::BTreeSet::new());
        let words = |list: &Value| -> Vec<String> {
            let list = list.as_sequence().expect("a list").iter();
            list.map(|one| one.as_str().expect("a word").to_owned()).collect()
        };
        for role in &rendered.0 {
            let kind = role["kind"].as_str().expect("a kind");
            if !kind.ends_with("Role") {
                continue;
            }
            let (name, namespace) = (&role["metadata"]["name"], &role["metadata"]["namespace"]);
            roles.push(format!("{kind} {}", namespace.as_str().unwrap_or("-")));
            for rule in role["rules"].as_sequence().expect("rules") {
                let (resources, may) = (words(&rule["resources"]), words(&rule["verbs"]));
                assert!(!resources.iter().chain(&may).any(|word| word == "*"), "{rule:?}");
                let is_own = name == "shop-trysail-own" && namespace == "edge";
                assert!(is_own || !resources.contains(&"secrets".to_owned()), "{role:?}");
                verbs.extend(may);
            }
            // And it is given to the pod's account.
            let is_given = |one: &&Value| {
                one["roleRef"]["name"] == *name
                    && one["roleRef"]["kind"] == kind
                    && one["metadata"]["namespace"] == *namespace
            };
            let binding = rendered.0.iter().find(is_given).unwrap_or_else(|| panic!("{name:?} is nobody's"));
            assert_eq!(binding["subjects"][0]["name"], rendered.pod()["spec"]["serviceAccountName"]);
            assert_eq!(binding["subjects"][0]["namespace"], "edge");
        }
        roles.sort();
        assert_eq!(roles, expected, "{values:?}");
        let writing = ["create", "patch", "update"].iter().any(|verb| verbs.contains(*verb));
        assert_eq!(writing, writes, "{values:?}");
    }
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
