//! HTTP/1 requests: the statuses that came, whether the connection is kept, and what the upstream saw.

use std::io::ErrorKind;
use std::time::Duration;

use trysail_testkit::client::Client;

use crate::lane::{self, Bench, FENCE};
use crate::table;

/// How long an answer is waited for before the client says that it has nothing more to say.
const QUIET: Duration = Duration::from_millis(500);

#[test]
fn requests() {
    table::check("requests.txt", 200, |bench, lane, row| {
        let bytes = lane::bytes(lane, row);
        let answers = ask(bench, lane, &bytes);
        let seen = bench.seen(lane);
        // What goes on as it came is not written twice.
        let seen = if seen == table::text(&lane_bytes(row)) { "same".to_owned() } else { seen };
        format!("{answers}: {seen}")
    });
}

fn lane_bytes(row: &str) -> Vec<u8> {
    table::bytes(row)
}

/// Sends the bytes, then asks whether the connection is still good.
pub(crate) fn ask(bench: &Bench, lane: usize, bytes: &[u8]) -> String {
    let mut client = Client::connect(bench.gateway.address()).expect("the gateway accepts");
    client.set_read_timeout(QUIET).expect("a time");
    let host = String::from_utf8(lane::host(lane)).expect("a name");
    let fence = format!("GET /.fence HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let mut statuses = Vec::new();
    let mut reply = client.send_raw(bytes);
    if let Err(error) = &reply
        && matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    {
        // It waits for more, and gets none.
        statuses.push("waits".to_owned());
        client.set_read_timeout(Duration::from_secs(5)).expect("a time");
        let _ = client.finish();
        reply = client.read_reply(false);
        return match reply {
            Ok(reply) => format!("waits {} closed", reply.status),
            Err(_) => "waits closed".to_owned(),
        };
    }
    client.set_read_timeout(Duration::from_secs(5)).expect("a time");
    for asked in 0..4 {
        match reply {
            Ok(reply) if reply.status == FENCE => return format!("{} kept", statuses.join(" ")),
            Ok(reply) => statuses.push(reply.status.to_string()),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return format!("{} {error}", statuses.join(" "));
            }
            Err(_) => break,
        }
        reply = if asked == 0 { client.send_raw(fence.as_bytes()) } else { client.read_reply(false) };
    }
    if statuses.is_empty() { "closed".to_owned() } else { format!("{} closed", statuses.join(" ")) }
}
