//! Requests sent on purpose, and an account of who answered them: does the split hold to the request?

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use super::reviews::version_of;
use super::table::Row;
use crate::render::thousands;

/// Who answered how many requests.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    by_version: BTreeMap<&'static str, u64>,
    failed: u64,
    first_failure: Option<String>,
}

/// Sends `requests` requests to the gateway, one after another on one connection, and counts who answered.
pub(super) async fn send(gateway: SocketAddr, requests: u64, progress: impl Fn(u64)) -> Ledger {
    let connector = Connector::new(None);
    let mut peer = HttpPeer::new(gateway, false, String::new());
    peer.options.connection_timeout = Some(Duration::from_secs(5));
    peer.options.read_timeout = Some(Duration::from_secs(10));
    let mut ledger = Ledger::default();
    for sent in 0..requests {
        match ask(&connector, &peer).await {
            Ok((200, body)) => match version_of(&body) {
                Some(version) => *ledger.by_version.entry(version).or_default() += 1,
                None => ledger.fail("an answer from no version".to_owned()),
            },
            Ok((status, body)) => ledger.fail(format!("status {status}: {}", String::from_utf8_lossy(&body))),
            Err(error) => ledger.fail(error.to_string()),
        }
        progress(sent + 1);
    }
    ledger
}

async fn ask(connector: &Connector, peer: &HttpPeer) -> Result<(u16, Vec<u8>)> {
    let (mut session, _) = connector.get_http_session(peer).await?;
    let mut request = RequestHeader::build("GET", b"/reviews/0", Some(1))?;
    request.insert_header("host", "reviews.demo")?;
    session.write_request_header(Box::new(request)).await?;
    session.finish_request_body().await?;
    session.read_response_header().await?;
    let status = session.response_header().map(|response| response.status.as_u16());
    let status = status.ok_or_else(|| Error::new(ErrorType::ReadError))?;
    let mut body = Vec::new();
    while let Some(piece) = read_piece(&mut session).await? {
        body.extend_from_slice(&piece);
    }
    connector.release_http_session(session, peer, None).await;
    Ok((status, body))
}

async fn read_piece(session: &mut HttpSession) -> Result<Option<bytes::Bytes>> {
    session.read_response_body().await
}

impl Ledger {
    fn fail(&mut self, why: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(why);
    }

    /// The account in words, and whether everything is as it should be: no failure, every version within one
    /// request of its share, and the gateway's own counters saying the same.
    pub(super) fn settle(&self, rows: &[Row]) -> (String, bool) {
        let answered: u64 = self.by_version.values().sum();
        let weights: u64 = rows.iter().map(|row| row.weight).sum();
        let mut text = format!(
            "{:<8}{:>12}{:>12}{:>12}{:>12}\n",
            "version", "configured", "share of", "answered", "counted"
        );
        let mut exact = self.failed == 0;
        for row in rows {
            let got = self.by_version.get(row.version.as_str()).copied().unwrap_or(0);
            let due = answered as f64 * row.weight as f64 / weights.max(1) as f64;
            let percent = 100.0 * row.weight as f64 / weights.max(1) as f64;
            exact &= (got as f64 - due).abs() < 1.0 && row.requests == got;
            text.push_str(&format!(
                "{:<8}{:>10.1} %{:>12.1}{:>12}{:>12}\n",
                row.version,
                percent,
                due,
                thousands(got),
                thousands(row.requests)
            ));
        }
        // An answer from a version that the route does not name would be missing above.
        exact &=
            answered == rows.iter().filter_map(|row| self.by_version.get(row.version.as_str())).sum::<u64>();
        if let Some(failure) = &self.first_failure {
            text.push_str(&format!("{} failed, the first: {failure}\n", thousands(self.failed)));
        }
        let verdict =
            if exact { "exact: every version is within one request of its share" } else { "NOT exact" };
        text.push_str(&format!("{} requests, {verdict}\n", thousands(answered + self.failed)));
        (text, exact)
    }
}
