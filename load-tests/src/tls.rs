//! The certificate of all peers, and a client that takes it and no other.
//!
//! One suite and one group for all: TLS 1.3, AES-128-GCM, X25519, a certificate with a P-256 key; a session is never taken up
//! again. The client looks whether the certificate is the one that was made and leaves out the signatures, of which the
//! server's costs it more time than the server: it is the proxies that are measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::Context;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::scenario::SMALL_KEEPALIVE;

/// Made when it is first wanted, and the same as long as the driver runs.
static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed([SMALL_KEEPALIVE.host.to_owned()]);
    let made = made.expect("a fresh key signs a certificate of its own");
    Certificate {
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    }
});

struct Certificate {
    chain: String,
    key: String,
    der: CertificateDer<'static>,
}

/// Where a peer finds certificate and key.
#[derive(Debug)]
pub(crate) struct Files {
    /// The certificate.
    pub(crate) chain: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// Both, one behind the other.
    pub(crate) both: PathBuf,
}

/// Writes them into a folder.
pub(crate) fn write(folder: &Path) -> std::io::Result<Files> {
    let files =
        Files { chain: folder.join("tls.crt"), key: folder.join("tls.key"), both: folder.join("tls.pem") };
    let Certificate { chain, key, .. } = &*CERTIFICATE;
    fs::write(&files.chain, chain)?;
    fs::write(&files.key, key)?;
    fs::write(&files.both, format!("{chain}{key}"))?;
    Ok(files)
}

/// A client that offers HTTP/2 alone, or HTTP/1.1 alone.
pub(crate) fn client(h2: bool) -> anyhow::Result<Arc<ClientConfig>> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![ring::kx_group::X25519];
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("a client of TLS 1.3")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OursAlone(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(Arc::new(config))
}

/// Takes our certificate without a look at signatures.
#[derive(Debug)]
struct OursAlone(Arc<CryptoProvider>);

impl ServerCertVerifier for OursAlone {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *certificate == CERTIFICATE.der {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("another certificate than that of the harness".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 alone".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    /// What a client of ours says to a server with that certificate.
    async fn shake(chain: &str, key: &str) -> Result<(), String> {
        let chain = CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate");
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .expect("a pair");
        let (near, far) = tokio::io::duplex(1 << 16);
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let connector = TlsConnector::from(client(false).expect("a client"));
        let name = ServerName::try_from(SMALL_KEEPALIVE.host).expect("a name");
        let (_, client) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
        client.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_client_takes_the_certificate_of_the_harness_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = write(folder.path()).expect("written");
        let [chain, key] = [files.chain, files.key].map(|file| fs::read_to_string(file).expect("read"));
        assert_eq!(shake(&chain, &key).await, Ok(()));
        let other = rcgen::generate_simple_self_signed([SMALL_KEEPALIVE.host.to_owned()]).expect("made");
        let said = shake(&other.cert.pem(), &other.signing_key.serialize_pem()).await;
        assert!(said.expect_err("another").contains("another certificate than that of the harness"));
    }
}
