//! The end of the process, in this order: readiness says no; after `preStopDelay`, so that who asks for it has noticed,
//! nothing more is accepted; what is running ends, for `drain` at most; the process's own ports close.
//!
//! Where another process has taken over its own ports close first, as that one answers there, and nobody is told that it is
//! not ready: its connections end, and those that come are the other's.
//!
//! It leaves as soon as there is nothing left to wait for, and at once when it is asked a second time. What it waits
//! for is told all the while.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};

use super::upgrading::HandedOver;
use super::{LAST_LINES, Running};
use crate::listener::{Connections, Open, Ports};
use crate::render;
use crate::supervisor::Supervisor;

/// How often it is told how far it has come.
const TOLD: Duration = Duration::from_secs(1);

/// What ending takes beside its limits: own ports, last lines, threads.
const REST: Duration = Duration::from_secs(5);

/// Why a process ends.
pub(super) enum End {
    /// It was asked to.
    Asked,
    /// Another one serves in its place.
    HandedOver(HandedOver),
}

impl Running {
    /// Stops to accept, lets running requests end, and leaves as soon as there is none.
    pub(crate) fn stop(self) {
        self.end(End::Asked);
    }

    pub(super) fn end(mut self, end: End) {
        let began = Instant::now();
        // Nobody else asks for anything here.
        drop(self.door.take());
        let (drain, delay) = (self.settings.drain.0, self.settings.pre_stop_delay.0);
        let (delay, successor) = match &end {
            End::Asked => (delay, None),
            End::HandedOver(HandedOver { process, .. }) => (Duration::ZERO, Some(*process)),
        };
        self.supervisor.stopping("stopping", delay + drain + REST);
        let mut own_ports = self.own_ports;
        if successor.is_some() {
            let own_ports = std::mem::take(&mut own_ports);
            self.runtime.block_on(close(own_ports));
        }
        if delay.is_zero() {
            // Before readiness says no, so that whoever hears that is told the end with the next answer.
            self.connections.drain();
        }
        self.leaving.store(successor.is_none(), Ordering::Release);
        let waker = self.follower.waker();
        let (runtime, access) = (&self.runtime, self.access.as_deref());
        let (connections, supervisor) = (&self.connections, &self.supervisor);
        let follower = self.follower;
        let signals = &mut self.signals;
        let at_once = runtime.block_on(async {
            let end = async {
                wait(delay, supervisor).await;
                // Requests that are running now end their connections with their answers.
                connections.drain();
                info!(
                    "draining: {}, at most {} s",
                    render::counted(connections.open(), "connection"),
                    drain.as_secs()
                );
                // Its thread may be within a reading, which must not keep a second signal from being heard.
                let reloader = runtime.spawn_blocking(|| follower.stop()).await;
                if let Ok(Some(reloader)) = reloader {
                    end_connections(reloader.into_ports(), connections, drain, supervisor).await;
                }
                close(own_ports).await;
            };
            tokio::select! {
                () = end => false,
                () = signals.stop(&waker, access) => true,
            }
        });
        let took = began.elapsed().as_millis();
        let left_to = successor.map_or(String::new(), |process| format!(", process {process} serves"));
        match (connections.open(), at_once) {
            (0, _) => info!("stopped after {took} ms{left_to}"),
            (left, false) => {
                info!("stopped after {took} ms{left_to}, {} cut", render::counted(left, "connection"));
            }
            (left, true) => warn!(
                "stopped after {took} ms by a second signal{left_to}, {} cut",
                render::counted(left, "connection")
            ),
        }
        #[cfg(feature = "otlp")]
        if let Some(exporter) = &self.exporter {
            let last = async { tokio::time::timeout(LAST_LINES, exporter.send_all()).await };
            let _ = self.runtime.block_on(last);
        }
        self.runtime.shutdown_timeout(Duration::from_millis(100));
        // Requests that were cut have told of themselves.
        if let Some(access) = self.access {
            access.close(LAST_LINES);
        }
        // Who asked for the other process may wait for this: the stream ends with us.
        drop(end);
    }
}

/// Closes the process's own ports.
async fn close(ports: Vec<Open>) {
    for port in ports {
        port.stop().await;
    }
}

/// Serves on, for whoever has not yet seen that readiness says no.
async fn wait(delay: Duration, supervisor: &Supervisor) {
    if delay.is_zero() {
        return;
    }
    info!("not ready any more; connections are accepted for another {} s (preStopDelay)", delay.as_secs());
    let until = Instant::now() + delay;
    let waited = tokio::time::sleep(delay);
    tell_until(waited, supervisor, || format!("not ready any more, stops accepting in {} s", left(until)))
        .await;
}

/// Closes the ports, and waits for their connections to end.
async fn end_connections(ports: Ports, connections: &Connections, drain: Duration, supervisor: &Supervisor) {
    let until = Instant::now() + drain;
    let drained = ports.drain(connections, drain);
    tell_until(drained, supervisor, || {
        let open = render::counted(connections.open(), "connection");
        format!("draining: {open} left, {} s until they are cut", left(until))
    })
    .await;
}

/// Tells how far it has come until it has.
async fn tell_until(done: impl Future<Output = ()>, supervisor: &Supervisor, status: impl Fn() -> String) {
    tokio::pin!(done);
    loop {
        supervisor.status(&status());
        tokio::select! {
            biased;
            () = &mut done => return,
            () = tokio::time::sleep(TOLD) => {}
        }
    }
}

/// Seconds until then, rounded up, so that it is never 0 while it waits.
fn left(until: Instant) -> u64 {
    let left = until.saturating_duration_since(Instant::now());
    u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// What readiness looks at: set once the process is about to end.
pub(super) type Leaving = std::sync::Arc<AtomicBool>;
