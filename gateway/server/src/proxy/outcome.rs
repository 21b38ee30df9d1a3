//! What a failure is to the client: Envoy's status, flag and words for each kind of Pingora's errors.

use pingora_core::{Error, ErrorSource, ErrorType};

use crate::access::Details;
use crate::metrics::Flag;
use trysail_edge::Reason;

/// What a failed request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The status; 0 where nobody is there to be answered.
    pub(crate) status: u16,
    /// Why.
    pub(crate) flag: Flag,
    /// Envoy's name for the reason; empty where the answer has no body.
    pub(crate) reason: &'static str,
}

impl Outcome {
    /// The time of the whole request was over.
    pub(crate) const TIMEOUT: Outcome =
        Outcome { status: 504, flag: Flag::UpstreamTimeout, reason: "response timeout" };

    /// Why, as the access log has it. `begun` where an answer had, `per_try` where it was one try's time that was over.
    pub(crate) fn details(&self, error: &Error, begun: bool, per_try: bool) -> Details {
        match (self.flag, self.status, self.reason) {
            (Flag::DownstreamConnectionTermination, ..) => Details::Is("downstream_remote_disconnect"),
            (Flag::DownstreamProtocolError, 413, _) => Details::Is("request_payload_too_large"),
            (Flag::DownstreamProtocolError, ..) => {
                Details::Is(reason(error).map_or("downstream_protocol_error", Reason::as_str))
            }
            (Flag::StreamIdleTimeout, ..) => Details::Is("stream_idle_timeout"),
            (Flag::UpstreamTimeout, ..) if per_try => Details::Is("upstream_per_try_timeout"),
            (Flag::UpstreamTimeout, ..) => Details::Is("response_timeout"),
            (.., "") => Details::Is("internal_error"),
            (.., reason) if begun => Details::After(reason),
            (.., reason) => Details::Before(reason),
        }
    }

    /// The body that Istio's users know; `retried` where this was not the first try, `transport` where TLS failed.
    pub(crate) fn body(&self, retried: bool, transport: Option<&str>) -> String {
        match self.reason {
            "" => String::new(),
            "response timeout" => "upstream request timeout".to_owned(),
            reason => {
                let retried = if retried { "retried and the latest " } else { "" };
                let transport =
                    transport.map(|why| format!(", transport failure reason: {why}")).unwrap_or_default();
                format!(
                    "upstream connect error or disconnect/reset before headers. {retried}reset reason: {reason}{transport}"
                )
            }
        }
    }
}

/// The outcome of a request that ended with `error`.
pub(crate) fn of(error: &Error) -> Outcome {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed, H1Error, H2Error,
        HTTPStatus, InvalidCert, InvalidH2, InvalidHTTPHeader, ReadError, ReadTimedout, SocketError,
        TLSHandshakeFailure, TLSHandshakeTimedout, WriteError, WriteTimedout,
    };
    let outcome = |status, flag, reason| Outcome { status, flag, reason };
    match (&error.esource, &error.etype) {
        (ErrorSource::Downstream, HTTPStatus(status)) => outcome(*status, Flag::DownstreamProtocolError, ""),
        // The connection refused to hand on what it read.
        (ErrorSource::Downstream, ReadError) if reason(error).is_some() => {
            outcome(400, Flag::DownstreamProtocolError, "")
        }
        (_, HTTPStatus(status)) => outcome(*status, Flag::None, ""),
        // Envoy: 408 for a request that pauses for too long.
        (ErrorSource::Downstream, ReadTimedout) => outcome(408, Flag::StreamIdleTimeout, ""),
        (ErrorSource::Downstream, ConnectionClosed | ReadError | WriteError | H2Error | WriteTimedout) => {
            outcome(0, Flag::DownstreamConnectionTermination, "")
        }
        (ErrorSource::Downstream, _) => outcome(400, Flag::DownstreamProtocolError, ""),
        (_, ConnectTimedout | TLSHandshakeTimedout) => {
            outcome(503, Flag::UpstreamConnectionFailure, "connection timeout")
        }
        (
            _,
            ConnectRefused | ConnectNoRoute | ConnectError | SocketError | TLSHandshakeFailure | InvalidCert,
        ) => outcome(503, Flag::UpstreamConnectionFailure, "remote connection failure"),
        (_, ReadTimedout | WriteTimedout) => outcome(504, Flag::UpstreamTimeout, "response timeout"),
        (_, ConnectionClosed | ReadError | WriteError) => {
            outcome(503, Flag::UpstreamConnectionTermination, "connection termination")
        }
        (_, H2Error) => outcome(503, Flag::UpstreamReset, "remote reset"),
        (_, InvalidHTTPHeader | InvalidH2 | H1Error) => {
            outcome(502, Flag::UpstreamProtocolError, "protocol error")
        }
        _ => outcome(500, Flag::None, ""),
    }
}

/// Why a body is refused, where that is what went wrong.
pub(crate) fn reason(error: &Error) -> Option<Reason> {
    let cause = error.cause.as_ref()?.downcast_ref::<std::io::Error>()?;
    cause.get_ref()?.downcast_ref::<Reason>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_words() {
        for (source, kind, status, flag) in [
            (ErrorSource::Upstream, ErrorType::ConnectRefused, 503, "UF"),
            (ErrorSource::Upstream, ErrorType::ConnectTimedout, 503, "UF"),
            (ErrorSource::Upstream, ErrorType::ConnectionClosed, 503, "UC"),
            (ErrorSource::Upstream, ErrorType::ReadTimedout, 504, "UT"),
            (ErrorSource::Upstream, ErrorType::H2Error, 503, "UR"),
            (ErrorSource::Upstream, ErrorType::InvalidHTTPHeader, 502, "UPE"),
            (ErrorSource::Internal, ErrorType::InternalError, 500, "-"),
            (ErrorSource::Downstream, ErrorType::ReadError, 0, "DC"),
            (ErrorSource::Downstream, ErrorType::ReadTimedout, 408, "SI"),
            (ErrorSource::Downstream, ErrorType::HTTPStatus(413), 413, "DPE"),
            (ErrorSource::Downstream, ErrorType::InvalidHTTPHeader, 400, "DPE"),
        ] {
            let mut error = Error::new(kind);
            error.esource = source;
            let outcome = of(&error);
            assert_eq!((outcome.status, outcome.flag.as_str()), (status, flag), "{error}");
        }
    }
}
