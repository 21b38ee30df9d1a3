//! Rules and alerts: promtool takes them, each alert is tested firing and not, and has its paragraph.

use std::collections::BTreeMap;

use serde_yaml::Value;
use trysail_testkit::folder::Folder;

use crate::board::text;
use crate::prometheus::{is_installed, promtool};

fn yaml(name: &str) -> Value {
    serde_yaml::from_str(&text(name)).unwrap_or_else(|error| panic!("dashboards/{name}: {error}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_sequence().into_iter().flatten()
}

/// The alerts of alerts.yml.
fn alerts() -> Vec<Value> {
    let file = yaml("prometheus/alerts.yml");
    list(&file["groups"]).flat_map(|group| list(&group["rules"])).cloned().collect()
}

fn name(alert: &Value) -> &str {
    alert["alert"].as_str().expect("a name")
}

#[test]
fn promtool_takes_the_rules_and_its_tests_pass() {
    if !is_installed("promtool") {
        return;
    }
    for arguments in [&["check", "rules", "rules.yml", "alerts.yml"][..], &["test", "rules", "tests.yml"]] {
        promtool(arguments).unwrap_or_else(|said| panic!("promtool {arguments:?}:\n{said}"));
    }
}

#[test]
fn promtool_takes_what_the_readme_says_to_write() {
    if !is_installed("promtool") {
        return;
    }
    let readme = text("../README.md");
    let begin = readme.find("# prometheus.yml\n").expect("the README has an example");
    let config = readme[begin..].split("```").next().expect("it ends");
    let folder = Folder::new();
    folder.write("prometheus.yml", config);
    let file = folder.path().join("prometheus.yml").display().to_string();
    promtool(&["check", "config", "--syntax-only", &file]).unwrap_or_else(|said| panic!("{said}"));
}

#[test]
fn each_alert_is_tested_firing_and_not() {
    let mut seen: BTreeMap<String, [bool; 2]> = BTreeMap::new();
    let file = yaml("prometheus/tests.yml");
    for test in list(&file["tests"]).flat_map(|test| list(&test["alert_rule_test"])) {
        let fires = list(&test["exp_alerts"]).next().is_some();
        let alert = test["alertname"].as_str().expect("a name");
        seen.entry(alert.to_owned()).or_default()[usize::from(fires)] = true;
    }
    let mut wanted = BTreeMap::new();
    wanted.extend(alerts().iter().map(|alert| (name(alert).to_owned(), [true, true])));
    assert_eq!(seen, wanted, "not firing, firing");
}

#[test]
fn each_alert_says_what_where_and_what_to_do() {
    let readme = text("README.md");
    for alert in alerts() {
        let name = name(&alert);
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["warning", "critical"].contains(&severity), "{name}: severity {severity:?}");
        let annotation = |which: &str| {
            let text = alert["annotations"][which].as_str().unwrap_or_default().to_owned();
            assert!(!text.is_empty(), "{name}: no {which}");
            text
        };
        assert!(annotation("summary").contains("{{"), "{name}: its summary says not where");
        assert!(annotation("description").trim().ends_with('.'), "{name}: its description is no sentence");
        let anchor = annotation("runbook");
        assert_eq!(anchor, format!("dashboards/README.md#{}", name.to_lowercase()));
        // The paragraph: what it means, what to type first, and what it may come from.
        let paragraph = readme.split("\n### ").find(|part| part.lines().next() == Some(name));
        let paragraph = paragraph.unwrap_or_else(|| panic!("dashboards/README.md has no ### {name}"));
        for part in ["**Meaning.**", "**First.**", "**Likely causes.**"] {
            assert!(paragraph.contains(part), "dashboards/README.md, {name}: no {part}");
        }
    }
}
