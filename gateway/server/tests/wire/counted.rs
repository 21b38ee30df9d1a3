//! What is refused is counted: as requests with the flag DPE, and by reason.

use std::time::Duration;

use trysail_testkit::wait::eventually;

use crate::lane::{self, Bench};
use crate::table::POSITIONS;
use crate::{frames, requests};

#[test]
fn refusals_are_counted_by_reason() {
    POSITIONS.iter().for_each(|settings| are_counted(settings));
}

fn are_counted(settings: &str) {
    let bench = Bench::with(1, &format!("{settings}pathRefuse: [ALL]\n"));
    let rows = [
        ("GET / HTTP/1.1|Host: shop.test|Content-Length: +1||", "content_length", 400),
        ("CONNECT a:1 HTTP/1.1|Host: a:1||", "connect", 405),
        ("POST / HTTP/1.1|Host: shop.test|Transfer-Encoding: gzip, chunked||", "transfer_coding", 501),
        ("GET /%00 HTTP/1.1|Host: shop.test||", "path", 400),
        // Its first piece is good, and read with the head; the other comes when the request is on its way.
        ("POST / HTTP/1.1|Host: shop.test|Transfer-Encoding: chunked||4000|{x*16384}|z|", "chunk", 400),
    ];
    for (row, _, status) in rows {
        assert_eq!(requests::ask(&bench, 0, &lane::bytes(0, row)), format!("{status} closed"), "{row}");
    }
    assert_eq!(frames::ask(&bench, 0, "HEADERS[end] @get|x=\\sa"), "400 kept");
    // Pingora refuses this one, before anyone here is asked.
    assert_eq!(frames::ask(&bench, 0, "HEADERS[end] :method=CONNECT|:authority=shop.test:443"), "405 kept");
    let others = [("field_value", 1.0), ("unreadable", 1.0)];
    for (reason, times) in rows.map(|(_, reason, _)| (reason, 1.0)).into_iter().chain(others) {
        let label = format!("reason=\"{reason}\"");
        let is = || bench.gateway.sum("trysail_refused_requests_total", &[&label]);
        eventually(Duration::from_secs(10), reason, || is() == times);
    }
    for (code, times) in [("400", 4.0), ("405", 1.0), ("501", 1.0)] {
        let label = format!("response_code=\"{code}\"");
        let labels = [label.as_str(), "response_flags=\"DPE\""];
        eventually(Duration::from_secs(10), code, || {
            bench.gateway.sum("istio_requests_total", &labels) == times
        });
    }
    // So that there is one that is not refused.
    assert_eq!(requests::ask(&bench, 0, &lane::bytes(0, "GET / HTTP/1.1|Host: shop.test||")), "200 kept");
    bench.end_of_requests();
}
