//! One copy on its way: connect, send, read the answer and forget it.

use std::time::Duration;

use bytes::Bytes;
use http::{Uri, Version};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use tokio::sync::mpsc;

/// A longer answer is not read to its end; its connection is closed.
const MAX_ANSWER: usize = 1 << 20;

/// A piece of a body, or its end. A channel that closes without an end broke the body off.
pub(super) enum Piece {
    Data(Bytes),
    End,
}

/// Why a copy did not get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// We broke it off.
    GivenUp,
    /// The target did.
    Failed,
}

/// A copy.
pub(super) struct Copy {
    pub(super) head: RequestHeader,
    pub(super) peer: HttpPeer,
    pub(super) pieces: mpsc::Receiver<Piece>,
    /// All that it may take.
    pub(super) time: Duration,
}

impl Copy {
    /// Carries it there.
    pub(super) async fn carry(self, connector: &Connector<()>) -> Result<(), End> {
        let time = self.time;
        tokio::time::timeout(time, self.go(connector)).await.unwrap_or(Err(End::Failed))
    }

    async fn go(mut self, connector: &Connector<()>) -> Result<(), End> {
        fn failed<E>(_: E) -> End {
            End::Failed
        }
        let (mut session, _) = connector.get_http_session(&self.peer).await.map_err(failed)?;
        if matches!(session, HttpSession::H2(_)) {
            for_http2(&mut self.head);
        }
        session.write_request_header(Box::new(self.head)).await.map_err(failed)?;
        loop {
            match self.pieces.recv().await {
                Some(Piece::Data(data)) => session.write_request_body(data, false).await.map_err(failed)?,
                Some(Piece::End) => break,
                None => {
                    session.shutdown().await;
                    return Err(End::GivenUp);
                }
            }
        }
        session.finish_request_body().await.map_err(failed)?;
        session.read_response_header().await.map_err(failed)?;
        while session.response_header().is_some_and(|head| head.status.is_informational()) {
            session.read_response_header().await.map_err(failed)?;
        }
        let mut read = 0;
        while let Some(piece) = session.read_response_body().await.map_err(failed)? {
            read += piece.len();
            if read > MAX_ANSWER {
                session.shutdown().await;
                return Ok(());
            }
        }
        let idle = self.peer.options.idle_timeout;
        connector.release_http_session(session, &self.peer, idle).await;
        Ok(())
    }
}

/// In HTTP/2 the host is part of the target, and the body needs no framing.
fn for_http2(head: &mut RequestHeader) {
    head.set_version(Version::HTTP_2);
    let host = head.remove_header("host");
    head.remove_header("transfer-encoding");
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let target = host
        .as_ref()
        .and_then(|host| host.to_str().ok())
        .and_then(|host| Uri::builder().scheme("http").authority(host).path_and_query(path).build().ok());
    if let Some(target) = target {
        head.set_uri(target);
    }
}
