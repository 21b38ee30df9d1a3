//! HTTP/1 requests: the statuses that came, whether the connection is kept, and what the upstream saw.

use std::io::ErrorKind;
use std::time::Duration;

use trysail_testkit::client::Client;

use crate::lane::{self, Bench, FENCE};
use crate::table::{self, Row};

/// How long a client waits that has more to say, and does not say it.
const QUIET: Duration = Duration::from_millis(300);

/// How long one waits that is to be answered; generous, as machines are slow and shared.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn requests() {
    table::check("requests.txt", 200, 0, |_| true, |bench, lane, row| run(bench, lane, row, false));
}

/// What is said of a request does not depend on how it is cut into packets. Several in one are left out: how many are
/// answered does.
#[test]
fn requests_in_pieces() {
    let one = |row: &Row<'_>| row.sent.matches(" HTTP/1.").count() < 2 && !row.happens.starts_with("waits");
    table::check("requests.txt", 200, 0, one, |bench, lane, row| run(bench, lane, row, true));
}

fn run(bench: &Bench, lane: usize, row: &Row<'_>, pieces: bool) -> String {
    let waits = row.happens.is_empty() || row.happens.starts_with("waits");
    let limit = if waits { QUIET } else { PATIENCE };
    let answers = talk(bench, lane, &lane::bytes(lane, row.sent), limit, pieces);
    let seen = bench.seen(lane);
    // What goes on as it came is not written twice.
    let seen = if seen == table::text(&table::bytes(row.sent)) { "same".to_owned() } else { seen };
    format!("{answers}: {seen}")
}

/// Sends the bytes, then asks whether the connection is still good.
pub(crate) fn ask(bench: &Bench, lane: usize, bytes: &[u8]) -> String {
    talk(bench, lane, bytes, PATIENCE, false)
}

fn talk(bench: &Bench, lane: usize, bytes: &[u8], limit: Duration, pieces: bool) -> String {
    let mut client = Client::connect(bench.gateway.address()).expect("the gateway accepts");
    client.set_read_timeout(limit).expect("a time");
    let mut last = bytes;
    if pieces {
        for _ in 0..2 {
            let (piece, rest) = last.split_at(last.len() / 3);
            // Who is refused by now may not take it any more.
            let _ = client.send(piece);
            std::thread::sleep(Duration::from_millis(2));
            last = rest;
        }
    }
    let host = String::from_utf8(lane::host(lane)).expect("a name");
    let fence = format!("GET /.fence HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let _ = client.send(last);
    let mut reply = client.read_reply(bytes.starts_with(b"HEAD "));
    if let Err(error) = &reply
        && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    {
        // It waits for more, and gets none.
        client.set_read_timeout(PATIENCE).expect("a time");
        let _ = client.finish();
        return match client.read_reply(false) {
            Ok(reply) => format!("waits {} closed", reply.status),
            Err(_) => "waits closed".to_owned(),
        };
    }
    client.set_read_timeout(PATIENCE).expect("a time");
    let mut statuses = Vec::new();
    for asked in 0..4 {
        match reply {
            Ok(reply) if reply.status == FENCE => return format!("{} kept", statuses.join(" ")),
            Ok(reply) => statuses.push(reply.status.to_string()),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return format!("{} {error}", statuses.join(" "));
            }
            Err(_) => break,
        }
        if asked == 0 {
            let _ = client.send(fence.as_bytes());
        }
        reply = client.read_reply(false);
    }
    if statuses.is_empty() { "closed".to_owned() } else { format!("{} closed", statuses.join(" ")) }
}
