//! Paths as nginx compares and rewrites them → conditions on `uri`, and rewrites.

use super::yaml::{Value, map, text, truth};
use crate::snapshot::{Pattern, Substitution};

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathTest {
    Exact(String),
    Prefix(String),
    PrefixIgnoringCase(String),
    Regex(String),
}

impl PathTest {
    /// The fields of a match.
    pub(super) fn fields(&self) -> Vec<(String, Value)> {
        let uri = |how: &str, path: &str| ("uri".to_owned(), Value::Map(vec![(how.to_owned(), text(path))]));
        match self {
            PathTest::Exact(path) => vec![uri("exact", path)],
            PathTest::Prefix(path) => vec![uri("prefix", path)],
            PathTest::PrefixIgnoringCase(path) => {
                vec![uri("prefix", path), ("ignoreUriCase".to_owned(), truth(true))]
            }
            PathTest::Regex(pattern) => vec![uri("regex", pattern)],
        }
    }
}

/// A location of a host where paths are patterns: `~* "^PATH"`, so in upper or lower case, and whatever follows.
pub(super) fn of_pattern(path: &str) -> Result<PathTest, String> {
    if path == "/" {
        return Ok(PathTest::Prefix("/".to_owned()));
    }
    if is_plain(path) {
        return Ok(PathTest::PrefixIgnoringCase(path.to_owned()));
    }
    Pattern::new(path)?;
    let pattern = match alternates(path) {
        true => format!("(?i).*?(?:^{path}).*"),
        false => format!("(?i){}", with_rest(path)),
    };
    Pattern::new(&pattern)?;
    Ok(PathTest::Regex(pattern))
}

/// `rewrite-target`: nginx puts it in place of the whole path, with what the groups of the pattern took.
pub(super) fn rewrite(path: &str, target: &str) -> Result<Value, String> {
    let text_of = substitution(path, target)?;
    let pattern = match (target.contains('$'), alternates(path)) {
        (false, _) => "^/.*$".to_owned(),
        (true, true) => format!("(?i)^.*?(?:{path}).*$"),
        (true, false) => format!("(?i)^{}$", with_rest(path).trim_end_matches('$')),
    };
    Substitution::new(&pattern, &text_of)?;
    let regex = map([("match", text(pattern)), ("rewrite", text(text_of))]);
    Ok(map([("uriRegexRewrite", regex)]))
}

/// nginx's notation in RE2's: `$1` → `\1`. A group that is not there is empty.
fn substitution(path: &str, target: &str) -> Result<String, String> {
    if target.contains("://") || target.starts_with("$scheme") {
        return Err("nginx sends clients there, it is no path".to_owned());
    }
    if target.contains('?') {
        return Err("it changes the query".to_owned());
    }
    let groups =
        regex::Regex::new(path).map_err(|_| "the path is not a pattern here".to_owned())?.captures_len() - 1;
    let mut made = String::new();
    let mut letters = target.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, letters.peek().and_then(|next| next.to_digit(10))) {
            ('$', Some(group)) => {
                letters.next();
                if group as usize <= groups {
                    made.push_str(&format!("\\{group}"));
                }
            }
            ('$', None) => return Err("it has a variable of nginx's".to_owned()),
            ('\\', _) => made.push_str("\\\\"),
            (letter, _) => made.push(letter),
        }
    }
    Ok(made)
}

/// Whether no letter of it means something in a pattern.
pub(super) fn is_plain(path: &str) -> bool {
    regex::escape(path).replace("\\-", "-") == path
}

/// The pattern, and whatever follows what it takes.
fn with_rest(path: &str) -> String {
    let unescaped = |end: &str| {
        let before = path.strip_suffix(end);
        before.is_some_and(|before| before.chars().rev().take_while(|c| *c == '\\').count() % 2 == 0)
    };
    match unescaped("$") || unescaped(".*") || unescaped("(.*)") {
        true => path.to_owned(),
        false => format!("{path}.*"),
    }
}

/// Whether it has a `|` that is in no group: the mark before it then is the first alternative's alone.
fn alternates(path: &str) -> bool {
    let (mut depth, mut class, mut escaped) = (0_usize, false, false);
    for letter in path.chars() {
        match (escaped, class, letter) {
            (true, ..) => escaped = false,
            (false, _, '\\') => escaped = true,
            (false, true, ']') => class = false,
            (false, true, _) => {}
            (false, false, '[') => class = true,
            (false, false, '(') => depth += 1,
            (false, false, ')') => depth = depth.saturating_sub(1),
            (false, false, '|') if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_what_nginx_takes() {
        for (path, fits, not) in [
            ("/foo", &["/foo", "/foobar", "/FOO/x"][..], &["/fo", "/x/foo"][..]),
            ("/foo(/|$)(.*)", &["/foo", "/foo/", "/Foo/x/y"], &["/foobar"]),
            ("/v[0-9]+", &["/v1", "/v12/x", "/V1abc"], &["/v", "/x/v1"]),
            ("/a$", &["/a", "/A"], &["/a/", "/ab"]),
            (r"/a\$", &["/a$", "/a$b"], &["/a"]),
            (r"/a\.*", &["/a", "/a..", "/ab"], &["/b"]),
            ("/a|/b", &["/a", "/ax", "/x/b", "/b"], &["/x/a", "/c"]),
            ("/(a|b)", &["/a", "/bc"], &["/x/a"]),
            ("/v1.0", &["/v1.0", "/v1x0/y"], &["/v10"]),
            ("/", &["/", "/x"], &[]),
        ] {
            let test = of_pattern(path).unwrap();
            let holds = |uri: &str| match &test {
                PathTest::Exact(path) => uri == path,
                PathTest::Prefix(path) => uri.starts_with(path.as_str()),
                PathTest::PrefixIgnoringCase(path) => {
                    uri.to_ascii_lowercase().starts_with(&path.to_ascii_lowercase())
                }
                PathTest::Regex(pattern) => {
                    regex::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap().is_match(uri)
                }
            };
            for uri in fits {
                assert!(holds(uri), "{path} {uri} {test:?}");
            }
            for uri in not {
                assert!(!holds(uri), "{path} {uri} {test:?}");
            }
        }
        for path in ["/(", "/(?=a)", "/[", "/a)(b"] {
            assert!(of_pattern(path).is_err(), "{path}");
        }
    }

    #[test]
    fn targets_take_the_place_of_the_whole_path() {
        for (path, target, pattern, rewrite) in [
            ("/foo(/|$)(.*)", "/$2", "(?i)^/foo(/|$)(.*)$", r"/\2"),
            ("/foo", "/", "^/.*$", "/"),
            ("/foo/(.*)", "/bar/$1/$3", "(?i)^/foo/(.*)$", r"/bar/\1/"),
            ("/v([0-9])", "/$1", "(?i)^/v([0-9]).*$", r"/\1"),
            ("/a$", "/x$0", "(?i)^/a$", r"/x\0"),
        ] {
            let wanted =
                map([("uriRegexRewrite", map([("match", text(pattern)), ("rewrite", text(rewrite))]))]);
            assert_eq!(self::rewrite(path, target).as_ref(), Ok(&wanted), "{path} {target}");
        }
        for target in ["https://x.test/", "/x?y=1", "/$host", "/x$"] {
            assert!(self::rewrite("/foo", target).is_err(), "{target}");
        }
    }
}
