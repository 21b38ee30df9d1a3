//! Header fields that the gateway itself sets, towards the upstream and towards the client. Those that say who a request
//! is from are in `identity`.

use std::time::Duration;

use http::header::SERVER;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::settings::ServerHeader;

/// A text would be read and checked each time.
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Forgets in which case an answer's names were written: they go on in lower case, as from Envoy, and a request's in
/// `identity` do. Else Pingora keeps each name twice, and looks twice for what is set or taken off. Its reason stays where
/// it is one of its own.
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

/// The list of addresses in `x-forwarded-for` with one more; several fields are one list. `None` where it would be too
/// long for a field.
pub(super) fn lengthened(headers: &HeaderMap, address: &HeaderValue) -> Option<HeaderValue> {
    let before = headers.get_all(&FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    let list: Vec<&[u8]> = before.chain([address.as_bytes()]).collect();
    HeaderValue::from_bytes(&list.join(&b',')).ok()
}

/// Tells the upstream which try this is, where it is not the first, and how long it has.
pub(super) fn tries(request: &mut RequestHeader, attempt: u32, time: Option<Duration>) -> Result<()> {
    if attempt != 1 {
        request.insert_header("x-envoy-attempt-count", HeaderValue::from(attempt))?;
    }
    match time {
        None => Ok(()),
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
            Server::Is(value) => response.insert_header(SERVER, value.clone()),
            Server::Absent => {
                response.remove_header(&SERVER);
                Ok(())
            }
            Server::Kept => Ok(()),
        }
    }
}
