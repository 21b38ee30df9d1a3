//! A WorkloadGroup's probe → how its endpoints' health is asked for.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use crate::compile::support::Written;
use crate::diagnostic::{Code, Severity};
use crate::origin::At;
use crate::snapshot::{Probe, ProbeKind};
use crate::wire::registry::{ExecProbe, GrpcProbe, HttpHeader, HttpProbe, Probe as ReadinessProbe, TcpProbe};
use crate::wire::sink::Sink;

/// How often a probe must fail in a row. Istio's reference says 3; its agent, which asks on the endpoint itself,
/// takes 1. Over a network one lost packet is no verdict.
const FAILURES: u32 = 3;

/// Reads a probe. One by a command is refused: it would have to run on the endpoint.
pub(super) fn read(written: &Option<At<ReadinessProbe>>, sink: &mut Sink<'_>) -> Option<Arc<Probe>> {
    let probe = written.as_ref()?;
    let ReadinessProbe {
        initial_delay_seconds,
        timeout_seconds,
        period_seconds,
        success_threshold,
        failure_threshold,
        http_get,
        tcp_socket,
        exec,
        grpc,
    } = &probe.value;
    let mut number = |written: &Option<At<i64>>, default: u32| {
        let Some(written) = written else { return default };
        match u32::try_from(written.value).ok().filter(|number| *number <= i32::MAX as u32) {
            // Istio: 0 is as good as absent.
            Some(0) => default,
            Some(number) => number,
            None => {
                sink.schema(written.pos, format!("{} is not within 0 to {}", written.value, i32::MAX));
                default
            }
        }
    };
    let seconds = |number: u32| Duration::from_secs(number.into());
    let initial_delay = seconds(number(initial_delay_seconds, 0));
    let timeout = seconds(number(timeout_seconds, 1));
    let period = seconds(number(period_seconds, 10));
    let success_threshold = number(success_threshold, 1);
    let failure_threshold = number(failure_threshold, FAILURES);
    let methods = [
        ("httpGet", http_get.key()),
        ("tcpSocket", tcp_socket.key()),
        ("exec", exec.key()),
        ("grpc", grpc.key()),
    ];
    let mut said = methods.iter().filter_map(|(name, key)| Some((name, (*key)?)));
    match (said.next(), said.next()) {
        (None, _) => {
            sink.schema(probe.pos.back(1), "a probe needs one of httpGet, tcpSocket, exec and grpc".into());
        }
        (Some((first, _)), Some((second, key))) => {
            sink.schema(key, format!("{first:?} and {second:?} exclude each other"));
        }
        _ => {}
    }
    let kind = match (http_get, tcp_socket, exec, grpc) {
        (Some(http), ..) => read_http(http, sink)?,
        (_, Some(tcp), ..) => {
            let TcpProbe { port, host } = &tcp.value;
            ProbeKind::Tcp { host: said_host(host), port: port.value }
        }
        (.., Some(exec), _) => {
            refuse_exec(exec, sink);
            return None;
        }
        (.., Some(grpc)) => {
            let GrpcProbe { port, service } = &grpc.value;
            let Some(port) = port else {
                sink.schema(grpc.pos.back(1), "a gRPC probe needs a port".into());
                return None;
            };
            let service = service.as_ref().map_or("", |service| service.as_str());
            ProbeKind::Grpc { port: port.value, service: service.into() }
        }
        _ => return None,
    };
    Some(Arc::new(Probe { kind, initial_delay, timeout, period, success_threshold, failure_threshold }))
}

fn said_host(host: &Option<At<String>>) -> Option<Box<str>> {
    host.as_ref().filter(|host| !host.is_empty()).map(|host| host.as_str().into())
}

fn read_http(written: &At<HttpProbe>, sink: &mut Sink<'_>) -> Option<ProbeKind> {
    let HttpProbe { path, port, host, scheme, http_headers } = &written.value;
    if let Some(scheme) = scheme.as_ref().filter(|s| !["", "HTTP", "HTTPS"].contains(&s.as_str())) {
        sink.schema(scheme.pos, format!("{:?} is not a scheme: it is HTTP or HTTPS", scheme.value));
    }
    let tls = scheme.as_ref().is_some_and(|scheme| scheme.value == "HTTPS");
    let mut headers = Vec::new();
    for header in http_headers {
        let pos = header.pos;
        let HttpHeader { name, value } = &header.value;
        let text = name.as_ref().map_or("", |name| name.as_str());
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let name_pos = name.as_ref().map_or(pos, |name| name.pos);
        let read = text.chars().all(sound).then(|| HeaderName::from_bytes(text.as_bytes()).ok()).flatten();
        if read.is_none() {
            sink.schema(name_pos, format!("{text:?} is not the name of a header"));
        }
        let text = value.as_ref().map_or("", |value| value.as_str());
        let value_pos = value.as_ref().map_or(pos, |value| value.pos);
        let value = HeaderValue::from_str(text).ok();
        if value.is_none() {
            sink.schema(value_pos, format!("{text:?} is not the value of a header"));
        }
        headers.extend(read.zip(value));
    }
    let text = path.as_ref().map_or("", |path| path.as_str());
    let rooted = if text.starts_with('/') { text.to_owned() } else { format!("/{text}") };
    let Ok(path_and_query) = rooted.parse::<PathAndQuery>() else {
        sink.schema(path.as_ref().map_or(written.pos, |path| path.pos), format!("{text:?} is not a path"));
        return None;
    };
    Some(ProbeKind::Http {
        tls,
        host: said_host(host),
        port: port.value,
        path: path_and_query,
        headers: headers.into(),
    })
}

fn refuse_exec(written: &At<ExecProbe>, sink: &mut Sink<'_>) {
    let ExecProbe { command } = &written.value;
    if command.is_empty() || command.iter().any(|word| word.is_empty()) {
        sink.schema(written.pos.back(1), "\"exec\" needs a command, whose words are not empty".into());
        return;
    }
    let message = "a command would have to run on the endpoint, where a gateway can't".to_owned();
    sink.add(Severity::Error, Code::NEEDS_MESH, written.pos.back(1), message)
        .hints
        .push("ask by httpGet, tcpSocket or grpc".into());
}
