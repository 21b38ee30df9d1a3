//! `proxy-next-upstream…` → retries.

use super::super::yaml::{Value, map, number, text};
use super::asked::Asked;

/// nginx counts tries, Istio those after the first.
pub(super) fn read(asked: &mut Asked<'_, '_>, remarks: &mut Vec<String>) -> Option<Value> {
    let written = asked.text("proxy-next-upstream");
    let tries = asked.number("proxy-next-upstream-tries");
    let within = asked.number("proxy-next-upstream-timeout");
    let pos =
        written.map(|written| written.pos).or(tries.map(|tries| tries.pos)).or(within.map(|time| time.pos))?;
    if let Some(within) = within.filter(|within| within.value > 0) {
        let message =
            "\"proxy-next-upstream-timeout\" is not carried over: tries have the rule's timeout".to_owned();
        asked.differs(within.pos, message).hints.push("write a timeout of the rule".into());
    }
    let words: Vec<&str> =
        written.map_or("error timeout", |written| written.as_str()).split_whitespace().collect();
    let attempts = match tries.map(|tries| tries.value) {
        Some(0) => {
            let message = "as many tries as there are endpoints: 9 after the first are written".to_owned();
            asked.differs(pos, message);
            9
        }
        Some(tries) => tries - 1,
        None => 2,
    };
    if words.contains(&"off") || attempts == 0 {
        return Some(map([("attempts", number(0))]));
    }
    let twice = words.contains(&"non_idempotent");
    let mut on: Vec<&str> = Vec::new();
    let mut statuses = Vec::new();
    for word in words {
        match word {
            "error" | "timeout" | "invalid_header" => on.extend(["connect-failure", "refused-stream"]),
            "non_idempotent" => {}
            word => match word.strip_prefix("http_") {
                Some(status @ ("500" | "502" | "503" | "504" | "403" | "404" | "429")) => {
                    statuses.push(status)
                }
                _ => {
                    asked.lost(pos, format!("{word:?} is no failure that nginx goes on after"));
                }
            },
        }
    }
    if twice && !on.is_empty() {
        on.push("reset");
    }
    if !statuses.is_empty() && !twice {
        let message = format!("after {} requests of every method are tried again", statuses.join(", "));
        asked
            .differs(pos, message)
            .hints
            .push("ingress-nginx does not send a POST or PATCH twice; take the statuses out, or split the rule by method".into());
        remarks.push("retries by status are for every method here, POST too.".into());
    }
    if !twice && !on.is_empty() {
        remarks.push(
            "An upstream that breaks off is not tried again here, one that takes no connection is.".into(),
        );
    }
    on.extend(statuses);
    let mut said: Vec<&str> = Vec::new();
    on.into_iter().for_each(|word| {
        if !said.contains(&word) {
            said.push(word);
        }
    });
    if said.is_empty() {
        return Some(map([("attempts", number(0))]));
    }
    Some(map([("attempts", number(attempts)), ("retryOn", text(said.join(",")))]))
}
