//! What a route does beside choosing a target, in words.

use crate::origin::Place;
use crate::snapshot::{Abort, Fault, Handling, Retry, Snapshot};

/// One line for each thing that a route does to its requests beside choosing a target, with its place; retries are told
/// where they are not Istio's default.
pub fn describe(handling: &Handling, snapshot: &Snapshot) -> Vec<(String, Option<Place>)> {
    let Handling { fault, cors, mirrors, timeout, retry, places } = handling;
    let mut lines = Vec::new();
    if let Some(Fault { delay, abort }) = fault {
        let delay = delay.map(|(chance, time)| format!("delays {chance} by {time:?}"));
        lines.extend(delay.map(|line| (line, places.delay)));
        let abort = abort.map(|(chance, abort)| match abort {
            Abort::Http(status) => format!("aborts {chance} with {status}"),
            Abort::Grpc(status) => format!("aborts {chance} with gRPC's {status}"),
        });
        lines.extend(abort.map(|line| (line, places.abort)));
    }
    if let Some(cors) = cors {
        let origins = cors.origins.len();
        let unmatched = if cors.ignores_unmatched { ", answers every preflight" } else { "" };
        let origins = if origins == 1 { "1 origin".to_owned() } else { format!("{origins} origins") };
        lines.push((format!("CORS for {origins}{unmatched}"), places.cors));
    }
    for mirror in mirrors {
        let to = &snapshot.cluster(mirror.cluster).key;
        lines.push((format!("mirrors {} to {to}", mirror.chance), mirror.place));
    }
    lines.extend(timeout.map(|timeout| (format!("timeout {timeout:?}"), places.timeout)));
    if *retry != Retry::default() {
        lines.push((retries(retry), places.retry));
    }
    lines
}

fn retries(retry: &Retry) -> String {
    if retry.attempts == 0 {
        return match retry.per_try {
            None => "no retries".to_owned(),
            Some(time) => format!("no retries, {time:?} for the try"),
        };
    }
    let mut words: Vec<String> = retry.on.words().map(str::to_owned).collect();
    words.extend(retry.codes.iter().map(u16::to_string));
    let mut text = format!("{} retries on {}", retry.attempts, words.join(","));
    if let Some(time) = retry.per_try {
        text.push_str(&format!(", {time:?} for each try"));
    }
    if !retry.other_endpoints {
        text.push_str(", on any endpoint");
    }
    text
}
