//! What goes over the wire, byte for byte: raw requests in, raw answers out, and a recording upstream in between.
//!
//! The rows are texts: `requests.txt` (HTTP/1), `frames.txt` (HTTP/2) and `answers.txt` (upstreams); `table` says how they
//! are written. `UPDATE_EXPECT=1` writes what happened behind each row; read the diff.

#[expect(dead_code, reason = "written for the other end-to-end tests, of which these need a part")]
#[path = "../it/gateway.rs"]
mod gateway;
mod lane;
mod table;

mod answers;
mod counted;
mod frames;
mod mutations;
mod paths;
mod requests;
