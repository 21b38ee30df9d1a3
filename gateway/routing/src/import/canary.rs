//! A canary's conditions, in ingress-nginx's order: header, cookie, weight.

use http::HeaderName;

use super::yaml::{Value, map, text};
use crate::diagnostic::{Code, Severity};
use crate::origin::At;
use crate::snapshot::Pattern;
use crate::wire::sink::Sink;

/// The annotations that are a canary's own.
pub(super) const NAMES: [&str; 6] = [
    "canary-by-header",
    "canary-by-header-value",
    "canary-by-header-pattern",
    "canary-by-cookie",
    "canary-weight",
    "canary-weight-total",
];

/// Which requests go to a canary.
#[derive(Clone, Debug, Default)]
pub(super) struct Canary {
    header: Option<(String, HeaderTest)>,
    cookie: Option<String>,
    /// Of `total`; not over it.
    weight: u32,
    total: u32,
}

#[derive(Clone, Debug)]
enum HeaderTest {
    /// `always` and `never`.
    Words,
    Exact(String),
    Pattern(String),
}

/// A condition that settles the matter before the weights are asked.
pub(super) struct Step {
    /// The field, and the test of its value.
    pub(super) field: String,
    pub(super) test: Value,
    /// Whether its requests go to the canary, or to the others.
    pub(super) to_canary: bool,
    /// For a comment.
    pub(super) told: String,
}

impl Canary {
    /// Reads all but the weight.
    pub(super) fn read(
        header: Option<&At<String>>,
        value: Option<&At<String>>,
        pattern: Option<&At<String>>,
        cookie: Option<&At<String>>,
        sink: &mut Sink<'_>,
    ) -> Canary {
        let mut canary = Canary { total: 100, ..Canary::default() };
        if let Some(name) = header {
            let field = HeaderName::from_bytes(name.trim().to_ascii_lowercase().as_bytes());
            let test = match (value, pattern) {
                (Some(value), _) => Some(HeaderTest::Exact(value.value.clone())),
                (None, Some(pattern)) => whole(pattern, sink).map(HeaderTest::Pattern),
                (None, None) => Some(HeaderTest::Words),
            };
            match field {
                Ok(field) => canary.header = test.map(|test| (field.to_string(), test)),
                Err(_) => {
                    let message = format!("{:?} is not the name of a header field", name.value);
                    sink.add(Severity::Error, Code::NOT_CARRIED_OVER, name.pos, message);
                }
            }
        }
        canary.cookie = cookie.map(|name| name.trim().to_owned());
        canary
    }

    /// With its weight. ingress-nginx takes a total under 100 for 100.
    pub(super) fn weighted(
        self,
        weight: Option<At<u32>>,
        total: Option<At<u32>>,
        sink: &mut Sink<'_>,
    ) -> Canary {
        let sum = total.map_or(100, |total| total.value.max(100));
        let mut differs = |at: At<u32>, message: String| {
            sink.add(Severity::Warning, Code::CARRIED_OVER_DIFFERENTLY, at.pos, message);
        };
        if let Some(total) = total.filter(|total| total.value < 100) {
            differs(total, format!("a total of {} counts as 100, as in ingress-nginx", total.value));
        }
        if let Some(weight) = weight.filter(|weight| weight.value > sum) {
            differs(weight, format!("a weight of {} of {sum} is all, as in ingress-nginx", weight.value));
        }
        Canary { weight: weight.map_or(0, |weight| weight.value.min(sum)), total: sum, ..self }
    }

    /// The weights of the others and of the canary.
    pub(super) fn weights(&self) -> [u32; 2] {
        [self.total - self.weight, self.weight]
    }

    /// Its conditions in their order. Who would get to the others anyway needs none.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let weighs = self.weight > 0;
        if let Some((name, test)) = &self.header {
            let mut put = |test: Value, to_canary: bool, told: String| {
                steps.push(Step { field: name.clone(), test, to_canary, told });
            };
            match test {
                HeaderTest::Exact(value) => {
                    put(map([("exact", text(value))]), true, format!("{name}: {value}"));
                }
                HeaderTest::Pattern(pattern) => {
                    put(map([("regex", text(pattern))]), true, format!("{name} fits the pattern"));
                }
                HeaderTest::Words => {
                    put(map([("exact", text("always"))]), true, format!("{name}: always"));
                    if weighs || self.cookie.is_some() {
                        put(map([("exact", text("never"))]), false, format!("{name}: never"));
                    }
                }
            }
        }
        if let Some(name) = &self.cookie {
            let words: &[(&str, bool)] =
                if weighs { &[("always", true), ("never", false)] } else { &[("always", true)] };
            for (word, to_canary) in words {
                // A cookie may stand among others, and HTTP/2 sends each in a field of its own.
                let pattern = format!("(.*[;,] *)?{}={word}([;,].*)?", regex::escape(name));
                let test = map([("regex", text(pattern))]);
                let told = format!("cookie {name}={word}");
                steps.push(Step { field: "cookie".to_owned(), test, to_canary: *to_canary, told });
            }
        }
        steps
    }
}

/// nginx looks for a pattern anywhere in the value, Istio compares the whole.
fn whole(pattern: &At<String>, sink: &mut Sink<'_>) -> Option<String> {
    let whole = format!(".*(?:{}).*", pattern.value);
    // Alone first: a broken one could be mended by what stands around it.
    let built = Pattern::new(pattern).and_then(|_| Pattern::new(&whole));
    if let Err(message) = &built {
        let message =
            format!("{:?} is not a pattern here, so no header leads to the canary: {message}", pattern.value);
        sink.add(Severity::Error, Code::NOT_CARRIED_OVER, pattern.pos, message)
            .hints
            .push("patterns are RE2's: no look-around, no back-references".into());
    }
    let unbound = |text: &str| text.contains('|') || text.contains('^') || text.contains('$');
    let inner = pattern.strip_prefix('^').and_then(|inner| inner.strip_suffix('$'));
    match (built, inner) {
        (Err(_), _) => None,
        (Ok(_), Some(inner)) if !unbound(inner) && !inner.ends_with('\\') => Some(inner.to_owned()),
        (Ok(_), _) => Some(whole),
    }
}
