//! Upstreams' answers: what the client gets of them. `HEAD`, `POST`, `1.0`, `WS` and `H2` before ` > ` are the requests that are not
//! a plain GET; `<close>` at the end closes the upstream's connection.

use trysail_testkit::client::{Client, Reply};
use trysail_testkit::recorder::Said;

use crate::lane::{self, Bench};
use crate::{frames, table};

#[test]
fn answers() {
    table::check(
        "answers.txt",
        40,
        3,
        |_| true,
        |bench, lane, row| {
            let (kind, answer) = row.sent.split_once(" > ").unwrap_or(("GET", row.sent));
            let (answer, close) =
                answer.strip_suffix("<close>").map_or((answer, false), |answer| (answer, true));
            bench.upstreams[lane].say(Said { bytes: table::bytes(answer), close });
            let got = ask(bench, lane, kind);
            // Once, however bad the answer.
            let asked = bench.upstreams[lane].take().len();
            if asked == 1 { got } else { format!("{got} (asked {asked} times)") }
        },
    );
}

fn ask(bench: &Bench, lane: usize, kind: &str) -> String {
    let request = match kind {
        "HEAD" => "HEAD / HTTP/1.1|host: shop.test||",
        // Asked once, whatever becomes of it; a GET may be sent again where a kept connection breaks.
        "POST" => "POST / HTTP/1.1|host: shop.test|content-length: 2||hi",
        "1.0" => "GET / HTTP/1.0|host: shop.test||",
        "WS" => {
            "GET / HTTP/1.1|host: shop.test|connection: Upgrade|upgrade: websocket|sec-websocket-key: x||"
        }
        "H2" => return frames::ask(bench, lane, "HEADERS[end] @get"),
        _ => "GET / HTTP/1.1|host: shop.test||",
    };
    let mut client = Client::connect(bench.gateway.address()).expect("the gateway accepts");
    match client.send_raw(&lane::bytes(lane, request)) {
        Ok(reply) => shown(&reply, kind == "WS"),
        Err(error) => format!("error {:?}", error.kind()),
    }
}

fn shown(reply: &Reply, upgrade: bool) -> String {
    // The gateway's own, and what is said of this connection.
    let own = |name: &str| matches!(name, "date" | "server") || (name == "connection" && !upgrade);
    let fields = reply.headers.iter().filter(|(name, _)| !own(name));
    let fields: String = fields.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    table::text(&[format!("{}\r\n{fields}\r\n", reply.status).as_bytes(), &reply.body].concat())
}
