//! ServerTLSSettings → how TLS is ended, or that it is not ended here.

use super::super::base64;
use super::super::support::{fields, unsupported};
use super::super::values::reference;
use super::suites;
use crate::diagnostic::{Code, Severity};
use crate::origin::At;
use crate::snapshot::{Certificate, ClientCertificates, Clients, Issuers, Pins, ServerTls, TlsVersion};
use crate::wire::Document;
use crate::wire::gateway::{self, ServerTlsMode, TlsCertificate};
use crate::wire::sink::Sink;

/// What a server's `tls` asks for.
pub(super) enum Ending {
    /// TLS is passed on unopened.
    Passthrough,
    /// TLS ends here.
    Here(Box<ServerTls>),
}

/// Reads a server's `tls`; `None` where it can't be executed, with the reason in the sink. `known` are its cipher
/// suites; they and `https_redirect` are the caller's.
pub(super) fn read(
    document: &Document,
    written: &At<gateway::ServerTls>,
    known: &[&At<String>],
    http: bool,
    selected: bool,
    sink: &mut Sink<'_>,
) -> Option<Ending> {
    let gateway::ServerTls {
        https_redirect: _,
        mode,
        credential_name,
        credential_names,
        tls_certificates,
        server_certificate,
        private_key,
        ca_certificates,
        ca_crl,
        ca_cert_credential_name,
        subject_alt_names,
        verify_certificate_spki,
        verify_certificate_hash,
        insecure_skip_verify,
        min_protocol_version,
        max_protocol_version,
        cipher_suites,
        ecdh_curves,
    } = &written.value;
    unsupported(Severity::Warning, fields![ecdh_curves = "ecdhCurves"], sink);
    let optional = match mode.as_ref().map_or(ServerTlsMode::Passthrough, |mode| mode.value) {
        ServerTlsMode::Passthrough => return Some(Ending::Passthrough),
        unmeant @ (ServerTlsMode::AutoPassthrough | ServerTlsMode::IstioMutual) => {
            let word =
                if unmeant == ServerTlsMode::IstioMutual { "ISTIO_MUTUAL" } else { "AUTO_PASSTHROUGH" };
            // In a Gateway that is not ours it does no harm.
            let severity = if selected { Severity::Error } else { Severity::Note };
            let pos = mode.as_ref().map_or(written.pos, |mode| mode.pos);
            sink.add(severity, Code::NEEDS_MESH, pos, format!("{word} is spoken among sidecars only"))
                .hints
                .push("a gateway alone speaks SIMPLE, MUTUAL, OPTIONAL_MUTUAL and PASSTHROUGH".into());
            return None;
        }
        ServerTlsMode::Simple => None,
        ServerTlsMode::Mutual => Some(false),
        ServerTlsMode::OptionalMutual => Some(true),
    };
    let credential = |name: &At<String>| Certificate::Credential(reference(name));
    let files = |chain: &Option<At<String>>, key: &Option<At<String>>| match (chain, key) {
        (Some(chain), Some(key)) => Some(Certificate::Files { chain: reference(chain), key: reference(key) }),
        _ => None,
    };
    let listed = tls_certificates.iter().filter_map(|one| {
        let TlsCertificate { server_certificate, private_key, ca_certificates: _ } = &one.value;
        files(server_certificate, private_key)
    });
    let certificates: Vec<Certificate> = credential_name
        .iter()
        .map(credential)
        .chain(credential_names.iter().map(credential))
        .chain(listed)
        .chain(files(server_certificate, private_key))
        .collect();
    let clients = match optional {
        None => Clients::Anyone,
        Some(optional) => {
            let listed = tls_certificates.iter().find_map(|one| one.ca_certificates.as_ref());
            let file = ca_certificates.as_ref().or(listed);
            let named =
                ca_cert_credential_name.as_ref().or(credential_name.as_ref()).or(credential_names.first());
            let issuers = match (file, named) {
                (Some(file), _) => Issuers::File(reference(file)),
                (None, Some(name)) => Issuers::Credential(reference(name)),
                (None, None) => return None, // What is missing is a matter of the schema, and said there.
            };
            Clients::Asked(ClientCertificates {
                optional,
                issuers,
                revoked: ca_crl.as_ref().map(reference),
                subject_alt_names: subject_alt_names.iter().map(|name| name.as_str().into()).collect(),
                pins: pins(verify_certificate_spki, verify_certificate_hash, sink)?,
                let_failures_in: insecure_skip_verify.as_ref().is_some_and(|skip| skip.value),
            })
        }
    };
    let (min, max) = versions(min_protocol_version.as_ref(), max_protocol_version.as_ref(), sink)?;
    let cipher_suites = suites::spoken(cipher_suites, known, min, sink)?;
    let origin = document.origin(written.pos);
    let object = document.object.title().into();
    let tls = ServerTls { certificates, clients, min, max, cipher_suites, http, object, origin };
    (!tls.certificates.is_empty()).then(|| Ending::Here(Box::new(tls)))
}

/// TLS 1.2 and 1.3 are spoken. An older least version is no loss to anyone but its own clients, who are refused.
fn versions(
    min: Option<&At<gateway::TlsVersion>>,
    max: Option<&At<gateway::TlsVersion>>,
    sink: &mut Sink<'_>,
) -> Option<(TlsVersion, TlsVersion)> {
    use gateway::TlsVersion::{Auto, V1_0, V1_1, V1_2, V1_3};
    let least = match min.map(|min| (min, min.value)) {
        Some((min, V1_0 | V1_1)) => {
            let message =
                "TLS below 1.2 is not spoken; clients that speak nothing newer are refused".to_owned();
            sink.add(Severity::Warning, Code::UNSUPPORTED_FIELD, min.pos, message);
            TlsVersion::V1_2
        }
        None | Some((_, Auto | V1_2)) => TlsVersion::V1_2,
        Some((_, V1_3)) => TlsVersion::V1_3,
    };
    let most = match max.map(|max| (max, max.value)) {
        Some((max, V1_0 | V1_1)) => {
            let message = "TLS below 1.2 is not spoken, and this allows nothing newer".to_owned();
            sink.add(Severity::Error, Code::UNSUPPORTED_FIELD, max.pos, message);
            return None;
        }
        None | Some((_, Auto | V1_3)) => TlsVersion::V1_3,
        Some((_, V1_2)) => TlsVersion::V1_2,
    };
    if let (true, Some(max)) = (least > most, max) {
        sink.schema(max.pos, "maxProtocolVersion is older than minProtocolVersion".into());
        return None;
    }
    Some((least, most))
}

fn pins(spki: &[At<String>], hashes: &[At<String>], sink: &mut Sink<'_>) -> Option<Pins> {
    let mut read = |written: &[At<String>], digest: fn(&str) -> Option<[u8; 32]>, what: &str| {
        let mut all = Vec::new();
        for pin in written {
            match digest(pin) {
                Some(digest) => all.push(digest),
                None => {
                    sink.schema(pin.pos, format!("{:?} is not a SHA-256 in {what}", pin.value));
                }
            }
        }
        (all.len() == written.len()).then_some(all)
    };
    let public_keys = read(spki, base64_digest, "base64");
    let certificates = read(hashes, hexadecimal_digest, "hexadecimal");
    Some(Pins { public_keys: public_keys?, certificates: certificates? })
}

/// 64 hexadecimal digits, with or without colons between pairs.
fn hexadecimal_digest(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |sum, digit| sum << 4 | digit)).collect();
    (digits.len() == 64).then(|| bytes.try_into().ok())?
}

fn base64_digest(text: &str) -> Option<[u8; 32]> {
    base64::decode(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_32_bytes() {
        let hex = "00:ff".to_owned() + &":01".repeat(30);
        assert_eq!(hexadecimal_digest(&hex).unwrap()[..3], [0, 255, 1]);
        assert_eq!(hexadecimal_digest(&hex.replace(':', "")), hexadecimal_digest(&hex));
        let digest = base64_digest("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=").unwrap();
        assert_eq!(digest[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        for wrong in ["", "00", "zz", &"0".repeat(63), &"g".repeat(64)] {
            assert!(hexadecimal_digest(wrong).is_none() && base64_digest(wrong).is_none(), "{wrong}");
        }
    }
}
