//! One row of `requests.txt`: a request as a person types it, and what it should bring.
//!
//! `METHOD URL   name: value   name: value   => expected   # comment`: two or more spaces stand between the URL
//! and each header, so that a value may hold single ones; `#` begins a comment after `=>` only, so that a value
//! may hold it too.

/// A request and its expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its line in the file, from 1.
    pub line: usize,
    /// As written; `TCP` and `TLS` are connections without a request.
    pub method: String,
    /// Whether the URL begins with `https`.
    pub https: bool,
    /// From the URL; without one there, 80, or 443 for `https`.
    pub port: u16,
    /// The authority as it is sent, with its port if the URL has one.
    pub host: String,
    /// With the query; `/` if the URL has none.
    pub path: String,
    /// In the order written, names as written.
    pub headers: Vec<(String, String)>,
    /// The text after `=>`, each run of white space made one space. Empty in a row that `UPDATE_EXPECT=1` is
    /// to fill.
    pub expected: String,
    /// The text after `#`, empty if there is none.
    pub comment: String,
}

impl Row {
    /// Reads a line of the file; `None` for an empty one and a comment.
    pub(crate) fn read(line: usize, text: &str) -> Result<Option<Row>, String> {
        if text.trim().is_empty() || text.trim_start().starts_with('#') {
            return Ok(None);
        }
        let parts = Parts::of(text).ok_or("no `=>` after the request")?;
        let request = parts.request.trim();
        let (method, rest) = request.split_once(char::is_whitespace).ok_or("method and URL are needed")?;
        let rest = rest.trim_start();
        let (url, rest) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
        let (host, port, path) = read_url(url)?;
        if !rest.is_empty() && separator(rest) != Some(0) {
            return Err("two spaces are needed between the URL and a header".to_owned());
        }
        let headers = split_at_separators(rest).into_iter().map(read_header).collect::<Result<_, _>>()?;
        Ok(Some(Row {
            line,
            method: method.to_owned(),
            https: url.starts_with("https:"),
            port,
            host,
            path,
            headers,
            expected: fold(parts.expected),
            comment: parts.comment.map(fold).unwrap_or_default(),
        }))
    }
}

/// The line with another expectation; its comment stays in its column if there is room.
pub(crate) fn with_expected(text: &str, expected: &str) -> String {
    let Some(parts) = Parts::of(text) else { return text.to_owned() };
    let mut line = format!("{}=> {expected}", parts.request);
    if let Some(comment) = parts.comment {
        let column = text.len() - comment.len() - 1;
        let before = text.get(..column).unwrap_or_default().chars().count();
        let width = line.chars().count();
        line.push_str(&" ".repeat(before.saturating_sub(width).max(2)));
        line.push('#');
        line.push_str(comment);
    }
    line.trim_end().to_owned()
}

struct Parts<'a> {
    /// Up to `=>`, with the white space before it.
    request: &'a str,
    expected: &'a str,
    /// After the `#`.
    comment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Parts<'a>> {
        let stands_alone = |at: usize| {
            let (before, after) = (text[..at].chars().next_back(), text[at + 2..].chars().next());
            before.is_some_and(char::is_whitespace) && after.is_none_or(char::is_whitespace)
        };
        let (at, _) = text.match_indices("=>").find(|(at, _)| stands_alone(*at))?;
        let rest = &text[at + 2..];
        let starts_comment = |at: &usize| rest[..*at].chars().next_back().is_some_and(char::is_whitespace);
        let comment = rest.match_indices('#').map(|(at, _)| at).find(starts_comment);
        let expected = &rest[..comment.unwrap_or(rest.len())];
        Some(Parts { request: &text[..at], expected, comment: comment.map(|at| &rest[at + 1..]) })
    }
}

fn read_url(url: &str) -> Result<(String, u16, String), String> {
    let (standard, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (80, rest),
        (_, Some(rest)) => (443, rest),
        _ => return Err(format!("{url} is no http:// or https:// URL")),
    };
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if host.is_empty() {
        return Err(format!("{url} has no host"));
    }
    // A colon within brackets belongs to an IPv6 address.
    let port = match host.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((_, port)) => port.parse().map_err(|_| format!("{port} is no port"))?,
        None => standard,
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((host.to_owned(), port, path))
}

fn read_header(text: &str) -> Result<(String, String), String> {
    // From 1, so that `:authority` and the like keep their colon.
    let colon = text.char_indices().skip(1).find(|(_, letter)| *letter == ':').map(|(at, _)| at);
    let colon = colon.ok_or_else(|| format!("{text} is no `name: value`"))?;
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    if name.contains(char::is_whitespace) {
        return Err(format!("a header's name has no spaces: {name}"));
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// Where the first separator begins: two spaces or more, or a tab.
fn separator(text: &str) -> Option<usize> {
    [text.find("  "), text.find('\t')].into_iter().flatten().min()
}

fn split_at_separators(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return pieces;
        }
        let (piece, rest) = text.split_at(separator(text).unwrap_or(text.len()));
        pieces.push(piece);
        text = rest;
    }
}

fn fold(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let actual = match Row::read(1, text) {
            Ok(None) => "nothing".to_owned(),
            Err(why) => format!("error: {why}"),
            Ok(Some(Row { line: _, method, https: _, port, host, path, headers, expected, comment })) => {
                let headers: String =
                    headers.iter().map(|(name, value)| format!(" [{name}={value}]")).collect();
                format!("{method} {port} {host} {path}{headers} => {expected} # {comment}")
            }
        };
        assert_eq!(actual.trim_end(), expected, "{text}");
    }

    #[test]
    fn rows() {
        check("", "nothing");
        check("   # GET http://shop.test/ => x", "nothing");
        check("GET http://shop.test/cart => v1", "GET 80 shop.test /cart => v1 #");
        check(
            "GET http://shop.test/cart   x-canary: yes   => reviews/v2      # shop/web http[0]",
            "GET 80 shop.test /cart [x-canary=yes] => reviews/v2 # shop/web http[0]",
        );
        check(
            "GET http://shop.test/    => reviews/v1 90,   reviews/v2 10",
            "GET 80 shop.test / => reviews/v1 90, reviews/v2 10 #",
        );
        check(
            "GET http://nobody.test/  => 404 no virtual host",
            "GET 80 nobody.test / => 404 no virtual host #",
        );
        check("GET http://shop.test:8080/x  => 404", "GET 8080 shop.test:8080 /x => 404 #");
        check("GET https://shop.test  => v1", "GET 443 shop.test / => v1 #");
        check("GET http://[::1]/x  => v1", "GET 80 [::1] /x => v1 #");
        check("GET http://[::1]:81/x  => v1", "GET 81 [::1]:81 /x => v1 #");
        check("GET http://shop.test?a=>b  => v1", "GET 80 shop.test /?a=>b => v1 #");
        check(
            "POST   http://shop.test/   user-agent: Mozilla 5 # (x)  :scheme: https\tx-empty:   => v1",
            "POST 80 shop.test / [user-agent=Mozilla 5 # (x)] [:scheme=https] [x-empty=] => v1 #",
        );
        check("GET http://shop.test/ => v1#a # b", "GET 80 shop.test / => v1#a # b");
        check("GET http://shop.test/ =>", "GET 80 shop.test / =>  #");
    }

    #[test]
    fn rows_that_cannot_be_read() {
        check("GET http://shop.test/", "error: no `=>` after the request");
        check("=> v1", "error: no `=>` after the request");
        check("http://shop.test/ => v1", "error: method and URL are needed");
        check("GET shop.test/ => v1", "error: shop.test/ is no http:// or https:// URL");
        check("GET http:///x => v1", "error: http:///x has no host");
        check("GET http://shop.test:http/ => v1", "error: http is no port");
        check("GET http://shop.test:70000/ => v1", "error: 70000 is no port");
        check(
            "GET http://shop.test/ x-a: 1 => v1",
            "error: two spaces are needed between the URL and a header",
        );
        check("GET http://shop.test/  canary => v1", "error: canary is no `name: value`");
        check("GET http://shop.test/  x a: 1 => v1", "error: a header's name has no spaces: x a");
    }

    #[test]
    fn expectations_are_rewritten_in_place() {
        let rows = [
            ("GET http://a/  => v1", "v2", "GET http://a/  => v2"),
            ("GET http://a/  =>", "v2", "GET http://a/  => v2"),
            ("GET http://a/  => v1      # why", "v2 50", "GET http://a/  => v2 50   # why"),
            ("GET http://a/  => v1  # why", "404 no route", "GET http://a/  => 404 no route  # why"),
            ("# comment", "v2", "# comment"),
        ];
        for (text, answer, expected) in rows {
            assert_eq!(with_expected(text, answer), expected);
        }
    }
}
