//! Which clients are let in: their certificates checked against issuers, names and pins.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use trysail_routing::snapshot::ClientCertificates;

use super::certificate;
use super::credentials::{Fault, Pem};

/// What is asked of clients.
pub(super) fn verifier(
    wanted: &ClientCertificates,
    issuers: &Pem,
    revoked: Option<&Pem>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    let mut roots = RootCertStore::empty();
    for issuer in CertificateDer::pem_slice_iter(&issuers.text) {
        let added = issuer
            .map_err(|error| error.to_string())
            .and_then(|issuer| roots.add(issuer).map_err(|error| error.to_string()));
        added.map_err(|error| {
            issuers.fault(format!("{} holds what is no certificate: {error}", issuers.name))
        })?;
    }
    if roots.is_empty() {
        return Err(issuers.fault(format!("there is no certificate in {}", issuers.name)));
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let Some(revoked) = revoked {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&revoked.text).collect();
        let lists = lists.map_err(|error| revoked.fault(format!("{} is no PEM: {error}", revoked.name)))?;
        builder = builder.with_crls(lists).allow_unknown_revocation_status();
    }
    if wanted.optional {
        builder = builder.allow_unauthenticated();
    }
    let chain =
        builder.build().map_err(|error| issuers.fault(format!("{} can't be used: {error}", issuers.name)))?;
    let plain =
        wanted.subject_alt_names.is_empty() && !wanted.let_failures_in && wanted.pins == Default::default();
    Ok(if plain { chain } else { Arc::new(Choosy { chain, wanted: wanted.clone() }) })
}

/// A verifier that also looks at names and pins, or that lets failures in (Istio `insecureSkipVerify`).
#[derive(Debug)]
struct Choosy {
    chain: Arc<dyn ClientCertVerifier>,
    wanted: ClientCertificates,
}

impl Choosy {
    fn fits(&self, certificate: &CertificateDer<'_>) -> bool {
        let ClientCertificates { subject_alt_names, pins, .. } = &self.wanted;
        let names = certificate::names(certificate);
        let named = names.dns.iter().chain(&names.uris).chain(&names.others);
        let mut named = named.map(String::as_str);
        let name_fits =
            subject_alt_names.is_empty() || named.any(|name| subject_alt_names.iter().any(|w| **w == *name));
        let unpinned = pins.public_keys.is_empty() && pins.certificates.is_empty();
        let whole: [u8; 32] = Sha256::digest(certificate).into();
        let pinned = || {
            pins.certificates.contains(&whole)
                || certificate::public_key_digest(certificate)
                    .is_some_and(|key| pins.public_keys.contains(&key))
        };
        name_fits && (unpinned || pinned())
    }
}

impl ClientCertVerifier for Choosy {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = match self.chain.verify_client_cert(certificate, intermediates, now) {
            Ok(_) if !self.fits(certificate) => {
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            verified => verified,
        };
        if self.wanted.let_failures_in { Ok(ClientCertVerified::assertion()) } else { verified }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
