//! One server's configuration for rustls, from the texts that its credentials gave.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider, sign::any_supported_type};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};
use trysail_routing::snapshot::{CIPHER_SUITES, Clients, ServerTls, TlsVersion};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::clients;
use super::credentials::{Fault, Faults, Material, Pair, Pem};

/// Makes one; the faults say which file is at fault, and how. There is none where there was a fault before.
pub(super) fn config(tls: &ServerTls, material: &Material, faults: &mut Faults) -> Option<ServerConfig> {
    let provider = Arc::new(provider(&tls.cipher_suites));
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(tls.min, tls.max))
        .map_err(|error| Fault::invalid(format!("TLS can't be spoken so: {error}"), None));
    let keys: Vec<_> = material.certificates.iter().filter_map(|pair| certified(pair, faults)).collect();
    let verifier = match (&tls.clients, &material.issuers) {
        (Clients::Asked(wanted), Some(issuers)) => {
            let revoked = material.revoked.as_ref();
            faults.keep(clients::verifier(wanted, issuers, revoked, provider))
        }
        _ => None,
    };
    // Without this a verifier that could not be made would let everyone in.
    let builder = faults.keep(builder).filter(|_| faults.0.is_empty())?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Choice(keys)));
    if tls.http {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Some(config)
}

/// What is no fault, and soon will be: certificates that are out of their time.
pub(super) fn warnings(material: &Material) -> Vec<Fault> {
    let outdated = |chain: &Pem| {
        let first = CertificateDer::pem_slice_iter(&chain.text).next()?.ok()?;
        let (_, certificate) = X509Certificate::from_der(&first).ok()?;
        let validity = certificate.validity();
        (!validity.is_valid()).then(|| {
            chain.fault(format!(
                "the certificate in {} is out of its time: it is valid from {} to {}",
                chain.name, validity.not_before, validity.not_after
            ))
        })
    };
    material.certificates.iter().filter_map(|pair| outdated(pair.chain.as_ref()?)).collect()
}

/// The suites of TLS 1.3 are always there; those of 1.2 may be chosen.
fn provider(chosen: &[&str]) -> CryptoProvider {
    const KNOWN: [SupportedCipherSuite; 6] = [
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    let mut provider = default_provider();
    if !chosen.is_empty() {
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        let suite = |name: &&str| CIPHER_SUITES.iter().position(|known| known == name).map(|at| KNOWN[at]);
        provider.cipher_suites.extend(chosen.iter().filter_map(suite));
    }
    provider
}

fn versions(min: TlsVersion, max: TlsVersion) -> Vec<&'static SupportedProtocolVersion> {
    [(TlsVersion::V1_3, &version::TLS13), (TlsVersion::V1_2, &version::TLS12)]
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version))
        .map(|(_, known)| known)
        .collect()
}

/// A certificate with its key. Where one of them could not be read, the other is looked at all the same.
pub(super) fn certified(pair: &Pair, faults: &mut Faults) -> Option<Arc<CertifiedKey>> {
    let certificates = pair.chain.as_ref().map(|pem| faults.keep(certificates(pem)));
    let signing = pair.key.as_ref().map(|pem| faults.keep(signing(pem)));
    let (Some(chain), Some(key)) = (&pair.chain, &pair.key) else { return None };
    let certified = CertifiedKey::new(certificates??, signing??);
    let matched = certified.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => key.fault(format!(
            "the private key in {} is not that of the certificate in {}",
            key.name, chain.name
        )),
        error if error.to_string().contains("UnsupportedCertVersion") => chain.fault(format!(
            "the certificate in {} is of an old version of X.509: TLS here takes version 3 alone",
            chain.name
        )),
        error => chain.fault(format!("the certificate in {} can't be used: {error}", chain.name)),
    });
    faults.keep(matched)?;
    Some(Arc::new(certified))
}

/// Certificates, at least one, each of which can be read. Pingora's own reading of one that can't would be a panic.
pub(super) fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.text).collect();
    let read = read.map_err(|error| pem.fault(format!("{} is no PEM: {error}", pem.name)))?;
    if read.is_empty() {
        return Err(pem.fault(format!("there is no certificate in {}", pem.name)));
    }
    if read.iter().any(|der| X509Certificate::from_der(der).is_err()) {
        return Err(pem.fault(format!("{} holds what is no certificate", pem.name)));
    }
    Ok(read)
}

/// The first private key.
pub(super) fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(&pem.text)
        .map_err(|_| pem.fault(format!("there is no private key in {}", pem.name)))
}

fn signing(pem: &Pem) -> Result<Arc<dyn SigningKey>, Fault> {
    any_supported_type(&private_key(pem)?)
        .map_err(|_| pem.fault(format!("the private key in {} is of no kind that can sign", pem.name)))
}

/// Shows the first certificate whose kind the client can verify, so that an ECDSA and an RSA one may stand side by
/// side; else the first of all, and the client decides.
#[derive(Debug)]
struct Choice(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(fits).or(self.0.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use trysail_testkit::tls::Authority;

    use super::*;

    /// `openssl x509 -req` without extensions makes such.
    const VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBHjCBxQIUdhzpJYexLKq92nslDQ7UG/eQcXAwCgYIKoZIzj0EAwIwETEPMA0G
A1UEAwwGYS50ZXN0MCAXDTI2MTEyMzAzMjY0OFoYDzIxMjYxMDMwMDMyNjQ4WjAR
MQ8wDQYDVQQDDAZhLnRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQoR5Pz
/31J2s5agojNjk6CftN/tLDPjZBnV1qf8zIvgQkUg5WjD066uh/xD0mTOHfsiop+
ej/1jn9IOdLS/S7dMAoGCCqGSM49BAMCA0gAMEUCIBkpIGxfpY02q+RC3lqhTKRz
bxzuO6ziNPe5bFIRExBvAiEAt5yn8pxTacq4KuMRLkQ/rGmuOXLCmIwEdO5v5doA
k6o=
-----END CERTIFICATE-----
";

    #[test]
    fn a_certificate_of_version_1_is_refused_in_words() {
        let pem =
            |name: &str, text: String| Pem { name: name.to_owned(), text: text.into_bytes(), place: None };
        let key = Authority::new("root").issue(&["a.test"]).key;
        let pair = Pair { chain: Some(pem("a.crt", VERSION_1.to_owned())), key: Some(pem("a.key", key)) };
        let mut faults = Faults::default();
        assert!(certified(&pair, &mut faults).is_none());
        assert_eq!(
            faults.0[0].message,
            "the certificate in a.crt is of an old version of X.509: TLS here takes version 3 alone"
        );
    }
}
