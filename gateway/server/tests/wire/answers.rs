//! Upstreams' answers: what the client gets of them. `HEAD`, `POST`, `1.0`, `WS` and `H2` before ` > ` are the requests that are not
//! a plain GET; `<close>` at the end closes the upstream's connection.

use trysail_testkit::client::{Client, Reply};
use trysail_testkit::recorder::Said;

use crate::lane::{self, Bench};
use crate::table::POSITIONS;
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

/// Where an answer ends may be told in two ways, or the bytes behind it may be another: nobody is given that one. What an
/// upstream says unasked goes to no client, since a connection with a byte too much on it is closed.
#[test]
fn an_answer_that_was_not_asked_for_goes_to_nobody() {
    const OTHER: &str = "HTTP/1.1 200 OK|Content-Length: 5||other";
    let rows = [
        "HTTP/1.1 200 OK|Content-Length: 2||ok",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|ok|0||",
        // The suite's rows that fall short: they are taken, and what stands behind them is not.
        "HTTP/1.1 200 OK|Content-Length: 2|Transfer-Encoding: chunked||2|ok|0||",
        "HTTP/1.1 200 OK|Content-Length: 17|Transfer-Encoding: chunked||2|ok|0||",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Content-Length: 200||2|ok|0||",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|ok|||",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|ok|||0||",
        "HTTP/1.1 200 OK\\nContent-Length: 2\\n\\nok",
        "HTTP/1.1 200 OK\\nTransfer-Encoding: chunked\\n\\n2|ok|0||",
        // No body, whatever their fields say.
        "HTTP/1.1 204 No Content|Content-Length: 39||",
        "HTTP/1.1 304 Not Modified|Content-Length: 39||",
        "HTTP/1.1 200 OK|Content-Length: 0||",
        "HTTP/1.1 502 Bad|Content-Length: +2||ok",
    ];
    POSITIONS.iter().for_each(|settings| goes_to_nobody(settings, &rows, OTHER));
}

fn goes_to_nobody(settings: &str, rows: &[&str], other: &str) {
    let bench = Bench::with(1, settings);
    for row in rows {
        for _ in 0..3 {
            bench.upstreams[0].say(Said { bytes: table::bytes(&format!("{row}{other}")), close: false });
            ask(&bench, 0, "POST");
            bench.upstreams[0]
                .say(Said { bytes: table::bytes("HTTP/1.1 200 OK|Content-Length: 4||mine"), close: false });
            for _ in 0..2 {
                let next = ask(&bench, 0, "POST");
                assert!(next.starts_with("200") && next.ends_with("mine"), "after {row}: {next}");
            }
        }
        bench.upstreams[0].take();
    }
    bench.end_of_requests();
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
