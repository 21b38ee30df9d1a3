//! The admin page: what is in force and how it does, drawn here as HTML, so that it is whole before any script runs.
//!
//! A script lays newer answers over it (`page.js`): it asks for the parts that are in view, by their ids, and gets them
//! drawn by the same functions. Everything is from this binary, and nothing here changes anything.

mod explained;
mod lists;
mod splits;
mod top;
mod words;

use maud::{DOCTYPE, Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub(crate) use splits::Card;

use crate::status::told::{ClusterOf, Paged, RevisionEntry, RouteOf, Status};

/// The style sheet.
pub(crate) const STYLE: &str = include_str!("page.css");

/// The script.
pub(crate) const SCRIPT: &str = include_str!("page.js");

/// What a browser may do with the page: show it, with its own style and script, and ask this port.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                                 img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What is asked of `explain`, as the form has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    pub(crate) method: String,
    /// Empty where nothing is asked.
    pub(crate) url: String,
    /// One in a line.
    pub(crate) headers: String,
}

/// What a search found, a part of each list.
pub(crate) struct Found {
    pub(crate) splits: Paged<Card>,
    pub(crate) endpoints: Paged<ClusterOf>,
    pub(crate) routes: Paged<RouteOf>,
    /// What was searched for.
    pub(crate) words: String,
}

/// The whole page.
pub(crate) fn whole(
    status: &Status,
    found: &Found,
    history: &[RevisionEntry],
    question: &Question,
    answer: Option<&Result<String, String>>,
) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Trysail " (status.revision.revision) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/page.css";
                script src="/page.js" defer {}
            }
            body {
                a.skip href="#splits" { "To the splits" }
                (top::head(status, &found.words))
                main {
                    (top::notice(status))
                    (sections(found))
                    (explained::section(question, answer))
                    (top::history(history))
                }
                p.notice id="lost" role="alert" hidden { strong.bad { "✗ no answer from the gateway" } "; trying again" }
                (keys())
            }
        }
    }
}

/// What a search narrows.
pub(crate) fn sections(found: &Found) -> Markup {
    html! {
        (splits::section(&found.splits, &found.words))
        (lists::endpoints(&found.endpoints, &found.words))
        (lists::routes(&found.routes, &found.words))
    }
}

/// Parts that are asked for anew: those of `ids`, in any order.
pub(crate) fn live(
    status: &Status,
    cards: &[Card],
    clusters: &[ClusterOf],
    history: Option<&[RevisionEntry]>,
) -> Markup {
    html! {
        (top::head(status, ""))
        (top::notice(status))
        @for card in cards { (splits::card(card)) }
        @for cluster in clusters { (lists::group(cluster)) }
        @if let Some(history) = history { (top::history(history)) }
    }
}

/// The id of a cluster's part of the page.
pub(crate) fn cluster_id(cluster: &ClusterOf) -> String {
    lists::id(cluster)
}

fn keys() -> Markup {
    let keys = [
        ("/", "search"),
        ("↓ ↑ j k", "from one to the next"),
        ("Enter", "open"),
        ("Esc", "clear the search"),
        ("?", "this"),
    ];
    html! {
        dialog id="keys" aria-labelledby="keys-title" {
            h2 id="keys-title" { "Keys" }
            table { @for (key, does) in keys { tr { th scope="row" { kbd { (key) } } td { (does) } } } }
            form method="dialog" { button { "Close" } }
        }
    }
}

/// A link to what comes after a part of a list.
fn more<T>(part: &Paged<T>, list: &str, words: &str) -> Markup {
    let next = part.from + part.items.len();
    html! {
        @if next < part.total && !part.items.is_empty() {
            p {
                a href={ "/?q=" (escaped(words)) "&" (list) "=" (next) "#" (list) } { "more" }
                span.soft { " " (part.from + 1) "–" (next) " of " (crate::render::thousands(part.total as u64)) "; type to narrow" }
            }
        }
    }
}

/// A value for a link.
fn escaped(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}
