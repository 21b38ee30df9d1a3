//! The PROXY protocol: the header is taken off a connection before anything else of it is read.
//!
//! How it is read is `trysail_edge::proxy_header`. Who is believed is a setting, asked in `room`; what the addresses of a
//! header are good for is told there too.

use std::io;
use std::net::SocketAddr;

use trysail_edge::proxy_header::{Header, read as read_header};

use super::conn::Conn;

/// Takes the header off a connection's first bytes and gives the client that it tells. `optional`: where something else
/// comes, it is left where it is.
pub(super) async fn take(conn: &mut Conn, optional: bool) -> io::Result<Option<SocketAddr>> {
    loop {
        match read_header(conn.pending()) {
            Header::Whole { length, client } => {
                conn.skip(length);
                return Ok(client);
            }
            Header::Absent if optional => return Ok(None),
            Header::Absent | Header::Broken => return Err(io::ErrorKind::InvalidData.into()),
            Header::Partial if conn.fill().await? == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Header::Partial => {}
        }
    }
}
