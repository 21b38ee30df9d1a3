//! The upstream of gRPC: HTTP/2 by prior knowledge, a message and status 0 to every call.

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// So wide that no update of it is sent for small messages.
const WINDOW: u32 = 16 << 20;

/// A message of so many bytes as it goes over the wire: not compressed, and how long it is.
pub(crate) fn message(length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.put_bytes(b'x', length);
    bytes.freeze()
}

/// What is answered to every call.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The upstream's version.
    pub version: String,
    /// Bytes of the message.
    pub body: usize,
    /// `grpc-status`, 0 where all went well.
    pub status: &'static str,
}

/// Accepts for ever, each connection in a task of its own.
pub async fn serve(listener: TcpListener, reply: Reply) -> std::io::Result<()> {
    let message = message(reply.body);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (reply, message) = (reply.clone(), message.clone());
        // A connection that breaks is the proxy's to report; here it just ends.
        tokio::spawn(async move { converse(stream, &reply, &message).await });
    }
}

async fn converse(stream: TcpStream, reply: &Reply, message: &Bytes) -> anyhow::Result<()> {
    let mut server = h2::server::Builder::new();
    server.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let mut connection = server.handshake(stream).await?;
    let answer = Response::builder().header("content-type", "application/grpc");
    let answer = answer.header("x-version", &reply.version).body(())?;
    let status = HeaderValue::from_static(reply.status);
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        let (answer, message, status) = (answer.clone(), message.clone(), status.clone());
        // Answered beside others that are not whole yet.
        tokio::spawn(async move { respond_to(request, respond, answer, (message, status)).await });
    }
    Ok(())
}

async fn respond_to(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    answer: Response<()>,
    (message, status): (Bytes, HeaderValue),
) -> anyhow::Result<()> {
    let mut body = request.into_body();
    while let Some(bytes) = body.data().await {
        body.flow_control().release_capacity(bytes?.len())?;
    }
    let mut sending = respond.send_response(answer, false).context("an answer")?;
    sending.send_data(message, false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", status);
    sending.send_trailers(trailers)?;
    Ok(())
}
