//! HTTPMatchRequest → conditions, and where its block applies.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderName;

use super::Surroundings;
use super::gateways::GatewayServer;
use super::names::{check_labels, is_label, read_field, read_gateway};
use super::values::quoted;
use crate::diagnostic::{Code, Severity};
use crate::origin::{At, Place, Pos};
use crate::snapshot::{Condition, Match, Pattern, Test, ValueTest};
use crate::wire::ObjectName;
use crate::wire::sink::Sink;
use crate::wire::virtual_service::{HttpMatch, StringMatch};

/// A block of conditions, and the servers for which it is there at all.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) conditions: Arc<Match>,
    /// Istio `HTTPMatchRequest.gateways`: empty for all of the VirtualService's.
    pub(super) gateways: Vec<ObjectName>,
    /// Istio `HTTPMatchRequest.port`: the Gateway server's port.
    pub(super) port: Option<u16>,
    /// Whether the gateway's own labels and namespace are those asked for.
    pub(super) source_is_us: bool,
}

impl Block {
    /// Whether it is there for requests that come in through a server.
    pub(super) fn applies(&self, server: &GatewayServer<'_>) -> bool {
        let gateway = match self.gateways.as_slice() {
            [] => self.source_is_us,
            named => named.contains(server.gateway),
        };
        gateway && self.port.is_none_or(|port| port == server.listener.port)
    }

    /// What it says, whatever line it stands on.
    pub(super) fn identity(&self) -> String {
        let tests: Vec<&Test> = self.conditions.conditions.iter().map(|condition| &condition.test).collect();
        format!("{tests:?} {:?} {:?} {}", self.gateways, self.port, self.source_is_us)
    }

    /// Whether it is there for every server.
    pub(super) fn applies_everywhere(&self) -> bool {
        self.gateways.is_empty() && self.port.is_none() && self.source_is_us
    }
}

/// Compiles one block; `None` where a condition of it could not be, with the reason in the sink.
///
/// `within` is the root's block that a delegate's was put together with.
pub(super) fn compile(
    block: &At<HttpMatch>,
    within: Option<Place>,
    namespace: &Arc<str>,
    surroundings: &Surroundings,
    sink: &mut Sink<'_>,
) -> Option<Block> {
    let HttpMatch {
        name: _,        // names the block in logs, with the route's name
        stat_prefix: _, // names Envoy's own statistics
        uri,
        ignore_uri_case,
        scheme,
        method,
        authority,
        headers,
        without_headers,
        query_params,
        port,
        gateways,
        source_labels,
        source_namespace,
    } = &block.value;
    let ignore_case = ignore_uri_case.as_ref().is_some_and(|ignore| ignore.value);
    let mut built: Vec<(Pos, Option<Test>)> = Vec::new();
    let whole = [
        (method, Test::Method as fn(ValueTest) -> Test),
        (scheme, Test::Scheme),
        (authority, Test::Authority),
    ];
    for (written, condition) in whole {
        if let Some(written) = written {
            let pos = written.prefix.as_ref().map_or(written.pos, |prefix| prefix.pos);
            let test = compile_whole(written, sink).and_then(|test| not_empty(pos, test, "", sink));
            built.push((written.pos, test.map(condition)));
        }
    }
    if let Some(uri) = uri {
        let test = compile_whole(uri, sink);
        built.push((
            uri.pos,
            test.map(|test| Test::Path(if ignore_case { ignoring_case(test) } else { test })),
        ));
    }
    for (fields, test) in
        [(headers, Test::Header as fn(HeaderName, ValueTest) -> Test), (without_headers, Test::WithoutHeader)]
    {
        built.extend(fields.iter().map(|(name, value)| (name.pos, compile_header(name, value, test, sink))));
    }
    for (name, value) in query_params {
        let test = compile_value(value, sink).and_then(|test| not_empty(name.pos, test, PRESENT, sink));
        built.push((name.pos, test.map(|test| Test::Query(name.as_str().into(), test))));
    }
    let named: Vec<ObjectName> =
        gateways.iter().filter_map(|gateway| read_gateway(gateway, namespace, sink)).collect();
    check_labels(source_labels, sink);
    let source_namespace = source_namespace.as_ref().filter(|name| !name.is_empty());
    if let Some(name) = source_namespace.filter(|name| !is_label(name)) {
        sink.schema(name.pos, format!("{:?} is not a namespace", name.value));
    }
    let conditions =
        built.into_iter().map(|(pos, test)| Some(Condition { test: test?, origin: sink.origin(pos) }));
    let conditions: Option<Box<[Condition]>> = conditions.collect();
    let wanted: BTreeMap<&str, &str> =
        source_labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let labelled =
        wanted.iter().all(|(key, value)| surroundings.labels.get(*key).is_some_and(|own| own == value));
    let at_home = source_namespace.is_none_or(|namespace| namespace.value == surroundings.namespace);
    // Without one of its Gateways a block could be there for all of them.
    (named.len() == gateways.len()).then_some(Block {
        conditions: Arc::new(Match {
            conditions: conditions?,
            merged: block.pos.place().zip(within).map(<[Place; 2]>::from),
        }),
        gateways: named,
        port: port.as_ref().map(|port| port.value),
        source_is_us: labelled && at_home,
    })
}

/// Something that every request has: to ask whether it is there is a mistake.
fn compile_whole(written: &At<Box<StringMatch>>, sink: &mut Sink<'_>) -> Option<ValueTest> {
    match compile_value(written, sink)? {
        ValueTest::Present => {
            sink.schema(written.pos, "it takes one of exact, prefix and regex".into());
            None
        }
        test => Some(test),
    }
}

/// Istio `ignoreUriCase`: for exact and prefix; a regex says `(?i)` itself.
fn ignoring_case(test: ValueTest) -> ValueTest {
    match test {
        ValueTest::Exact(exact) => ValueTest::ExactIgnoringCase(exact),
        ValueTest::Prefix(prefix) => ValueTest::PrefixIgnoringCase(prefix),
        test => test,
    }
}

fn compile_header(
    name: &At<String>,
    value: &At<StringMatch>,
    condition: fn(HeaderName, ValueTest) -> Test,
    sink: &mut Sink<'_>,
) -> Option<Test> {
    let test = compile_value(value, sink).and_then(|test| not_empty(name.pos, test, PRESENT, sink));
    let is_field = matches!(condition(HeaderName::from_static("x"), ValueTest::Present), Test::Header(..));
    match name.to_ascii_lowercase().as_str() {
        ":method" if is_field => test.map(Test::Method),
        ":authority" if is_field => test.map(Test::Authority),
        ":scheme" if is_field => test.map(Test::Scheme),
        ":path" if is_field => test.map(Test::Target),
        claim if is_claim(claim) => {
            let message = format!("{:?} is a claim of a token, and no token is verified here", name.value);
            sink.add(Severity::Error, Code::JWT_CLAIM_WITHOUT_AUTHENTICATION, name.pos, message);
            None
        }
        special if special.starts_with([':', '@']) => {
            let message = format!("a condition on {:?} is not supported yet", name.value);
            sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, name.pos, message);
            None
        }
        _ => {
            let name = read_field(name, sink)?;
            test.map(|test| condition(name, test))
        }
    }
}

/// What is meant by an empty prefix where what is compared may be absent.
const PRESENT: &str = "; write {} for \"present\"";

fn not_empty(pos: Pos, test: ValueTest, meant: &str, sink: &mut Sink<'_>) -> Option<ValueTest> {
    if matches!(&test, ValueTest::Prefix(prefix) if prefix.is_empty()) {
        sink.schema(pos, format!("an empty prefix takes every value{meant}"));
        return None;
    }
    Some(test)
}

/// Istio `StringMatch`: one of three; none, or the regex `*`, means "present".
pub(super) fn compile_value(
    written: &At<impl Borrow<StringMatch>>,
    sink: &mut Sink<'_>,
) -> Option<ValueTest> {
    let StringMatch { exact, prefix, regex } = written.value.borrow();
    match (exact, prefix, regex) {
        (None, None, None) => Some(ValueTest::Present),
        (Some(exact), None, None) => Some(ValueTest::Exact(exact.as_str().into())),
        (None, Some(prefix), None) => Some(ValueTest::Prefix(prefix.as_str().into())),
        (None, None, Some(regex)) if regex.value == "*" => Some(ValueTest::Present),
        (None, None, Some(regex)) => compile_regex(regex, regex.pos, sink),
        _ => {
            sink.schema(written.pos, "exact, prefix and regex exclude each other".into());
            None
        }
    }
}

/// Whether a field's name means a claim of the request's token, as `@request.auth.claims.group`.
pub(super) fn is_claim(name: &str) -> bool {
    name.starts_with("@request.auth.claims")
}

fn compile_regex(written: &str, pos: Pos, sink: &mut Sink<'_>) -> Option<ValueTest> {
    if written.is_empty() {
        sink.schema(pos, "an empty pattern takes nothing".into());
        return None;
    }
    match Pattern::new(written) {
        Ok(pattern) => Some(ValueTest::Regex(pattern)),
        Err(message) => {
            sink.schema(pos, format!("{} is not a pattern: {message}", quoted(written)))
                .hints
                .push("patterns are RE2's: no look-around, no back-references".into());
            None
        }
    }
}
