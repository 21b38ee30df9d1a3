//! The admin page over HTTP: whole, by parts that are asked for anew, and what it is drawn and moved with.
//!
//! - `GET /?q=WORDS&splits=N&endpoints=N&routes=N&method=…&url=…&headers=…`
//! - `GET /page/found?q=WORDS`: the sections that a search narrows
//! - `GET /page/live?ids=a,b,c`: these parts of the page, as they are now
//! - `GET /page.css`, `GET /page.js`

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};

use super::answer as plain;
use super::port::{AdminPort, unescaped};
use crate::page::{self, Found, Question};
use crate::status::{Filter, Search};

/// All of them.
pub(super) const PATHS: [&str; 5] = ["/", "/page/found", "/page/live", "/page.css", "/page.js"];

/// So many of each list are shown at first; a search finds the others.
const SHOWN: usize = 50;

/// So many parts are drawn anew for one request: more than a window can show.
const PARTS: usize = 100;

/// Whether somebody takes HTML by name: browsers do, and curl takes anything.
pub(super) fn is_browser(accept: Option<&HeaderValue>) -> bool {
    accept.is_some_and(|accept| accept.as_bytes().windows(9).any(|part| part == b"text/html"))
}

/// The answer to one of [`PATHS`].
pub(super) fn answer(port: &AdminPort, path: &str, query: &str) -> Response<Vec<u8>> {
    match path {
        "/page.css" => file("text/css; charset=utf-8", page::STYLE),
        "/page.js" => file("text/javascript; charset=utf-8", page::SCRIPT),
        "/page/live" => html(live(port, &value(query, "ids"))),
        "/page/found" => html(page::sections(&found(port, query))),
        _ => html(whole(port, query)),
    }
}

fn whole(port: &AdminPort, query: &str) -> maud::Markup {
    let question = Question {
        method: value(query, "method"),
        url: value(query, "url"),
        headers: value(query, "headers"),
    };
    let answer = (!question.url.is_empty()).then(|| {
        let method = if question.method.is_empty() { "GET" } else { question.method.as_str() };
        let fields = question.headers.lines().map(str::trim).filter(|field| !field.is_empty());
        let fields: Vec<String> = fields.map(str::to_owned).collect();
        port.explained(method, &question.url, &fields).map(|answer| answer.words())
    });
    // Its splits are told of in `found`.
    let status = port.desk.status(&nothing());
    page::whole(&status, &found(port, query), &port.desk.history.told(), &question, answer.as_ref())
}

fn found(port: &AdminPort, query: &str) -> Found {
    let words = value(query, "q");
    let part = |list: &str| Search {
        words: words.clone(),
        from: value(query, list).parse().unwrap_or(0),
        limit: Some(SHOWN),
    };
    Found {
        splits: port.desk.found(&part("splits")),
        endpoints: port.desk.endpoints(&part("endpoints")),
        routes: port.desk.routes(&part("routes")),
        words,
    }
}

fn live(port: &AdminPort, ids: &str) -> maud::Markup {
    let ids: Vec<&str> = ids.split(',').take(PARTS).collect();
    let cards: Vec<&str> = ids.iter().filter_map(|id| id.strip_prefix("s-")).collect();
    let mut clusters = match ids.iter().any(|id| id.starts_with("e-")) {
        true => port.desk.endpoints(&Search::default()).items,
        false => Vec::new(),
    };
    clusters.retain(|cluster| ids.contains(&page::cluster_id(cluster).as_str()));
    let history = ids.contains(&"history").then(|| port.desk.history.told());
    page::live(&port.desk.status(&nothing()), &port.desk.named(&cards), &clusters, history.as_deref())
}

/// No split at all.
fn nothing() -> Filter {
    Filter { route: Some(String::new()), all: false }
}

/// The value of a name in a query; empty where it is not there.
fn value(query: &str, name: &str) -> String {
    let mut pairs = query.rsplit('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| unescaped(value)).unwrap_or_default()
}

fn html(markup: maud::Markup) -> Response<Vec<u8>> {
    let mut response = file("text/html; charset=utf-8", &markup.into_string());
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn file(content_type: &'static str, text: &str) -> Response<Vec<u8>> {
    let mut response = plain(StatusCode::OK, content_type, text.as_bytes().to_vec());
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
