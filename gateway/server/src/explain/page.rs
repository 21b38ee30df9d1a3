//! The answer as a person reads it: one line for each step, with its place.

use std::fmt::Write;

use super::{Answer, Endpoint, Rule, Step, Target};
use crate::render;

/// Rules that did not match which are shown before and after the others are only counted.
const SHOWN: usize = 20;

impl Answer {
    /// The page.
    pub(crate) fn words(&self) -> String {
        let mut page = Page(format!("{}   revision {} ({})\n\n", self.request, self.revision, self.source));
        if let Some(port) = &self.port {
            page.line("port", &port.name, &port.place);
        }
        if let Some(path) = &self.canonical_path {
            page.line("path", &format!("canonical is {path}"), "");
        }
        if let Some(host) = &self.host {
            let of = match host.of {
                0 | 1 => "the only one that fits".to_owned(),
                several => format!("the narrowest of {several} that fit"),
            };
            page.line("host", &format!("{}  matches {:?}, {of}", host.asked, host.pattern), &host.place);
        }
        page.rules(&self.rules);
        if let Some(route) = &self.route {
            page.line("route", &route.name, &route.place);
        }
        if let Some(root) = &self.root {
            page.line("  for", &root.name, &root.place);
        }
        for handled in &self.handling {
            page.line("", &handled.name, &handled.place);
        }
        if !self.targets.is_empty() {
            page.line("split", &split(&self.targets), "");
        }
        if let Some([this, next @ ..]) = self.turns.as_deref() {
            page.line(
                "turn",
                &format!("this turn {this}; of the next {}: {}", next.len(), next.join(" ")),
                "",
            );
        }
        for target in &self.targets {
            page.target(target, self.turns.is_some());
        }
        if let Some(answered) = &self.answered {
            page.line("answers", &answered.name, &answered.place);
        }
        if let Some(returns) = &self.returns {
            page.line("", &format!("with {}", returns.name), &returns.place);
        }
        if let Some(nowhere) = &self.nowhere {
            page.line("nowhere", nowhere, "");
        }
        page.0
    }
}

struct Page(String);

impl Page {
    fn line(&mut self, name: &str, what: &str, place: &str) {
        let line = format!("{name:<10} {what:<68} {place}");
        let _ = writeln!(self.0, "{}", line.trim_end());
    }

    fn rules(&mut self, rules: &[Rule]) {
        let refused = rules.len() - rules.iter().filter(|rule| rule.took).count();
        let hidden = if refused > 2 * SHOWN { SHOWN..refused - SHOWN } else { 0..0 };
        for (at, rule) in rules.iter().enumerate() {
            if at == hidden.start && !hidden.is_empty() {
                let more = render::thousands(hidden.len() as u64);
                self.line("…", &format!("{more} more that do not match (-o json has them)"), "");
            }
            if !hidden.contains(&at) {
                let mark = if rule.took { "✓" } else { "✗" };
                // A rule that took it is told condition by condition, each with its place.
                let (why, more) = match rule.conditions.as_slice() {
                    [first, more @ ..] => (&first.name, more),
                    [] => (&rule.why, &[][..]),
                };
                let what = format!("{}: {why}", rule.name);
                self.line(&format!("rule {} {mark}", rule.number), &what, &rule.place);
                more.iter().for_each(|more| self.line("", &format!("and {}", more.name), &more.place));
                if let Some([own, root]) = &rule.merged {
                    self.line("  match", &own.name, &own.place);
                    self.line("  within", &root.name, &root.place);
                }
            }
        }
    }

    fn target(&mut self, target: &Target, is_live: bool) {
        self.line(&format!("to {}", target.name), &format!("{:.1} %", target.percent), &target.place);
        self.line("  cluster", &target.cluster, target.defined.as_deref().unwrap_or_default());
        self.fields("  policy", &target.policy);
        let mut endpoints: Vec<String> = target.endpoints.iter().map(endpoint).collect();
        let names = target.names.join(" and ");
        if !is_live && !names.is_empty() {
            endpoints.push(format!("the addresses of {names}, which are looked up when it runs"));
        }
        let endpoints = match endpoints.len() {
            0 if target.defined.is_none() => "none, as it does not exist: 503, flag NC".to_owned(),
            0 if target.held => "none yet, so it is held: its share goes to the others".to_owned(),
            0 if !names.is_empty() => format!("none, as there is no address of {names}: 503, flag UH"),
            0 => "none: 503, flag UH".to_owned(),
            _ if target.held => {
                format!("{}; held until one is healthy, its share goes to the others", endpoints.join(", "))
            }
            1 => endpoints.join(", "),
            _ => format!("{} ({})", endpoints.join(", "), target.balancer),
        };
        self.line("  endpoint", &endpoints, "");
        self.line("  sends", &target.sends, "");
        self.fields("    by", &target.sends_by);
        if let Some(returns) = &target.returns {
            self.line("  returns", &format!("the answer with {returns}"), "");
        }
        self.fields("    by", &target.returns_by);
    }

    fn fields(&mut self, name: &str, fields: &[Step]) {
        fields.iter().for_each(|field| self.line(name, &field.name, &field.place));
    }
}

/// `v1 80 of 100 (80.0 %), v2 20 of 100 (20.0 %)`.
fn split(targets: &[Target]) -> String {
    match targets {
        [only] => format!("{}, the only destination", only.name),
        targets => {
            let share = |to: &Target| format!("{} {} of {} ({:.1} %)", to.name, to.weight, to.of, to.percent);
            targets.iter().map(share).collect::<Vec<String>>().join(", ")
        }
    }
}

fn endpoint(endpoint: &Endpoint) -> String {
    match endpoint.active {
        None => endpoint.address.clone(),
        Some(active) => {
            let state = endpoint.state.as_deref().map_or_else(String::new, |state| format!(", {state}"));
            format!("{} with {}{state}", endpoint.address, render::counted(active as usize, "request"))
        }
    }
}
