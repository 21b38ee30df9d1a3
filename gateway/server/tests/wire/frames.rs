//! HTTP/2 requests by hand: what became of stream 1, whether the connection is kept, and what the upstream, which speaks
//! HTTP/1, saw.
//!
//! Frames are separated by ` ; `, fields by `|`, name and value by the first `=` behind a name's first character. `@get` and
//! `@post` are the four pseudo-fields of a request. `HEADERS[end,open@3]`: `end` ends the stream, `open` leaves the block
//! open, `@3` is the stream, else 1. `FRAME[kind,flags,stream] hex` is any other.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use trysail_testkit::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PREFACE, RESET, SETTINGS, field,
    frame,
};

use crate::lane::{self, Bench, FENCE};
use crate::table;

#[test]
fn frames() {
    table::check(
        "frames.txt",
        80,
        2,
        |_| true,
        |bench, lane, row| {
            let got = ask(bench, lane, row.sent);
            let seen = bench.seen(lane);
            format!("{got}: {seen}")
        },
    );
}

/// Sends the frames of a row on a connection of its own.
pub(crate) fn ask(bench: &Bench, lane: usize, row: &str) -> String {
    let mut stream = TcpStream::connect(bench.gateway.address()).expect("the gateway accepts");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time");
    stream.set_nodelay(true).expect("a socket");
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for part in row.split(" ; ") {
        bytes.extend(read(lane, part));
    }
    let _ = stream.write_all(&bytes);
    let got = match answer(&mut stream, 1) {
        Ok(got) => got,
        Err(end) => return format!("{end} closed"),
    };
    let block = block(lane, ":method=GET|:scheme=http|:path=/.fence|:authority=shop.test");
    let _ = stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1001, &block));
    match answer(&mut stream, 1001) {
        Ok(status) if status.starts_with(&FENCE.to_string()) => format!("{got} kept"),
        Ok(other) => format!("{got} then {other}"),
        Err(end) => format!("{got} {end} closed"),
    }
}

/// The end of a stream, or of the connection.
fn answer(stream: &mut TcpStream, of: u32) -> Result<String, String> {
    let (mut status, mut interim, mut length, mut trailers) = (None, 0, 0, false);
    loop {
        let frame = match Frame::read(stream) {
            Ok(frame) => frame,
            Err(error) => return Err(format!("{:?}", error.kind()).replace("UnexpectedEof", "end")),
        };
        match frame.kind {
            GOAWAY => return Err(format!("GOAWAY {}", frame.error())),
            _ if frame.stream != of => continue,
            RESET => {
                return Ok(match status {
                    Some(status) => format!("{status} RESET {}", frame.error()),
                    None => format!("RESET {}", frame.error()),
                });
            }
            HEADERS => match frame.status() {
                Some(100..=199) => interim += 1,
                Some(said) if status.is_none() => status = Some(said),
                _ => trailers = true,
            },
            DATA => length += frame.payload.len(),
            _ => {}
        }
        if frame.flags & END_STREAM != 0 {
            let status = status.map_or("?".to_owned(), |status| status.to_string());
            let more = [(interim > 0, "interim"), (length > 0, "body"), (trailers, "trailers")];
            let more: Vec<&str> = more.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
            let own = of != 1 || !status.starts_with('2');
            return Ok(if more.is_empty() || own { status } else { format!("{status} {}", more.join(" ")) });
        }
    }
}

/// A frame that a row describes.
fn read(lane: usize, part: &str) -> Vec<u8> {
    let (kind, rest) = part.split_once('[').expect("a kind and its flags");
    let (flags, rest) = rest.split_once(']').expect("flags end");
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    let (flags, stream) = flags.split_once('@').unwrap_or((flags, "1"));
    let has = |flag: &str| flags.split(',').any(|one| one == flag);
    let stream_end = if has("end") { END_STREAM } else { 0 };
    let block_end = if has("open") { 0 } else { END_HEADERS };
    let number = |text: &str| text.trim().parse::<u32>().expect("a number");
    match kind {
        "HEADERS" => frame(HEADERS, stream_end | block_end, number(stream), &block(lane, rest)),
        "CONTINUATION" => frame(CONTINUATION, block_end, number(stream), &block(lane, rest)),
        "DATA" => frame(DATA, stream_end, number(stream), &table::bytes(rest)),
        "FRAME" => {
            let mut numbers = flags.split(',').map(number);
            let mut next = || numbers.next().expect("a kind, flags and a stream");
            let (kind, flags) = (u8::try_from(next()), u8::try_from(next()));
            let hex =
                |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
            let payload: Vec<u8> = rest.as_bytes().chunks(2).map(hex).collect();
            frame(kind.expect("a byte"), flags.expect("a byte"), next(), &payload)
        }
        other => panic!("no frame {other}"),
    }
}

fn block(lane: usize, fields: &str) -> Vec<u8> {
    let fields = fields
        .replace("@get", ":method=GET|:scheme=http|:path=/|:authority=shop.test")
        .replace("@post", ":method=POST|:scheme=http|:path=/|:authority=shop.test");
    let mut out = Vec::new();
    for one in fields.split('|').filter(|field| !field.is_empty()) {
        let skip = one.chars().next().map_or(0, char::len_utf8);
        let at = one[skip..].find('=').map_or_else(|| panic!("no = in {one}"), |at| at + skip);
        out.extend(field(&lane::bytes(lane, &one[..at]), &lane::bytes(lane, &one[at + 1..])));
    }
    out
}
