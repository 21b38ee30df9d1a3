//! `tls` of a traffic policy: whether and how TLS is spoken with a host.

use crate::compile::support::Written;
use crate::compile::values::reference;
use crate::diagnostic::{Code, Severity};
use crate::origin::{At, Origin, Pos};
use crate::snapshot::policy::{self, ClientIdentity, Credentials};
use crate::wire::Document;
use crate::wire::destination_rule::{ClientTls, ClientTlsMode};
use crate::wire::sink::Sink;

/// A `tls` block.
#[derive(Clone)]
pub(super) struct Tls {
    /// As run; `None` for plaintext.
    pub(super) tls: Option<policy::ClientTls>,
    /// Where it asks for mutual TLS by the mesh.
    pub(super) needs_mesh: Option<Origin>,
}

/// Reads a `tls` block.
pub(super) fn read(document: &Document, written: &At<Box<ClientTls>>, sink: &mut Sink<'_>) -> Tls {
    let ClientTls {
        mode,
        client_certificate,
        private_key,
        ca_certificates,
        ca_crl,
        credential_name,
        subject_alt_names,
        sni,
        insecure_skip_verify,
    } = &*written.value;
    let mode_at = mode.as_ref().map_or(written.pos, |mode| mode.pos);
    let mode = mode.as_ref().map_or(ClientTlsMode::Disable, |mode| mode.value);
    let mutual = match mode {
        ClientTlsMode::Disable => return Tls { tls: None, needs_mesh: None },
        ClientTlsMode::IstioMutual => {
            return Tls { tls: None, needs_mesh: Some(document.origin(mode_at)) };
        }
        ClientTlsMode::Simple => false,
        ClientTlsMode::Mutual => true,
    };
    let [certificate, key, ca, crl, secret, sni] =
        [client_certificate, private_key, ca_certificates, ca_crl, credential_name, sni]
            .map(|text| text.as_ref().filter(|text| !text.is_empty()));
    let skip = insecure_skip_verify.as_ref().filter(|skip| skip.value);
    if let Some(skip) = skip {
        // A Secret may hold an identity only, which nothing here can know; under SIMPLE it can hold nothing else
        // than authorities.
        let trusted = [
            ("caCertificates", ca.key()),
            ("subjectAltNames", subject_alt_names.key()),
            ("credentialName", secret.key().filter(|_| !mutual)),
        ];
        for (name, _) in trusted.iter().filter(|(_, key)| key.is_some()) {
            sink.schema(
                skip.pos.back(1),
                format!("\"insecureSkipVerify\" and \"{name}\" exclude each other"),
            );
        }
    }
    let files = [
        ("clientCertificate", certificate.key()),
        ("privateKey", key.key()),
        ("caCertificates", ca.key()),
        ("caCrl", crl.key()),
    ];
    if secret.is_some() {
        for (name, key) in files {
            if let Some(key) = key {
                sink.schema(key, format!("\"{name}\" and \"credentialName\" exclude each other"));
            }
        }
    } else if mutual {
        for (name, _) in files[..2].iter().filter(|(_, key)| key.is_none()) {
            sink.schema(mode_at, format!("mode MUTUAL needs \"{name}\" or \"credentialName\""));
        }
    }
    let credentials = match secret {
        Some(name) => Credentials::Secret(reference(name)),
        None => Credentials::Files {
            ca: ca.map(reference),
            crl: crl.map(reference),
            identity: certificate
                .map(reference)
                .zip(key.map(reference))
                .filter(|_| mutual)
                .map(|(certificate, key)| ClientIdentity { certificate, key }),
        },
    };
    let names = subject_alt_names.iter().map(|name| name.value.as_str().into()).collect();
    let insecure_skip_verify = skip.is_some();
    let tls = policy::ClientTls {
        mutual,
        sni: sni.map(|sni| sni.as_str().into()),
        subject_alt_names: names,
        credentials,
        insecure_skip_verify,
        object: document.object.title().into(),
        origin: document.origin(written.pos),
    };
    refuse_what_cannot_be_done(&tls, written.pos, crl, sink);
    Tls { tls: Some(tls), needs_mesh: None }
}

/// What would let a server in that it should not is refused.
fn refuse_what_cannot_be_done(
    tls: &policy::ClientTls,
    pos: Pos,
    crl: Option<&At<String>>,
    sink: &mut Sink<'_>,
) {
    if tls.server_name().is_none() {
        let message =
            "the name that is looked for in the server's certificate must be the one that is sent".to_owned();
        sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, pos, message)
            .hints
            .push("write one DNS name in subjectAltNames, and the same or none in sni".into());
    }
    if let Some(crl) = crl {
        let message = "\"caCrl\" towards an upstream is not supported yet".to_owned();
        sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, crl.pos, message);
    }
}

/// Istio's analysis warns where the authorities that are trusted are not said: `code` is for a host or a port.
pub(super) fn warn_of_no_authorities(
    written: &At<Box<ClientTls>>,
    read: &Tls,
    code: Code,
    sink: &mut Sink<'_>,
) {
    let Some(tls) = &read.tls else { return };
    if !matches!(tls.credentials, Credentials::Files { ca: None, .. }) {
        return;
    }
    let mode = if tls.mutual { "MUTUAL" } else { "SIMPLE" };
    let verified = match tls.insecure_skip_verify {
        true => "is not verified at all",
        false => "is verified by the system's authorities",
    };
    let pos = written.mode.as_ref().map_or(written.pos, |mode| mode.pos);
    let message = format!("tls mode {mode} without \"caCertificates\": the server {verified}");
    sink.add(Severity::Warning, code, pos, message);
}
