//! Kubernetes' `Ingress` and `ConfigMap`, as written: not for a snapshot, but for who imports them.

use super::fields::wire;

wire! {
    /// Which requests go to which Services, and how, in annotations of the controller's.
    Ingress open {
        metadata: must IngressMetadata;
        spec: may IngressSpec;
    }

    /// What of an object's metadata is asked for.
    IngressMetadata open {
        name: must String;
        namespace: may String;
        annotations: map String;
        created: may String = "creationTimestamp";
    }

    /// What an Ingress is.
    IngressSpec {
        class: may String = "ingressClassName";
        default_backend: may Backend = "defaultBackend";
        tls: list IngressTls;
        rules: list IngressRule;
    }

    /// Hosts with a certificate.
    IngressTls {
        hosts: list String;
        secret_name: may String = "secretName";
    }

    /// A host with its paths.
    IngressRule {
        host: may String;
        http: may IngressHttp;
    }

    /// The paths of a host.
    IngressHttp {
        paths: list IngressPath;
    }

    /// A path and who answers there.
    IngressPath {
        path: may String;
        path_type: need String = "pathType";
        backend: must Backend;
    }

    /// Who answers.
    Backend {
        service: may BackendService;
        resource: may BackendResource;
    }

    /// A Service, and which port of it.
    BackendService {
        name: must String;
        port: may BackendPort;
    }

    /// A port by its number or its name.
    BackendPort {
        number: port u16;
        name: may String;
    }

    /// An object that is no Service.
    BackendResource open {
        kind: may String;
        name: may String;
    }

    /// Names with texts.
    ConfigMap open {
        metadata: must IngressMetadata;
        data: map String;
    }
}
