//! Istio `ServiceEntry`, `WorkloadEntry` and `WorkloadGroup`, as written: which hosts there are, and where.

use super::fields::{wire, words};

wire! {
    /// A host that routes may name, with its ports and endpoints.
    ServiceEntry {
        hosts: list String;
        addresses: list String;
        ports: list ServicePort;
        location: may Location;
        resolution: may Resolution;
        endpoints: list WorkloadEntry;
        workload_selector: may WorkloadSelector = "workloadSelector";
        export_to: list String = "exportTo";
        subject_alt_names: list String = "subjectAltNames";
    }

    /// A port of a host.
    ServicePort {
        number: must u16;
        name: must String;
        protocol: may String;
        target_port: may u16 = "targetPort";
    }

    /// The WorkloadEntries that are a host's endpoints.
    WorkloadSelector {
        labels: map String;
    }

    /// One endpoint: alone as an object, or inside a ServiceEntry.
    WorkloadEntry {
        address: may String;
        ports: map u16;
        labels: map String;
        network: may String;
        locality: may String;
        weight: may i64;
        service_account: may String = "serviceAccount";
    }

    /// What WorkloadEntries have in common, and how their health is asked for.
    WorkloadGroup {
        metadata: may GroupMetadata;
        template: must WorkloadEntry;
        probe: may Probe;
    }

    /// Labels and annotations that a group's members get.
    GroupMetadata {
        labels: map String;
        annotations: map String;
    }

    /// How an endpoint's health is asked for.
    Probe {
        initial_delay_seconds: may i64 = "initialDelaySeconds";
        timeout_seconds: may i64 = "timeoutSeconds";
        period_seconds: may i64 = "periodSeconds";
        success_threshold: may i64 = "successThreshold";
        failure_threshold: may i64 = "failureThreshold";
        http_get: may HttpProbe = "httpGet";
        tcp_socket: may TcpProbe = "tcpSocket";
        exec: may ExecProbe;
        grpc: may GrpcProbe;
    }

    /// Healthy when an HTTP request is answered well.
    HttpProbe {
        path: may String;
        port: must u16;
        host: may String;
        scheme: may String;
        http_headers: list HttpHeader = "httpHeaders";
    }

    /// A header field of a probe.
    HttpHeader {
        name: may String;
        value: may String;
    }

    /// Healthy when a connection opens.
    TcpProbe {
        port: must u16;
        host: may String;
    }

    /// Healthy when a command succeeds, on the endpoint itself.
    ExecProbe {
        command: list String;
    }

    /// Healthy when `grpc.health.v1` says so.
    GrpcProbe {
        port: may u16;
        service: may String;
    }
}

words! {
    /// Whether a host belongs to the mesh.
    Location {
        MeshExternal = "MESH_EXTERNAL",
        MeshInternal = "MESH_INTERNAL",
    }

    /// How a host's endpoints are found.
    Resolution {
        None = "NONE",
        Static = "STATIC",
        Dns = "DNS",
        DnsRoundRobin = "DNS_ROUND_ROBIN",
        DynamicDns = "DYNAMIC_DNS",
    }
}
