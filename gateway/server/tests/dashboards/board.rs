//! The dashboards as files: their panels, variables, annotations and queries.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// One dashboard.
pub(crate) struct Board {
    pub(crate) name: String,
    pub(crate) json: Value,
}

/// One query of a dashboard.
pub(crate) struct Asked {
    /// The dashboard and the panel, variable or annotation.
    pub(crate) place: String,
    /// Which of a panel's queries; empty for others.
    pub(crate) letter: String,
    pub(crate) query: String,
    /// What the panel says where there is no data.
    pub(crate) no_value: Option<String>,
}

/// Values of variables, by their names.
pub(crate) type Values = BTreeMap<String, String>;

/// What is in `dashboards/`, by its path in there.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dashboards").join(name)
}

/// The text of a file in `dashboards/`.
pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("dashboards/{name}: {error}"))
}

// === impl Board ===

impl Board {
    /// All of them.
    pub(crate) fn all() -> Vec<Board> {
        let read = |name: &str| {
            let text = text(&format!("grafana/{name}.json"));
            let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}.json: {error}"));
            Board { name: name.to_owned(), json }
        };
        ["canary", "gateway"].map(read).into()
    }

    pub(crate) fn panels(&self) -> &[Value] {
        self.json["panels"].as_array().expect("panels")
    }

    pub(crate) fn variables(&self) -> &[Value] {
        self.json["templating"]["list"].as_array().expect("variables")
    }

    /// Those that ask Prometheus.
    pub(crate) fn annotations(&self) -> Vec<Asked> {
        let list = self.json["annotations"]["list"].as_array().expect("annotations");
        let asked = |one: &Value| {
            let query = one["expr"].as_str()?.to_owned();
            Some(Asked {
                place: format!("{}: annotation {}", self.name, one["name"]),
                letter: String::new(),
                query,
                no_value: Some(String::new()),
            })
        };
        list.iter().filter_map(asked).collect()
    }

    /// The queries of the panels.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let mut all = Vec::new();
        for panel in self.panels() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                all.push(Asked {
                    place: format!("{}: panel {}", self.name, panel["title"]),
                    letter: target["refId"].as_str().expect("a target has a letter").to_owned(),
                    query: target["expr"].as_str().expect("a target has a query").to_owned(),
                    no_value: panel["fieldConfig"]["defaults"]["noValue"].as_str().map(str::to_owned),
                });
            }
        }
        all
    }

    /// The selectors and labels that the variables take their values from: name, selector, label.
    pub(crate) fn lists(&self) -> Vec<(String, String, String)> {
        let list = |variable: &Value| {
            let query = variable["query"]["query"].as_str()?;
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (selector, label) =
                inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values(…, …)");
            let name = variable["name"].as_str().expect("a name");
            Some((name.to_owned(), selector.to_owned(), label.to_owned()))
        };
        self.variables().iter().filter_map(list).collect()
    }
}

/// Puts values in place of `$NAME`; Grafana's own variables stand for five minutes.
pub(crate) fn filled(query: &str, values: &Values) -> String {
    let own = ["__rate_interval", "__interval", "__range"].map(|name| (name.to_owned(), "5m".to_owned()));
    let mut all: Vec<(String, String)> = own.into_iter().chain(values.clone()).collect();
    all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let put = |text: String, (name, value): &(String, String)| text.replace(&format!("${name}"), value);
    all.iter().fold(query.to_owned(), put)
}
