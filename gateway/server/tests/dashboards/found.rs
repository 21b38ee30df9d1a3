//! Prometheus finds what was sent: the shares, the errors and the times, by our queries and by other people's.

use std::collections::BTreeMap;

use trysail_testkit::wait::eventually;

use crate::board::{Asked, Board, Values, filled};
use crate::busy::{BROKEN, Busy, DELAY, ROUTE, SERVICE};
use crate::gateway::PATIENCE;
use crate::prometheus::{Prometheus, Sample, now};

/// Other people's queries: a name, what it gives, and the query, a line each.
const OTHERS: &str = include_str!("queries.txt");

/// Waits until a query gives this sum, and tells when it did. What is asked as of then is not without data because the
/// machine was too busy for the next scrape.
fn seen(prometheus: &Prometheus, query: &str, wanted: f64) -> f64 {
    let mut time = 0.0;
    eventually(PATIENCE, query, || {
        time = now();
        prometheus.sum_at(time, query) == wanted
    });
    time
}

/// Waits until Prometheus has asked for what the gateway counts now, and tells when it had.
fn settled(busy: &Busy, prometheus: &Prometheus) -> f64 {
    let counted = busy.gateway.sum("istio_requests_total", &["reporter=\"source\""]);
    seen(prometheus, "sum(istio_requests_total{reporter=\"source\"})", counted)
}

/// The values that Grafana would give a board's variables, by their own queries; `chosen` where there is a choice.
fn values(board: &Board, prometheus: &Prometheus, chosen: &[(&str, &str)]) -> Values {
    let mut values = Values::new();
    for ((name, selector, label), variable) in
        board.lists().into_iter().zip(board.variables().iter().filter(|one| one["type"] == "query"))
    {
        let selector = filled(&selector, &values);
        let given = prometheus.get(&format!("label/{label}/values"), &[("match[]", &selector)]);
        let given = given.unwrap_or_else(|error| panic!("${name}: {selector}: {error}"));
        let given: Vec<&str> =
            given.as_array().expect("a list").iter().filter_map(|one| one.as_str()).collect();
        let value = match (chosen.iter().find(|(which, _)| *which == name), variable["allValue"].as_str()) {
            (Some((_, wanted)), _) => {
                assert!(given.contains(wanted), "${name}: {wanted} is not in {given:?}");
                (*wanted).to_owned()
            }
            (None, Some(all)) => all.to_owned(),
            (None, None) => {
                assert!(variable["includeAll"] == true || given.is_empty(), "${name} has to be chosen");
                format!("({})", given.join("|").replace('.', r"\\."))
            }
        };
        values.insert(name, value);
    }
    values
}

fn ask(prometheus: &Prometheus, time: f64, asked: &Asked, values: &Values) -> Vec<Sample> {
    let query = filled(&asked.query, values);
    prometheus
        .at(time, &query)
        .unwrap_or_else(|error| panic!("{} {}: {query}\n{error}", asked.place, asked.letter))
}

#[test]
fn a_fresh_gateway_leaves_no_panel_without_a_word() {
    let busy = Busy::start();
    let Some(prometheus) = Prometheus::start(busy.metrics()) else { return };
    let twice = "sum(trysail_build_info) and on () sum(count_over_time(trysail_build_info[1m])) > 1";
    let time = seen(&prometheus, twice, 1.0);
    for board in Board::all() {
        let values = values(&board, &prometheus, &[("route", ROUTE)]);
        let mut said = BTreeMap::new();
        for asked in board.asked() {
            let has_data = ask(&prometheus, time, &asked, &values).iter().any(|(_, value)| !value.is_nan());
            said.entry(asked.place).or_insert((asked.no_value, false)).1 |= has_data;
        }
        for (place, (word, has_data)) in said {
            // What is not there is what has not come about; that there is no gateway would not be true.
            let word = word.unwrap_or_default();
            let is_true = ["no requests yet", "no reloads yet"].contains(&&*word);
            assert!(has_data || is_true, "{place}: there is no data, and it says {word:?}");
        }
    }
}

#[test]
fn prometheus_finds_what_was_sent() {
    let busy = Busy::start();
    let Some(prometheus) = Prometheus::start(busy.metrics()) else { return };
    busy.warm();
    busy.edit();
    let before = settled(&busy, &prometheus);
    let counts = [
        "trysail_route_assigned_total{route=\"default/shop http[0]\", subset=\"VERSION\"}",
        "istio_requests_total{reporter=\"source\", destination_version=\"VERSION\", destination_service=\"reviews.default.svc.cluster.local\"}",
        "istio_requests_total{reporter=\"destination\", destination_version=\"VERSION\", destination_service=\"reviews.default.svc.cluster.local\"}",
        "istio_request_duration_milliseconds_count{reporter=\"source\", destination_version=\"VERSION\", destination_service=\"reviews.default.svc.cluster.local\"}",
    ];
    let count = |time| -> Vec<[f64; 2]> {
        let of = |query: &str, version| prometheus.sum_at(time, &query.replace("VERSION", version));
        counts.iter().map(|query| [of(query, "v1"), of(query, "v2")]).collect()
    };
    busy.answer_from_v2(500);
    busy.load(1000);
    let rest = settled(&busy, &prometheus);

    // At rest, to the request.
    for ((query, before), after) in counts.iter().zip(count(before)).zip(count(rest)) {
        assert_eq!([after[0] - before[0], after[1] - before[1]], [800.0, 200.0], "{query}");
    }
    let boards = Board::all();
    for board in &boards {
        let values = values(board, &prometheus, &[("route", ROUTE)]);
        for asked in board.asked() {
            let samples = ask(&prometheus, rest, &asked, &values);
            let has_data = samples.iter().any(|(_, value)| !value.is_nan());
            assert!(has_data, "{} {}: no data", asked.place, asked.letter);
        }
    }
    canary(&boards[0], &prometheus, rest);
    // Some of the others look at the last two samples only, so they are asked as of when most was under way.
    let most = "sum(irate(istio_requests_total{reporter=\"source\"}[5m])) and on () up == 1";
    let busiest = prometheus.highest(most, 60.0);
    others(&prometheus, busiest);
    recorded(&prometheus);

    busy.edit_wrongly();
    let refused = seen(&prometheus, "count(trysail_config_last_reload_successful == 0)", 1.0);
    for board in &boards {
        let of_routes = [ROUTE, BROKEN].map(|route| values(board, &prometheus, &[("route", route)]));
        for asked in board.annotations() {
            let has_data =
                of_routes.iter().any(|values| !ask(&prometheus, refused, &asked, values).is_empty());
            assert!(has_data, "{}: no data", asked.place);
        }
    }
}

/// The canary's board shows what was sent.
fn canary(board: &Board, prometheus: &Prometheus, time: f64) {
    let values = values(board, prometheus, &[("route", ROUTE)]);
    let shown = |panel: &str, label: &str| -> BTreeMap<String, f64> {
        let place = format!("canary: panel {panel:?}");
        let asked = board.asked().into_iter().find(|asked| asked.place == place);
        let asked = asked.unwrap_or_else(|| panic!("no panel {panel}"));
        let samples = ask(prometheus, time, &asked, &values).into_iter();
        samples.map(|(labels, value)| (labels.get(label).cloned().unwrap_or_default(), value)).collect()
    };
    let configured = shown("Share of requests: $route", "target");
    assert_eq!(configured, [("v1".to_owned(), 0.8), ("v2".to_owned(), 0.2)].into());
    // A scrape falls between two requests of a round: one of hundreds.
    let near = |value: f64, wanted: f64| (value - wanted).abs() < 0.02;
    assert!(near(shown("Furthest off its share", "")[""], 0.0));
    let failed = shown("Failed", "");
    assert!(near(failed[""], 0.2), "{failed:?}");
    let requests = shown("Requests", "");
    assert!(requests[""] > 1.0, "{requests:?}");

    let number = |query: &str| {
        let samples = prometheus.at(time, query).unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(samples.len(), 1, "{query}");
        samples[0].1
    };
    let assigned = "rate(trysail_route_assigned_total{route=\"default/shop http[0]\", subset=\"v2\"}[5m])";
    let all = "sum(rate(trysail_route_assigned_total{route=\"default/shop http[0]\"}[5m]))";
    let share = number(&format!("sum({assigned}) / {all}"));
    assert!(near(share, 0.2), "{share}");
    // v2 takes 20 ms, which lies in the bucket of 10 to 25.
    let labels =
        format!("reporter=\"source\", destination_service=\"{SERVICE}\", destination_version=\"v2\"");
    let rate = |suffix: &str| format!("rate(istio_request_duration_milliseconds_{suffix}{{{labels}}}[5m])");
    let quantile = |part| number(&format!("histogram_quantile({part}, sum by (le) ({}))", rate("bucket")));
    let [half, most] = [quantile(0.5), quantile(0.99)];
    assert!(half > 10.0 && half <= most && most < 10_000.0, "p50 {half}, p99 {most}");
    let mean = number(&format!("sum({}) / sum({})", rate("sum"), rate("count")));
    assert!(mean >= DELAY.as_millis() as f64, "{mean} ms");
}

/// What Flagger, Argo Rollouts, Kiali and Istio's own dashboards ask gives what it should.
fn others(prometheus: &Prometheus, time: f64) {
    let values = [
        ("namespace", "default"),
        ("target", "reviews-v2"),
        ("stable", "reviews-v1"),
        ("service", SERVICE),
        ("workload", "reviews-v2"),
        ("srcwl", ".*"),
        ("srcns", ".*"),
        ("dstwl", ".*"),
        ("dstns", ".*"),
        ("dstsvc", ".*"),
        ("interval", "5m"),
    ];
    let mut faults = Vec::new();
    for line in OTHERS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parts: Vec<&str> = line.splitn(3, " | ").map(str::trim).collect();
        let [name, wanted, query] = parts[..] else { panic!("a name, what it gives, a query: {line}") };
        // Whose side is asked is chosen on the board.
        for reporter in ["source", "destination"] {
            let mut values: Values = values.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            values.insert("qrep".to_owned(), reporter.to_owned());
            let query = filled(query, &values);
            let samples =
                prometheus.at(time, &query).unwrap_or_else(|error| panic!("{name}: {query}: {error}"));
            let numbers: Vec<f64> = samples.iter().map(|(_, value)| *value).filter(|v| !v.is_nan()).collect();
            let good = match wanted {
                "data" => !numbers.is_empty(),
                "none" => numbers.is_empty(),
                range => {
                    let (from, to) = range.split_once("..").expect("FROM..TO");
                    let bounds: [f64; 2] = [from, to].map(|text| text.parse().expect("a number"));
                    numbers.len() == 1 && (bounds[0]..=bounds[1]).contains(&numbers[0])
                }
            };
            if !good {
                faults.push(format!("{name}: {wanted} wanted, and it is {numbers:?}\n    {query}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Every rule is evaluated without an error, and what is recorded is what was sent.
fn recorded(prometheus: &Prometheus) {
    let rules = || {
        let data = prometheus.get("rules", &[]).expect("rules");
        let groups = data["groups"].as_array().expect("groups").clone();
        groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    eventually(PATIENCE, "every rule is evaluated", || {
        rules().iter().all(|rule| rule["health"] != "unknown")
    });
    for rule in rules() {
        assert_eq!(
            (&rule["health"], &rule["lastError"]),
            (&"ok".into(), &serde_json::Value::Null),
            "{}",
            rule["name"]
        );
    }
    let share = "target:trysail_route_assigned:share5m{route=\"default/shop http[0]\", subset=\"v2\"}";
    eventually(PATIENCE, "the share is recorded", || (prometheus.sum_at(now(), share) - 0.2).abs() < 0.02);
    let pending = "ALERTS{alertname=\"TrysailSubsetHeld\", subset=\"late\"}";
    eventually(PATIENCE, "an alert waits for its time", || prometheus.sum_at(now(), pending) == 1.0);
}
