//! Conditions on a request, each built once and asked often.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use regex::bytes::Regex;

use super::request::Request;
use crate::origin::{Origin, Place};

/// One block of conditions: all must hold.
#[derive(Debug, Default)]
pub struct Match {
    /// The conditions, those that are cheap to ask first.
    pub conditions: Box<[Condition]>,
    /// Where it is put together from two: a delegate's block, and the one of its root that this lies within.
    pub merged: Option<[Place; 2]>,
}

impl Match {
    /// Whether it takes every request: Istio calls such a route a catch-all and tries it last.
    ///
    /// Istio `IsCatchAllRoute`: path prefix `/` or regex `.*`, and no other condition.
    pub fn takes_all(&self) -> bool {
        self.conditions.iter().all(|condition| match &condition.test {
            Test::Path(ValueTest::Prefix(prefix) | ValueTest::PrefixIgnoringCase(prefix)) => &**prefix == "/",
            Test::Path(ValueTest::Regex(pattern)) => pattern.as_str() == ".*",
            _ => false,
        })
    }

    /// The prefix of the path that it asks for, `/` where it asks nothing of the path; `None` where it asks for
    /// something else.
    pub fn matched_prefix(&self) -> Option<&str> {
        let path = self.conditions.iter().find_map(|condition| match &condition.test {
            Test::Path(test) => Some(test),
            _ => None,
        });
        match path {
            None => Some("/"),
            Some(ValueTest::Prefix(prefix) | ValueTest::PrefixIgnoringCase(prefix)) => Some(prefix),
            Some(_) => None,
        }
    }

    /// The first condition that a request does not fulfil; `None` where it fulfils all of them.
    pub fn failing(&self, request: &Request<'_>) -> Option<&Condition> {
        self.conditions.iter().find(|condition| !condition.test.holds(request))
    }
}

/// A condition and where it is written.
#[derive(Debug)]
pub struct Condition {
    /// What is asked.
    pub test: Test,
    /// Where it stands.
    pub origin: Origin,
}

/// A test of one thing that a request says.
#[derive(Debug)]
pub enum Test {
    /// On the path, without its query.
    Path(ValueTest),
    /// On the path with its query, as the pseudo-field `:path` has it.
    Target(ValueTest),
    /// On the method.
    Method(ValueTest),
    /// On `http` or `https`.
    Scheme(ValueTest),
    /// On the authority as sent, with its port.
    Authority(ValueTest),
    /// On a header field, which must be there.
    Header(HeaderName, ValueTest),
    /// On a header field that must not be so. One that is absent counts as empty, but not as present.
    ///
    /// Istio `withoutHeaders`, Envoy `treat_missing_header_as_empty`.
    WithoutHeader(HeaderName, ValueTest),
    /// On the first value of a query parameter, which must be there; neither is decoded.
    Query(Box<str>, ValueTest),
}

impl Test {
    fn holds(&self, request: &Request<'_>) -> bool {
        match self {
            Test::Path(test) => test.holds(request.path.as_bytes()),
            Test::Target(test) => match request.query {
                None => test.holds(request.path.as_bytes()),
                Some(query) => test.holds(format!("{}?{query}", request.path).as_bytes()),
            },
            Test::Method(test) => test.holds(request.method.as_bytes()),
            Test::Scheme(test) => test.holds(request.scheme.as_bytes()),
            Test::Authority(test) => test.holds(request.authority.as_bytes()),
            Test::Header(name, test) => field(request.headers, name, test).unwrap_or(false),
            Test::WithoutHeader(name, test) => !match (field(request.headers, name, test), test) {
                (Some(holds), _) => holds,
                (None, ValueTest::Present) => false,
                (None, test) => test.holds(b""),
            },
            Test::Query(name, test) => {
                parameter(request.query, name).is_some_and(|value| test.holds(value.as_bytes()))
            }
        }
    }
}

/// Whether a field's value passes; `None` where the request has no such field.
fn field(headers: &HeaderMap, name: &HeaderName, test: &ValueTest) -> Option<bool> {
    joined(headers, name).map(|value| test.holds(&value))
}

/// A field's value. Several fields of one name are one list: Envoy joins them with a comma before it compares.
pub(super) fn joined<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Cow<'h, [u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(first.as_bytes().into()) };
    let mut joined = first.as_bytes().to_vec();
    for value in std::iter::once(second).chain(values) {
        joined.push(b',');
        joined.extend_from_slice(value.as_bytes());
    }
    Some(joined.into())
}

/// The first value of a parameter; `?a` and `?a=` both give the empty text.
pub fn parameter<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) if key == name => Some(value),
        None if pair == name => Some(""),
        _ => None,
    })
}

/// A condition on a value. Istio `StringMatch`; case-sensitive.
#[derive(Debug)]
pub enum ValueTest {
    /// Any value, as long as there is one.
    Present,
    /// This value.
    Exact(Box<str>),
    /// A value that begins so; a plain string prefix, not one of path segments.
    Prefix(Box<str>),
    /// This value, in upper or lower case (Istio `ignoreUriCase`).
    ExactIgnoringCase(Box<str>),
    /// A value that begins so, in upper or lower case.
    PrefixIgnoringCase(Box<str>),
    /// A value that the pattern takes from its first character to its last.
    Regex(Pattern),
}

impl ValueTest {
    pub(super) fn holds(&self, value: &[u8]) -> bool {
        match self {
            ValueTest::Present => true,
            ValueTest::Exact(exact) => value == exact.as_bytes(),
            ValueTest::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            ValueTest::ExactIgnoringCase(exact) => value.eq_ignore_ascii_case(exact.as_bytes()),
            ValueTest::PrefixIgnoringCase(prefix) => {
                value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
            }
            ValueTest::Regex(pattern) => pattern.whole.is_match(value),
        }
    }
}

/// A regular expression in RE2's language that must take a whole value. Linear in the value's length.
#[derive(Debug)]
pub struct Pattern {
    written: Box<str>,
    whole: Regex,
}

impl Pattern {
    /// Characters in a pattern, as Istio limits them.
    pub const MAX_LENGTH: usize = 1024;
    /// Bytes that a built pattern may take.
    const MAX_BYTES: usize = 1 << 20;

    /// Builds a pattern; the error says what is wrong with it, in one line.
    pub fn new(written: &str) -> Result<Self, String> {
        if written.len() > Self::MAX_LENGTH {
            return Err(format!(
                "a pattern of {} characters is over the limit of {}",
                written.len(),
                Self::MAX_LENGTH
            ));
        }
        // Built alone first, so that a pattern such as `a)(b` can't pass by closing the group around it.
        let build = |pattern: &str| {
            regex::bytes::RegexBuilder::new(pattern)
                .size_limit(Self::MAX_BYTES)
                .dfa_size_limit(Self::MAX_BYTES)
                .build()
                .map_err(|error| match error {
                    regex::Error::CompiledTooBig(limit) => {
                        format!("the pattern needs more than {limit} bytes when built")
                    }
                    error => {
                        let text = error.to_string();
                        text.lines()
                            .last()
                            .unwrap_or_default()
                            .trim_start_matches("error: ")
                            .trim()
                            .to_owned()
                    }
                })
        };
        build(written)?;
        Ok(Pattern { written: written.into(), whole: build(&format!(r"\A(?:{written})\z"))? })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_as_written() {
        let regex = |text: &str| ValueTest::Regex(Pattern::new(text).unwrap());
        for (test, value, holds) in [
            (ValueTest::Exact("a".into()), "a", true),
            (ValueTest::Exact("a".into()), "A", false),
            (ValueTest::Prefix("/foo".into()), "/foobar", true),
            (ValueTest::Prefix("".into()), "", true),
            (ValueTest::Present, "", true),
            (regex("a|b"), "b", true),
            (regex("a|b"), "ab", false),
            (regex("a+"), "xa", false),
            (regex(".*"), "", true),
            (regex("(?i)yes"), "YES", true),
        ] {
            assert_eq!(test.holds(value.as_bytes()), holds, "{test:?} on {value:?}");
        }
    }

    #[test]
    fn bad_patterns_say_why() {
        let long = "a".repeat(1025);
        for pattern in ["*", "(", "a)(b", "(?=a)", "a{100}{100}{100}", &long] {
            assert!(!Pattern::new(pattern).unwrap_err().is_empty(), "{pattern}");
        }
    }

    #[test]
    fn each_test_asks_for_its_part() {
        let exact = |text: &str| ValueTest::Exact(text.into());
        let name = HeaderName::from_static;
        let mut headers = HeaderMap::new();
        for (key, value) in [("x-a", "1"), ("x-b", "1"), ("x-b", "2"), ("x-empty", "")] {
            headers.append(name(key), value.parse().unwrap());
        }
        let request = Request {
            authority: "Shop.test:8080",
            method: "GET",
            scheme: "http",
            path: "/Cart",
            query: Some("a=1&b&a=2&c=%20"),
            headers: &headers,
        };
        for (test, holds) in [
            (Test::Path(exact("/Cart")), true),
            (Test::Path(exact("/cart")), false),
            (Test::Path(ValueTest::ExactIgnoringCase("/cart".into())), true),
            (Test::Path(ValueTest::PrefixIgnoringCase("/CA".into())), true),
            (Test::Path(ValueTest::PrefixIgnoringCase("/carts".into())), false),
            (Test::Target(exact("/Cart?a=1&b&a=2&c=%20")), true),
            (Test::Method(exact("get")), false),
            (Test::Scheme(exact("http")), true),
            (Test::Authority(exact("Shop.test:8080")), true),
            (Test::Authority(exact("shop.test")), false),
            (Test::Header(name("x-a"), exact("1")), true),
            (Test::Header(name("x-b"), exact("1,2")), true),
            (Test::Header(name("x-b"), exact("1")), false),
            (Test::Header(name("x-none"), ValueTest::Prefix("".into())), false),
            (Test::Header(name("x-empty"), ValueTest::Present), true),
            (Test::WithoutHeader(name("x-a"), exact("1")), false),
            (Test::WithoutHeader(name("x-a"), exact("2")), true),
            (Test::WithoutHeader(name("x-none"), exact("1")), true),
            (Test::WithoutHeader(name("x-none"), ValueTest::Present), true),
            (Test::WithoutHeader(name("x-empty"), ValueTest::Present), false),
            (Test::WithoutHeader(name("x-none"), ValueTest::Regex(Pattern::new(".*").unwrap())), false),
            (Test::Query("a".into(), exact("1")), true),
            (Test::Query("a".into(), exact("2")), false),
            (Test::Query("b".into(), exact("")), true),
            (Test::Query("c".into(), exact("%20")), true),
            (Test::Query("d".into(), ValueTest::Present), false),
        ] {
            assert_eq!(test.holds(&request), holds, "{test:?}");
        }
    }
}
