//! What properties are asked with first: the rows of the wire suite's tables, and the cases' configurations and requests.

use std::path::{Path, PathBuf};

const REQUESTS: &str = include_str!("../../server/tests/wire/requests.txt");
const FRAMES: &str = include_str!("../../server/tests/wire/frames.txt");
const ANSWERS: &str = include_str!("../../server/tests/wire/answers.txt");

/// What is sent in the rows of a wire table.
fn rows(table: &'static str) -> impl Iterator<Item = &'static str> {
    table
        .lines()
        .filter(|line| !line.starts_with("# "))
        .filter_map(|line| line.split_once("  =>"))
        .map(|row| row.0)
}

/// Heads of HTTP/1 with what follows them; the longest are left out, since what is long in them is of one kind.
pub fn heads() -> Vec<Vec<u8>> {
    rows(REQUESTS).map(bytes).filter(|bytes| bytes.len() < 2000).collect()
}

pub(crate) fn bodies() -> Vec<Vec<u8>> {
    let body = |message: Vec<u8>| {
        let end = message.windows(4).position(|four| four == b"\r\n\r\n")?;
        message.get(end + 4..).map(<[u8]>::to_vec)
    };
    let chunked = |row: &&str| row.to_ascii_lowercase().contains("chunked");
    let of = |table| rows(table).filter(chunked).map(bytes).filter_map(body);
    of(REQUESTS).chain(of(ANSWERS)).filter(|body| body.len() > 2 && body.len() < 2000).collect()
}

/// A target, then fields, as HTTP/2 has them.
pub(crate) fn fields() -> Vec<Vec<u8>> {
    let first_list = |row: &'static str| {
        let row = row.strip_prefix("HEADERS[")?.split(" ; ").next()?.split_once("] ")?.1;
        let row = row
            .replace("@get", ":path=/|:authority=shop.test")
            .replace("@post", ":path=/|:authority=shop.test");
        let (mut path, mut authority, mut lines) = (String::new(), String::new(), Vec::new());
        for field in row.split('|') {
            let (name, value) = field.get(1..)?.split_once('=')?;
            match (field.get(..1)?, name) {
                (":", "path") => path = value.to_owned(),
                (":", "authority") => authority = format!("http://{value}"),
                (":", _) => {}
                (first, name) => lines.push(format!("\n{first}{name}: {value}")),
            }
        }
        Some(bytes(&format!("{authority}{path}{}", lines.concat())))
    };
    rows(FRAMES).filter_map(first_list).filter(|bytes| bytes.len() < 2000).collect()
}

pub(crate) fn answers() -> Vec<Vec<u8>> {
    let head = |row: &'static str| {
        let (kind, row) = row.split_once(" > ").unwrap_or(("", row));
        let message = bytes(row.trim_end_matches("<close>"));
        let end = message.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(message.len());
        let mut head = if kind == "WS" { vec![b'!'] } else { Vec::new() };
        head.extend_from_slice(message.get(..end).unwrap_or_default());
        head
    };
    rows(ANSWERS).map(head).filter(|bytes| bytes.len() < 2000).collect()
}

pub(crate) fn authorities() -> Vec<Vec<u8>> {
    let host = |line: &[u8]| {
        line.get(..6).filter(|name| name.eq_ignore_ascii_case(b"host: ")).map(|_| line[6..].to_vec())
    };
    let mut hosts: Vec<Vec<u8>> =
        heads().iter().flat_map(|head| crate::lines(head).filter_map(host).collect::<Vec<_>>()).collect();
    hosts.extend(["[::1]:443", "[2001:db8::1]", "127.0.0.1:80", "a.b.c.:65535"].map(|host| host.into()));
    hosts.sort();
    hosts.dedup();
    hosts
}

pub(crate) fn paths() -> Vec<Vec<u8>> {
    let target = |head: &Vec<u8>| {
        let line = crate::lines(head).next()?;
        line.split(|byte| *byte == b' ').nth(1).filter(|target| target.starts_with(b"/")).map(<[u8]>::to_vec)
    };
    let mut paths: Vec<Vec<u8>> = heads().iter().filter_map(target).collect();
    let more = [
        "/a/../b?c#d",
        "/%2e%2E/./x",
        "/a//b",
        "/a%2fb%5c\\c",
        "/%%300",
        "/%2%35",
        "/%25%32%66;x",
        "/%c0%af/%00",
        "/é/%zz",
    ];
    paths.extend(more.map(|path| path.into()));
    paths.sort();
    paths.dedup();
    paths
}

/// The configurations of all cases.
pub(crate) fn documents() -> Vec<Vec<u8>> {
    cases("config.yaml").into_iter().map(String::into_bytes).collect()
}

/// The requests of all cases: method, scheme, authority and target in a line each, then fields.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    let request = |row: &str| {
        let row = row.split("=>").next()?;
        let mut parts = row.split("  ").map(str::trim).filter(|part| !part.is_empty());
        let (method, url) = parts.next()?.split_once(' ')?;
        let (scheme, rest) = url.trim().split_once("://")?;
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let fields: String = parts.map(|field| format!("\n{field}")).collect();
        Some(format!("{method}\n{scheme}\n{authority}\n{target}{fields}").into_bytes())
    };
    let tables = cases("requests.txt");
    let mut requests: Vec<Vec<u8>> = tables
        .iter()
        .flat_map(|table| table.lines())
        .filter(|line| !line.starts_with('#'))
        .filter_map(request)
        .collect();
    let kinds = [
        "GET\nhttp\nshop.test\n/api/x?q=",
        "PUT\nhttps\nwww.shop.test:81\n/cors/a\norigin: http://a.test\nx-c: aaaaaaaaaaaaaaaa!",
        "OPTIONS\nhttp\na.shop.test\n/cors\norigin: http://a.test\naccess-control-request-method: GET",
        "GET\nhttp\n[::1]:80\n/CART\nend-user: jason\nx-a: 1\nx-b: 2",
    ];
    requests.extend(kinds.map(|kind| kind.into()));
    requests.sort();
    requests.dedup();
    requests
}

/// The same, each for some configuration.
pub(crate) fn asked() -> Vec<Vec<u8>> {
    let place = |(at, request): (usize, Vec<u8>)| {
        [&[u8::try_from(at % 256).unwrap_or_default()], &request[..]].concat()
    };
    requests().into_iter().enumerate().map(place).collect()
}

pub(crate) fn proxy_headers() -> Vec<Vec<u8>> {
    let four = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\x12\x67\0\x50GET /";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let six = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"[..], &[7; 36]].concat();
    let lines = [
        "PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\nGET / HTTP/1.1\r\n",
        "PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n",
        "PROXY UNKNOWN 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.1 65536 80\r\n",
        "GET / HTTP/1.1\r\n",
    ];
    lines.map(|line| line.into()).into_iter().chain([four.to_vec(), local.to_vec(), six]).collect()
}

/// A file of each case.
fn cases(name: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/cases");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(root).expect("the cases").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    folders.iter().filter_map(|folder| std::fs::read_to_string(folder.join(name)).ok()).collect()
}

/// The bytes that a row of a wire table stands for: `|` for CR and LF; `\n`, `\r`, `\0`, `\t`, `\s` (a space), `\p` (the
/// character `|`), `\\` and `\xHH` for a byte; `{x*300}` for as many of them.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let mut taken = next.len_utf8();
        match next {
            '|' => out.extend(b"\r\n"),
            '\\' => {
                let kind = rest.chars().nth(1).expect("something follows a backslash");
                taken = 2;
                match kind {
                    'x' => {
                        taken = 4;
                        out.push(u8::from_str_radix(&rest[2..4], 16).expect("two hexadecimal digits"));
                    }
                    'n' => out.push(b'\n'),
                    'r' => out.push(b'\r'),
                    't' => out.push(b'\t'),
                    's' => out.push(b' '),
                    'p' => out.push(b'|'),
                    '0' => out.push(0),
                    '\\' => out.push(b'\\'),
                    other => panic!("\\{other} in {text}"),
                }
            }
            '{' if rest.contains('*') && rest.contains('}') => {
                let (inside, _) = rest[1..].split_once('}').expect("a closing brace");
                let (what, times) = inside.rsplit_once('*').expect("a number");
                out.extend(bytes(what).repeat(times.parse().expect("a number")));
                taken = inside.len() + 2;
            }
            other => out.extend(other.to_string().as_bytes()),
        }
        rest = &rest[taken..];
    }
    out
}
