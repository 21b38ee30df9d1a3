//! TLS towards upstreams: what is trusted and what is shown, from their files.

use std::collections::BTreeMap;
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use trysail_routing::diagnostic::{Diagnostics, Severity};
use trysail_routing::snapshot::Cluster;
use trysail_routing::snapshot::policy::{ClientIdentity, ClientTls, Credentials};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::credentials::{Fault, Pem, Store};

/// What a cluster's connections are made with.
#[derive(Clone)]
pub(crate) struct Trust {
    /// Who may have issued the server's certificate; `None` for those that the system trusts.
    pub(crate) issuers: Option<Arc<CaType>>,
    /// What is shown to the server, if it asks.
    pub(crate) identity: Option<Arc<CertKey>>,
    /// Of all of it: another is another pool of connections.
    pub(crate) digest: [u8; 32],
}

/// Of each cluster that speaks TLS.
#[derive(Clone, Default)]
pub(crate) struct Trusts {
    by_cluster: BTreeMap<usize, Trust>,
    /// Of all of them: another content is another revision.
    pub(crate) digest: [u8; 32],
}

impl Trusts {
    /// That of the cluster at an index of the snapshot's table.
    pub(crate) fn of(&self, cluster: usize) -> Option<&Trust> {
        self.by_cluster.get(&cluster)
    }
}

impl Store {
    /// Reads what the clusters of a revision need. What can't be read is a finding, an error.
    pub(super) fn load_upstream(&mut self, clusters: &[Arc<Cluster>], findings: &mut Diagnostics) -> Trusts {
        let mut trusts = Trusts::default();
        let mut all = Sha256::new();
        for (index, cluster) in clusters.iter().enumerate() {
            let Some(tls) = &cluster.policy.tls else { continue };
            match self.trust(tls) {
                Ok(trust) => {
                    all.update(trust.digest);
                    trusts.by_cluster.insert(index, trust);
                }
                Err(fault) => {
                    let finding = fault.finding(Severity::Error, &tls.object, &tls.origin);
                    // Several clusters may have one policy.
                    if findings.iter().all(|other| *other != finding) {
                        findings.push(finding);
                    }
                }
            }
        }
        trusts.digest = all.finalize().into();
        trusts
    }

    fn trust(&mut self, tls: &ClientTls) -> Result<Trust, Fault> {
        let (issuers, identity) = match &tls.credentials {
            Credentials::Files { ca, crl: _, identity } => {
                let ca = ca.as_ref().map(|path| self.file(path.as_ref().as_ref())).transpose()?;
                let identity = match identity {
                    Some(ClientIdentity { certificate, key }) => {
                        Some((self.file(certificate.as_ref().as_ref())?, self.file(key.as_ref().as_ref())?))
                    }
                    None => None,
                };
                (ca, identity)
            }
            Credentials::Secret(name) => {
                let identity = if tls.mutual { Some(self.pair(name)?) } else { None };
                (self.issuers(name, tls.mutual)?, identity)
            }
        };
        let mut digest = Sha256::new();
        let texts = issuers.iter().chain(identity.iter().flat_map(|(chain, key)| [chain, key]));
        texts.for_each(|text| digest.update(&text.text));
        Ok(Trust {
            issuers: issuers.as_ref().map(authorities).transpose()?,
            identity: identity.as_ref().map(|(chain, key)| shown(chain, key)).transpose()?,
            digest: digest.finalize().into(),
        })
    }
}

/// Certificates, each of which can be read. Pingora's own reading of one that can't would be a panic.
fn certificates(pem: &Pem) -> Result<Vec<Vec<u8>>, Fault> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.text).collect();
    let read = read.map_err(|error| Fault::invalid(format!("{} is no PEM: {error}", pem.name)))?;
    if read.is_empty() {
        return Err(Fault::invalid(format!("there is no certificate in {}", pem.name)));
    }
    if read.iter().any(|der| X509Certificate::from_der(der).is_err()) {
        return Err(Fault::invalid(format!("{} holds what is no certificate", pem.name)));
    }
    Ok(read.into_iter().map(|der| der.to_vec()).collect())
}

fn authorities(pem: &Pem) -> Result<Arc<CaType>, Fault> {
    Ok(certificates(pem)?.into_iter().map(|der| WrappedX509::new(der, parse_x509)).collect())
}

fn shown(chain: &Pem, key: &Pem) -> Result<Arc<CertKey>, Fault> {
    let chain = certificates(chain)?;
    let der = PrivateKeyDer::from_pem_slice(&key.text)
        .map_err(|_| Fault::invalid(format!("there is no private key in {}", key.name)))?;
    any_supported_type(&der).map_err(|_| {
        Fault::invalid(format!("the private key in {} is of no kind that can sign", key.name))
    })?;
    Ok(Arc::new(CertKey::new(chain, der.secret_der().to_vec())))
}
