//! The dashboards are what Grafana takes: places, ids, units, sources, and words where there is no data.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::board::Board;

#[test]
fn boards_are_known_by_fixed_ids() {
    for board in Board::all() {
        assert_eq!(board.json["uid"], format!("trysail-{}", board.name));
        let version = board.json["schemaVersion"].as_u64().unwrap_or_default();
        assert!((36..=42).contains(&version), "{}: Grafana 9 to 12 read schemas 36 to 42", board.name);
        assert_eq!(
            board.json["id"],
            Value::Null,
            "{}: a number of one Grafana is none of another",
            board.name
        );
        for link in board.json["links"].as_array().expect("links") {
            let url = link["url"].as_str().expect("an address");
            let boards = Board::all();
            assert!(boards.iter().any(|other| url == format!("/d/trysail-{}", other.name)), "{url}");
        }
    }
}

#[test]
fn panels_have_places_of_their_own() {
    for board in Board::all() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in board.panels() {
            let title = format!("{}: {}", board.name, panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: its id is another's");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a place"));
            assert!(x + w <= 24 && w > 0 && h > 0, "{title}: a row is 24 wide");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{title} lies on another at {cell:?}");
            }
        }
    }
}

#[test]
fn panels_have_units_sources_and_words_for_nothing() {
    let source = json!({"type": "prometheus", "uid": "${datasource}"});
    for board in Board::all() {
        for panel in board.panels().iter().filter(|panel| panel["type"] != "row") {
            let title = format!("{}: {}", board.name, panel["title"]);
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(defaults["unit"].is_string(), "{title}: no unit");
            assert!(defaults["noValue"].is_string(), "{title}: nothing is said where there is no data");
            assert!(panel["description"].is_string(), "{title}: no description");
            assert_eq!(panel["datasource"], source, "{title}");
            let targets = panel["targets"].as_array().expect("targets");
            let mut letters = BTreeSet::new();
            for target in targets {
                assert_eq!(target["datasource"], source, "{title}");
                assert!(letters.insert(target["refId"].as_str().expect("a letter")), "{title}");
                // Counters of several gateways start anew at different times.
                let query = target["expr"].as_str().expect("a query");
                assert!(!query.contains("rate(sum"), "{title}: a rate of a sum breaks at restarts");
            }
        }
        for list in [&board.json["annotations"]["list"], &board.json["templating"]["list"]] {
            for one in list.as_array().expect("a list").iter().filter(|one| one["builtIn"].is_null()) {
                assert!(one["name"] == "datasource" || one["datasource"] == source, "{}", one["name"]);
            }
        }
    }
}

#[test]
fn variables_are_there_before_they_are_used() {
    for board in Board::all() {
        let mut known: BTreeSet<String> =
            ["__rate_interval", "__range", "1"].iter().map(|name| (*name).to_owned()).collect();
        let used = |text: &str| -> Vec<String> {
            let names = text.split('$').skip(1);
            let word = |rest: &str| {
                rest.trim_start_matches('{')
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect()
            };
            names.map(word).collect()
        };
        for variable in board.variables() {
            let shown = &variable["definition"];
            assert!(shown.is_null() || *shown == variable["query"]["query"], "{}: {shown}", board.name);
            for name in used(variable["query"]["query"].as_str().unwrap_or_default()) {
                assert!(known.contains(&name), "{}: ${name} comes later", board.name);
            }
            known.insert(variable["name"].as_str().expect("a name").to_owned());
        }
        let text = serde_json::to_string(&board.json).expect("it was read");
        let missing: Vec<String> =
            used(&text.replace("\\\"", "\"")).into_iter().filter(|n| !known.contains(n)).collect();
        let missing: Vec<String> =
            missing.into_iter().filter(|name| name != "__all" && !name.is_empty()).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", board.name);
    }
}
