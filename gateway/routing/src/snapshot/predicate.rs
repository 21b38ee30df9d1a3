//! Conditions on a request, each built once and asked often.

use http::{HeaderMap, HeaderName};
use regex::bytes::Regex;

/// One block of conditions: all must hold.
#[derive(Debug, Default)]
pub struct Match {
    /// The condition on the path; `None` takes every path.
    pub path: Option<PathTest>,
    /// The conditions on header fields.
    pub headers: Vec<HeaderTest>,
}

impl Match {
    /// Whether it takes every request: Istio calls such a route a catch-all and tries it last.
    ///
    /// Istio `IsCatchAllRoute`: path prefix `/` or regex `.*`, and no other condition.
    pub fn takes_all(&self) -> bool {
        let path = match &self.path {
            None => true,
            Some(PathTest(ValueTest::Prefix(prefix))) => matches!(&**prefix, "/" | ""),
            Some(PathTest(ValueTest::Regex(pattern))) => pattern.as_str() == ".*",
            Some(PathTest(_)) => false,
        };
        path && self.headers.is_empty()
    }

    /// Whether a request with this path (without its query) and these fields fulfils all conditions.
    pub fn holds(&self, path: &str, headers: &HeaderMap) -> bool {
        self.path.as_ref().is_none_or(|test| test.0.holds(path.as_bytes()))
            && self.headers.iter().all(|test| test.holds(headers))
    }
}

/// A condition on the path, without the query.
#[derive(Debug)]
pub struct PathTest(pub ValueTest);

/// A condition on one header field.
#[derive(Debug)]
pub struct HeaderTest {
    /// The field's name.
    pub name: HeaderName,
    /// What its value must be.
    pub value: ValueTest,
}

impl HeaderTest {
    fn holds(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        let Some(first) = values.next() else { return false };
        let Some(second) = values.next() else { return self.value.holds(first.as_bytes()) };
        // Several fields of one name are one list: Envoy joins them with a comma before it compares.
        let mut joined = first.as_bytes().to_vec();
        for value in std::iter::once(second).chain(values) {
            joined.push(b',');
            joined.extend_from_slice(value.as_bytes());
        }
        self.value.holds(&joined)
    }
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
    /// A value that the pattern takes from its first character to its last.
    Regex(Pattern),
}

impl ValueTest {
    fn holds(&self, value: &[u8]) -> bool {
        match self {
            ValueTest::Present => true,
            ValueTest::Exact(exact) => value == exact.as_bytes(),
            ValueTest::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
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
                    error => error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
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
    fn several_fields_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", "1".parse().unwrap());
        let test = |value| HeaderTest { name: HeaderName::from_static("x-a"), value };
        assert!(test(ValueTest::Exact("1".into())).holds(&headers));
        headers.append("x-a", "2".parse().unwrap());
        assert!(test(ValueTest::Exact("1,2".into())).holds(&headers));
        assert!(!test(ValueTest::Exact("1".into())).holds(&headers));
        assert!(!test(ValueTest::Present).holds(&HeaderMap::new()));
    }
}
