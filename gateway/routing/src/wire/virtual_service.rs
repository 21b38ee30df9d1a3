//! Istio `VirtualService`, as written.

use std::time::Duration;

use super::fields::{wire, words};

wire! {
    /// Which requests for some hosts go where.
    VirtualService {
        hosts: list String;
        gateways: list String;
        export_to: list String = "exportTo";
        http: list HttpRoute;
        tls: list TlsRoute;
        tcp: list TcpRoute;
    }

    /// One rule: what it takes, and what happens to it.
    HttpRoute {
        name: may String;
        matches: list HttpMatch = "match";
        route: list HttpDestination;
        redirect: may Box<Redirect>;
        direct_response: may Box<DirectResponse> = "directResponse";
        delegate: may Box<Delegate>;
        rewrite: may Box<Rewrite>;
        headers: may Box<Headers>;
        timeout: may Duration;
        retries: may Box<Retries>;
        fault: may Box<Fault>;
        mirror: may Box<Destination>;
        mirrors: list MirrorPolicy;
        mirror_percent: may i64 = "mirrorPercent";
        mirror_percent_snake: may i64 = "mirror_percent";
        mirror_percentage: may Percent = "mirrorPercentage";
        cors_policy: may Box<CorsPolicy> = "corsPolicy";
    }

    /// One block of conditions, all of which must hold.
    HttpMatch {
        name: may String;
        uri: may Box<StringMatch>;
        ignore_uri_case: may bool = "ignoreUriCase";
        scheme: may Box<StringMatch>;
        method: may Box<StringMatch>;
        authority: may Box<StringMatch>;
        headers: map StringMatch;
        without_headers: map StringMatch = "withoutHeaders";
        query_params: map StringMatch = "queryParams";
        port: port u16;
        gateways: list String;
        source_labels: map String = "sourceLabels";
        source_namespace: may String = "sourceNamespace";
        stat_prefix: may String = "statPrefix";
    }

    /// How a text is compared: one of three, or none for "present".
    StringMatch {
        exact: may String;
        prefix: may String;
        regex: may String;
    }

    /// A destination with its share.
    HttpDestination {
        destination: must Destination;
        weight: may i64;
        headers: may Box<Headers>;
    }

    /// A service, and which part of it.
    Destination {
        host: must String;
        subset: may String;
        port: may PortSelector;
    }

    /// A port by its number.
    PortSelector {
        number: need u16;
    }

    /// A destination of TLS or TCP connections with its share.
    RouteDestination {
        destination: must Destination;
        weight: may i64;
    }

    /// An answer that sends the client elsewhere.
    Redirect {
        uri: may String;
        prefix_rewrite: may String = "prefixRewrite";
        authority: may String;
        scheme: may String;
        port: port u16;
        derive_port: may DerivePort = "derivePort";
        redirect_code: may i64 = "redirectCode";
    }

    /// An answer without an upstream.
    DirectResponse {
        status: must i64;
        body: may Body;
    }

    /// A direct response's body.
    Body {
        string: may String;
        bytes: may String;
    }

    /// Another VirtualService whose rules stand in for this one.
    Delegate {
        name: may String;
        namespace: may String;
    }

    /// A changed path or authority.
    Rewrite {
        uri: may String;
        authority: may String;
        uri_regex_rewrite: may RegexRewrite = "uriRegexRewrite";
    }

    /// A path changed by pattern.
    RegexRewrite {
        matches: may String = "match";
        rewrite: may String;
    }

    /// Changes of header fields, on the way in and on the way out.
    Headers {
        request: may HeaderOperations;
        response: may HeaderOperations;
    }

    /// Changes of header fields in one direction.
    HeaderOperations {
        set: map String;
        add: map String;
        remove: list String;
    }

    /// When and how often a failed request is tried again.
    Retries {
        attempts: may i64;
        per_try_timeout: may Duration = "perTryTimeout";
        retry_on: may String = "retryOn";
        retry_remote_localities: may bool = "retryRemoteLocalities";
        retry_ignore_previous_hosts: may bool = "retryIgnorePreviousHosts";
        backoff: may Duration;
    }

    /// Faults made on purpose.
    Fault {
        delay: may Delay;
        abort: may Abort;
    }

    /// A delay made on purpose.
    Delay {
        fixed_delay: may Duration = "fixedDelay";
        exponential_delay: may Duration = "exponentialDelay";
        percent: may i64;
        percentage: may Percent;
    }

    /// An error made on purpose.
    Abort {
        http_status: may i64 = "httpStatus";
        grpc_status: may String = "grpcStatus";
        http2_error: may String = "http2Error";
        percentage: may Percent;
    }

    /// 0 to 100.
    Percent {
        value: may f64;
    }

    /// A copy of requests for another destination.
    MirrorPolicy {
        destination: must Destination;
        percentage: may Percent;
    }

    /// Which other sites' pages may call.
    CorsPolicy {
        allow_origins: list StringMatch = "allowOrigins";
        allow_origin: list String = "allowOrigin";
        allow_methods: list String = "allowMethods";
        allow_headers: list String = "allowHeaders";
        expose_headers: list String = "exposeHeaders";
        max_age: may Duration = "maxAge";
        allow_credentials: may bool = "allowCredentials";
        unmatched_preflights: may UnmatchedPreflights = "unmatchedPreflights";
    }

    /// A rule for TLS connections that are passed on unopened.
    TlsRoute {
        matches: list TlsMatch = "match";
        route: list RouteDestination;
    }

    /// Conditions on a TLS connection.
    TlsMatch {
        sni_hosts: list String = "sniHosts";
        port: port u16;
        gateways: list String;
        destination_subnets: list String = "destinationSubnets";
        source_labels: map String = "sourceLabels";
        source_namespace: may String = "sourceNamespace";
    }

    /// A rule for TCP connections.
    TcpRoute {
        matches: list TcpMatch = "match";
        route: list RouteDestination;
    }

    /// Conditions on a TCP connection.
    TcpMatch {
        port: port u16;
        gateways: list String;
        destination_subnets: list String = "destinationSubnets";
        source_subnet: may String = "sourceSubnet";
        source_labels: map String = "sourceLabels";
        source_namespace: may String = "sourceNamespace";
    }
}

words! {
    /// Where a redirect's port comes from.
    DerivePort {
        ProtocolDefault = "FROM_PROTOCOL_DEFAULT",
        Request = "FROM_REQUEST_PORT",
    }

    /// What becomes of a preflight from a foreign origin.
    UnmatchedPreflights {
        Unspecified = "UNSPECIFIED",
        Forward = "FORWARD",
        Ignore = "IGNORE",
    }
}
