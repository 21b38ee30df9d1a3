//! Which endpoint of a cluster gets a request.

use std::time::Duration;

use http::HeaderName;

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Balancer {
    /// Of two drawn by lot the one with fewer requests; with unequal weights, by weight / (requests + 1).
    LeastRequest(Option<Warmup>),
    /// In turn, by weight.
    RoundRobin(Option<Warmup>),
    /// By lot, by weight.
    Random,
    /// By a hash of something in the request.
    Hash(ConsistentHash),
}

/// Istio's default.
impl Default for Balancer {
    fn default() -> Self {
        Balancer::LeastRequest(None)
    }
}

/// How the share of an endpoint grows after it joined: weight × max(minimum, (age / window)^(1 / aggression)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// The window, over 0.
    pub window: Duration,
    /// The least factor: a part of one, not percent.
    pub minimum: f64,
    /// Over 0; 1 is a straight line.
    pub aggression: f64,
}

/// An endpoint by a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistentHash {
    /// What is hashed; `None` for nothing, so that every request goes to an endpoint by lot.
    pub key: Option<HashKey>,
    /// How a hash becomes an endpoint.
    pub table: HashTable,
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The values of a header field.
    Header(HeaderName),
    /// A cookie.
    Cookie(HashCookie),
    /// The client's address, without its port.
    SourceIp,
    /// The first parameter of this name in the query.
    QueryParameter(Box<str>),
}

/// A cookie that is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashCookie {
    /// Its name.
    pub name: Box<str>,
    /// `Some` where one is made for a client that has none: how long it lives; zero for as long as its session.
    pub ttl: Option<Duration>,
    /// What follows the value of one that is made: `; Max-Age=…; Path=…; attributes; HttpOnly`.
    pub attributes: Box<str>,
}

/// How a hash becomes an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashTable {
    /// Ketama's ring: points of all endpoints, the next one clockwise is taken.
    Ring {
        /// At least so many points on all endpoints together.
        minimum: u32,
    },
    /// Maglev's table.
    Maglev {
        /// How many places it has; a prime.
        size: u32,
    },
}
