//! Findings for people: place, excerpt, help, as rustc prints its own; and for programs: JSON, and SARIF next door.

pub(crate) mod sarif;

use std::fmt::Write;
use std::time::Duration;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;
use trysail_routing::diagnostic::{Code, Diagnostic, Severity};
use trysail_routing::snapshot::ClusterKey;

/// An excerpt's line is cut beyond this many characters: a document of 10 MB may be one line.
const LONGEST_LINE: usize = 200;

/// One finding with its excerpt.
pub(crate) fn finding(finding: &Diagnostic, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(finding.message.as_str()).id(finding.code.id);
    let excerpt = finding.origin.as_ref().and_then(Excerpt::of);
    let what = [finding.object.as_str(), finding.path.as_str()].map(str::trim);
    let what: Vec<&str> = what.into_iter().filter(|part| !part.is_empty()).collect();
    let what = what.join("  ");
    let hints = finding.hints.iter().map(|hint| Level::HELP.message(hint.as_str()));
    match &excerpt {
        Some(excerpt) => {
            let snippet =
                Snippet::source(excerpt.line.as_str()).line_start(excerpt.number).path(excerpt.file.as_str());
            let mark = AnnotationKind::Primary.span(excerpt.from..excerpt.to).label(what.as_str());
            renderer.render(&[title.element(snippet.annotation(mark)).elements(hints)])
        }
        None => {
            let mut text = renderer.render(&[annotate_snippets::Group::with_title(title).elements(hints)]);
            if let Some(origin) = &finding.origin {
                // An object that lies in no file is named by itself.
                let field = if origin.piece.first_line.get() == 0 { finding.path.as_str() } else { "" };
                let place = format!("\n  --> {origin}{}{field}", if field.is_empty() { "" } else { "  " });
                text.insert_str(text.find('\n').unwrap_or(text.len()), &place);
            }
            text
        }
    }
}

/// The line that a finding is about, and which part of it.
struct Excerpt {
    file: String,
    number: usize,
    line: String,
    from: usize,
    to: usize,
}

impl Excerpt {
    fn of(origin: &trysail_routing::origin::Origin) -> Option<Self> {
        if origin.piece.first_line.get() == 0 {
            return None;
        }
        let index = (origin.pos.line() as usize).checked_sub(1)?;
        let whole = origin.piece.text.lines().nth(index).unwrap_or_default();
        let column = (origin.column() as usize).saturating_sub(1);
        // The part that is shown begins early enough to hold the mark.
        let skipped = if column >= LONGEST_LINE { column - LONGEST_LINE / 2 } else { 0 };
        let line: String = whole.chars().skip(skipped).take(LONGEST_LINE).collect();
        let at = |chars: usize| line.char_indices().nth(chars).map_or(line.len(), |(byte, _)| byte);
        let from = at(column - skipped);
        let word = line[from..].find([' ', ',', ']', '}', '#']).unwrap_or(line.len() - from);
        let word = line[from..from + word].trim_end_matches(':').len().max(1);
        let to = (from + word).min(line.len().max(from + 1));
        Some(Excerpt { file: origin.piece.file.to_string(), number: origin.line() as usize, line, from, to })
    }
}

/// `3 errors, 1 warning`; empty where there is neither.
pub(crate) fn counts(errors: usize, warnings: usize) -> String {
    let plural = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{} {word}s", thousands(count as u64))),
    };
    let parts: Vec<String> =
        [plural(errors, "error"), plural(warnings, "warning")].into_iter().flatten().collect();
    parts.join(", ")
}

/// `1 file`, `3 files`, `12,034 objects`.
pub(crate) fn counted(count: usize, word: &str) -> String {
    format!("{} {word}{}", thousands(count as u64), if count == 1 { "" } else { "s" })
}

/// A number with its thousands separated.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        let _ = write!(text, "{digit}");
    }
    text
}

/// `30 s`, `250 ms`.
pub(crate) fn time(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{} s", thousands(time.as_secs())),
        _ => format!("{} ms", thousands(time.as_millis() as u64)),
    }
}

/// `reviews v2`: the service's first name, and the subset.
pub(crate) fn cluster(key: &ClusterKey) -> String {
    let short = key.host.strip_suffix(".svc.cluster.local").and_then(|rest| rest.split('.').next());
    let host = short.unwrap_or(&key.host);
    if key.subset.is_empty() { host.to_owned() } else { format!("{host} {}", key.subset) }
}

/// Where Istio explains a code; it knows nothing of ours.
pub(crate) fn documentation(code: &Code) -> Option<String> {
    let page = code.id.starts_with("IST").then(|| code.id.to_lowercase())?;
    Some(format!("https://istio.io/v1.28/docs/reference/config/analysis/{page}/"))
}

/// A finding as `istioctl analyze -o json` writes it, with our own fields beside.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message<'d> {
    code: &'d str,
    documentation_url: String,
    level: &'d str,
    message: &'d str,
    origin: &'d str,
    reference: String,
    line: u32,
    column: u32,
    path: &'d str,
    hint: String,
}

impl<'d> From<&'d Diagnostic> for Message<'d> {
    fn from(finding: &'d Diagnostic) -> Self {
        let place = finding.origin.as_ref();
        Message {
            code: finding.code.id,
            documentation_url: documentation(&finding.code).unwrap_or_default(),
            level: match finding.severity {
                Severity::Error => "Error",
                Severity::Warning => "Warning",
                Severity::Note => "Info",
            },
            message: &finding.message,
            origin: &finding.object,
            reference: place.map(ToString::to_string).unwrap_or_default(),
            line: place.map_or(0, |place| place.line()),
            column: place.map_or(0, |place| place.column()),
            path: &finding.path,
            hint: finding.hints.join("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(counts(1, 2), "1 error, 2 warnings");
        assert_eq!(counts(0, 0), "");
        for (millis, text) in [(30_000, "30 s"), (1500, "1,500 ms"), (0, "0 s")] {
            assert_eq!(time(Duration::from_millis(millis)), text);
        }
        for (host, subset, text) in
            [("reviews.default.svc.cluster.local", "v2", "reviews v2"), ("shop.test", "", "shop.test")]
        {
            let key = ClusterKey { host: host.into(), subset: subset.into(), port: 80 };
            assert_eq!(cluster(&key), text);
        }
    }
}
