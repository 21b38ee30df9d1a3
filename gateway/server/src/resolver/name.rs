//! What is known of one name, and what an answer changes of it.

use std::net::IpAddr;
use std::time::Duration;

use super::lookup::{Answer, Part};
use crate::render;

/// Addresses of one name; of more the first in their order.
const MOST_ADDRESSES: usize = 64;

/// A failure is tried again after no more than this.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Between which times a name is asked for again.
pub(super) struct Refresh {
    pub(super) least: Duration,
    pub(super) most: Duration,
}

/// What is known of a name.
#[derive(Default)]
pub(super) struct Name {
    /// Sorted, none twice.
    addresses: Vec<IpAddr>,
    asked: bool,
    /// Answers in a row without an address, and whether the last was a failure.
    without: u32,
    failed: bool,
}

/// What an answer brings.
pub(super) struct News {
    /// Whether the addresses are others now.
    pub(super) changed: bool,
    /// What follows the name in the log.
    pub(super) told: Option<String>,
    pub(super) is_trouble: bool,
    /// When it is to be asked for again.
    pub(super) next: Duration,
}

impl Name {
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Whether there was an answer, of any kind.
    pub(super) fn was_asked(&self) -> bool {
        self.asked
    }

    /// Whether the last answer had no address.
    pub(super) fn is_failing(&self) -> bool {
        self.without > 0
    }

    /// Takes an answer. Addresses that there is no route to are left out, where there are others.
    pub(super) fn take(
        &mut self,
        answer: Answer,
        refresh: &Refresh,
        has_route: impl Fn(&IpAddr) -> bool,
    ) -> News {
        let first = !std::mem::replace(&mut self.asked, true);
        match (answer.four, answer.six) {
            (Part::Nothing, Part::Nothing) => self.lose(refresh),
            (Part::Found(mut found, holds), other) | (other, Part::Found(mut found, holds)) => {
                let holds = match other {
                    Part::Found(more, also) => {
                        found.extend(more);
                        holds.min(also)
                    }
                    Part::Nothing => holds,
                    // What was known of the other family may still be so.
                    Part::Failed(_) => {
                        let four = found.first().is_some_and(IpAddr::is_ipv4);
                        found.extend(self.addresses.iter().filter(|address| address.is_ipv4() != four));
                        holds
                    }
                };
                self.find(
                    first,
                    found,
                    has_route,
                    holds.clamp(refresh.least, refresh.most.max(refresh.least)),
                )
            }
            (Part::Failed(why), _) | (_, Part::Failed(why)) => self.fail(&why, refresh),
        }
    }

    fn find(
        &mut self,
        first: bool,
        mut found: Vec<IpAddr>,
        has_route: impl Fn(&IpAddr) -> bool,
        next: Duration,
    ) -> News {
        if found.iter().any(&has_route) {
            found.retain(has_route);
        }
        found.sort();
        found.dedup();
        let all = found.len();
        found.truncate(MOST_ADDRESSES);
        let changed = found != self.addresses;
        let before = std::mem::replace(&mut self.addresses, found);
        let tries = std::mem::take(&mut self.without);
        self.failed = false;
        let told = (changed || tries > 0).then(|| {
            let mut line = format!("is at {}", listed(&self.addresses));
            if all > MOST_ADDRESSES {
                line.push_str(&format!(" (the first {MOST_ADDRESSES} of {all})"));
            }
            if tries > 0 {
                line.push_str(&format!(", found again after {}", render::counted(tries as usize, "failure")));
            } else if !first {
                line.push_str(&format!(" now, and was at {}", listed(&before)));
            }
            line
        });
        News { changed, told, is_trouble: false, next }
    }

    /// The name has no address: that is an answer, and its service has no endpoint then.
    fn lose(&mut self, refresh: &Refresh) -> News {
        let before = std::mem::take(&mut self.addresses);
        let again = self.without > 0 && !self.failed;
        self.failed = false;
        let told = (!again).then(|| {
            let had = match before.len() {
                0 => String::new(),
                had => format!(", where it had {}", counted(had)),
            };
            format!("has no address, says DNS{had}: 503 where it is the only endpoint")
        });
        News { changed: !before.is_empty(), told, is_trouble: true, next: self.retry(refresh) }
    }

    /// Nothing was heard of it, so what is known stays.
    fn fail(&mut self, why: &str, refresh: &Refresh) -> News {
        let again = self.without > 0 && self.failed;
        self.failed = true;
        let told = (!again).then(|| {
            let kept = match self.addresses.len() {
                0 => "it has no address yet: 503 where it is the only endpoint".to_owned(),
                kept => format!("keeping the {} it had", counted(kept)),
            };
            format!("can't be looked up: {why}; {kept}")
        });
        News { changed: false, told, is_trouble: true, next: self.retry(refresh) }
    }

    fn retry(&mut self, refresh: &Refresh) -> Duration {
        let doubled = refresh.least.saturating_mul(1 << self.without.min(16));
        self.without = self.without.saturating_add(1);
        doubled.min(LONGEST_RETRY.max(refresh.least))
    }
}

fn counted(addresses: usize) -> String {
    if addresses == 1 { "1 address".to_owned() } else { format!("{addresses} addresses") }
}

fn listed(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Refresh = Refresh { least: Duration::from_secs(5), most: Duration::from_secs(300) };

    /// `10.0.0.1 10.0.0.2 60` are two addresses for a minute, `-` is none, and `!` no answer.
    fn part(text: &str) -> Part {
        match text {
            "-" => Part::Nothing,
            "!" => Part::Failed("why".to_owned()),
            text => {
                let mut words: Vec<&str> = text.split(' ').collect();
                let seconds = words.pop().unwrap().parse().unwrap();
                let addresses = words.iter().map(|word| word.parse().unwrap()).collect();
                Part::Found(addresses, Duration::from_secs(seconds))
            }
        }
    }

    /// Answers, one after another, and after each what is known, when it is asked for again, and what is told.
    fn check(rows: &[(&str, &str, &str, u64, Option<&str>)]) {
        let mut name = Name::default();
        for (four, six, known, next, told) in rows {
            let before = name.addresses.clone();
            let answer = Answer { four: part(four), six: part(six) };
            let news = name.take(answer, &REFRESH, |address| !address.to_string().starts_with("2001:"));
            assert_eq!(listed(&name.addresses), *known, "{four} | {six}");
            assert_eq!(news.next, Duration::from_secs(*next), "{four} | {six}");
            assert_eq!(news.told.as_deref(), *told, "{four} | {six}");
            assert_eq!(news.changed, before != name.addresses, "{four} | {six}");
            assert!(name.was_asked());
        }
    }

    #[test]
    fn addresses_are_those_of_the_last_answer_until_it_ends() {
        check(&[
            ("10.0.0.2 10.0.0.1 60", "-", "10.0.0.1, 10.0.0.2", 60, Some("is at 10.0.0.1, 10.0.0.2")),
            ("10.0.0.1 10.0.0.2 60", "-", "10.0.0.1, 10.0.0.2", 60, None),
            ("10.0.0.1 0", "-", "10.0.0.1", 5, Some("is at 10.0.0.1 now, and was at 10.0.0.1, 10.0.0.2")),
            (
                "10.0.0.1 9000",
                "::1 7",
                "10.0.0.1, ::1",
                7,
                Some("is at 10.0.0.1, ::1 now, and was at 10.0.0.1"),
            ),
            ("-", "::1 9000", "::1", 300, Some("is at ::1 now, and was at 10.0.0.1, ::1")),
        ]);
    }

    #[test]
    fn a_failure_keeps_and_is_told_once() {
        check(&[
            (
                "!",
                "!",
                "none",
                5,
                Some("can't be looked up: why; it has no address yet: 503 where it is the only endpoint"),
            ),
            (
                "10.0.0.1 60",
                "::1 60",
                "10.0.0.1, ::1",
                60,
                Some("is at 10.0.0.1, ::1, found again after 1 failure"),
            ),
            ("!", "!", "10.0.0.1, ::1", 5, Some("can't be looked up: why; keeping the 2 addresses it had")),
            ("!", "-", "10.0.0.1, ::1", 10, None),
            ("!", "!", "10.0.0.1, ::1", 20, None),
            ("!", "!", "10.0.0.1, ::1", 40, None),
            ("!", "!", "10.0.0.1, ::1", 60, None),
            ("!", "!", "10.0.0.1, ::1", 60, None),
            ("10.0.0.1 60", "-", "10.0.0.1", 60, Some("is at 10.0.0.1, found again after 6 failures")),
        ]);
    }

    #[test]
    fn one_family_that_fails_keeps_its_own() {
        check(&[
            ("10.0.0.1 60", "::1 60", "10.0.0.1, ::1", 60, Some("is at 10.0.0.1, ::1")),
            (
                "10.0.0.2 60",
                "!",
                "10.0.0.2, ::1",
                60,
                Some("is at 10.0.0.2, ::1 now, and was at 10.0.0.1, ::1"),
            ),
            ("!", "::2 60", "10.0.0.2, ::2", 60, Some("is at 10.0.0.2, ::2 now, and was at 10.0.0.2, ::1")),
        ]);
    }

    #[test]
    fn no_address_is_an_answer() {
        let lost = "has no address, says DNS, where it had 1 address: 503 where it is the only endpoint";
        check(&[
            ("-", "-", "none", 5, Some("has no address, says DNS: 503 where it is the only endpoint")),
            ("-", "-", "none", 10, None),
            ("10.0.0.1 60", "-", "10.0.0.1", 60, Some("is at 10.0.0.1, found again after 2 failures")),
            ("!", "-", "10.0.0.1", 5, Some("can't be looked up: why; keeping the 1 address it had")),
            ("-", "-", "none", 10, Some(lost)),
        ]);
    }

    #[test]
    fn addresses_without_a_route_are_left_out_where_there_are_others() {
        check(&[
            ("10.0.0.1 60", "2001:db8::1 60", "10.0.0.1", 60, Some("is at 10.0.0.1")),
            ("-", "2001:db8::1 60", "2001:db8::1", 60, Some("is at 2001:db8::1 now, and was at 10.0.0.1")),
        ]);
    }

    #[test]
    fn addresses_are_not_without_end() {
        let many: Vec<String> = (0..80).map(|number| format!("10.0.0.{number}")).collect();
        let mut name = Name::default();
        let answer = Answer { four: part(&format!("{} 60", many.join(" "))), six: Part::Nothing };
        let news = name.take(answer, &REFRESH, |_| true);
        assert_eq!(name.addresses().len(), MOST_ADDRESSES);
        assert!(news.told.unwrap().ends_with("10.0.0.63 (the first 64 of 80)"));
    }
}
