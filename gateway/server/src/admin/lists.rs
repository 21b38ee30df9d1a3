//! What the admin port tells as JSON of the process and its traffic; each field is told of in `status/told`.
//!
//! - `GET /status?route=NAME&all=1`, `GET /status/series?route=NAME&all=1`
//! - `GET /weights?route=NAME&subset=NAME`
//! - `GET /routes?q=WORDS&from=N&limit=N`, `GET /endpoints?…`
//! - `GET /listeners`, `GET /revisions`, `GET /wait?revision=HASH`

use http::{Response, StatusCode};

use super::port::{json, unescaped};
use super::text;
use crate::status::{Desk, Filter, Search};

/// All of them.
pub(super) const PATHS: [&str; 8] =
    ["/status", "/status/series", "/weights", "/routes", "/endpoints", "/listeners", "/revisions", "/wait"];

/// The answer to one of [`PATHS`].
pub(super) fn answer(desk: &Desk, path: &str, query: &str) -> Response<Vec<u8>> {
    match answered(desk, path, query) {
        Ok(answer) => answer,
        Err((status, said)) => text(status, &format!("{said}\n")),
    }
}

type Refused = (StatusCode, String);

fn answered(desk: &Desk, path: &str, query: &str) -> Result<Response<Vec<u8>>, Refused> {
    Ok(match path {
        "/status" => json(&desk.status(&filter(query)?)),
        "/status/series" => json(&desk.series(&filter(query)?)),
        "/weights" => {
            let [route, subset] = asked(query, ["route", "subset"])?;
            let (Some(route), Some(subset)) = (route, subset) else {
                return Err(wrongly("say of what: /weights?route=default/reviews&subset=v2"));
            };
            json(&desk.weight(&route, &subset).map_err(|said| (StatusCode::NOT_FOUND, said))?)
        }
        "/routes" => json(&desk.routes(&search(query)?)),
        "/endpoints" => json(&desk.endpoints(&search(query)?)),
        "/listeners" => json(&desk.status(&Filter::default()).listeners),
        "/revisions" => json(&desk.history.told()),
        "/wait" => {
            let [revision] = asked(query, ["revision"])?;
            let is_hash =
                |hash: &String| hash.len() >= 8 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
            let Some(revision) = revision.filter(is_hash) else {
                return Err(wrongly("say for which: /wait?revision= and eight or more digits of its hash"));
            };
            json(&desk.wait(&revision.to_ascii_lowercase()))
        }
        _ => return Err((StatusCode::NOT_FOUND, "not here".to_owned())),
    })
}

fn wrongly(said: &str) -> Refused {
    (StatusCode::BAD_REQUEST, said.to_owned())
}

pub(super) fn filter(query: &str) -> Result<Filter, Refused> {
    let [route, all] = asked(query, ["route", "all"])?;
    Ok(Filter { route, all: all.is_some_and(|all| all != "0") })
}

fn search(query: &str) -> Result<Search, Refused> {
    let [words, from, limit] = asked(query, ["q", "from", "limit"])?;
    let number = |name: &str, text: Option<String>| {
        let read = text.map(|text| text.parse::<usize>().map_err(|_| format!("{name}={text} is no number")));
        read.transpose().map_err(|said| wrongly(&said))
    };
    let (from, limit) = (number("from", from)?.unwrap_or(0), number("limit", limit)?);
    Ok(Search { words: words.unwrap_or_default(), from, limit })
}

/// The values of these names; the last one where one is there several times.
fn asked<const N: usize>(query: &str, names: [&str; N]) -> Result<[Option<String>; N], Refused> {
    let mut values = [const { None }; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match names.iter().position(|known| *known == name).and_then(|at| values.get_mut(at)) {
            Some(place) => *place = Some(unescaped(value)),
            None => {
                let said = format!("{name:?} is not asked for; {} is", names.join(", "));
                return Err(wrongly(&said));
            }
        }
    }
    Ok(values)
}
