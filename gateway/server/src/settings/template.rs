//! The text of a line of the access log, in Envoy's words: `[%START_TIME%] "%REQ(:METHOD)% …"`.

use trysail_routing::nearest;

/// What stands in a line, piece after piece.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(pub(crate) Vec<Part>);

/// One piece of a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// This text.
    Text(String),
    /// What is known of the request.
    Operator(Operator),
}

/// Declares operators: how Envoy writes them, and how Istio's lines in JSON name them.
macro_rules! operators {
    ($($(#[doc = $doc:literal])* $name:ident: $written:literal, $key:literal;)*) => {
        /// A fact of a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operator {
            $($(#[doc = $doc])* $name,)*
        }

        impl Operator {
            /// All of them.
            pub(crate) const ALL: &[Operator] = &[$(Operator::$name,)*];

            /// As it is written between two `%`.
            pub(crate) fn written(self) -> &'static str {
                match self {
                    $(Operator::$name => $written,)*
                }
            }

            /// Its key in JSON.
            pub(crate) fn key(self) -> &'static str {
                match self {
                    $(Operator::$name => $key,)*
                }
            }
        }
    };
}

operators! {
    /// When its head had come, UTC.
    StartTime: "START_TIME", "start_time";
    /// The `name` of its rule.
    RouteName: "ROUTE_NAME", "route_name";
    /// Its method.
    Method: "REQ(:METHOD)", "method";
    /// Its target as it came, canonical.
    Path: "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", "path";
    /// `HTTP/1.1`, `HTTP/2`.
    Protocol: "PROTOCOL", "protocol";
    /// The status that the client got; 0 for none.
    ResponseCode: "RESPONSE_CODE", "response_code";
    /// Why, in short.
    ResponseFlags: "RESPONSE_FLAGS", "response_flags";
    /// Why, in a word.
    ResponseCodeDetails: "RESPONSE_CODE_DETAILS", "response_code_details";
    /// Why its connection was ended.
    ConnectionTerminationDetails: "CONNECTION_TERMINATION_DETAILS", "connection_termination_details";
    /// Why there was no connection to the upstream.
    UpstreamTransportFailureReason: "UPSTREAM_TRANSPORT_FAILURE_REASON", "upstream_transport_failure_reason";
    /// Bytes of its body.
    BytesReceived: "BYTES_RECEIVED", "bytes_received";
    /// Bytes of the answer's body.
    BytesSent: "BYTES_SENT", "bytes_sent";
    /// Milliseconds from its head to the answer's end.
    Duration: "DURATION", "duration";
    /// Milliseconds from its end to the head of the upstream's answer.
    UpstreamServiceTime: "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)", "upstream_service_time";
    /// The list of addresses, as the upstream sees it.
    ForwardedFor: "REQ(X-FORWARDED-FOR)", "x_forwarded_for";
    /// What its client calls itself.
    UserAgent: "REQ(USER-AGENT)", "user_agent";
    /// Its id, as the upstream sees it.
    RequestId: "REQ(X-REQUEST-ID)", "request_id";
    /// The host that it asked for.
    Authority: "REQ(:AUTHORITY)", "authority";
    /// The endpoint that was last tried.
    UpstreamHost: "UPSTREAM_HOST", "upstream_host";
    /// Whose turn it was: `outbound|port|subset|host`.
    UpstreamCluster: "UPSTREAM_CLUSTER_RAW", "upstream_cluster";
    /// Our side of the connection to the endpoint.
    UpstreamLocalAddress: "UPSTREAM_LOCAL_ADDRESS", "upstream_local_address";
    /// Our side of the connection to the client.
    DownstreamLocalAddress: "DOWNSTREAM_LOCAL_ADDRESS", "downstream_local_address";
    /// The client.
    DownstreamRemoteAddress: "DOWNSTREAM_REMOTE_ADDRESS", "downstream_remote_address";
    /// The name that it asked for in TLS.
    RequestedServerName: "REQUESTED_SERVER_NAME", "requested_server_name";
    /// Its rule: `default/reviews http[0]`.
    Route: "TRYSAIL_ROUTE", "route";
    /// The subset whose turn it was.
    Subset: "TRYSAIL_SUBSET", "subset";
    /// The revision that decided.
    Revision: "TRYSAIL_REVISION", "revision";
    /// How often it was tried.
    Attempts: "UPSTREAM_REQUEST_ATTEMPT_COUNT", "attempts";
    /// Where its rule is written: `file:line`.
    Origin: "TRYSAIL_ORIGIN", "origin";
}

/// Other ways to write some of them.
const ALIASES: [(&str, Operator); 4] = [
    ("REQ(:PATH)", Operator::Path),
    ("UPSTREAM_CLUSTER", Operator::UpstreamCluster),
    ("REQ(HOST)", Operator::Authority),
    ("REQ(:AUTHORITY?HOST)", Operator::Authority),
];

/// Istio's own line.
const DEFAULT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \
    \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
    %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% \
    %ROUTE_NAME%";

impl Default for Template {
    fn default() -> Self {
        DEFAULT.parse().expect("Istio's own line is made of operators that are here")
    }
}

impl std::str::FromStr for Template {
    type Err = String;

    /// `%%` is a percent sign. A line ends with one line feed, whether it is written or not.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        if let Some(control) = text.chars().find(|letter| letter.is_control()) {
            return Err(format!("{control:?} can't stand within a line"));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut parts = text.split('%');
        literal.push_str(parts.next().unwrap_or_default());
        while let Some(name) = parts.next() {
            let after =
                parts.next().ok_or(format!("%{name} has no second %; a percent sign is written %%"))?;
            if name.is_empty() {
                literal.push('%');
            } else {
                let operator = operator(name)?;
                if !literal.is_empty() {
                    pieces.push(Part::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Part::Operator(operator));
            }
            literal.push_str(after);
        }
        if !literal.is_empty() {
            pieces.push(Part::Text(literal));
        }
        Ok(Template(pieces))
    }
}

/// The operator of a name; fields of a request are named in any case.
fn operator(name: &str) -> Result<Operator, String> {
    let known = || {
        let own = Operator::ALL.iter().map(|operator| (operator.written(), *operator));
        own.chain(ALIASES)
    };
    if let Some((_, operator)) = known().find(|(written, _)| written.eq_ignore_ascii_case(name)) {
        return Ok(operator);
    }
    let said = format!("%{name}% is no operator that is known here");
    // Of a field the name is often all that is written.
    let meant = nearest(name, known().map(|(written, _)| written)).or_else(|| {
        let whole = |of: &str| format!("{of}({})", name.replace('_', "-"));
        let (request, answer) = (whole("REQ"), whole("RESP"));
        let fits =
            |written: &str| written.eq_ignore_ascii_case(&request) || written.eq_ignore_ascii_case(&answer);
        known().map(|(written, _)| written).find(|written| fits(written))
    });
    Err(match meant {
        Some(meant) => format!("{said}; did you mean %{meant}%?"),
        None => said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_texts_and_operators() {
        let text = |text: &str| Part::Text(text.to_owned());
        let of = Part::Operator;
        for (written, pieces) in [
            ("", vec![]),
            ("-", vec![text("-")]),
            ("%DURATION%\n", vec![of(Operator::Duration)]),
            ("100 %% of %DURATION% ms", vec![text("100 % of "), of(Operator::Duration), text(" ms")]),
            (
                "%PROTOCOL%%REQ(user-agent)%%%",
                vec![of(Operator::Protocol), of(Operator::UserAgent), text("%")],
            ),
            ("%UPSTREAM_CLUSTER%", vec![of(Operator::UpstreamCluster)]),
        ] {
            assert_eq!(written.parse(), Ok(Template(pieces)), "{written:?}");
        }
        // Istio's line has 24 facts.
        let facts = Template::default().0.into_iter().filter(|piece| matches!(piece, Part::Operator(_)));
        assert_eq!(facts.count(), 24);
    }

    #[test]
    fn what_is_no_operator_is_refused_with_the_nearest() {
        for (written, message) in [
            ("%DURATIN%", "%DURATIN% is no operator that is known here; did you mean %DURATION%?"),
            ("%REQ(USERAGENT)%", "did you mean %REQ(USER-AGENT)%?"),
            ("%USER_AGENT%", "did you mean %REQ(USER-AGENT)%?"),
            ("%REQ(COOKIE)%", "%REQ(COOKIE)% is no operator that is known here"),
            ("50% of", "% of has no second %"),
            ("a\nb", "'\\n' can't stand within a line"),
        ] {
            let error = written.parse::<Template>().unwrap_err();
            assert!(error.contains(message), "{written:?}: {error}");
        }
    }
}
