//! The page: summaries, ratios, and where they come from, as Markdown and as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::figures::Figures;
use crate::machine::Machine;
use crate::peer;
use crate::rounds::{Plan, TURN, Visit};
use crate::scenario::Scenario;
use crate::stats::Spread;

/// Everything about one run of the driver.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// What is asked, in a line.
    pub title: &'static str,
    /// How much was asked.
    pub plan: Plan,
    /// Which processors did what.
    pub placement: String,
    /// What it ran on.
    pub machine: Machine,
    /// The peers in the order of the command line.
    pub peers: Vec<Summary>,
    /// The first peer over each other, and each other build of Trysail over what is none.
    pub ratios: Vec<Ratio>,
    /// Peers, and the ratio that is aimed at.
    pub aims: &'static [(&'static str, f64)],
    /// Every peer in every round.
    pub visits: Vec<Visit>,
}

/// One peer over all rounds.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Name of the peer.
    pub peer: String,
    /// CPU microseconds of the proxy process per request.
    pub cpu_us_per_request: Spread,
    /// Right answers in a second.
    pub requests_per_second: Spread,
    /// Microseconds.
    pub p50_us: Spread,
    /// Microseconds.
    pub p99_us: Spread,
    /// Share of its threads' time that it worked.
    pub busy: Spread,
    /// Wrong answers in all rounds.
    pub errors: u64,
    /// User instructions per request, if callgrind counted them.
    pub instructions_per_request: Option<f64>,
}

/// CPU per request of one peer over that of another, paired by round.
#[derive(Debug, Serialize)]
pub struct Ratio {
    /// Who is compared.
    pub peer: String,
    /// What it is compared with.
    pub over: String,
    /// Of the ratios of the rounds.
    pub cpu: Spread,
    /// Ratio of the instructions, if callgrind counted them.
    pub instructions: Option<f64>,
}

/// A peer's name, and its instructions per request, if callgrind counted them.
pub type Counted = (String, Option<f64>);

impl Report {
    /// Sums up the visits; `peers` are the names with the instructions per request, `pairs` whose CPU is divided by whose.
    #[must_use]
    pub fn new(
        scenario: &Scenario,
        plan: Plan,
        placement: String,
        machine: Machine,
        (peers, pairs): (&[Counted], &[(String, String)]),
        visits: Vec<Visit>,
    ) -> Self {
        let of = |peer: &str, value: fn(&Visit) -> f64| -> Vec<f64> {
            visits.iter().filter(|visit| visit.peer == peer).map(value).collect()
        };
        let summaries = peers.iter().filter_map(|(peer, instructions)| {
            Some(Summary {
                peer: peer.clone(),
                cpu_us_per_request: Spread::of(of(peer, |visit| visit.cpu_us_per_request))?,
                requests_per_second: Spread::of(of(peer, |visit| visit.requests_per_second))?,
                p50_us: Spread::of(of(peer, |visit| visit.p50_us.into()))?,
                p99_us: Spread::of(of(peer, |visit| visit.p99_us.into()))?,
                busy: Spread::of(of(peer, |visit| visit.busy))?,
                errors: visits.iter().filter(|visit| visit.peer == *peer).map(|visit| visit.errors).sum(),
                instructions_per_request: *instructions,
            })
        });
        let counted = |name: &str| peers.iter().find(|(peer, _)| peer == name).and_then(|(_, count)| *count);
        let cpu = |peer: &str| of(peer, |visit| visit.cpu_us_per_request);
        let ratio = |(peer, over): &(String, String)| {
            Some(Ratio {
                peer: peer.clone(),
                over: over.clone(),
                cpu: Spread::of_ratios(&cpu(peer), &cpu(over))?,
                instructions: counted(peer).zip(counted(over)).map(|(own, other)| own / other),
            })
        };
        let ratios = pairs.iter().filter_map(ratio);
        Report {
            scenario: scenario.name,
            title: scenario.title,
            plan,
            placement,
            machine,
            peers: summaries.collect(),
            ratios: ratios.collect(),
            aims: scenario.aims,
            visits,
        }
    }

    /// Ratios of the first peer above `limit`, in words.
    #[must_use]
    pub fn above(&self, limit: f64) -> Vec<String> {
        let first = self.peers.first().map(|peer| &peer.peer);
        let above = self.ratios.iter().filter(|ratio| Some(&ratio.peer) == first && ratio.cpu.median > limit);
        above
            .map(|ratio| format!("{} / {} is {:.3}, over {limit}", ratio.peer, ratio.over, ratio.cpu.median))
            .collect()
    }

    /// Wrong answers, in words.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let wrong = self.visits.iter().filter(|visit| visit.errors > 0);
        wrong
            .map(|visit| {
                let first = visit.first_error.as_deref().unwrap_or_default();
                format!(
                    "round {}, {}: {} wrong answers, the first: {first}",
                    visit.round, visit.peer, visit.errors
                )
            })
            .collect()
    }

    /// The page that is printed and kept.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut page = format!("# {}\n\n{}.\n\n", self.scenario, capital(self.title));
        for ratio in &self.ratios {
            let Spread { median, min, max } = ratio.cpu;
            let _ = write!(page, "- **{} / {}: {median:.3}**", ratio.peer, ratio.over);
            let _ = write!(page, " CPU per request, median of {} paired rounds", self.plan.rounds);
            let _ = write!(page, " ({min:.3} to {max:.3})");
            if let Some(instructions) = ratio.instructions {
                let _ = write!(page, "; {instructions:.3} user instructions");
            }
            page.push('\n');
        }
        if !self.ratios.is_empty() {
            page.push('\n');
        }
        page += &table(&self.rows());
        page.push('\n');
        page += &self.circumstances();
        page
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let head = ["peer", "CPU per request", "min to max", "requests/s", "p50", "p99", "busy", "errors"];
        let counted = self.peers.iter().any(|peer| peer.instructions_per_request.is_some());
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows[0].extend(counted.then(|| "user instructions".to_owned()));
        for peer in &self.peers {
            let Spread { median, min, max } = peer.cpu_us_per_request;
            let mut row = vec![
                peer.peer.clone(),
                format!("{median:.1} µs"),
                format!("{min:.1} to {max:.1}"),
                thousands(peer.requests_per_second.median),
                format!("{:.2} ms", peer.p50_us.median / 1000.0),
                format!("{:.2} ms", peer.p99_us.median / 1000.0),
                format!("{:.2}", peer.busy.median),
                thousands(peer.errors as f64),
            ];
            if counted {
                row.push(peer.instructions_per_request.map_or_else(|| "–".to_owned(), thousands));
            }
            rows.push(row);
        }
        rows
    }

    fn circumstances(&self) -> String {
        let Plan { rounds, seconds, connections, threads } = self.plan;
        let elsewhere = Spread::of(self.visits.iter().map(|visit| visit.elsewhere));
        let elsewhere = elsewhere.map_or_else(String::new, |Spread { median, max, .. }| {
            format!("Other work on the machine: median {median:.2} processors, at most {max:.2}. ")
        });
        let Machine { date, cpu, processors, kernel, rustc, profile, revision, load_average } = &self.machine;
        format!(
            "{rounds} alternating rounds of {seconds} s for each peer in turns of {TURN} s, {connections} connections, worker threads: {threads}; \
             {placement}. {elsewhere}Medians over the rounds; compare ratios, not microseconds.\n\n\
             {cpu}, processors: {processors}, {kernel}; {rustc}, profile {profile}, revision {revision}; {date}, \
             load average {load_average}.\n",
            placement = self.placement,
        )
    }
}

/// Who is compared with whom: the first with each other, and each other build of ours with all that are none.
pub(crate) fn pairs<T>(peers: &[T], name: impl Fn(&T) -> &str) -> impl Iterator<Item = (&T, &T)> {
    let is_ours = move |peer: &T| peer::OURS.contains(&name(peer));
    let others: Vec<&T> = peers.iter().filter(|peer| !is_ours(peer)).collect();
    let ours: Vec<&T> = peers.iter().skip(1).filter(|peer| is_ours(peer)).collect();
    let first =
        peers.first().into_iter().flat_map(|first| peers.iter().skip(1).map(move |other| (first, other)));
    first.chain(
        ours.into_iter().flat_map(move |own| others.clone().into_iter().map(move |other| (own, other))),
    )
}

/// Everything in one page: the CPU of each peer in each scenario, figures of other kinds, and ratios beside what is aimed at.
#[must_use]
pub fn summary(reports: &[Report], figures: &[Figures]) -> String {
    let mut page = "# What a request costs\n\n".to_owned();
    let mut ratios =
        vec![["ratio, median of paired rounds", "least", "most", "aim", ""].map(str::to_owned).to_vec()];
    if let Some(first) = reports.first() {
        let names: Vec<&str> = first.peers.iter().map(|peer| &*peer.peer).collect();
        let mut rows = vec![vec!["µs of CPU per request".to_owned()]];
        rows[0].extend(names.iter().map(|name| (*name).to_owned()));
        for report in reports {
            let of = |name: &&str| report.peers.iter().find(|peer| peer.peer == **name);
            let cell = |peer: &Summary| format!("{:.1}", peer.cpu_us_per_request.median);
            // Those that compare others, features or sizes, have their ratios alone here.
            if names.iter().any(|name| of(name).is_some()) {
                let cells = names.iter().map(|name| of(name).map_or_else(|| "–".to_owned(), cell));
                rows.push([report.scenario.to_owned()].into_iter().chain(cells).collect());
            }
            for ratio in &report.ratios {
                let aim = report.aims.iter().find(|(peer, _)| *peer == ratio.over).map(|(_, aim)| *aim);
                let what = format!("{}: {} / {}", report.scenario, ratio.peer, ratio.over);
                ratios.push(compared(&what, ratio.cpu, aim));
            }
        }
        let _ = writeln!(page, "{}", table(&rows));
    }
    for figures in figures {
        let _ = writeln!(page, "{}", table(&figures.rows()));
        ratios.extend(figures.compared());
    }
    let circumstances = reports.first().map(Report::circumstances).unwrap_or_default();
    let _ = write!(page, "{}\n{circumstances}", table(&ratios));
    page
}

/// A row of what is compared with what is aimed at.
fn compared(what: &str, Spread { median, min, max }: Spread, aim: Option<f64>) -> Vec<String> {
    let met = aim.map_or("", |aim| if median <= aim { "met" } else { "**not met**" });
    let aim = aim.map_or_else(|| "–".to_owned(), |aim| format!("{aim:.2}"));
    vec![format!("{what} {median:.2}"), format!("{min:.2}"), format!("{max:.2}"), aim, met.to_owned()]
}

impl Figures {
    /// The page that is printed and kept.
    #[must_use]
    pub fn markdown(&self) -> String {
        let title = capital(self.title);
        format!("# {}\n\n{title}.\n\n{}\n{}.\n", self.name, table(&self.rows()), capital(&self.how))
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let head = [self.name.to_owned()].into_iter().chain(self.columns.iter().map(ToString::to_string));
        let cell = |Spread { median, min, max }: &Spread| {
            let digits = usize::from(*median < 100.0);
            let beside = format!(" ({min:.digits$} to {max:.digits$})");
            format!("{median:.digits$}{}", if min < max { &beside } else { "" })
        };
        let row = |(peer, spreads): &(String, Vec<Spread>)| {
            [peer.clone()].into_iter().chain(spreads.iter().map(cell)).collect()
        };
        [head.collect()].into_iter().chain(self.peers.iter().map(row)).collect()
    }

    /// Rows of ratios, and of what is aimed at by itself.
    fn compared(&self) -> Vec<Vec<String>> {
        let Some((peer, own)) = self.peers.first() else { return Vec::new() };
        let (of, aim) = self.aim;
        let itself = own.first().filter(|_| of.is_none());
        let itself = itself
            .map(|own| compared(&format!("{}: {peer}, {}", self.name, self.columns[0]), *own, Some(aim)));
        let ratios = self.ratios.iter().map(|(peer, over, ratio)| {
            let aim = Some(aim).filter(|_| of == Some(over));
            compared(&format!("{}: {peer} / {over}", self.name), *ratio, aim)
        });
        itself.into_iter().chain(ratios).collect()
    }
}

/// A Markdown table that also reads well as it is; the first row is the head, the first column is text.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column == 0 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if at == 0 {
            for (column, width) in widths.iter().enumerate() {
                let rule = "-".repeat(width + 1);
                let _ = if column == 0 { write!(text, "|{rule}-") } else { write!(text, "|{rule}:") };
            }
            text.push_str("|\n");
        }
    }
    text
}

/// `22743.4` → `22,743`.
#[must_use]
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_build_of_ours_is_compared_with_all_that_are_none() {
        let said = |peers: &[&str]| -> Vec<String> {
            pairs(peers, |name| name).map(|(one, other)| format!("{one}/{other}")).collect()
        };
        assert_eq!(said(&["bare", "bare-2"]), ["bare/bare-2"]);
        assert_eq!(
            said(&["trysail", "packaged", "nginx", "envoy"]),
            ["trysail/packaged", "trysail/nginx", "trysail/envoy", "packaged/nginx", "packaged/envoy"]
        );
    }

    #[test]
    fn numbers_and_tables_read_well() {
        assert_eq!([0.4, 999.0, 22743.4, 1e6].map(thousands), ["0", "999", "22,743", "1,000,000"]);
        let rows = [["peer", "µs"], ["a", "10.0"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "| peer |   µs |\n|------|-----:|\n| a    | 10.0 |\n");
    }
}
