//! Istio `DestinationRule`, as written.

use std::time::Duration;

use super::fields::{wire, words};
use super::virtual_service::PortSelector;

wire! {
    /// What a host's versions are called, and how they are talked to.
    DestinationRule {
        host: must String;
        traffic_policy: may Box<TrafficPolicy> = "trafficPolicy";
        subsets: list Subset;
        export_to: list String = "exportTo";
        workload_selector: may WorkloadLabels = "workloadSelector";
    }

    /// The endpoints of a host that carry some labels.
    Subset {
        name: must String;
        labels: map String;
        traffic_policy: may Box<TrafficPolicy> = "trafficPolicy";
    }

    /// The workloads that a rule is meant for.
    WorkloadLabels {
        match_labels: map String = "matchLabels";
    }

    /// How a host is talked to.
    TrafficPolicy {
        load_balancer: may Box<LoadBalancer> = "loadBalancer";
        connection_pool: may Box<ConnectionPool> = "connectionPool";
        outlier_detection: may Box<OutlierDetection> = "outlierDetection";
        tls: may Box<ClientTls>;
        port_level_settings: list PortPolicy = "portLevelSettings";
        tunnel: may Tunnel;
        proxy_protocol: may ProxyProtocol = "proxyProtocol";
        retry_budget: may RetryBudget = "retryBudget";
    }

    /// How one port of a host is talked to.
    PortPolicy {
        port: may PortSelector;
        load_balancer: may Box<LoadBalancer> = "loadBalancer";
        connection_pool: may Box<ConnectionPool> = "connectionPool";
        outlier_detection: may Box<OutlierDetection> = "outlierDetection";
        tls: may Box<ClientTls>;
    }

    /// Which endpoint gets a request.
    LoadBalancer {
        simple: may SimpleLoadBalancer;
        consistent_hash: may Box<ConsistentHash> = "consistentHash";
        locality_lb_setting: may LocalitySetting = "localityLbSetting";
        zone_aware_lb_setting: may ZoneAwareSetting = "zoneAwareLbSetting";
        warmup: may Warmup;
        warmup_duration_secs: may Duration = "warmupDurationSecs";
        backend_utilization: may BackendUtilization = "backendUtilization";
    }

    /// An endpoint by a hash of something in the request.
    ConsistentHash {
        http_header_name: may String = "httpHeaderName";
        http_cookie: may HttpCookie = "httpCookie";
        use_source_ip: may bool = "useSourceIp";
        http_query_parameter_name: may String = "httpQueryParameterName";
        ring_hash: may RingHash = "ringHash";
        maglev: may Maglev;
        minimum_ring_size: may i64 = "minimumRingSize";
    }

    /// The cookie that is hashed.
    HttpCookie {
        name: must String;
        path: may String;
        ttl: may Duration;
        attributes: list CookieAttribute;
    }

    /// A further attribute of a cookie.
    CookieAttribute {
        name: must String;
        value: may String;
    }

    /// Ketama's ring.
    RingHash {
        minimum_ring_size: may i64 = "minimumRingSize";
    }

    /// Maglev's table.
    Maglev {
        table_size: may i64 = "tableSize";
    }

    /// Shares and fail-over between localities.
    LocalitySetting {
        enabled: may bool;
        distribute: list Distribute;
        failover: list Failover;
        failover_priority: list String = "failoverPriority";
    }

    /// Fail-over by zone.
    ZoneAwareSetting {
        enabled: may bool;
        failover: list Failover;
        failover_priority: list String = "failoverPriority";
        min_cluster_size: may i64 = "minClusterSize";
    }

    /// Shares of the localities, seen from one.
    Distribute {
        from: may String;
        to: map i64;
    }

    /// Where a region's traffic goes when the region is down.
    Failover {
        from: may String;
        to: may String;
    }

    /// How a new endpoint's share grows.
    Warmup {
        duration: must Duration;
        minimum_percent: may f64 = "minimumPercent";
        aggression: may f64;
    }

    /// Shares by the load that endpoints report.
    BackendUtilization {
        metric_names_for_computing_utilization: list String = "metricNamesForComputingUtilization";
        error_utilization_penalty_percent: may i64 = "errorUtilizationPenaltyPercent";
        weight_expiration_period: may Duration = "weightExpirationPeriod";
        weight_stabilization_period: may Duration = "weightStabilizationPeriod";
        weight_update_period: may Duration = "weightUpdatePeriod";
    }

    /// Ceilings of a host.
    ConnectionPool {
        tcp: may Box<TcpPool>;
        http: may Box<HttpPool>;
    }

    /// Ceilings and times of connections.
    TcpPool {
        max_connections: may i64 = "maxConnections";
        connect_timeout: may Duration = "connectTimeout";
        idle_timeout: may Duration = "idleTimeout";
        max_connection_duration: may Duration = "maxConnectionDuration";
        tcp_keepalive: may TcpKeepalive = "tcpKeepalive";
    }

    /// The kernel's probes on idle connections.
    TcpKeepalive {
        probes: may i64;
        time: may Duration;
        interval: may Duration;
    }

    /// Ceilings and times of requests.
    HttpPool {
        http1_max_pending_requests: may i64 = "http1MaxPendingRequests";
        http2_max_requests: may i64 = "http2MaxRequests";
        max_requests_per_connection: may i64 = "maxRequestsPerConnection";
        max_retries: may i64 = "maxRetries";
        idle_timeout: may Duration = "idleTimeout";
        h2_upgrade_policy: may H2UpgradePolicy = "h2UpgradePolicy";
        use_client_protocol: may bool = "useClientProtocol";
        max_concurrent_streams: may i64 = "maxConcurrentStreams";
        http2_keep_alive: may Http2KeepAlive = "http2KeepAlive";
    }

    /// Pings on HTTP/2 connections.
    Http2KeepAlive {
        interval: may Duration;
        timeout: may Duration;
    }

    /// When an endpoint that answers badly is left out for a while.
    OutlierDetection {
        consecutive_5xx_errors: may i64 = "consecutive5xxErrors";
        consecutive_errors: may i64 = "consecutiveErrors";
        consecutive_gateway_errors: may i64 = "consecutiveGatewayErrors";
        split_external_local_origin_errors: may bool = "splitExternalLocalOriginErrors";
        consecutive_local_origin_failures: may i64 = "consecutiveLocalOriginFailures";
        outlier_detection_http_error_codes: list i64 = "outlierDetectionHttpErrorCodes";
        interval: may Duration;
        base_ejection_time: may Duration = "baseEjectionTime";
        max_ejection_percent: may i64 = "maxEjectionPercent";
        min_health_percent: may i64 = "minHealthPercent";
    }

    /// TLS towards the host.
    ClientTls {
        mode: may ClientTlsMode;
        client_certificate: may String = "clientCertificate";
        private_key: may String = "privateKey";
        ca_certificates: may String = "caCertificates";
        ca_crl: may String = "caCrl";
        credential_name: may String = "credentialName";
        subject_alt_names: list String = "subjectAltNames";
        sni: may String;
        insecure_skip_verify: may bool = "insecureSkipVerify";
    }

    /// TCP through another proxy.
    Tunnel {
        protocol: may String;
        target_host: must String = "targetHost";
        target_port: must u16 = "targetPort";
    }

    /// The client's address, told to the host at a connection's start.
    ProxyProtocol {
        version: may ProxyProtocolVersion;
    }

    /// How many retries may run at once.
    RetryBudget {
        percent: may f64;
        min_retry_concurrency: may i64 = "minRetryConcurrency";
        budget_interval: may Duration = "budgetInterval";
    }
}

words! {
    /// The plain ways to choose an endpoint.
    SimpleLoadBalancer {
        Unspecified = "UNSPECIFIED",
        LeastConn = "LEAST_CONN",
        LeastRequest = "LEAST_REQUEST",
        RoundRobin = "ROUND_ROBIN",
        Random = "RANDOM",
        Passthrough = "PASSTHROUGH",
    }

    /// Whether HTTP/2 is spoken with the host.
    H2UpgradePolicy {
        Default = "DEFAULT",
        DoNotUpgrade = "DO_NOT_UPGRADE",
        Upgrade = "UPGRADE",
    }

    /// How TLS is spoken with the host.
    ClientTlsMode {
        Disable = "DISABLE",
        Simple = "SIMPLE",
        Mutual = "MUTUAL",
        IstioMutual = "ISTIO_MUTUAL",
    }

    /// The two forms of the PROXY header.
    ProxyProtocolVersion {
        V1 = "V1",
        V2 = "V2",
    }
}
