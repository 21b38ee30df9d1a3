//! Which endpoint of a cluster gets the next request.

mod least_request;

pub use least_request::least_request;
