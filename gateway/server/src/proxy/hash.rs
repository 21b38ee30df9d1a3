//! The key of a request, where its cluster's endpoints are chosen by one: what is hashed, and the cookie for a
//! client that has none. How values become a number is told in `trysail_upstream::balance::key`.

use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;
use http::header::COOKIE;
use pingora_http::RequestHeader;
use trysail_routing::snapshot::Policy;
use trysail_routing::snapshot::parameter;
use trysail_routing::snapshot::policy::{Balancer, ConsistentHash, HashCookie, HashKey};
use trysail_upstream::balance::key;

use super::view::Ends;

/// A request's key, and the `set-cookie` that brings the client back to it.
#[derive(Default)]
pub(super) struct Hashed {
    /// `None` where nothing is hashed, or the request lacks what is.
    pub(super) key: Option<u64>,
    /// A cookie that was made for it.
    pub(super) cookie: Option<HeaderValue>,
}

/// The key of a request under its cluster's policy; `ends` are its connection's, `client` is its address where trusted hops told it.
pub(super) fn of(
    head: &RequestHeader,
    ends: impl Fn() -> Ends,
    client: Option<IpAddr>,
    policy: &Policy,
) -> Hashed {
    let Balancer::Hash(hash) = &policy.balancer else { return Hashed::default() };
    let Some(wanted) = &hash.key else { return Hashed::default() };
    let plain = |key| Hashed { key, cookie: None };
    match wanted {
        HashKey::Header(name) => {
            plain(key::of_values(head.headers.get_all(name).iter().map(HeaderValue::as_bytes)))
        }
        HashKey::SourceIp => {
            let peer = || Some(ends().client?.ip());
            plain(client.or_else(peer).map(of_address))
        }
        HashKey::QueryParameter(name) => {
            plain(parameter(head.uri.query(), name).map(|value| key::of_value(value.as_bytes())))
        }
        HashKey::Cookie(cookie) => {
            let fields = head.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
            match key::cookie(fields, &cookie.name) {
                Some(value) => plain(Some(key::of_value(value))),
                None if cookie.ttl.is_some() => new_cookie(ends(), cookie),
                None => Hashed::default(),
            }
        }
    }
}

/// The key of a connection under its cluster's policy: only its client's address can be hashed.
pub(crate) fn of_client(address: Option<IpAddr>, policy: &Policy) -> Option<u64> {
    let Balancer::Hash(ConsistentHash { key: Some(HashKey::SourceIp), .. }) = &policy.balancer else {
        return None;
    };
    address.map(of_address)
}

fn of_address(address: IpAddr) -> u64 {
    key::of_value(address.to_canonical().to_string().as_bytes())
}

/// A cookie from the connection's addresses, so that requests that race on one connection get the same.
fn new_cookie(ends: Ends, cookie: &HashCookie) -> Hashed {
    let text = |address: Option<SocketAddr>| address.map(|address| address.to_string()).unwrap_or_default();
    let value = key::new_cookie(&text(ends.client), &text(ends.local));
    let written = format!("{}=\"{value}\"{}", cookie.name, cookie.attributes);
    Hashed { key: Some(key::of_value(value.as_bytes())), cookie: HeaderValue::from_str(&written).ok() }
}
