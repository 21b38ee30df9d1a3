//! What is changed of a request on its way to a target, and of the answer on its way back.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use regex::{Captures, Regex};

use super::predicate::{Match, Pattern};
use super::variable::Value;
use crate::origin::Place;
use crate::path::sendable;

/// Everything that a route and its destination change. Most change nothing and have none.
#[derive(Debug, Default, PartialEq)]
pub struct Transform {
    /// Changes of the request's fields: each level after the one before it.
    pub request: Box<[HeaderOps]>,
    /// Changes of the answer's fields.
    pub response: Box<[HeaderOps]>,
    /// The authority that the target is told; `None` for the client's.
    pub authority: Option<HeaderValue>,
    /// The path that the target is told; `None` for the client's.
    pub path: Option<Arc<PathRewrite>>,
    /// Where all that is written.
    pub places: TransformPlaces,
}

/// Where what is changed is written, as far as it changes anything; see [`Route::origin_of`](super::Route::origin_of).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransformPlaces {
    /// Of the request: the rewrite, the rule's operations, the destination's.
    pub request: [Option<Place>; 3],
    /// Of the answer: the rule's operations, the destination's.
    pub response: [Option<Place>; 2],
}

/// Changes of header fields at one level: all removals, then what is set, then what is added.
///
/// Istio `Headers.HeaderOperations`, in Envoy's order; set and added fields by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderOps {
    /// Fields that go, with all their values.
    pub remove: Vec<HeaderName>,
    /// Fields that get this value and no other.
    pub set: Vec<(HeaderName, Value)>,
    /// Fields that get one value more.
    pub add: Vec<(HeaderName, Value)>,
}

impl HeaderOps {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// How a path is changed; the query stays.
#[derive(Debug, PartialEq)]
pub enum PathRewrite {
    /// This in place of the prefix that matched, by plain substitution, or of the whole path where the match was
    /// exact or a pattern. Istio `HTTPRewrite.uri`.
    Uri(Box<str>),
    /// Istio `HTTPRewrite.uriRegexRewrite`.
    Regex(Substitution),
}

impl PathRewrite {
    /// The new path of a request that fulfilled a block of conditions, escaped where it could not be sent; `None` where it
    /// stays as it is.
    pub fn apply(&self, path: &str, block: Option<&Match>) -> Option<String> {
        let new = match self {
            PathRewrite::Uri(new) => match block.map_or(Some("/"), Match::matched_prefix) {
                Some(prefix) => format!("{new}{}", path.get(prefix.len()..).unwrap_or_default()),
                None => new.to_string(),
            },
            PathRewrite::Regex(substitution) => substitution.apply(path),
        };
        // A target without its slash would be none that an upstream understands.
        let new = if new.is_empty() || new.starts_with('/') { new } else { format!("/{new}") };
        (!new.is_empty() && new != path).then(|| sendable(new))
    }
}

/// Every occurrence of a pattern gives way to a text with groups, in RE2's notation.
#[derive(Debug)]
pub struct Substitution {
    pattern: Regex,
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `\1`: what a group took; `\0` is all of it.
    Group(usize),
}

impl PartialEq for Substitution {
    fn eq(&self, other: &Self) -> bool {
        self.pattern.as_str() == other.pattern.as_str() && self.parts == other.parts
    }
}

impl Substitution {
    /// Builds one; the error says what is wrong with the pattern or the text, in one line.
    pub fn new(pattern: &str, text: &str) -> Result<Self, String> {
        // The limits of a pattern that is matched hold for one that is searched for, too.
        Pattern::new(pattern)?;
        let pattern = Regex::new(pattern).map_err(|error| error.to_string())?;
        let parts = read(text, pattern.captures_len() - 1)?;
        Ok(Substitution { pattern, parts })
    }

    fn apply(&self, text: &str) -> String {
        let replace = |found: &Captures<'_>| -> String {
            let piece = |part: &Part| match part {
                Part::Text(text) => text.clone(),
                Part::Group(group) => found.get(*group).map_or("", |taken| taken.as_str()).to_owned(),
            };
            self.parts.iter().map(piece).collect()
        };
        self.pattern.replace_all(text, replace).into_owned()
    }
}

fn read(text: &str, groups: usize) -> Result<Vec<Part>, String> {
    let mut parts = vec![Part::Text(String::new())];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let plain = match letter {
            '\\' => match letters.next() {
                Some('\\') => '\\',
                Some(digit) if digit.is_ascii_digit() => {
                    let group = digit as usize - '0' as usize;
                    if group > groups {
                        return Err(format!(
                            "\\{group} names a group that the pattern, with {groups}, does not have"
                        ));
                    }
                    parts.push(Part::Group(group));
                    continue;
                }
                _ => return Err("a \"\\\" is followed by a digit or another \"\\\"".to_owned()),
            },
            letter => letter,
        };
        match parts.last_mut() {
            Some(Part::Text(text)) => text.push(plain),
            _ => parts.push(Part::Text(plain.into())),
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_replaced_wherever_they_stand() {
        for (pattern, text, path, new) in [
            ("/v1", "/v2", "/v1/v1", Some("/v2/v2")),
            ("/u/([^/]+)/(.*)", r"/\2/of/\1", "/u/ann/cart", Some("/cart/of/ann")),
            ("x", r"\\", "/x", Some("/%5C")),
            ("/gone", "", "/gone", None),
            ("nothing", "y", "/x", None),
            ("a", r"<\0>", "/aa", Some("/%3Ca%3E%3Ca%3E")),
            ("a", "%20 é", "/a%20", Some("/%20%20%C3%A9%20")),
        ] {
            let rewrite = PathRewrite::Regex(Substitution::new(pattern, text).unwrap());
            assert_eq!(rewrite.apply(path, None).as_deref(), new, "{path}");
        }
        for (pattern, text) in [("(a)(b)", r"\3"), ("a", r"a\"), ("a", r"\x"), ("(", "a")] {
            assert!(Substitution::new(pattern, text).is_err(), "{pattern} {text}");
        }
    }

    #[test]
    fn a_uri_stands_in_for_the_prefix() {
        for (new, path, rewritten) in [
            ("/v1", "/x", Some("/v1x")),
            ("/", "/x", None),
            ("/a", "/", Some("/a")),
            ("x y?k=é", "/", Some("/x%20y?k=%C3%A9")),
        ] {
            assert_eq!(PathRewrite::Uri(new.into()).apply(path, None).as_deref(), rewritten, "{new} {path}");
        }
    }
}
