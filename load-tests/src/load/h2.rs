//! HTTP/2 as the client speaks it: GETs, and unary calls of gRPC, whose status comes behind the message.

use std::future::poll_fn;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::http1::Stream;
use crate::origin::grpc::message;
use crate::scenario::Scenario;
use crate::wire::Wire;

/// So wide that no update of it is sent while small answers come.
const WINDOW: u32 = 16 << 20;

/// Asks on a connection, one request at a time; others may ask on it meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    sender: SendRequest<Bytes>,
    request: Request<()>,
    /// The message of a call.
    message: Option<Bytes>,
}

impl Slot {
    /// Begins HTTP/2 on a connection, which ends with its last slot.
    pub(super) async fn new(scenario: &Scenario, stream: Stream) -> anyhow::Result<Self> {
        let sender = match stream {
            Stream::Plain(stream) => handshake(stream).await?,
            Stream::Tls(stream) => {
                ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "it does not speak HTTP/2 here");
                handshake(*stream).await?
            }
        };
        let scheme = if scenario.wire.is_tls() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{}", scenario.host, scenario.path);
        let is_call = scenario.wire == Wire::Grpc;
        let request = if is_call {
            let call = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
            call.header("user-agent", "load")
        } else {
            Request::get(uri).header("user-agent", "load").header("accept", "*/*")
        };
        let request = request.version(http::Version::HTTP_2).body(())?;
        Ok(Slot { sender, request, message: is_call.then(|| message(scenario.body)) })
    }

    /// One request; gives the index of the version that answered.
    pub(super) async fn ask(&mut self, scenario: &Scenario) -> anyhow::Result<usize> {
        poll_fn(|context| self.sender.poll_ready(context)).await?;
        let ends = self.message.is_none();
        let (answer, mut sending) = self.sender.send_request(self.request.clone(), ends)?;
        if let Some(message) = &self.message {
            sending.send_data(message.clone(), true)?;
        }
        let answer = answer.await?;
        ensure!(answer.status() == 200, "status {}", answer.status().as_u16());
        let version = answer.headers().get("x-version").map_or(&b""[..], |value| value.as_bytes());
        let version = scenario.version(version);
        let early = answer.headers().get("grpc-status").cloned();
        let mut body = answer.into_body();
        let mut length = 0;
        while let Some(bytes) = body.data().await {
            let bytes = bytes?.len();
            length += bytes;
            body.flow_control().release_capacity(bytes)?;
        }
        let expected = self.message.as_ref().map_or(scenario.body, Bytes::len);
        if self.message.is_some() {
            let late = body.trailers().await?.and_then(|trailers| trailers.get("grpc-status").cloned());
            let status = late.or(early).context("a call without grpc-status")?;
            ensure!(status == "0", "grpc-status {status:?}");
        }
        ensure!(length == expected, "a body of {length} bytes instead of {expected}");
        version
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> anyhow::Result<SendRequest<Bytes>> {
    let mut client = h2::client::Builder::new();
    client.enable_push(false).initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, connection) = client.handshake(stream).await.context("the beginning of HTTP/2")?;
    // It ends when nobody can ask any more; what went wrong the asking hear.
    tokio::spawn(connection);
    Ok(sender)
}
