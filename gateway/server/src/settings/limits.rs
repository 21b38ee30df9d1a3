//! Ceilings: of what is read as configuration, and of what clients may send, hold and have.

use serde::Deserialize;

use super::{Bytes, ranges};

/// What may be had at most.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct Limits {
    /// One file.
    #[serde(deserialize_with = "ranges::some_size")]
    pub(crate) file: Bytes,
    /// One document of a file.
    #[serde(deserialize_with = "ranges::some_size")]
    pub(crate) document: Bytes,
    /// Objects in all files.
    #[serde(deserialize_with = "ranges::number::<_, 1, 100_000_000>")]
    pub(crate) objects: usize,
    /// A request's head; in HTTP/2, its list of fields as it counts itself.
    pub(crate) headers: Bytes,
    /// Fields of a request's head (Envoy: 100).
    pub(crate) fields: usize,
    /// The target in a request's first line, or `:path`.
    pub(crate) target: Bytes,
    /// A request's body; `None` for any.
    pub(crate) body: Option<Bytes>,
    /// Connections of clients to the whole process; `None` for half of the descriptors that it may have.
    pub(crate) connections: Option<usize>,
    /// Connections to one port; `None` for any number.
    pub(crate) listener_connections: Option<usize>,
    /// Connections from one address; `None` for any number.
    pub(crate) client_connections: Option<usize>,
    /// Requests at a time on one connection of HTTP/2.
    pub(crate) streams: u32,
    /// Frames of HTTP/2 that carry neither request nor body, more than what was sent to the client stands for, within
    /// a minute.
    pub(crate) control_frames: u32,
    /// Requests at a time on one connection of HTTP/2 whose windows have no room for their answers.
    pub(crate) unfunded_streams: usize,
    /// Bytes of answers that a connection of HTTP/2 may leave with us before no other request of it begins.
    pub(crate) buffered: Bytes,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file: Bytes(64 << 20),
            document: Bytes(16 << 20),
            objects: 1_000_000,
            headers: Bytes(64 << 10),
            fields: 100,
            target: Bytes(16 << 10),
            body: None,
            connections: None,
            listener_connections: None,
            client_connections: None,
            streams: 100,
            control_frames: 4000,
            unfunded_streams: 4,
            buffered: Bytes(256 << 10),
        }
    }
}

impl Limits {
    /// Which is wrong, and why; below are ceilings that are built in, which nothing here can lift.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let within = |name: &'static str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err((name, format!("limits.{name} is {value}; it takes {least} to {most}")))
        };
        within("headers", self.headers.0, 256, 1 << 20)?;
        within("fields", self.fields as u64, 1, 256)?;
        within("target", self.target.0, 1, 65_534)?;
        within("streams", u64::from(self.streams), 1, 10_000)?;
        within("controlFrames", u64::from(self.control_frames), 100, u64::from(u32::MAX) / 4)?;
        within("unfundedStreams", self.unfunded_streams as u64, 1, 10_000)?;
        within("buffered", self.buffered.0, 1, 1 << 40)?;
        for (name, most) in [
            ("connections", self.connections),
            ("listenerConnections", self.listener_connections),
            ("clientConnections", self.client_connections),
        ] {
            most.map_or(Ok(()), |most| within(name, most as u64, 1, 1 << 30))?;
        }
        Ok(())
    }

    /// Connections to the whole process. A request may need a descriptor for its upstream, so half of them is for
    /// clients, less what the process itself needs.
    pub(crate) fn connections(&self) -> usize {
        const OWN: usize = 100;
        self.connections.unwrap_or_else(|| (descriptors().saturating_sub(OWN) / 2).max(OWN))
    }
}

/// The descriptors that this process may have, as Linux tells it; without an answer, what is usual.
fn descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    match soft {
        Some("unlimited") => 1 << 20,
        soft => soft.and_then(|soft| soft.parse().ok()).unwrap_or(1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_refused() {
        assert_eq!(Limits::default().check(), Ok(()));
        let fields = Limits { fields: 257, ..Limits::default() };
        assert_eq!(fields.check().unwrap_err().1, "limits.fields is 257; it takes 1 to 256");
        let connections = Limits { connections: Some(0), ..Limits::default() };
        assert!(connections.check().unwrap_err().1.starts_with("limits.connections is 0"));
        assert_eq!(Limits { connections: Some(7), ..Limits::default() }.connections(), 7);
        assert!(Limits::default().connections() >= 100);
    }
}
