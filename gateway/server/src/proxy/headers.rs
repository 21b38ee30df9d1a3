//! Header fields that the gateway itself sets, towards the upstream and towards the client.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use super::connection::Connection;
use crate::settings::ServerHeader;

/// Names that every request is searched for: a text would be read and checked each time.
static CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static EXPECTED_TIME: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// Forgets in which case a request's names were written: they go on in lower case, as from Envoy. Else Pingora keeps
/// each name twice, and looks twice for what is set, taken off or copied.
pub(super) fn forget_case(request: &mut RequestHeader) {
    let path = request.uri.path_and_query().map(|path| path.as_str().as_bytes());
    // A target that is no path is kept beside what can be parsed of it.
    if request.has_case() && path == Some(request.raw_path()) {
        let none = RequestHeader::from(http::Request::new(()).into_parts().0);
        let parts = http::request::Parts::from(std::mem::replace(request, none));
        *request = RequestHeader::from(parts);
    }
}

/// The same of an answer. Its reason stays where it is one of its own.
pub(super) fn forget_case_of_answer(response: &mut ResponseHeader) -> Result<()> {
    if !response.has_case() {
        return Ok(());
    }
    let reason =
        response.get_reason_phrase().filter(|reason| Some(*reason) != response.status.canonical_reason());
    let reason = reason.map(str::to_owned);
    let none = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let parts = http::response::Parts::from(std::mem::replace(response, none));
    *response = ResponseHeader::from(parts);
    match reason {
        None => Ok(()),
        Some(reason) => response.set_reason_phrase(Some(&reason)),
    }
}

/// Takes a field off that is hardly ever there; Pingora looks in two tables for one to remove.
pub(super) fn take_off(request: &mut RequestHeader, name: &HeaderName) -> Option<HeaderValue> {
    if !request.headers.contains_key(name) {
        return None;
    }
    request.remove_header(name)
}

/// Tells the upstream who asked, and how: `x-forwarded-for` gets the peer's address appended,
/// `x-forwarded-proto` is the connection's, whatever the client said.
///
/// What a client says of its own certificate is always dropped (Envoy `SANITIZE_SET`).
pub(super) fn forwarded(connection: Option<&Connection>, request: &mut RequestHeader) -> Result<()> {
    if let Some(client) = connection.and_then(|connection| connection.client.as_ref()) {
        append_address(request, client)?;
    }
    take_off(request, &CLIENT_CERT);
    if let Some(client) = connection.and_then(|connection| connection.tls.as_ref()?.client.as_ref()) {
        request.insert_header("x-forwarded-client-cert", client.forwarded.clone())?;
    }
    let scheme = connection.map_or("http", Connection::scheme);
    request.insert_header("x-forwarded-proto", HeaderValue::from_static(scheme))
}

/// Appends an address to `x-forwarded-for`.
pub(super) fn append_address(request: &mut RequestHeader, address: &HeaderValue) -> Result<()> {
    let mut before = request.headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes).peekable();
    let value = match before.peek() {
        None => Ok(address.clone()),
        // Several fields are one list.
        Some(_) => {
            HeaderValue::from_bytes(&before.chain([address.as_bytes()]).collect::<Vec<_>>().join(&b','))
        }
    };
    match value {
        Ok(value) => request.insert_header("x-forwarded-for", value),
        Err(_) => Ok(()),
    }
}

/// Tells the upstream which try this is, and how long it has.
pub(super) fn tries(request: &mut RequestHeader, attempt: u32, time: Option<Duration>) -> Result<()> {
    let attempt = match attempt {
        1 => HeaderValue::from_static("1"),
        attempt => HeaderValue::from(attempt),
    };
    request.insert_header("x-envoy-attempt-count", attempt)?;
    match time {
        // A client's own would pass for ours.
        None => {
            take_off(request, &EXPECTED_TIME);
            Ok(())
        }
        Some(time) => request
            .insert_header("x-envoy-expected-rq-timeout-ms", HeaderValue::from(time.as_millis() as u64)),
    }
}

/// The `server` field, prepared.
pub(crate) enum Server {
    /// This, over whatever is there.
    Is(HeaderValue),
    /// None.
    Absent,
    /// Whatever is there.
    Kept,
}

impl From<&ServerHeader> for Server {
    fn from(setting: &ServerHeader) -> Self {
        match setting {
            ServerHeader::Text(text) => HeaderValue::from_str(text).map_or(Server::Absent, Server::Is),
            ServerHeader::None => Server::Absent,
            ServerHeader::Pass => Server::Kept,
        }
    }
}

impl Server {
    /// Puts it into an answer.
    pub(super) fn put(&self, response: &mut ResponseHeader) -> Result<()> {
        match self {
            Server::Is(value) => response.insert_header("server", value.clone()),
            Server::Absent => {
                response.remove_header("server");
                Ok(())
            }
            Server::Kept => Ok(()),
        }
    }
}
