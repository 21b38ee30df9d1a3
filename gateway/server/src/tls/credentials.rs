//! Certificates, keys and CAs from their files, as a revision names them.
//!
//! A credential's name is a directory under the setting `certificates`, laid out as a Secret is mounted:
//! `shop/tls.crt`, `shop/tls.key`, `shop/ca.crt`; a CA may also lie in `shop-cacert/`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use sha2::{Digest, Sha256};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::origin::Origin;
use trysail_routing::snapshot::{Certificate, Clients, Issuers, ServerTls, Snapshot};
use trysail_routing::wire::name_paths;

use super::{Configs, Trusts, server};

/// No PEM file that means something is longer.
const LONGEST: u64 = 1 << 20;

/// What was read, and what was made of it.
pub(crate) struct Store {
    directory: PathBuf,
    made: HashMap<[u8; 32], Arc<ServerConfig>>,
    /// The files that were looked for, as they were then.
    seen: BTreeMap<PathBuf, Option<Stamp>>,
}

/// What tells that a file is another: its length and its time.
#[derive(PartialEq, Eq)]
struct Stamp(u64, Option<SystemTime>);

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let facts = fs::metadata(path).ok()?;
        Some(Stamp(facts.len(), facts.modified().ok()))
    }
}

/// What stands in the way of a credential.
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Fault {
    pub(super) fn invalid(message: String) -> Fault {
        Fault { code: Code::INVALID_CREDENTIAL, message, hint: None }
    }

    /// As a finding about what asks for the credential.
    pub(super) fn finding(self, severity: Severity, object: &str, origin: &Origin) -> Diagnostic {
        let Fault { code, message, hint } = self;
        let finding = Diagnostic::new(code, severity, Some(origin.clone()), message);
        Diagnostic { object: object.to_owned(), hints: hint.into_iter().collect(), ..finding }
    }
}

/// The texts that a server's TLS is made from.
pub(super) struct Material {
    /// Chain and key of each certificate.
    pub(super) certificates: Vec<(Pem, Pem)>,
    pub(super) issuers: Option<Pem>,
    pub(super) revoked: Option<Pem>,
}

/// A file's text, and how people name it.
pub(super) struct Pem {
    pub(super) name: String,
    pub(super) text: Vec<u8>,
}

impl Store {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Store { directory, made: HashMap::new(), seen: BTreeMap::new() }
    }

    /// Makes the configurations of a revision. What can't be made is a finding, an error, and left out; the
    /// revision is then not to be used.
    fn load(&mut self, wanted: &[Arc<ServerTls>], findings: &mut Diagnostics) -> Configs {
        let mut kept = HashMap::new();
        let mut configs = Configs::default();
        let mut all = Sha256::new();
        for tls in wanted {
            let made = self.material(tls).and_then(|material| {
                let digest = digest(tls, &material);
                all.update(digest);
                let known = kept.get(&digest).or_else(|| self.made.get(&digest)).cloned();
                let config = known.map_or_else(|| server::config(tls, &material).map(Arc::new), Ok)?;
                kept.insert(digest, config.clone());
                Ok((config, server::warnings(&material)))
            });
            match made {
                Ok((config, warnings)) => {
                    configs.made.push(config);
                    let warning = |message| {
                        Fault::invalid(message).finding(Severity::Warning, &tls.object, &tls.origin)
                    };
                    findings.extend(warnings.into_iter().map(warning));
                }
                Err(fault) => {
                    findings.push(fault.finding(Severity::Error, &tls.object, &tls.origin));
                }
            }
        }
        self.made = kept;
        configs.digest = all.finalize().into();
        configs
    }

    /// Reads what a revision needs, on both sides. Forgets which files the one before looked for.
    pub(crate) fn read(&mut self, snapshot: &Snapshot, findings: &mut Diagnostics) -> (Configs, Trusts) {
        self.seen.clear();
        let read = (self.load(&snapshot.tls, findings), self.load_upstream(&snapshot.clusters, findings));
        name_paths(findings);
        read
    }

    /// Whether a file that was looked for is another now.
    pub(crate) fn is_stale(&self) -> bool {
        self.seen.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }

    fn material(&mut self, tls: &ServerTls) -> Result<Material, Fault> {
        let mut certificates = Vec::new();
        for certificate in &tls.certificates {
            certificates.push(match certificate {
                Certificate::Files { chain, key } => {
                    (self.file(Path::new(&**chain))?, self.file(Path::new(&**key))?)
                }
                Certificate::Credential(name) => self.pair(name)?,
            });
        }
        let Clients::Asked(clients) = &tls.clients else {
            return Ok(Material { certificates, issuers: None, revoked: None });
        };
        let issuers = match &clients.issuers {
            Issuers::File(path) => self.file(Path::new(&**path))?,
            Issuers::Credential(name) => self.first_of(name, &self.authorities_of(name)?)?,
        };
        let revoked = match (&clients.revoked, &clients.issuers) {
            (Some(path), _) => Some(self.file(Path::new(&**path))?),
            (None, Issuers::Credential(name)) => {
                let place = self.place(name)?;
                let candidates = [place.join("ca.crl"), place.join("crl")];
                let there = candidates.iter().find(|path| self.stamp(path));
                there.map(|path| self.file(path)).transpose()?
            }
            (None, Issuers::File(_)) => None,
        };
        Ok(Material { certificates, issuers: Some(issuers), revoked })
    }

    /// Chain and key of a credential.
    pub(super) fn pair(&mut self, name: &str) -> Result<(Pem, Pem), Fault> {
        let place = self.place(name)?;
        let chain = self.first_of(name, &[place.join("tls.crt"), place.join("cert")])?;
        Ok((chain, self.first_of(name, &[place.join("tls.key"), place.join("key")])?))
    }

    /// The authorities of a credential towards an upstream: where an identity is shown, it may go without.
    pub(super) fn issuers(&mut self, name: &str, may_lack: bool) -> Result<Option<Pem>, Fault> {
        let candidates = self.authorities_of(name)?;
        if may_lack && !candidates.iter().any(|path| self.stamp(path)) {
            return Ok(None);
        }
        self.first_of(name, &candidates).map(Some)
    }

    fn authorities_of(&self, name: &str) -> Result<[PathBuf; 4], Fault> {
        let (place, apart) = (self.place(name)?, self.place(&format!("{name}-cacert"))?);
        Ok([place.join("ca.crt"), place.join("cacert"), apart.join("ca.crt"), apart.join("cacert")])
    }

    /// The directory of a credential, whose name is one step of a path and no more.
    fn place(&self, name: &str) -> Result<PathBuf, Fault> {
        let plain = !name.is_empty()
            && name.len() <= 253
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if plain {
            Ok(self.directory.join(name))
        } else {
            Err(Fault::invalid(format!("{name:?} is not the name of a credential")))
        }
    }

    fn stamp(&mut self, path: &Path) -> bool {
        let stamp = Stamp::of(path);
        let there = stamp.is_some();
        self.seen.insert(path.to_owned(), stamp);
        there
    }

    fn first_of(&mut self, credential: &str, candidates: &[PathBuf]) -> Result<Pem, Fault> {
        for path in candidates {
            if self.stamp(path) {
                return self.file(path);
            }
        }
        let first = candidates.first().map(|path| path.display().to_string()).unwrap_or_default();
        Err(Fault {
            code: Code::REFERENCED_RESOURCE_NOT_FOUND,
            message: format!("the credential {credential:?} is not there: there is no {first}"),
            hint: Some("the setting \"certificates\" names the directory that credentials lie in".to_owned()),
        })
    }

    pub(super) fn file(&mut self, path: &Path) -> Result<Pem, Fault> {
        self.stamp(path);
        let name = path.display().to_string();
        let read = || -> io::Result<Vec<u8>> {
            let facts = fs::metadata(path)?;
            if !facts.is_file() {
                return Err(io::Error::other("it is not a file"));
            }
            if facts.len() > LONGEST {
                return Err(io::Error::other("it is longer than 1 MiB"));
            }
            fs::read(path)
        };
        match read() {
            Ok(text) => Ok(Pem { name, text }),
            Err(error) => Err(Fault {
                code: Code::REFERENCED_RESOURCE_NOT_FOUND,
                message: format!("{name} can't be read: {}", crate::listener::reason(&error)),
                hint: None,
            }),
        }
    }
}

/// What a configuration is made from, but for the place where it is written.
fn digest(tls: &ServerTls, material: &Material) -> [u8; 32] {
    let ServerTls { certificates: _, clients, min, max, cipher_suites, http, object: _, origin: _ } = tls;
    let mut digest = Sha256::new();
    digest.update(format!("{clients:?} {min:?} {max:?} {cipher_suites:?} {http}"));
    let texts = material.certificates.iter().flat_map(|(chain, key)| [chain, key]);
    for text in texts.chain(&material.issuers).chain(&material.revoked) {
        digest.update((text.text.len() as u64).to_le_bytes());
        digest.update(&text.text);
    }
    digest.finalize().into()
}
