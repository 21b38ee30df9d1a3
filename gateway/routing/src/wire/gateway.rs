//! Istio `Gateway`, as written.

use super::fields::{wire, words};

wire! {
    /// The ports that a gateway opens, and for which hosts.
    Gateway {
        selector: map String;
        servers: list Server;
    }

    /// One port with its hosts.
    Server {
        name: may String;
        port: must ServerPort;
        bind: may String;
        hosts: list String;
        tls: may ServerTls;
        default_endpoint: may String = "defaultEndpoint";
    }

    /// The port to open.
    ServerPort {
        number: must i64;
        name: must String;
        protocol: must String;
        target_port: port u16 = "targetPort";
    }

    /// How TLS is spoken on a port.
    ServerTls {
        https_redirect: may bool = "httpsRedirect";
        mode: may ServerTlsMode;
        credential_name: may String = "credentialName";
        credential_names: list String = "credentialNames";
        tls_certificates: list TlsCertificate = "tlsCertificates";
        server_certificate: may String = "serverCertificate";
        private_key: may String = "privateKey";
        ca_certificates: may String = "caCertificates";
        ca_crl: may String = "caCrl";
        ca_cert_credential_name: may String = "caCertCredentialName";
        subject_alt_names: list String = "subjectAltNames";
        verify_certificate_spki: list String = "verifyCertificateSpki";
        verify_certificate_hash: list String = "verifyCertificateHash";
        insecure_skip_verify: may bool = "insecureSkipVerify";
        min_protocol_version: may TlsVersion = "minProtocolVersion";
        max_protocol_version: may TlsVersion = "maxProtocolVersion";
        cipher_suites: list String = "cipherSuites";
        ecdh_curves: list String = "ecdhCurves";
    }

    /// One certificate by its files.
    TlsCertificate {
        server_certificate: may String = "serverCertificate";
        private_key: may String = "privateKey";
        ca_certificates: may String = "caCertificates";
    }
}

words! {
    /// Who opens the TLS, and whose certificates are checked.
    ServerTlsMode {
        Passthrough = "PASSTHROUGH",
        Simple = "SIMPLE",
        Mutual = "MUTUAL",
        AutoPassthrough = "AUTO_PASSTHROUGH",
        IstioMutual = "ISTIO_MUTUAL",
        OptionalMutual = "OPTIONAL_MUTUAL",
    }

    /// A version of TLS.
    TlsVersion {
        Auto = "TLS_AUTO",
        V1_0 = "TLSV1_0",
        V1_1 = "TLSV1_1",
        V1_2 = "TLSV1_2",
        V1_3 = "TLSV1_3",
    }
}
