//! What a script expects of a version's share, and whether it holds.

use std::str::FromStr;

use super::is_named;
use super::told::{Split, Status};
use crate::board::verdict::{Share, Verdict, enough, judge};
use crate::render;

/// `default/reviews:v2=10`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expectation {
    route: String,
    subset: String,
    percent: f64,
}

/// Whether it does, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Met {
    Holds,
    /// There is not enough data to tell.
    NotYet,
    Not,
}

/// A share in force that differs by no more than this is the one that is expected: percents are written short.
const ROUNDING: f64 = 0.05;

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = text.rsplit_once('=').and_then(|(what, percent)| {
            let (route, subset) = what.rsplit_once(':')?;
            let percent: f64 = percent.trim().trim_end_matches('%').trim_end().parse().ok()?;
            let fits = !route.is_empty() && !subset.is_empty() && (0.0..=100.0).contains(&percent);
            fits.then(|| Expectation { route: route.to_owned(), subset: subset.to_owned(), percent })
        });
        read.ok_or_else(|| "write for example default/reviews:v2=10".to_owned())
    }
}

impl Expectation {
    /// Whether it holds, in a sentence; the error says that there is no such route or subset.
    pub(crate) fn judge(&self, status: &Status) -> Result<(Met, String), String> {
        let split = self.split(status)?;
        let target = split.targets.iter().find(|it| it.name == self.subset || it.subset == self.subset);
        let Some(target) = target else {
            let names: Vec<&str> = split.targets.iter().map(|target| target.name.as_str()).collect();
            return Err(format!(
                "{} has no subset {:?}; it has {}",
                split.route,
                self.subset,
                names.join(", ")
            ));
        };
        let (what, due) = (format!("{} {}", split.route, target.name), self.percent);
        if target.verdict == Verdict::Held.as_str() {
            let text =
                format!("{what}: {due} % expected, and it is held: no endpoint of it has been ready yet");
            return Ok((Met::Not, text));
        }
        if (target.effective - due).abs() > ROUNDING {
            let text = format!(
                "{what}: {due} % expected, and {} % is in force ({})",
                target.effective, target.place
            );
            return Ok((Met::Not, text));
        }
        let (own, all) = (target.requests, split.requests);
        let share = Share { due: due / 100.0, own, all, open: split.assigned.saturating_sub(all) };
        let counted =
            format!("of {}", render::counted(usize::try_from(all).unwrap_or(usize::MAX), "request"));
        let found = target.observed.map_or_else(String::new, |it| {
            format!("{:.1} % {counted}, {:.1} to {:.1} at 95 %", it.value, it.low, it.high)
        });
        Ok(match judge(share) {
            Verdict::OnRatio => (Met::Holds, format!("{what}: {due} % expected, and it has {found}")),
            Verdict::OffRatio | Verdict::Held => {
                (Met::Not, format!("{what}: {due} % expected, but it has {found}"))
            }
            Verdict::NotEnoughData => {
                let enough = render::thousands(enough(share.due));
                let all = render::thousands(all);
                (
                    Met::NotYet,
                    format!("{what}: {due} % expected, not enough data yet: {all} of {enough} requests"),
                )
            }
        })
    }

    fn split<'s>(&self, status: &'s Status) -> Result<&'s Split, String> {
        let named: Vec<&Split> = status.splits.iter().filter(|it| is_named(&it.route, &self.route)).collect();
        // Of a VirtualService with several routes, the one that has such a version is meant.
        let has = |split: &&&Split| {
            split.targets.iter().any(|it| it.name == self.subset || it.subset == self.subset)
        };
        let fitting: Vec<&Split> = named.iter().filter(has).copied().collect();
        match (fitting.as_slice(), named.as_slice()) {
            ([one], _) | ([], [one]) => Ok(one),
            (_, []) => {
                // By its own name, or that of its VirtualService.
                let of = |split: &'s Split| {
                    let own = split.route.split(' ').next().unwrap_or_default();
                    [split.route.as_str(), own]
                };
                let names = status.splits.iter().flat_map(of);
                let near = trysail_routing::nearest(&self.route, names);
                let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
                Err(format!("there is no route {:?} that forwards{near}", self.route))
            }
            _ => {
                let names: Vec<&str> = named.iter().map(|split| split.route.as_str()).take(10).collect();
                Err(format!("{:?} is several routes; name one of {}", self.route, names.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_as_they_are_written() {
        for (text, read) in [
            ("default/reviews:v2=10", Some(("default/reviews", "v2", 10.0))),
            ("default/reviews http[0]:v2=0.5%", Some(("default/reviews http[0]", "v2", 0.5))),
            ("default/reviews:v2=100 %", Some(("default/reviews", "v2", 100.0))),
            ("default/reviews:v2=101", None),
            ("default/reviews:v2=NaN", None),
            ("default/reviews:v2", None),
            ("default/reviews=10", None),
            (":v2=10", None),
        ] {
            let is = text.parse::<Expectation>().ok();
            let wanted = read.map(|(route, subset, percent)| Expectation {
                route: route.to_owned(),
                subset: subset.to_owned(),
                percent,
            });
            assert_eq!(is, wanted, "{text}");
        }
    }
}
