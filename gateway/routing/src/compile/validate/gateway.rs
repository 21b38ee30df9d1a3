//! Gateways: which of the fields of TLS Istio lets stand together.

use super::super::names::is_label;
use super::super::values::warn;
use crate::origin::{At, Pos};
use crate::wire::Document;
use crate::wire::gateway::{Gateway, ServerTls, ServerTlsMode as Mode, TlsCertificate, TlsVersion};
use crate::wire::object::is_dns_name;
use crate::wire::sink::Sink;

/// Judges a Gateway as written.
pub(in super::super) fn gateway(document: &Document, gateway: &Gateway, sink: &mut Sink<'_>) {
    let Gateway { selector: _, servers } = gateway;
    let name = &document.object.name.name;
    // What is no object's name at all is said of the object.
    if is_dns_name(name) && !is_label(name) {
        sink.schema(
            document.object.pos,
            format!("{name:?} is not the name of a Gateway: it may not have dots"),
        );
    }
    for server in servers {
        if let Some(tls) = &server.tls {
            check_tls(tls, &server.port.protocol, sink);
        }
    }
}

fn check_tls(tls: &At<ServerTls>, protocol: &At<String>, sink: &mut Sink<'_>) {
    let word = protocol.to_ascii_uppercase();
    let secure = matches!(word.as_str(), "HTTPS" | "TLS");
    let plain_http = matches!(word.as_str(), "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB");
    check_options(tls, sink);
    let key = tls.pos.back(1);
    if plain_http && !only_redirects(tls) {
        sink.schema(key, format!("a port of protocol {word} takes no TLS settings but httpsRedirect"));
    } else if !plain_http && !secure {
        sink.schema(key, format!("a port of protocol {word} takes no TLS settings"));
    }
    let redirects = tls.https_redirect.as_ref().filter(|redirect| redirect.value && !plain_http);
    if let Some(redirect) = redirects {
        warn("\"httpsRedirect\" only works on a port of HTTP", redirect.pos, sink);
    }
}

fn only_redirects(tls: &ServerTls) -> bool {
    let files = [&tls.ca_certificates, &tls.private_key, &tls.server_certificate];
    let passes =
        tls.mode.as_ref().is_none_or(|mode| matches!(mode.value, Mode::Passthrough | Mode::AutoPassthrough));
    passes && files.into_iter().all(|file| said(file).is_none())
}

/// A text that is there and not empty; proto3 tells no difference between empty and absent.
fn said(text: &Option<At<String>>) -> Option<Pos> {
    text.as_ref().filter(|text| !text.is_empty()).map(|text| text.pos.back(1))
}

fn first<T>(list: &[At<T>]) -> Option<Pos> {
    list.first().map(|item| item.pos.back(2))
}

/// Istio `validateTLSOptions`.
fn check_options(tls: &At<ServerTls>, sink: &mut Sink<'_>) {
    let ServerTls {
        https_redirect: _,
        mode,
        credential_name,
        credential_names,
        tls_certificates,
        server_certificate,
        private_key,
        ca_certificates,
        ca_crl,
        ca_cert_credential_name: _,
        subject_alt_names: _,
        verify_certificate_spki: _,
        verify_certificate_hash: _,
        insecure_skip_verify: _,
        min_protocol_version,
        max_protocol_version: _,
        cipher_suites,
        ecdh_curves: _,
    } = &tls.value;
    let old = |version: &&At<TlsVersion>| matches!(version.value, TlsVersion::V1_0 | TlsVersion::V1_1);
    if let (Some(version), true) = (min_protocol_version.as_ref().filter(old), cipher_suites.is_empty()) {
        warn("a version under TLSV1_2 needs cipherSuites that it can use", version.pos, sink);
    }
    let mode = mode.as_ref().map_or(Mode::Passthrough, |mode| mode.value);
    let remote = [said(credential_name), first(credential_names)];
    let files = [said(server_certificate), said(private_key), said(ca_certificates), first(tls_certificates)];
    match mode {
        Mode::IstioMutual => {
            for key in remote.into_iter().chain(files).flatten() {
                sink.schema(key, "ISTIO_MUTUAL takes the mesh's certificates, and no others".into());
            }
            return;
        }
        Mode::Passthrough | Mode::AutoPassthrough => {
            if let Some(key) = remote.into_iter().chain(files).chain([said(ca_crl)]).flatten().next() {
                warn("TLS is passed on unopened, so certificates are not used", key, sink);
            }
        }
        Mode::Simple | Mode::Mutual | Mode::OptionalMutual => {}
    }
    let pair = said(server_certificate).and(said(private_key));
    let sources: Vec<Pos> = [pair, said(credential_name), first(credential_names), first(tls_certificates)]
        .into_iter()
        .flatten()
        .collect();
    if let [_, second, ..] = sources.as_slice() {
        let message =
            "credentialName, credentialNames, serverCertificate and tlsCertificates exclude each other";
        sink.schema(*second, message.into());
    }
    if let Some(third) = credential_names.get(2) {
        warn("only two credentials are used by Istio: one of RSA, one of ECDSA", third.pos, sink);
    }
    let opens = matches!(mode, Mode::Simple | Mode::Mutual | Mode::OptionalMutual);
    if opens && remote.iter().all(Option::is_none) {
        check_files(tls, mode, sink);
    } else if opens {
        return;
    }
    if let Some(key) = said(ca_crl) {
        if mode == Mode::Simple {
            sink.schema(key, "\"caCrl\" has no meaning in mode SIMPLE, which asks for no certificate".into());
        } else if said(credential_name).is_some() {
            sink.schema(key, "\"caCrl\" has no place beside credentialName, which brings its own".into());
        }
    }
}

/// Certificates by files: a pair, or a list of pairs, and a bundle where clients show theirs.
fn check_files(tls: &At<ServerTls>, mode: Mode, sink: &mut Sink<'_>) {
    let key = tls.pos.back(1);
    let mutual = matches!(mode, Mode::Mutual | Mode::OptionalMutual);
    if mutual && said(&tls.ca_certificates).is_none() {
        sink.schema(key, "a mode that asks clients for certificates needs caCertificates".into());
    }
    if let Some(third) = tls.tls_certificates.get(2) {
        warn("only two certificates are used: one of RSA, one of ECDSA", third.pos, sink);
    }
    let mut check_pair = |pos: Pos, certificate: &Option<At<String>>, private: &Option<At<String>>| {
        for (field, written) in [("serverCertificate", certificate), ("privateKey", private)] {
            if said(written).is_none() {
                sink.schema(pos, format!("{field:?} is missing, and no credentialName stands for it"));
            }
        }
    };
    if tls.tls_certificates.is_empty() {
        check_pair(key, &tls.server_certificate, &tls.private_key);
    }
    for pair in &tls.tls_certificates {
        let TlsCertificate { server_certificate, private_key, ca_certificates: _ } = &pair.value;
        check_pair(pair.pos, server_certificate, private_key);
    }
}
