//! A Service's ports, and what is spoken there.

use crate::compile::registry::Port;
use crate::origin::At;
use crate::wire::kubernetes::{self as wire, TargetPort};
use crate::wire::sink::Sink;

/// A port of a Service, and where it goes as written.
pub(super) struct ServicePort<'s> {
    pub(super) port: Port,
    pub(super) target: Option<&'s TargetPort>,
}

/// Reads a Service's ports; those that are not TCP's are no concern of ours.
pub(super) fn read<'s>(written: &'s [At<wire::ServicePort>], sink: &mut Sink<'_>) -> Vec<ServicePort<'s>> {
    let mut ports: Vec<ServicePort<'s>> = Vec::new();
    for port in written {
        let wire::ServicePort { name, protocol, app_protocol, port: number, target_port } = &port.value;
        if !is_tcp(protocol.as_ref()) {
            continue;
        }
        if ports.iter().any(|other| other.port.number == number.value) {
            sink.schema(number.pos, format!("port {} is there twice", number.value));
            continue;
        }
        let name = name.as_ref().map_or("", |name| name.as_str());
        let target = target_port.as_ref().map(|target| &target.value);
        let (h2, grpc_web) = spoken(app_protocol.as_ref().map_or(name, |app| app.as_str()));
        ports.push(ServicePort {
            port: Port {
                number: number.value,
                name: name.into(),
                target: match target {
                    Some(TargetPort::Number(number)) => *number,
                    Some(TargetPort::Name(_)) | None => number.value,
                },
                h2,
                grpc_web,
            },
            target,
        });
    }
    ports
}

/// Whether a port's `protocol` is TCP, which it is where nothing is written.
pub(super) fn is_tcp(protocol: Option<&At<String>>) -> bool {
    protocol.is_none_or(|protocol| protocol.value.is_empty() || protocol.eq_ignore_ascii_case("TCP"))
}

/// Whether HTTP/2 is spoken at a port, and whether it is gRPC-Web, by `appProtocol`, else the port's name. Istio
/// (`ConvertProtocol`): the name up to its first `-`, any case. It does not know `h2c`, which can mean nothing else.
fn spoken(name: &str) -> (bool, bool) {
    let name = name.to_ascii_lowercase();
    if name.starts_with("grpc-web") {
        return (true, true);
    }
    let h2 = name == "kubernetes.io/h2c" || matches!(name.split('-').next(), Some("http2" | "grpc" | "h2c"));
    (h2, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoken_by_name() {
        for (name, spoken_there) in [
            ("http", (false, false)),
            ("", (false, false)),
            ("http2", (true, false)),
            ("HTTP2-api", (true, false)),
            ("http2x", (false, false)),
            ("grpc", (true, false)),
            ("grpc-api", (true, false)),
            ("grpc-web", (true, true)),
            ("grpc-web-api", (true, true)),
            ("h2c", (true, false)),
            ("kubernetes.io/h2c", (true, false)),
            ("kubernetes.io/ws", (false, false)),
            ("https", (false, false)),
        ] {
            assert_eq!(spoken(name), spoken_there, "{name}");
        }
    }
}
