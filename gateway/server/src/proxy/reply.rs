//! Answers that the gateway gives itself.

use bytes::Bytes;
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::headers::Server;

/// Answers with a status and a plain text; the client's connection stays as it is.
pub(super) async fn send(session: &mut Session, status: u16, body: &str, server: &Server) -> Result<()> {
    let mut response = ResponseHeader::build_no_case(status, Some(3))?;
    if !body.is_empty() {
        response.insert_header("content-type", "text/plain")?;
    }
    response.insert_header("content-length", body.len())?;
    server.put(&mut response)?;
    session.write_response_header(Box::new(response), body.is_empty()).await?;
    if !body.is_empty() {
        session.write_response_body(Some(Bytes::copy_from_slice(body.as_bytes())), true).await?;
    }
    Ok(())
}
