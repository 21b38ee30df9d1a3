//! When and how often a failed request is tried again: what a route says. Who decides by it is `upstream`'s.

use std::time::Duration;

/// Istio `HTTPRetry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries after the first; 0 for none.
    pub attempts: u32,
    /// How long one try may take to its answer's head; `None` for as long as the route's timeout lets it.
    pub per_try: Option<Duration>,
    /// After which failures.
    pub on: RetrySet,
    /// After which statuses, where [`RetryOn::Codes`] is among the failures.
    pub codes: Vec<u16>,
    /// Whether another endpoint is looked for than those that were tried.
    pub other_endpoints: bool,
    /// The base of the waits between tries.
    pub backoff: Duration,
}

/// Istio's policy where a route says nothing of retries.
impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts: 2,
            per_try: None,
            on: RetrySet::DEFAULT,
            codes: Vec::new(),
            other_endpoints: true,
            backoff: Duration::from_millis(25),
        }
    }
}

/// A failure after which a request may be tried again. Envoy `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// Any status of 500 and over, or no answer at all.
    ServerError,
    /// 502, 503 or 504, or no answer at all.
    GatewayError,
    /// No answer at all.
    Reset,
    /// No answer, and the request was not sent.
    ResetBeforeRequest,
    /// No connection.
    ConnectFailure,
    /// 409.
    Conflict,
    /// The upstream refused the stream before it looked at it.
    RefusedStream,
    /// A status that is listed.
    Codes,
    /// The upstream says that it limits rates.
    RateLimited,
    /// gRPC's status 1.
    Cancelled,
    /// gRPC's status 4.
    DeadlineExceeded,
    /// gRPC's status 8.
    ResourceExhausted,
    /// gRPC's status 13.
    Internal,
    /// gRPC's status 14.
    Unavailable,
    /// Fields that only the client could name, which an edge does not let it: never.
    Headers,
    /// Of HTTP/3, which is not spoken: never.
    Http3ConnectFailure,
}

impl RetryOn {
    /// Every word there is, with its meaning.
    pub const WORDS: [(&'static str, RetryOn); 16] = [
        ("5xx", RetryOn::ServerError),
        ("gateway-error", RetryOn::GatewayError),
        ("reset", RetryOn::Reset),
        ("reset-before-request", RetryOn::ResetBeforeRequest),
        ("connect-failure", RetryOn::ConnectFailure),
        ("retriable-4xx", RetryOn::Conflict),
        ("refused-stream", RetryOn::RefusedStream),
        ("retriable-status-codes", RetryOn::Codes),
        ("envoy-ratelimited", RetryOn::RateLimited),
        ("cancelled", RetryOn::Cancelled),
        ("deadline-exceeded", RetryOn::DeadlineExceeded),
        ("resource-exhausted", RetryOn::ResourceExhausted),
        ("internal", RetryOn::Internal),
        ("unavailable", RetryOn::Unavailable),
        ("retriable-headers", RetryOn::Headers),
        ("http3-post-connect-failure", RetryOn::Http3ConnectFailure),
    ];
}

/// A set of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetrySet(u32);

impl RetrySet {
    /// Istio's set where a route says nothing.
    pub const DEFAULT: RetrySet = RetrySet(0)
        .with(RetryOn::ConnectFailure)
        .with(RetryOn::RefusedStream)
        .with(RetryOn::Unavailable)
        .with(RetryOn::Cancelled)
        .with(RetryOn::Codes);

    /// The set with one more.
    pub const fn with(self, on: RetryOn) -> RetrySet {
        RetrySet(self.0 | 1 << on as u32)
    }

    /// Whether it has this.
    pub fn has(self, on: RetryOn) -> bool {
        self.0 & (1 << on as u32) != 0
    }

    /// Its words, in the order of [`RetryOn::WORDS`].
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        RetryOn::WORDS.iter().filter(move |(_, on)| self.has(*on)).map(|(word, _)| *word)
    }
}
