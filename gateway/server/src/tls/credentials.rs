//! Certificates, keys and CAs from their files, as a revision names them.
//!
//! A credential's name is a directory under the setting `certificates`, laid out as a Secret is mounted:
//! `shop/tls.crt`, `shop/tls.key`, `shop/ca.crt`; a CA may also lie in `shop-cacert/`. In a cluster it is the Secret itself,
//! and what can't be had of one server's stops no other: it goes on with what it had, or turns its clients away.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use sha2::{Digest, Sha256};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::origin::{Origin, Place};
use trysail_routing::snapshot::{Certificate, Clients, Issuers, Reference, ServerTls, Snapshot};
use trysail_routing::wire::name_paths;

use super::{Configs, Trusts, certificate, server};

/// No PEM file that means something is longer.
const LONGEST: u64 = 1 << 20;

/// What was read, and what was made of it.
pub(crate) struct Store {
    directory: PathBuf,
    /// In a cluster, what lies under `directory`, which is then none.
    secrets: Option<Secrets>,
    made: HashMap<[u8; 32], Arc<ServerConfig>>,
    /// In a cluster, what each server was last served with, by its object and what it names.
    last: BTreeMap<String, ([u8; 32], Arc<ServerConfig>)>,
    /// Until when what was read is valid, in seconds since 1970, by the name of the credential or the file.
    expiries: BTreeMap<String, i64>,
    /// The files that were looked for, as they were then.
    seen: BTreeMap<PathBuf, Option<Stamp>>,
}

/// The Secrets of the gateway's namespace, file by file.
pub(crate) type Secrets = BTreeMap<PathBuf, Vec<u8>>;

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
    code: Code,
    pub(super) message: String,
    hint: Option<String>,
    /// The field that names it; `None` for all of what asks for it.
    place: Option<Place>,
}

impl Fault {
    pub(super) fn invalid(message: String, place: Option<Place>) -> Fault {
        Fault { code: Code::INVALID_CREDENTIAL, message, hint: None, place }
    }

    fn not_seen(message: String, hint: Option<String>, place: Option<Place>) -> Fault {
        Fault { code: Code::REFERENCED_RESOURCE_NOT_FOUND, message, hint, place }
    }

    /// As a finding about what asks for the credential, which is written at `origin`.
    pub(super) fn finding(self, severity: Severity, object: &str, origin: &Origin) -> Diagnostic {
        let Fault { code, message, hint, place } = self;
        let origin = place.map_or_else(|| origin.clone(), |place| place.within(&origin.piece, None));
        let finding = Diagnostic::new(code, severity, Some(origin), message);
        Diagnostic { object: object.to_owned(), hints: hint.into_iter().collect(), ..finding }
    }
}

/// What stands in the way of one who asks: all of it, so that what is not there hides nothing that is wrong.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// What was read, or nothing and a fault more. That a credential is not there is said once.
    pub(super) fn keep<T>(&mut self, read: Result<T, Fault>) -> Option<T> {
        let fault = match read {
            Ok(read) => return Some(read),
            Err(fault) => fault,
        };
        let same = |other: &Fault| (other.code, other.place) == (fault.code, fault.place);
        if fault.code == Code::INVALID_CREDENTIAL || !self.0.iter().any(same) {
            self.0.push(fault);
        }
        None
    }
}

/// The texts that a server's TLS is made from, as far as they could be read.
pub(super) struct Material {
    pub(super) certificates: Vec<Pair>,
    pub(super) issuers: Option<Pem>,
    pub(super) revoked: Option<Pem>,
}

/// A certificate's chain and its key.
pub(super) struct Pair {
    pub(super) chain: Option<Pem>,
    pub(super) key: Option<Pem>,
}

/// A file's text, how people name it, and the field that names it.
pub(super) struct Pem {
    pub(super) name: String,
    pub(super) text: Vec<u8>,
    pub(super) place: Option<Place>,
}

impl Pem {
    /// What is wrong with it.
    pub(super) fn fault(&self, message: String) -> Fault {
        Fault::invalid(message, self.place)
    }
}

impl Store {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Store {
            directory,
            secrets: None,
            made: HashMap::new(),
            last: BTreeMap::new(),
            expiries: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Takes credentials from a cluster's Secrets from now on: `directory` is what they are called, and each file's name
    /// in `secrets` begins with it.
    pub(crate) fn take_from(&mut self, directory: PathBuf, secrets: Secrets) {
        (self.directory, self.secrets) = (directory, Some(secrets));
    }

    /// Whether what is wrong with one credential is to stop nothing else.
    pub(super) fn is_lenient(&self) -> bool {
        self.secrets.is_some()
    }

    /// Makes the configurations of a revision. What can't be made is a finding: an error, and the revision is not to be
    /// used; in a cluster a warning, and what was made of it last stays.
    fn load(&mut self, wanted: &[Arc<ServerTls>], findings: &mut Diagnostics) -> Configs {
        let mut kept = HashMap::new();
        let mut last = BTreeMap::new();
        let mut configs = Configs::default();
        let mut all = Sha256::new();
        for tls in wanted {
            let faults = &mut Faults::default();
            let material = self.material(tls, faults);
            let digest = digest(tls, &material);
            let known = kept.get(&digest).or_else(|| self.made.get(&digest)).cloned();
            let made = known
                .filter(|_| faults.0.is_empty())
                .or_else(|| server::config(tls, &material, faults).map(Arc::new));
            let mut tell = |severity, faults: Vec<Fault>| {
                let found = faults.into_iter().map(|fault| fault.finding(severity, &tls.object, &tls.origin));
                findings.extend(found);
            };
            let severity = if self.secrets.is_some() { Severity::Warning } else { Severity::Error };
            tell(severity, std::mem::take(&mut faults.0));
            let name = format!("{} {:?} {:?}", tls.object, tls.certificates, tls.clients);
            let made = match made {
                Some(made) => {
                    tell(Severity::Warning, server::warnings(&material));
                    Some((digest, made))
                }
                None => self.last.get(&name).cloned(),
            };
            all.update(made.as_ref().map_or([0; 32], |(digest, _)| *digest));
            if let Some((digest, made)) = &made {
                kept.insert(*digest, made.clone());
                if self.secrets.is_some() {
                    last.insert(name, (*digest, made.clone()));
                }
            }
            configs.made.push(made.map(|(_, made)| made));
        }
        (self.made, self.last) = (kept, last);
        configs.digest = all.finalize().into();
        configs
    }

    /// Reads what a revision needs, on both sides. Forgets which files the one before looked for.
    pub(crate) fn read(&mut self, snapshot: &Snapshot, findings: &mut Diagnostics) -> (Configs, Trusts) {
        self.seen.clear();
        self.expiries.clear();
        let (mut configs, trusts) =
            (self.load(&snapshot.tls, findings), self.load_upstream(&snapshot.clusters, findings));
        name_paths(findings);
        configs.expiries = Arc::new(std::mem::take(&mut self.expiries));
        (configs, trusts)
    }

    /// Whether a file that was looked for is another now.
    pub(crate) fn is_stale(&self) -> bool {
        self.seen.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }

    fn material(&mut self, tls: &ServerTls, faults: &mut Faults) -> Material {
        let pair = |certificate: &Certificate| match certificate {
            Certificate::Files { chain, key } => self.pair_of(chain, key, faults),
            Certificate::Credential(name) => self.pair(name, faults),
        };
        let certificates = tls.certificates.iter().map(pair).collect();
        let Clients::Asked(clients) = &tls.clients else {
            return Material { certificates, issuers: None, revoked: None };
        };
        let issuers = match &clients.issuers {
            Issuers::File(path) => self.file(path),
            Issuers::Credential(name) => self.authorities(name),
        };
        let revoked = match (&clients.revoked, &clients.issuers) {
            (Some(path), _) => Some(self.file(path)),
            (None, Issuers::Credential(name)) => {
                let candidates = self.candidates(name, &["ca.crl", "crl"]).unwrap_or_default();
                let there = candidates.iter().find(|path| self.stamp(path));
                there.map(|path| self.read_file(path, name.place))
            }
            (None, Issuers::File(_)) => None,
        };
        let revoked = revoked.and_then(|read| faults.keep(read));
        Material { certificates, issuers: faults.keep(issuers), revoked }
    }

    /// Chain and key from files.
    pub(super) fn pair_of(&mut self, chain: &Reference, key: &Reference, faults: &mut Faults) -> Pair {
        let pair = Pair { chain: faults.keep(self.file(chain)), key: faults.keep(self.file(key)) };
        self.note_expiry(chain, &pair);
        pair
    }

    fn note_expiry(&mut self, name: &str, pair: &Pair) {
        if let Some(until) = pair.chain.as_ref().and_then(|chain| certificate::expiry(&chain.text)) {
            self.expiries.insert(name.to_owned(), until);
        }
    }

    /// Chain and key of a credential.
    pub(super) fn pair(&mut self, credential: &Reference, faults: &mut Faults) -> Pair {
        let mut one = |files: &[&str]| {
            let read = self.candidates(credential, files).and_then(|them| self.first_of(credential, &them));
            faults.keep(read)
        };
        let pair = Pair { chain: one(&["tls.crt", "cert"]), key: one(&["tls.key", "key"]) };
        self.note_expiry(credential, &pair);
        pair
    }

    /// The authorities of a credential towards an upstream: where an identity is shown, it may go without.
    pub(super) fn issuers(&mut self, credential: &Reference, may_lack: bool) -> Result<Option<Pem>, Fault> {
        let candidates = self.candidates(credential, &AUTHORITIES)?;
        if may_lack && !candidates.iter().any(|path| self.stamp(path)) {
            return Ok(None);
        }
        self.authorities(credential).map(Some)
    }

    fn authorities(&mut self, credential: &Reference) -> Result<Pem, Fault> {
        let candidates = self.candidates(credential, &AUTHORITIES)?;
        self.first_of(credential, &candidates)
    }

    /// Where files of a credential may lie. Its name is one step of a path and no more; in a file's, `~` stands for it.
    fn candidates(&self, credential: &Reference, files: &[&str]) -> Result<Vec<PathBuf>, Fault> {
        let name = &**credential;
        let plain = !name.is_empty()
            && name.len() <= 253
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if !plain {
            let message = format!("{name:?} is not the name of a credential");
            return Err(Fault::invalid(message, credential.place));
        }
        let path = |file: &&str| match file.strip_prefix('~') {
            Some(beside) => self.directory.join(format!("{name}{beside}")),
            None => self.directory.join(name).join(file),
        };
        Ok(files.iter().map(path).collect())
    }

    fn stamp(&mut self, path: &Path) -> bool {
        if let Some(secrets) = self.secrets_with(path) {
            return secrets.contains_key(path);
        }
        let stamp = Stamp::of(path);
        let there = stamp.is_some();
        self.seen.insert(path.to_owned(), stamp);
        there
    }

    /// The Secrets, where this is the name of a file of theirs.
    fn secrets_with(&self, path: &Path) -> Option<&Secrets> {
        self.secrets.as_ref().filter(|_| path.starts_with(&self.directory))
    }

    fn first_of(&mut self, credential: &Reference, candidates: &[PathBuf]) -> Result<Pem, Fault> {
        for path in candidates {
            if self.stamp(path) {
                return self.read_file(path, credential.place);
            }
        }
        let first = candidates.first().map(|path| path.display().to_string()).unwrap_or_default();
        let message = format!("the credential {:?} is not there: there is no {first}", credential.name);
        let hint = match self.secrets {
            None => "the setting \"certificates\" names the directory that credentials lie in",
            Some(_) => "it is looked for among the Secrets of the gateway's own namespace, whoever names it",
        };
        Err(Fault::not_seen(message, Some(hint.to_owned()), credential.place))
    }

    pub(super) fn file(&mut self, path: &Reference) -> Result<Pem, Fault> {
        self.read_file(Path::new(&**path), path.place)
    }

    fn read_file(&mut self, path: &Path, place: Option<Place>) -> Result<Pem, Fault> {
        self.stamp(path);
        let name = path.display().to_string();
        if let Some(secrets) = self.secrets_with(path) {
            let text = secrets.get(path).filter(|text| text.len() as u64 <= LONGEST).cloned();
            let Some(text) = text else {
                return Err(Fault::not_seen(format!("there is no {name}"), None, place));
            };
            return Ok(Pem { name, text, place });
        }
        let not_seen = |error: io::Error| {
            let message = format!("{name} can't be read: {}", crate::listener::reason(&error));
            Fault::not_seen(message, None, place)
        };
        let facts = fs::metadata(path).map_err(not_seen)?;
        if !facts.is_file() {
            return Err(Fault::invalid(format!("{name} can't be read: it is not a file"), place));
        }
        if facts.len() > LONGEST {
            return Err(Fault::invalid(format!("{name} can't be read: it is longer than 1 MiB"), place));
        }
        let text = fs::read(path).map_err(not_seen)?;
        Ok(Pem { name, text, place })
    }
}

/// The files of a credential that hold authorities; the last two lie in a directory of their own.
const AUTHORITIES: [&str; 4] = ["ca.crt", "cacert", "~-cacert/ca.crt", "~-cacert/cacert"];

/// What a configuration is made from, but for the place where it is written.
fn digest(tls: &ServerTls, material: &Material) -> [u8; 32] {
    let ServerTls { certificates: _, clients, min, max, cipher_suites, http, object: _, origin: _ } = tls;
    let mut digest = Sha256::new();
    digest.update(format!("{clients:?} {min:?} {max:?} {cipher_suites:?} {http}"));
    let texts = material.certificates.iter().flat_map(|Pair { chain, key }| chain.iter().chain(key));
    for text in texts.chain(&material.issuers).chain(&material.revoked) {
        digest.update((text.text.len() as u64).to_le_bytes());
        digest.update(&text.text);
    }
    digest.finalize().into()
}
