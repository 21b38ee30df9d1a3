//! What a route does beside choosing a target, in words.

use crate::snapshot::{Abort, Fault, Handling, Retry, Snapshot};

/// One line for each thing that a route does to its requests beside choosing a target; retries are told where
/// they are not Istio's default.
pub fn describe(handling: &Handling, snapshot: &Snapshot) -> Vec<String> {
    let Handling { fault, cors, mirrors, timeout, retry } = handling;
    let mut lines = Vec::new();
    if let Some(Fault { delay, abort }) = fault {
        lines.extend(delay.map(|(chance, time)| format!("delays {chance} by {time:?}")));
        lines.extend(abort.map(|(chance, abort)| match abort {
            Abort::Http(status) => format!("aborts {chance} with {status}"),
            Abort::Grpc(status) => format!("aborts {chance} with gRPC's {status}"),
        }));
    }
    if let Some(cors) = cors {
        let origins = cors.origins.len();
        let unmatched = if cors.ignores_unmatched { ", answers every preflight" } else { "" };
        lines.push(format!(
            "CORS for {origins} {}{unmatched}",
            if origins == 1 { "origin" } else { "origins" }
        ));
    }
    for mirror in mirrors {
        lines.push(format!("mirrors {} to {}", mirror.chance, snapshot.cluster(mirror.cluster).key));
    }
    lines.extend(timeout.map(|timeout| format!("timeout {timeout:?}")));
    if *retry != Retry::default() {
        lines.push(retries(retry));
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
