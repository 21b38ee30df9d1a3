//! The head of the page, what is wrong now, and the history.

use maud::{Markup, html};

use super::words::{age, millis, moment};
use crate::status::told::{Outcome, RevisionEntry, Status};

/// Who this is, how it is, and the search.
pub(super) fn head(status: &Status, words: &str) -> Markup {
    let (class, mark) = match status.state.as_str() {
        "serving" => ("state good", "●"),
        "draining" => ("state wait", "◐"),
        _ => ("state bad", "✗"),
    };
    html! {
        header.top {
            h1 { "Trysail " span.soft { (status.version) } }
            div id="now" data-live="" {
                span class=(class) { (mark) " " (status.state) }
                span {
                    "revision " code title=(status.revision.hash) { (status.revision.revision) } " "
                    span.soft { "in force " (age(status.revision.for_seconds)) }
                }
                span.soft { "process " (status.process) ", up " (age(status.up_seconds)) }
            }
            nav aria-label="Sections" {
                @for (id, name) in PARTS { a href={ "#" (id) } { (name) } }
            }
            form role="search" action="/" {
                input id="q" type="search" name="q" value=(words) placeholder="host, route, file, endpoint    /"
                    aria-label="Search splits, endpoints and routes" autocomplete="off" spellcheck="false";
            }
        }
    }
}

/// The sections, by their ids.
const PARTS: [(&str, &str); 5] = [
    ("splits", "Splits"),
    ("endpoints", "Endpoints"),
    ("routes", "Routes"),
    ("explain", "Explain"),
    ("history", "History"),
];

/// What somebody should look at: a change that was refused, subsets that are held, revisions that do not end.
pub(super) fn notice(status: &Status) -> Markup {
    html! {
        div id="notice" data-live="" {
            @if let Some(refused) = &status.refused {
                div.notice role="alert" {
                    strong.bad { "✗ a change was refused" } " at " (moment(&refused.at)) "; "
                    code { (status.revision.revision) } " stays in force"
                    (findings(refused))
                }
            }
            @for object in status.cluster.iter().flat_map(|cluster| &cluster.refused) {
                div.notice role="alert" {
                    strong.bad { "✗ " (object.object) " is refused" } " since " (moment(&object.since)) "; "
                    @if object.stays { "the version before it stays in force" } @else { "it is left out" }
                    @for finding in &object.findings { pre { (finding.text) } }
                }
            }
            @if let Some(kept) = &status.revision.kept {
                p.notice {
                    strong.bad { "✗ what serves is from disk" } ", kept at " (moment(kept))
                    ": the start found nothing newer that it could serve"
                }
            }
            @for held in &status.held {
                p.notice.calm {
                    strong.wait { "‖ " (held.name) " is held" } ": no endpoint of it was ready yet; "
                    @if held.to.is_empty() { "nobody else is there, so its turns are answered 503" }
                    @else { "its share goes to " (held.to.join(", ")) }
                }
            }
            @for former in status.former.iter().filter(|former| former.requests + former.long > 0) {
                p.soft {
                    "revision " code { (former.revision) } " still has " (former.requests) " requests and "
                    (former.long) " long connections"
                }
            }
        }
    }
}

fn findings(entry: &RevisionEntry) -> Markup {
    html! {
        @for finding in &entry.findings { pre { (finding.text) } }
        @if entry.more_findings > 0 { p { "and " (entry.more_findings) " more" } }
    }
}

/// Every revision that was read, the newest first.
pub(super) fn history(revisions: &[RevisionEntry]) -> Markup {
    html! {
        section id="history" aria-labelledby="history-title" data-live="" {
            h2 id="history-title" { "History " small { "the last 100 revisions that were read" } }
            div.scroll {
                table.list {
                    thead {
                        tr {
                            @for title in ["when", "revision", "", "what changed", "took", "seen by"] {
                                th scope="col" { @if title.is_empty() { "outcome" } @else { (title) } }
                            }
                        }
                    }
                    tbody { @for entry in revisions { (revision(entry)) } }
                }
            }
        }
    }
}

fn revision(entry: &RevisionEntry) -> Markup {
    let seen = serde_json::to_value(entry.source).unwrap_or_default();
    html! {
        tr {
            th scope="row" { (moment(&entry.at)) }
            td { @if entry.revision.is_empty() { "–" } @else { code title=(entry.hash) { (entry.revision) } } }
            @match entry.outcome {
                Outcome::Applied => { td.good { "✓ in force" } }
                Outcome::Refused => { td.bad { "✗ refused" } }
            }
            td {
                @if entry.outcome == Outcome::Refused {
                    details { summary { (crate::render::counted(entry.findings.len() + entry.more_findings, "error")) } (findings(entry)) }
                } @else if entry.changes.is_empty() { span.soft { "nothing for traffic" } }
                @else { (entry.changes) }
            }
            td.n { (millis(Some(entry.took_ms))) }
            td { (seen.as_str().unwrap_or_default()) }
        }
    }
}
