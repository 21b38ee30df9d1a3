//! Every switch, tried over the wire: what is answered while it is on, and that all is well when it is off.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ApiServer;
use crate::client::{Client, Reply};
use crate::wait::eventually;

type Switch = fn(&ApiServer);

const PATIENCE: Duration = Duration::from_secs(10);
const RULES: &str = "/apis/networking.istio.io/v1/virtualservices";

fn get(api: &ApiServer, path: &str) -> io::Result<Reply> {
    Client::connect(api.addr())?.get("test", path, &[])
}

/// What a list is answered: its status and what a Status says, or what became of the connection.
fn told(api: &ApiServer, path: &str) -> String {
    match get(api, path) {
        Ok(reply) => {
            let body: Value =
                serde_json::from_str(&reply.text()).unwrap_or_else(|_| reply.text().trim().into());
            let says = body["message"].as_str().or_else(|| body.as_str()).unwrap_or_default();
            format!("{} {says}", reply.status).trim_end().to_owned()
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => "refused".to_owned(),
        Err(_) => "closed".to_owned(),
    }
}

#[test]
fn requests_are_answered_as_a_switch_says() {
    let rows: &[(&str, Switch, &str, &str)] = &[
        ("nothing is wrong", |_| {}, RULES, "200"),
        (
            "500",
            |api| api.fail("virtualservices", 500),
            RULES,
            "500 Internal error occurred: etcdserver: request timed out",
        ),
        ("500 for another kind", |api| api.fail("pods", 500), RULES, "200"),
        (
            "503 for all",
            |api| api.fail("*", 503),
            RULES,
            "503 the server is currently unable to handle the request",
        ),
        ("429", |api| api.throttle("*", 3, 1), RULES, "429 too many requests, please try again later"),
        ("429 that is over", |api| api.throttle("*", 3, 0), RULES, "200"),
        (
            "403",
            |api| api.forbid("virtualservices"),
            RULES,
            "403 virtualservices.networking.istio.io is forbidden: User \"admin\" cannot list resource \
             \"virtualservices\" in API group \"networking.istio.io\" at the cluster scope",
        ),
        ("no such CRD", |api| api.uninstall("virtualservices"), RULES, "404 404 page not found"),
        (
            "an older CRD",
            |api| api.serve_versions("networking.istio.io", &["v1beta1"]),
            RULES,
            "404 404 page not found",
        ),
        (
            "an older CRD, by its version",
            |api| api.serve_versions("networking.istio.io", &["v1beta1"]),
            "/apis/networking.istio.io/v1beta1/virtualservices",
            "200",
        ),
        ("nobody listens", |api| api.refuse_connections(), RULES, "refused"),
        ("nobody answers", |api| api.drop_connections(), RULES, "closed"),
    ];
    let api = ApiServer::start();
    for (what, switch, path, expected) in rows {
        switch(&api);
        assert_eq!(told(&api, path), *expected, "{what}");
        api.heal();
        assert_eq!(told(&api, RULES), "200", "after {what}");
    }
    // Asked twice in each row, and where nobody listened or answered once.
    assert_eq!(api.count("list", "virtualservices"), 2 * rows.len() as u64 - 2);
    api.throttle("*", 7, 1);
    assert_eq!(get(&api, RULES).unwrap().header("retry-after"), Some("7"));
}

#[test]
fn a_server_that_hangs_answers_when_it_does_not_any_more() {
    let api = ApiServer::start();
    api.hang(true);
    let mut client = Client::connect(api.addr()).unwrap();
    client.send(format!("GET {RULES} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).unwrap();
    client.set_read_timeout(Duration::from_millis(50)).unwrap();
    assert!(client.read_reply(false).is_err());
    api.hang(false);
    assert_eq!(get(&api, RULES).unwrap().status, 200);
}

#[test]
fn tokens_count_when_they_are_asked_for() {
    let api = ApiServer::start();
    api.grant(
        "reader",
        "kind: ClusterRole\nrules: [{apiGroups: [networking.istio.io], resources: [virtualservices], verbs: [list]}]\n",
    );
    let ask = |token: Option<&str>, path: &str| {
        let value = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> =
            value.iter().map(|value| ("authorization", value.as_str())).collect();
        Client::connect(api.addr()).unwrap().get("test", path, &headers).unwrap().status
    };
    let rows = [
        (None, RULES, 403),
        (Some("admin"), RULES, 200),
        (Some("nobody"), RULES, 403),
        (Some("x"), RULES, 401),
    ];
    assert_eq!(ask(None, RULES), 200);
    api.require_tokens();
    for (token, path, status) in rows {
        assert_eq!(ask(token, path), status, "{token:?}");
    }
    assert_eq!((ask(Some("reader"), RULES), ask(Some("reader"), "/api/v1/pods")), (200, 403));
}

fn rule(weight: u32) -> String {
    let route = format!("[{{route: [{{destination: {{host: a}}, weight: {weight}}}]}}]");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec: {{hosts: [a], http: {route}}}\n"
    )
}

/// What a watch is told until it ends: types, and of objects the weight.
fn watched(api: &ApiServer, from: &str, seconds: u32) -> Vec<String> {
    let path = format!(
        "{RULES}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={from}"
    );
    let Ok(reply) = get(api, &path) else { return vec!["closed".to_owned()] };
    let text = reply.text();
    let events = text.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let more = match &event["object"] {
            object if object["code"].is_u64() => object["code"].to_string(),
            object => object["spec"]["http"][0]["route"][0]["weight"].to_string(),
        };
        format!("{} {more}", event["type"].as_str().unwrap_or_default()).replace(" null", "")
    });
    events.collect()
}

fn newest(api: &ApiServer) -> String {
    let list: Value = serde_json::from_str(&get(api, RULES).unwrap().text()).unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[test]
fn watches_end_and_go_on_as_a_switch_says() {
    // What is done while a watch is open, and what it is told until then.
    let rows: &[(&str, Switch, &[&str])] = &[
        ("all watches are closed", |api| api.close_watches(), &[]),
        (
            "an edit, then a bookmark, then its time is over",
            |api| {
                api.apply(&rule(2));
                api.send_bookmarks();
            },
            &["MODIFIED 2", "BOOKMARK"],
        ),
        ("the CRD goes", |api| api.uninstall("virtualservices"), &[]),
        ("its version is served no more", |api| api.serve_versions("networking.istio.io", &["v1beta1"]), &[]),
        ("connections are cut", |api| api.cut_connections(), &["closed"]),
        ("nobody listens", |api| api.refuse_connections(), &["closed"]),
        ("what happened is forgotten", |api| api.forget_events(), &[]),
    ];
    for (what, switch, expected) in rows {
        let api = ApiServer::start();
        api.apply(&rule(1));
        let from = newest(&api);
        let told = thread::scope(|scope| {
            let watching = scope.spawn(|| watched(&api, &from, 2));
            eventually(PATIENCE, "the watch is open", || api.open_watches("virtualservices") == 1);
            switch(&api);
            watching.join().unwrap()
        });
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        assert_eq!(told, *expected, "{what}");
        api.heal();
    }
}

#[test]
fn what_is_too_long_ago_is_410() {
    let api = ApiServer::start();
    api.apply(&rule(1));
    let from = newest(&api);
    api.apply(&rule(2));
    assert_eq!(watched(&api, &from, 1), ["MODIFIED 2"]);
    api.forget_events();
    assert_eq!(watched(&api, &from, 1), ["ERROR 410"]);
    assert!(watched(&api, &newest(&api), 1).is_empty());
    let from = newest(&api);
    api.compact();
    assert!(watched(&api, &from, 1).is_empty(), "nothing was missed");
    api.apply(&rule(3));
    api.compact();
    assert_eq!(watched(&api, &from, 1), ["ERROR 410"]);
}

#[test]
fn what_happens_is_told_late_or_when_the_silence_is_over() {
    let api = ApiServer::start();
    api.apply(&rule(1));
    let from = newest(&api);
    api.apply(&rule(2));
    let began = Instant::now();
    api.delay_events(Duration::from_millis(300));
    assert_eq!(watched(&api, &from, 1), ["MODIFIED 2"]);
    assert!(began.elapsed() >= Duration::from_millis(300));
    api.heal();
    api.silence_watches(true);
    thread::scope(|scope| {
        let watching = scope.spawn(|| watched(&api, &from, 1));
        eventually(PATIENCE, "the watch is open", || api.open_watches("virtualservices") == 1);
        api.apply(&rule(3));
        api.silence_watches(false);
        assert_eq!(watching.join().unwrap(), ["MODIFIED 2", "MODIFIED 3"]);
    });
}

#[test]
fn controllers_and_people_write_at_once_and_none_undoes_the_other() {
    let api = ApiServer::start();
    api.apply(&rule(0));
    let edit = |label: &str| {
        // Read, edit, write, until nobody else was quicker.
        let path = "/apis/networking.istio.io/v1/namespaces/default/virtualservices/a";
        for _ in 0..1_000 {
            let mut client = Client::connect(api.addr()).unwrap();
            let text = client.get("test", path, &[]).unwrap().text();
            let mut object: Value = serde_json::from_str(&text).unwrap();
            object["metadata"]["labels"][label] = json!("yes");
            let body = object.to_string();
            let headers = [("content-type", "application/json")];
            let reply = client.request("PUT", "test", path, &headers, Some(body.as_bytes())).unwrap();
            match reply.status {
                200 => return,
                409 => {}
                status => panic!("{status} {}", reply.text()),
            }
        }
        panic!("never the quickest");
    };
    thread::scope(|scope| {
        for writer in 0..4 {
            let edit = &edit;
            scope.spawn(move || (0..5).for_each(|turn| edit(&format!("w{writer}t{turn}"))));
        }
    });
    let object = api.get("virtualservices", "default", "a").unwrap();
    assert_eq!(object["metadata"]["labels"].as_object().unwrap().len(), 20);
    assert_eq!(object["metadata"]["generation"], 1);
}
