//! One canonical path: what conditions are asked of, and what is sent on, so that the two can not differ.
//!
//! Istio `MeshConfig.pathNormalization`; what each step does is Envoy's `normalize_path` (Chromium's canonical URL),
//! `merge_slashes` and `path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD`, to the character.
//!
//! A path that is canonical already, as nearly all are, is borrowed. Making one canonical twice changes nothing, so a
//! second proxy behind this one sees the same path.

mod forms;

use std::borrow::Cow;

pub use forms::{Form, Forms};

/// How much of a path is made canonical. Istio's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Normalization {
    /// Nothing.
    None,
    /// Dot segments are removed (`%2e` is a dot), `\` becomes `/`, escapes of letters, digits, `-`, `_`, `.` and `~`
    /// are undone, and what may not stand in a path is escaped.
    #[default]
    Base,
    /// Then slashes that follow each other become one.
    MergeSlashes,
    /// Before all that, `%2F` becomes `/`, and `%5C` becomes `\`.
    DecodeAndMergeSlashes,
}

/// What is made of paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathRules {
    /// How much of them is made canonical.
    pub normalization: Normalization,
    /// Which are refused, as they are written.
    pub refused: Forms,
}

impl From<Normalization> for PathRules {
    fn from(normalization: Normalization) -> Self {
        PathRules { normalization, refused: Forms::NONE }
    }
}

/// A request's target with its path made canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'t> {
    /// The path; borrowed where it was canonical.
    pub path: Cow<'t, str>,
    /// The query as sent, without its question mark; `None` where there is none.
    pub query: Option<&'t [u8]>,
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The path does not begin with `/`, as in `OPTIONS *`: Envoy answers 404.
    NotAbsolute,
    /// The path says a zero byte: 400.
    ZeroByte,
    /// It has a form that the rules refuse: 400.
    Form(Form),
}

/// The target of a request in origin form. A fragment is cut off.
pub fn canonical(target: &[u8], rules: impl Into<PathRules>) -> Result<Target<'_>, Refusal> {
    let rules = rules.into();
    let target = target.split(|byte| *byte == b'#').next().unwrap_or_default();
    let (path, query) = match target.iter().position(|byte| *byte == b'?') {
        Some(at) => (target.get(..at).unwrap_or_default(), target.get(at + 1..)),
        None => (target, None),
    };
    if !path.starts_with(b"/") {
        return Err(Refusal::NotAbsolute);
    }
    if let Some(form) = rules.refused.find(path) {
        return Err(Refusal::Form(form));
    }
    let path = match rules.normalization {
        Normalization::None => match std::str::from_utf8(path) {
            Ok(path) => path.into(),
            // What is not text can't be compared with text; it is sent on as it is compared.
            Err(_) => text(path.iter().flat_map(|byte| verbatim(*byte)).collect()).into(),
        },
        Normalization::Base => base(path)?,
        Normalization::MergeSlashes => merge_slashes(base(path)?),
        Normalization::DecodeAndMergeSlashes => match decode_slashes(path) {
            None => merge_slashes(base(path)?),
            Some(decoded) => merge_slashes(base(&decoded)?.into_owned().into()),
        },
    };
    Ok(Target { path, query })
}

/// Dot segments, backslashes and escapes.
fn base(path: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    if is_plain(path)
        && let Ok(path) = std::str::from_utf8(path)
    {
        return Ok(path.into());
    }
    let mut out: Vec<u8> = Vec::with_capacity(path.len() + 8);
    // Where in `out` a `%` stands that began no escape.
    let mut bare: Vec<usize> = Vec::new();
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        if let Some(after) = after_dot(rest) {
            rest = match out.last() {
                Some(b'/') => dot_segment(after, &mut out),
                _ => {
                    out.push(b'.');
                    after
                }
            };
            continue;
        }
        rest = after;
        match (byte, escaped(after)) {
            (b'\\', _) => out.push(b'/'),
            (0, _) | (b'%', Some(0)) => return Err(Refusal::ZeroByte),
            (b'%', Some(said)) => {
                match said {
                    said if is_unreserved(said) => out.push(said),
                    _ => out.extend([b'%'].into_iter().chain(after.iter().copied().take(2))),
                }
                rest = after.get(2..).unwrap_or_default();
            }
            (b'%', None) => {
                bare.push(out.len());
                out.push(b'%');
            }
            (byte, _) if is_allowed(*byte) => out.push(*byte),
            (byte, _) => out.extend(escape(*byte)),
        }
    }
    // A `%` that began no escape must not begin one now that others are undone: `%%300` would be `%00`.
    for at in bare.into_iter().rev() {
        if out.get(at) == Some(&b'%') && escaped(out.get(at + 1..).unwrap_or_default()).is_some() {
            out.splice(at..=at, *b"%25");
        }
    }
    match std::str::from_utf8(path) {
        Ok(same) if out == path => Ok(same.into()),
        _ => Ok(text(out).into()),
    }
}

/// Whether nothing in a path is to be changed: no escape, nothing to be escaped, no segment that begins with a dot.
fn is_plain(path: &[u8]) -> bool {
    path.iter().all(|byte| is_allowed(*byte)) && !path.windows(2).any(|pair| pair == b"/.")
}

/// What stands behind a dot, plain or escaped, if a dot is what comes next.
fn after_dot(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'.', after @ ..] | [b'%', b'2', b'e' | b'E', after @ ..] => Some(after),
        _ => None,
    }
}

/// After a slash and a dot: `/./` stays where it is, `/../` goes back one segment, and anything else is a name that
/// begins with a dot. Gives what is still to be read.
fn dot_segment<'p>(after: &'p [u8], out: &mut Vec<u8>) -> &'p [u8] {
    match after {
        [] => after,
        [b'/' | b'\\', rest @ ..] => rest,
        _ => match after_dot(after) {
            Some([]) => {
                go_back(out);
                &[]
            }
            Some([b'/' | b'\\', rest @ ..]) => {
                go_back(out);
                rest
            }
            _ => {
                out.push(b'.');
                after
            }
        },
    }
}

/// Takes the last segment off a path that ends with a slash; the first slash stays.
fn go_back(out: &mut Vec<u8>) {
    let inner = out.len().saturating_sub(1);
    let slash = out.get(..inner).and_then(|out| out.iter().rposition(|byte| *byte == b'/'));
    out.truncate(slash.map_or(1, |slash| slash + 1));
}

fn merge_slashes(path: Cow<'_, str>) -> Cow<'_, str> {
    if !path.contains("//") {
        return path;
    }
    let mut merged = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !merged.ends_with('/') {
            merged.push(letter);
        }
    }
    merged.into()
}

/// `%2F` and `%5C` undone; `None` where there are none.
fn decode_slashes(path: &[u8]) -> Option<Vec<u8>> {
    let slash = |rest: &[u8]| match rest {
        [b'%', b'2', b'f' | b'F', ..] => Some(b'/'),
        [b'%', b'5', b'c' | b'C', ..] => Some(b'\\'),
        _ => None,
    };
    if !path.windows(3).any(|three| slash(three).is_some()) {
        return None;
    }
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        (rest, _) = match slash(rest) {
            Some(slash) => (rest.get(3..).unwrap_or_default(), out.push(slash)),
            None => (after, out.push(*byte)),
        };
    }
    Some(out)
}

/// A path that was put together, or one with a query, as it may be sent: what may stand in neither is escaped, and what is
/// escaped stays so. As clients' own, a `%` that begins no escape is left alone.
pub(crate) fn sendable(target: String) -> String {
    let legal = |in_query: bool, byte: u8| match in_query {
        false => byte == b'%' || is_allowed(byte),
        true => byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>'),
    };
    let (path, query) = target.as_bytes().split_at(target.find('?').unwrap_or(target.len()));
    let parts = [(false, path), (true, query)];
    if parts.iter().all(|(in_query, part)| part.iter().all(|byte| legal(*in_query, *byte))) {
        return target;
    }
    let mut out = Vec::with_capacity(target.len() + 8);
    for (in_query, part) in parts {
        for byte in part {
            match legal(in_query, *byte) {
                true => out.push(*byte),
                false => out.extend(escape(*byte)),
            }
        }
    }
    text(out)
}

/// The byte that two hexadecimal digits say.
fn escaped(after: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match after {
        [high, low, ..] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    }
}

fn escape(byte: u8) -> [u8; 3] {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    [b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// A byte of a path that is not to be changed, as characters of a text.
fn verbatim(byte: u8) -> impl Iterator<Item = u8> {
    let (kept, escaped) = if byte.is_ascii() { (Some(byte), None) } else { (None, Some(escape(byte))) };
    kept.into_iter().chain(escaped.into_iter().flatten())
}

/// What only ASCII was put into is text.
fn text(ascii: Vec<u8>) -> String {
    String::from_utf8(ascii).unwrap_or_default()
}

/// RFC 3986 "unreserved", but for the dot, which is looked at before.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~')
}

/// What stands in a canonical path as it is; the rest is escaped. Chromium's table, the backslash aside.
fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'"' | b'#' | b'%' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use Normalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None as Off};

    fn of(target: &str, how: Normalization) -> String {
        match canonical(target.as_bytes(), how) {
            Ok(Target { path, query: None }) => path.into_owned(),
            Ok(Target { path, query: Some(query) }) => format!("{path}?{}", String::from_utf8_lossy(query)),
            Err(refusal) => format!("{refusal:?}"),
        }
    }

    /// Rows of Envoy's `path_utility_test.cc` and of Istio's tests of its four levels, and what is between.
    #[test]
    fn base_is_envoys() {
        for (target, path) in [
            ("/xyz", "/xyz"),
            ("/x/y/z", "/x/y/z"),
            ("/a/b/../c", "/a/c"),
            ("/a/b/./c", "/a/b/c"),
            ("/a/b/../../../../c", "/c"),
            ("/a/..\\c", "/c"),
            ("/%c0%af", "/%c0%af"),
            ("/%5c%25", "/%5c%25"),
            ("/a/b/%2E%2E/c", "/a/c"),
            ("/a/b/%2e./c", "/a/c"),
            ("/a/b/%2E/c", "/a/b/c"),
            ("/../a/b", "/a/b"),
            ("/./a/b", "/a/b"),
            ("/A/B/C", "/A/B/C"),
            ("/a/%2F%2f/c", "/a/%2F%2f/c"),
            ("/xyz/.%00../abc", "ZeroByte"),
            ("/xyz/%00.%00./abc", "ZeroByte"),
            ("/xyz/AAAAA%%0000/abc", "ZeroByte"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/..", "/"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a.b/c..d", "/a.b/c..d"),
            ("/a%2eb", "/a.b"),
            ("//a//../b", "//a/b"),
            ("/a//b", "/a//b"),
            ("\\a\\b", "NotAbsolute"),
            ("/%61dmin%2D%7e", "/admin-~"),
            ("/%zz%4", "/%zz%4"),
            ("/%%300", "/%2500"),
            ("/%%30%30", "/%2500"),
            ("/%4%31", "/%2541"),
            ("/a b\"<>`{|}^", "/a%20b%22%3C%3E%60%7B%7C%7D%5E"),
            ("/é", "/%C3%A9"),
            ("/!$&'()*+,;=:@[]", "/!$&'()*+,;=:@[]"),
            ("/a?b/../c", "/a?b/../c"),
            ("/a/..?x=\\%00", "/?x=\\%00"),
            ("/a#/../b?c", "/a"),
            ("/a?b#c", "/a?b"),
            ("/?", "/?"),
            ("*", "NotAbsolute"),
            ("", "NotAbsolute"),
            ("?a", "NotAbsolute"),
            ("a/b", "NotAbsolute"),
        ] {
            assert_eq!(of(target, Base), path, "{target}");
        }
    }

    #[test]
    fn the_other_levels() {
        for (target, off, merged, decoded) in [
            ("/a/../b", "/a/../b", "/b", "/b"),
            ("//a///b//", "//a///b//", "/a/b/", "/a/b/"),
            ("/a//../b", "/a//../b", "/a/b", "/a/b"),
            ("/a%2f%2Fb", "/a%2f%2Fb", "/a%2f%2Fb", "/a/b"),
            ("/a%5C..%5cb", "/a%5C..%5cb", "/a%5C..%5cb", "/b"),
            ("/a%252fb", "/a%252fb", "/a%252fb", "/a%252fb"),
            ("/a%%32Fb", "/a%%32Fb", "/a%252Fb", "/a%252Fb"),
            ("/a%2F%00", "/a%2F%00", "ZeroByte", "ZeroByte"),
            ("/a//?b//c", "/a//?b//c", "/a/?b//c", "/a/?b//c"),
            ("/\\a", "/\\a", "/a", "/a"),
            ("/a#b", "/a", "/a", "/a"),
        ] {
            assert_eq!(of(target, Off), off, "{target}");
            assert_eq!(of(target, MergeSlashes), merged, "{target}");
            assert_eq!(of(target, DecodeAndMergeSlashes), decoded, "{target}");
        }
        assert_eq!(canonical(b"/\xff", Off).map(|target| target.path), Ok("/%FF".into()));
        assert_eq!(canonical(b"/\xff", Base).map(|target| target.path), Ok("/%FF".into()));
    }

    #[test]
    fn what_may_not_be_sent_is_escaped_once() {
        for (target, sent) in [
            ("/a/b?c=%20&d", "/a/b?c=%20&d"),
            ("/a b%20c%", "/a%20b%20c%"),
            ("/<é>\n\\#?x", "/%3C%C3%A9%3E%0A%5C%23?x"),
            ("/x y?k=é y#<>\"{}|?", "/x%20y?k=%C3%A9%20y%23%3C%3E%22{}|?"),
        ] {
            assert_eq!(sendable(target.to_owned()), sent, "{target}");
            assert_eq!(sendable(sent.to_owned()), sent, "twice is once");
        }
    }

    #[test]
    fn what_is_canonical_is_borrowed() {
        for target in ["/", "/reviews/0?q=%2e", "/a.b/.c/%2F", "/%C3%A9"] {
            let path = canonical(target.as_bytes(), Base).map(|target| target.path);
            assert!(matches!(path, Ok(Cow::Borrowed(_))), "{target}");
        }
    }
}
