//! Which metrics and labels a query names. It reads only as much of PromQL as that needs.

use std::collections::BTreeSet;

/// What a query names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) metrics: BTreeSet<String>,
    /// Metric and label, of each matcher.
    pub(crate) matched: BTreeSet<(String, String)>,
    /// Labels in `by (…)`, `on (…)` and their like.
    pub(crate) grouped: BTreeSet<String>,
    /// Every quoted text: functions make labels of some of them.
    pub(crate) quoted: BTreeSet<String>,
}

const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];
const AGGREGATIONS: [&str; 7] = ["sum", "min", "max", "avg", "count", "topk", "quantile"];

impl Words {
    /// Reads a query without variables.
    pub(crate) fn of(query: &str) -> Words {
        let mut words = Words::default();
        let mut rest = query;
        let mut metric = String::new();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let next = if first == '"' {
                let (text, after) = quoted(rest);
                words.quoted.insert(text);
                after
            } else if first == '[' {
                after(rest, ']')
            } else if first == '{' {
                words.matchers(&metric, rest)
            } else if is_word(first) {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                let opens = after.trim_start().starts_with('(');
                if GROUPINGS.contains(&word) && opens {
                    let list = &after[after.find('(').expect("it opens") + 1..];
                    let list = list.split(')').next().unwrap_or_default();
                    let labels = list.split(',').map(str::trim).filter(|label| !label.is_empty());
                    words.grouped.extend(labels.map(str::to_owned));
                    self::after(after, ')')
                } else {
                    let is_metric = !first.is_ascii_digit()
                        && !opens
                        && ![&GROUPINGS[..], &OPERATORS, &AGGREGATIONS].concat().contains(&word);
                    if is_metric {
                        metric = word.to_owned();
                        words.metrics.insert(metric.clone());
                    }
                    after
                }
            } else {
                &rest[first.len_utf8()..]
            };
            rest = next;
        }
        words
    }

    /// Reads `{…}`, and gives what follows.
    fn matchers<'a>(&mut self, metric: &str, text: &'a str) -> &'a str {
        let mut rest = &text[1..];
        loop {
            rest = rest.trim_start_matches([',', ' ', '\n']);
            let Some(end) = rest.find(['=', '!', '}']) else { return "" };
            if rest.as_bytes()[end] == b'}' {
                return &rest[end + 1..];
            }
            self.matched.insert((metric.to_owned(), rest[..end].trim().to_owned()));
            let Some(begin) = rest.find('"') else { return "" };
            rest = quoted(&rest[begin..]).1;
        }
    }
}

/// The quoted text at the beginning, and what follows.
fn quoted(text: &str) -> (String, &str) {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return (text[1..at].to_owned(), &text[at + 1..]),
            _ => {}
        }
    }
    (text[1..].to_owned(), "")
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, after)| after)
}

/// A sample of the text format: its name, labels and value. `None` for comments.
pub(crate) fn sample(line: &str) -> Option<(&str, BTreeSet<String>, f64)> {
    let (what, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let name = what.split('{').next()?;
    let labels = Words::of(what).matched.into_iter().map(|(_, label)| label).collect();
    Some((name, labels, value.parse().ok()?))
}

#[test]
fn queries_are_read() {
    let rows = [
        ("up == 0", "up", "", ""),
        (
            r#"sum by (a, b) (rate(x_total{c="1,}", d=~"e|f"}[5m]))"#,
            "x_total",
            "x_total c, x_total d",
            "a, b",
        ),
        ("sum(x) without(a) / 1e3 offset 5m", "x", "", "a"),
        (r#"x{a!="\"}"} * on (b) group_left () job:y:z5m"#, "job:y:z5m, x", "x a", "b"),
        (r#"label_replace(vector(0), "d", "v", "", "") or scalar(count(x)) > bool 3"#, "x", "", ""),
    ];
    for (query, metrics, matched, grouped) in rows {
        let words = Words::of(query);
        let list = |items: Vec<String>| items.join(", ");
        assert_eq!(list(words.metrics.into_iter().collect()), metrics, "{query}");
        assert_eq!(list(words.matched.iter().map(|(m, l)| format!("{m} {l}")).collect()), matched, "{query}");
        assert_eq!(list(words.grouped.into_iter().collect()), grouped, "{query}");
    }
    let (name, labels, value) = sample(r#"x_total{route="a b[0]",code="2"} 3"#).expect("a sample");
    assert_eq!((name, labels.len(), value), ("x_total", 2, 3.0));
    assert!(sample("# HELP x_total y 3").is_none());
}
