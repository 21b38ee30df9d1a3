//! The cards of weighted routes: configured beside observed, version by version.

use maud::{Markup, html};

use super::more;
use super::words::{between, millis, percent, verdict};
use crate::render::{counted, thousands};
use crate::status::told::{Against, Estimate, Paged, RouteSeries, Split, StepOf, Target};

/// A split with its last ten minutes.
pub(crate) type Card = (Split, RouteSeries);

/// The section, with the cards of one part of the routes.
pub(super) fn section(cards: &Paged<Card>, words: &str) -> Markup {
    html! {
        section id="splits" aria-labelledby="splits-title" {
            h2 id="splits-title" { "Splits " small { (counted(cards.total, "weighted route")) } }
            @if cards.items.is_empty() && words.is_empty() {
                p.soft { "No weighted route here: one has two destinations or more." }
            } @else if cards.items.is_empty() {
                p.soft { "No weighted route is about “" (words) "”." }
            }
            @for one in &cards.items { (card(one)) }
            (more(cards, "splits", words))
        }
    }
}

/// One route's card.
pub(super) fn card((split, past): &Card) -> Markup {
    let id = format!("s-{}", split.id);
    let steps = || past.targets.iter().flat_map(|target| &target.steps).flatten();
    let scale = Scale {
        requests: steps().map(|step| step.requests).max().unwrap_or(0),
        millis: steps().filter_map(|step| step.p99).fold(0.0, f64::max),
    };
    html! {
        article.card id=(id) data-live="" aria-labelledby={ (id) "-title" } {
            header {
                h3 id={ (id) "-title" } { a href={ "/?q=" (super::escaped(&split.route)) } { (split.route) } }
                span { (split.hosts.join(" ")) " " @for block in &split.matches { code { (block) } " " } }
                span.place { (split.place) }
                (verdict(worst(split)))
            }
            div.scroll {
                table {
                    thead {
                        tr {
                            th scope="col" { "version" }
                            th scope="col" { "configured over observed" }
                            th.n scope="col" { "configured" }
                            th.n scope="col" { "observed " small { "95 %" } }
                            th.n scope="col" { "requests" }
                            th.n scope="col" { "errors " small { "95 %" } }
                            th.n scope="col" { "p50" }
                            th.n scope="col" { "p99" }
                            th scope="col" { "requests, 10 min" }
                            th scope="col" { "p99, 10 min" }
                        }
                    }
                    tbody {
                        @for (at, target) in split.targets.iter().enumerate() {
                            (row(target, past.targets.get(at).map_or(&[][..], |past| &past.steps), &scale))
                        }
                    }
                }
            }
            @for one in &split.against { (against(one)) }
        }
    }
}

/// What is to be said of a split in one word: the worst that is said of a target.
fn worst(split: &Split) -> &str {
    let order = ["off-ratio", "held", "not-enough-data", "on-ratio"];
    let said = |word: &&str| split.targets.iter().any(|target| target.verdict == *word);
    order.iter().copied().find(|word| said(word)).unwrap_or("not-enough-data")
}

fn row(target: &Target, past: &[Option<StepOf>], scale: &Scale) -> Markup {
    html! {
        tr {
            th scope="row" {
                (target.name)
                @if !target.states.is_empty() { " " span.state.wait { "‖ " (target.states.join(", ")) } }
            }
            td.wide { (bars(target)) }
            td.n { (percent(Some(target.configured))) }
            td.n { (percent(target.observed.map(|share| share.value))) " " small { (between(target.observed)) } }
            td.n { (thousands(target.requests)) }
            td.n { (percent(target.error_rate.map(|rate| rate.value))) " " small { (between(target.error_rate)) } }
            td.n { (millis(target.p50)) }
            td.n { (millis(target.p99)) }
            td { (requests(past, scale)) }
            td { (slowness(past, scale)) }
        }
    }
}

/// Configured above observed, on one scale from nothing to all, with the interval as a whisker.
fn bars(target: &Target) -> Markup {
    let width = |share: f64| format!("{:.2}", share.clamp(0.0, 100.0));
    let said = match target.observed {
        None => format!("configured {}, nothing observed yet", percent(Some(target.configured))),
        Some(Estimate { value, low, high }) => format!(
            "configured {}, observed {}, at 95 % between {low:.1} and {high:.1} %",
            percent(Some(target.configured)),
            percent(Some(value))
        ),
    };
    html! {
        svg.bars viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label=(said) {
            rect.track width="100" height="20" {}
            rect.plan y="3" width=(width(target.configured)) height="4" {}
            @if let Some(Estimate { value, low, high }) = target.observed {
                rect.seen y="10" width=(width(value)) height="7" {}
                line.between x1=(width(low)) x2=(width(high)) y1="13.5" y2="13.5" {}
                line.between x1=(width(low)) x2=(width(low)) y1="11" y2="16" {}
                line.between x1=(width(high)) x2=(width(high)) y1="11" y2="16" {}
            }
        }
    }
}

/// What the lines of one card are drawn against, so that its versions can be compared.
struct Scale {
    requests: u64,
    millis: f64,
}

/// So many steps are ten minutes; a line ends at the right, which is now.
const STEPS: usize = 60;

fn requests(past: &[Option<StepOf>], scale: &Scale) -> Markup {
    let most = scale.requests.max(1) as f64;
    let height = |count: u64| format!("{:.1}", 19.0 - 18.0 * count as f64 / most);
    let sum = |of: fn(&StepOf) -> u64| past.iter().flatten().map(of).sum::<u64>();
    let (all, bad) = (sum(|step| step.requests), sum(|step| step.errors));
    let said = format!("{} requests in ten minutes, {} errors", thousands(all), thousands(bad));
    let first = STEPS.saturating_sub(past.len());
    let steps: Vec<StepOf> = past.iter().map(|step| step.unwrap_or_default()).collect();
    let points =
        steps.iter().enumerate().map(|(at, step)| format!("{},{}", first + at, height(step.requests)));
    html! {
        svg.past viewBox="0 0 60 20" preserveAspectRatio="none" role="img" aria-label=(said) {
            polyline points=(points.collect::<Vec<_>>().join(" ")) {}
            @for (at, step) in steps.iter().enumerate().filter(|(_, step)| step.errors > 0) {
                line.fail x1=(first + at) x2=(first + at) y1="20" y2=(height(step.errors)) {}
            }
        }
    }
}

fn slowness(past: &[Option<StepOf>], scale: &Scale) -> Markup {
    let first = STEPS.saturating_sub(past.len());
    let point = |(at, step): (usize, &Option<StepOf>)| {
        let height = 19.0 - 18.0 * step.as_ref()?.p99? / scale.millis.max(f64::MIN_POSITIVE);
        Some(format!("{},{height:.1}", first + at))
    };
    let points: Vec<String> = past.iter().enumerate().filter_map(point).collect();
    let last = past.iter().rev().flatten().find_map(|step| step.p99);
    html! {
        svg.past viewBox="0 0 60 20" preserveAspectRatio="none" role="img" aria-label={ "p99, now " (millis(last)) } {
            polyline.slow points=(points.join(" ")) {}
        }
    }
}

/// `v2 against v1: errors +1.1 points (0.5 to 2.1), p99 +29 ms (12 ms to 41 ms)`.
fn against(one: &Against) -> Markup {
    let time = |name: &str, time: Option<Estimate>| {
        time.map(|time| {
            let (by, low, high) = (millis(Some(time.value)), millis(Some(time.low)), millis(Some(time.high)));
            let sign = if time.value > 0.0 { "+" } else { "" };
            html! { ", " (name) " " b { (sign) (by) } " (" (low) " to " (high) ")" }
        })
    };
    html! {
        @if let Some(Estimate { value, low, high }) = one.errors {
            p.than {
                (one.target) " against " (one.baseline) ": errors "
                b { (format!("{value:+.1}")) " points" } (format!(" ({low:.1} to {high:.1})"))
                @if let Some(p50) = time("p50", one.p50) { (p50) }
                @if let Some(p99) = time("p99", one.p99) { (p99) }
            }
        }
    }
}
