//! What of a request conditions may ask for, borrowed from whatever carries the request.

use http::HeaderMap;

/// A request, as conditions see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// The authority as sent, with its port if it has one.
    pub authority: &'r str,
    /// The method.
    pub method: &'r str,
    /// `http` or `https`.
    pub scheme: &'r str,
    /// The path, without its query.
    pub path: &'r str,
    /// The query, without its question mark; `None` where there is none.
    pub query: Option<&'r str>,
    /// The header fields.
    pub headers: &'r HeaderMap,
}
