//! TLS towards upstreams: what is trusted and what is shown, from their files.

use std::collections::BTreeMap;
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use sha2::{Digest, Sha256};
use trysail_routing::diagnostic::{Diagnostics, Severity};
use trysail_routing::snapshot::Cluster;
use trysail_routing::snapshot::policy::{ClientIdentity, ClientTls, Credentials};

use super::credentials::{Fault, Faults, Pair, Pem, Store};
use super::server;

/// What a cluster's connections are made with.
#[derive(Clone)]
pub(crate) struct Trust {
    /// Who may have issued the server's certificate; `None` for those that the system trusts.
    pub(crate) issuers: Option<Arc<CaType>>,
    /// What is shown to the server, if it asks.
    pub(crate) identity: Option<Arc<CertKey>>,
    /// Of all of it: another is another pool of connections.
    pub(crate) digest: [u8; 32],
    /// What is written can't be had: nobody is trusted, whatever else is written.
    pub(crate) nobody: bool,
}

impl Trust {
    /// Where a cluster lacks its credentials: without this, more would be trusted than what is written.
    fn nobody() -> Self {
        Trust { issuers: Some(Arc::new([])), identity: None, digest: [0; 32], nobody: true }
    }
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
            let faults = &mut Faults::default();
            let lenient = self.is_lenient();
            if let Some(trust) = self.trust(tls, faults).or_else(|| lenient.then(Trust::nobody)) {
                all.update(trust.digest);
                trusts.by_cluster.insert(index, trust);
            }
            for fault in std::mem::take(&mut faults.0) {
                let severity = if lenient { Severity::Warning } else { Severity::Error };
                let finding = fault.finding(severity, &tls.object, &tls.origin);
                // Several clusters may have one policy.
                if findings.iter().all(|other| *other != finding) {
                    findings.push(finding);
                }
            }
        }
        trusts.digest = all.finalize().into();
        trusts
    }

    fn trust(&mut self, tls: &ClientTls, faults: &mut Faults) -> Option<Trust> {
        let (issuers, identity) = match &tls.credentials {
            Credentials::Files { ca, crl: _, identity } => {
                let identity = identity
                    .as_ref()
                    .map(|ClientIdentity { certificate, key }| self.pair_of(certificate, key, faults));
                (ca.as_ref().and_then(|ca| faults.keep(self.file(ca))), identity)
            }
            Credentials::Secret(name) => {
                let identity = tls.mutual.then(|| self.pair(name, faults));
                (faults.keep(self.issuers(name, tls.mutual)).flatten(), identity)
            }
        };
        let mut digest = Sha256::new();
        let shown = identity.iter().flat_map(|Pair { chain, key }| chain.iter().chain(key));
        issuers.iter().chain(shown).for_each(|text| digest.update(&text.text));
        let issuers = issuers.map(|pem| faults.keep(authorities(&pem)));
        let identity = identity.map(|pair| self::identity(&pair, faults));
        // Without this, what could not be read would be trusted or shown less than what is written.
        faults.0.is_empty().then(|| Trust {
            issuers: issuers.flatten(),
            identity: identity.flatten(),
            digest: digest.finalize().into(),
            nobody: false,
        })
    }
}

fn authorities(pem: &Pem) -> Result<Arc<CaType>, Fault> {
    let certificates = server::certificates(pem)?.into_iter();
    Ok(certificates.map(|der| WrappedX509::new(der.to_vec(), parse_x509)).collect())
}

/// What is shown; a key that is not its certificate's would fail in every handshake.
fn identity(pair: &Pair, faults: &mut Faults) -> Option<Arc<CertKey>> {
    let certified = server::certified(pair, faults)?;
    let key = faults.keep(server::private_key(pair.key.as_ref()?))?;
    let chain = certified.cert.iter().map(|der| der.to_vec()).collect();
    Some(Arc::new(CertKey::new(chain, key.secret_der().to_vec())))
}
