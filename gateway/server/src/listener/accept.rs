//! The accept loop of a port: it pauses where there are as many connections as there may be, or no descriptor for
//! another one, and goes on once there is.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::server::ShutdownWatch;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::room::Room;
use super::{Bound, Open};
use crate::metrics::Refused;

/// How long it waits for a descriptor: whoever has one may take a while.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts to accept from a socket, with `tasks` loops, once the gate is open.
pub(super) fn open(
    bound: Bound,
    room: Room,
    tasks: usize,
    runtime: &Handle,
    mut gate: watch::Receiver<bool>,
) -> Open {
    let Bound { address, socket } = bound;
    let copy = socket.try_clone().ok();
    let (stop, stopped) = watch::channel(false);
    let room = Arc::new(room);
    let handle = runtime.clone();
    let loops = runtime.spawn(async move {
        let mut closed = stopped.clone();
        tokio::select! {
            open = gate.wait_for(|open| *open) => if open.is_err() { return },
            _ = closed.changed() => return,
        }
        let Ok(listener) = TcpListener::from_std(socket).map(Arc::new) else { return };
        let loops: Vec<_> = (0..tasks)
            .map(|_| handle.spawn(accept(listener.clone(), room.clone(), stopped.clone())))
            .collect();
        // The socket closes with the last of them.
        drop(listener);
        for each in loops {
            let _ = each.await;
        }
    });
    Open { address, copy, stop, loops }
}

async fn accept(listener: Arc<TcpListener>, room: Arc<Room>, mut stopped: ShutdownWatch) {
    let connections = stopped.clone();
    loop {
        let accepted = async {
            room.space().await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, client)) => room.take(stream, client, &connections),
            Err(error) if is_of_the_client(&error) => {}
            // What stands in the way does not go by at once: no descriptor, no memory.
            Err(_) => {
                room.edge().refused(Refused::Descriptors);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether the next connection may be taken at once: this one had ended before it was (`accept(2)`).
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}
