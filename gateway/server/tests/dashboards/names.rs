//! Dashboards, rules and alerts name only what the binary exports.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;
use trysail_testkit::client::fetch;

use crate::board::{Asked, Board, Values, filled, text};
use crate::busy::Busy;
use crate::words::{Words, sample};

/// Labels by metric.
type Exported = BTreeMap<String, BTreeSet<String>>;

/// The rules of a file: their names, where they record, and their queries.
fn rules(name: &str) -> Vec<(Option<String>, Asked)> {
    let file: Value = serde_yaml::from_str(&text(name)).expect("it is YAML");
    let list = |value: &Value| value.as_sequence().cloned().unwrap_or_default();
    let rules = list(&file["groups"]).into_iter().flat_map(|group| list(&group["rules"]));
    let asked = |rule: Value| {
        let record = rule["record"].as_str().map(str::to_owned);
        let query = rule["expr"].as_str().expect("a query").to_owned();
        let place = format!("{name}: {}", record.as_deref().or(rule["alert"].as_str()).expect("a name"));
        (record, Asked { place, letter: String::new(), query, no_value: None })
    };
    rules.map(asked).collect()
}

fn exported(busy: &Busy) -> Exported {
    let mut exported = Exported::new();
    let text = fetch(busy.metrics(), "metrics", "/metrics").expect("metrics answer").text();
    for (name, labels, _) in text.lines().filter_map(sample) {
        exported.entry(name.to_owned()).or_default().extend(labels);
    }
    exported
}

#[test]
fn queries_name_only_what_is_exported() {
    let busy = Busy::start();
    busy.warm();
    let mut exported = exported(&busy);
    // Prometheus makes this one itself, for each target.
    exported.insert("up".to_owned(), BTreeSet::new());
    // A gateway on a cluster has more, as the README has it.
    let readme = text("../README.md");
    for row in readme.lines().filter(|line| line.starts_with("| `trysail_kubernetes_")) {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let labels = ["job", "instance", cells[3]].into_iter().filter(|label| !label.is_empty());
        exported.insert(cells[1].to_owned(), labels.map(str::to_owned).collect());
    }
    let mut asked = Vec::new();
    for board in Board::all() {
        asked.extend(board.asked());
        asked.extend(board.annotations());
        for (name, selector, label) in board.lists() {
            let query = format!("count by ({label}) ({selector})");
            asked.push(Asked {
                place: format!("{}: ${name}", board.name),
                letter: String::new(),
                query,
                no_value: None,
            });
        }
    }
    for (record, rule) in ["prometheus/rules.yml", "prometheus/alerts.yml"].into_iter().flat_map(rules) {
        if let Some(record) = record {
            // What is recorded has labels of what it is made of.
            let words = Words::of(&rule.query);
            let of = words.metrics.iter().filter_map(|metric| exported.get(metric));
            let labels = of.flatten().cloned().collect();
            exported.insert(record, labels);
        }
        asked.push(rule);
    }
    let faults: Vec<String> = asked.iter().flat_map(|asked| faults(asked, &exported)).collect();
    assert!(faults.is_empty(), "{}\nexported:\n{:#?}", faults.join("\n"), exported.keys());
}

/// What a query names that is not there.
fn faults(asked: &Asked, exported: &Exported) -> Vec<String> {
    let words = Words::of(&filled(&asked.query, &Values::new()));
    let nothing = BTreeSet::new();
    let labels = |metric: &str| exported.get(metric).unwrap_or(&nothing);
    // Every target has these.
    let is_given = |label: &str| ["instance", "job"].contains(&label);
    let mut faults: Vec<String> =
        words.metrics.iter().filter(|metric| !exported.contains_key(*metric)).cloned().collect();
    faults.extend(
        words
            .matched
            .iter()
            .filter(|(metric, label)| !is_given(label) && !labels(metric).contains(label))
            .map(|(metric, label)| format!("{metric} with {label}")),
    );
    let any = |label: &String| words.metrics.iter().any(|metric| labels(metric).contains(label));
    let unknown = words
        .grouped
        .iter()
        .filter(|label| !is_given(label) && !any(label) && !words.quoted.contains(*label));
    faults.extend(unknown.map(|label| format!("label {label}")));
    faults.iter().map(|fault| format!("{}: {fault} is not exported", asked.place)).collect()
}

#[test]
fn what_is_not_exported_is_found() {
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let exported: Exported = [("x_total".to_owned(), labels(&["a", "b"]))].into();
    let rows = [
        ("sum by (a, instance) (rate(x_total{b=~\"$y\"}[$__rate_interval])) or vector(0)", 0),
        ("x_totals", 1),
        ("x_total{c=\"1\"}", 1),
        ("sum by (c) (x_total)", 1),
        ("sum by (c) (label_replace(x_total, \"c\", \"$1\", \"a\", \"(.*)\"))", 0),
    ];
    for (query, wanted) in rows {
        let asked = Asked {
            place: "a test".to_owned(),
            letter: String::new(),
            query: query.to_owned(),
            no_value: None,
        };
        assert_eq!(faults(&asked, &exported).len(), wanted, "{query}");
    }
}
