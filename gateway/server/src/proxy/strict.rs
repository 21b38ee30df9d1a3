//! What `edge` finds in fields, carried out on Pingora's heads. HTTP/1 requests came through it as bytes.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use trysail_edge::{Reason, fields, response as answers};

/// Makes an HTTP/2 request one that HTTP/1 can say, or refuses it.
pub(super) fn request(head: &mut RequestHeader) -> Result<(), Reason> {
    if head.version != Version::HTTP_2 {
        return Ok(());
    }
    let found = fields::read(&head.uri, &head.headers)?;
    if found.crumbs {
        let cookies =
            HeaderValue::from_bytes(&fields::joined(&head.headers)).map_err(|_| Reason::FieldValue)?;
        head.insert_header(http::header::COOKIE, cookies).map_err(|_| Reason::FieldValue)?;
    }
    if found.unwanted {
        for name in fields::UNWANTED {
            head.remove_header(name);
        }
    }
    Ok(())
}

/// Makes an upstream's answer one that means the same to everyone, or refuses it; `upgrade` where the request asked for
/// another protocol.
pub(super) fn response(upgrade: bool, head: &mut ResponseHeader) -> Result<()> {
    let found = answers::read(head.status, head.version, &head.headers, upgrade)
        .map_err(|wrong| Error::explain(ErrorType::InvalidHTTPHeader, wrong).into_up())?;
    if found.framing {
        head.remove_header(&http::header::CONTENT_LENGTH);
        head.remove_header(&http::header::TRANSFER_ENCODING);
    }
    // The head of a connection's end as HTTP says what comes after.
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    if found.connection {
        for name in answers::nominated(&head.headers) {
            head.remove_header(name.as_str());
        }
        head.remove_header(&http::header::CONNECTION);
    }
    if found.others {
        for name in answers::OF_A_CONNECTION {
            head.remove_header(name);
        }
    }
    Ok(())
}

/// A last piece that holds nothing, as HTTP/2 ends bodies with, is none: in chunks it would be the end, and Pingora writes
/// another behind it, which the upstream takes for its next request.
pub(super) fn last_piece(piece: &mut Option<Bytes>) {
    if piece.as_ref().is_some_and(Bytes::is_empty) {
        *piece = None;
    }
}

/// RFC 9112 6.1: no coding for who speaks HTTP/1.0; the answer ends with the connection.
pub(super) fn old_client(session: &mut Session, head: &mut ResponseHeader) {
    if session.req_header().version == Version::HTTP_10
        && head.remove_header(&http::header::TRANSFER_ENCODING).is_some()
    {
        session.set_keepalive(None);
    }
}

/// Takes off an answer's trailers what has no place there.
pub(super) fn trailers(trailers: &mut HeaderMap) {
    for name in answers::NO_TRAILER {
        trailers.remove(name);
    }
}
