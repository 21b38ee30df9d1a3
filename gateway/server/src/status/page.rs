//! Status as a person reads it in a terminal: one screen, and lines for a pipe.

use std::fmt::Write;

use super::told::{Against, Cluster, Estimate, Split, Status, Target};
use crate::render::{counted, thousands};

/// The screen.
pub(crate) fn page(status: &Status) -> String {
    let mut page = String::new();
    head(&mut page, status);
    if status.splits.is_empty() {
        page.push_str("\nno route has several destinations; trysail status --all shows those with one\n");
    }
    status.splits.iter().for_each(|split| table(&mut page, split));
    page
}

/// A line for each target, for those who read them one after another.
pub(crate) fn lines(status: &Status) -> Vec<String> {
    let line = |split: &Split, target: &Target| {
        format!(
            "{} {}  configured {}  observed {}  requests {}  errors {}  p50 {}  p99 {}  {}",
            split.route,
            target.name,
            percent(target.configured),
            estimate(target.observed),
            thousands(target.requests),
            estimate(target.error_rate),
            millis(target.p50),
            millis(target.p99),
            word(target),
        )
    };
    let mut lines = vec![format!("revision {} is in force, {}", status.revision.revision, status.state)];
    for split in &status.splits {
        lines.extend(split.targets.iter().map(|target| line(split, target)));
    }
    lines
}

/// How the cluster is followed: who is not heard, and what is not in force as it is.
fn of_cluster(page: &mut String, cluster: &Cluster) {
    let silent: Vec<String> = (cluster.kinds.iter())
        .filter(|kind| !kind.connected && !kind.absent)
        .map(|kind| format!("{} ({})", kind.kind, kind.fault.as_deref().unwrap_or("not connected")))
        .collect();
    let absent: Vec<&str> =
        cluster.kinds.iter().filter(|kind| kind.absent).map(|kind| kind.kind.as_str()).collect();
    let absent =
        if absent.is_empty() { String::new() } else { format!("   not installed: {}", absent.join(", ")) };
    let heard = match silent.is_empty() {
        true => format!("changes are heard{absent}"),
        false => format!("not heard: {}{absent}", silent.join(", ")),
    };
    let _ = writeln!(page, "cluster    {}   {heard}", cluster.server);
    for object in &cluster.refused {
        let stays = if object.stays { "the version before it stays in force" } else { "it is left out" };
        let _ = writeln!(page, "refused    {}: {stays}, for {}", object.object, span(object.for_seconds));
        object.findings.iter().for_each(|finding| _ = writeln!(page, "{}", finding.text));
    }
}

fn head(page: &mut String, status: &Status) {
    let Status { version, up_seconds, revision, objects, routes, .. } = status;
    let _ = writeln!(
        page,
        "trysail {version}   up {}   revision {}, in force {}   {}, {}   {}",
        span(*up_seconds),
        revision.revision,
        span(revision.for_seconds),
        counted(*objects, "object"),
        counted(*routes, "route"),
        status.state,
    );
    if let Some((kept, seconds)) = revision.kept.as_ref().zip(revision.kept_seconds) {
        let _ = writeln!(
            page,
            "from disk  the last good revision, kept at {}, {} ago",
            clock(kept),
            span(seconds)
        );
    }
    let listening: Vec<String> =
        status.listeners.iter().map(|listener| format!("{} → {}", listener.port, listener.address)).collect();
    let _ = writeln!(
        page,
        "listening  {}",
        if listening.is_empty() { "nothing".to_owned() } else { listening.join(", ") }
    );
    let held: Vec<String> = (status.held.iter())
        .map(|held| match held.to.as_slice() {
            [] => format!("{} (nobody of its split is ready: 503)", held.name),
            to => format!("{} (its share goes to {})", held.name, to.join(", ")),
        })
        .collect();
    let held = if held.is_empty() { "nothing".to_owned() } else { held.join(", ") };
    let refused = match (&status.refused, &status.last_refused) {
        (Some(refused), _) => format!("{}, {} stays in force:", clock(&refused.at), revision.revision),
        (None, _) if status.cluster.as_ref().is_some_and(|cluster| !cluster.refused.is_empty()) => {
            let count = status.cluster.as_ref().map_or(0, |cluster| cluster.refused.len());
            counted(count, "object")
        }
        (None, Some(last)) => format!("nothing since {}", clock(last)),
        (None, None) => "nothing".to_owned(),
    };
    let _ = writeln!(page, "held       {held}          refused  {refused}");
    if let Some(cluster) = &status.cluster {
        of_cluster(page, cluster);
    }
    if let Some(refused) = &status.refused {
        refused.findings.iter().for_each(|finding| _ = writeln!(page, "{}", finding.text));
        if refused.more_findings > 0 {
            let _ = writeln!(
                page,
                "and {} more; trysail check shows them",
                thousands(refused.more_findings as u64)
            );
        }
    }
    for former in &status.former {
        let _ = writeln!(
            page,
            "former     {} of {}, and {}",
            counted(former.requests, "request"),
            former.revision,
            counted(former.long, "WebSocket or passed-on connection")
        );
    }
}

fn table(page: &mut String, split: &Split) {
    let serves: Vec<&str> = split.hosts.iter().chain(&split.matches).map(String::as_str).collect();
    let _ = writeln!(page, "\n{}   {}   {}", split.route, serves.join(" "), split.place);
    let name = split.targets.iter().map(|target| target.name.chars().count()).max().unwrap_or(0).max(6);
    let _ = writeln!(
        page,
        "  {:name$}  {:>10}   {:<20}  {:>10}   {:<18}  {:>8}  {:>8}",
        "", "configured", "observed (95 %)", "requests", "errors (95 %)", "p50", "p99"
    );
    for target in &split.targets {
        let line = format!(
            "  {:name$}  {:>10}   {:<20}  {:>10}   {:<18}  {:>8}  {:>8}   {}",
            target.name,
            percent(target.configured),
            estimate(target.observed),
            thousands(target.requests),
            estimate(target.error_rate),
            millis(target.p50),
            millis(target.p99),
            word(target),
        );
        let _ = writeln!(page, "{}", line.trim_end());
    }
    split.against.iter().for_each(|against| _ = writeln!(page, "  {}", beside(against)));
}

/// `v2 against v1: errors +1.1 points (0.5 to 2.1), p99 +29 ms (20 to 41)`.
fn beside(against: &Against) -> String {
    let points = against.errors.map_or_else(
        || "–".to_owned(),
        |it| format!("{:+.1} points ({:.1} to {:.1})", zero(it.value), zero(it.low), zero(it.high)),
    );
    let time = |it: Option<Estimate>| {
        let figures =
            |it: Estimate| format!("{} ms ({} to {})", signed(it.value), figures(it.low), figures(it.high));
        it.map_or_else(|| "– (too few requests)".to_owned(), figures)
    };
    format!(
        "{} against {}: errors {points}, p50 {}, p99 {}",
        against.target,
        against.baseline,
        time(against.p50),
        time(against.p99)
    )
}

/// The verdict, and what else is to be known.
fn word(target: &Target) -> String {
    let more = target.states.iter().filter(|state| **state != target.verdict);
    std::iter::once(target.verdict.clone()).chain(more.cloned()).collect::<Vec<_>>().join(", ")
}

fn percent(percent: f64) -> String {
    match percent {
        whole if (whole - whole.round()).abs() < 0.005 => format!("{whole:.0} %"),
        small if small < 0.1 => format!("{small:.3} %"),
        other => format!("{other:.1} %"),
    }
}

fn estimate(estimate: Option<Estimate>) -> String {
    let told = |it: Estimate| format!("{:>5.1} %  {:.1}–{:.1}", it.value, it.low, it.high);
    estimate.map_or_else(|| "    –".to_owned(), told)
}

fn millis(millis: Option<f64>) -> String {
    millis.map_or_else(|| "–".to_owned(), |millis| format!("{} ms", figures(millis)))
}

/// Two figures at least, and not more than anybody can use.
fn figures(number: f64) -> String {
    match number.abs() {
        great if great >= 100.0 => {
            let sign = if number < 0.0 { "-" } else { "" };
            format!("{sign}{}", thousands(great.round() as u64))
        }
        middle if middle >= 10.0 => format!("{number:.0}"),
        small if small >= 1.0 => format!("{number:.1}"),
        _ => format!("{:.2}", zero(number)),
    }
}

fn signed(number: f64) -> String {
    format!("{}{}", if number >= 0.0 { "+" } else { "" }, figures(number))
}

/// No minus before nothing.
fn zero(number: f64) -> f64 {
    if number.abs() < 0.005 { 0.0 } else { number }
}

/// `3 h 12 min`, the two greatest units.
fn span(seconds: f64) -> String {
    let all = seconds.max(0.0) as u64;
    let (days, hours, minutes, seconds) = (all / 86_400, all / 3600 % 24, all / 60 % 60, all % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{} d {hours} h", thousands(days)),
    }
}

/// The time of day of a moment, in UTC.
fn clock(moment: &str) -> String {
    format!("{} UTC", moment.get(11..16).unwrap_or(moment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (number, text) in [
            (0.4, "0.40"),
            (3.13, "3.1"),
            (11.2, "11"),
            (1234.5, "1,235"),
            (-0.001, "0.00"),
            (-250.0, "-250"),
        ] {
            assert_eq!(figures(number), text);
        }
        for (share, text) in
            [(90.0, "90 %"), (33.3333, "33.3 %"), (0.0012, "0 %"), (0.05, "0.050 %"), (100.0, "100 %")]
        {
            assert_eq!(percent(share), text);
        }
        for (seconds, text) in
            [(0.2, "0 s"), (61.0, "1 min 1 s"), (11_520.0, "3 h 12 min"), (90_000.0, "1 d 1 h")]
        {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(clock("2026-11-23T09:14:00.000Z"), "09:14 UTC");
    }
}
