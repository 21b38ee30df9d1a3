//! One revision: compiled, its ports opened, swapped in; or refused whole, with the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use log::{error, info, warn};
use trysail_routing::compile::{Addresses, Compiled, Compiler, Surroundings};
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::{ConfigSet, Revision};
use trysail_upstream::Upstreams;

use super::kept::Kept;
use super::{Directories, Reading, Wake, changes, held, status};
use crate::health::Prober;
use crate::listener::{Ports, Prepared};
use crate::metrics::{Metrics, Reload};
use crate::proxy::term::Term;
use crate::proxy::{Active, ActiveCell, PeerTimes, Remains};
use crate::render;
use crate::resolver::Resolver;
use crate::settings::Settings;
use crate::status::Desk;
use crate::status::told::{ReloadOf, Source};
use crate::supervisor::Supervisor;
use crate::tls::{Configs, Store, Trusts};

/// How a revision fared.
pub(crate) enum Outcome {
    /// It is in force.
    Applied,
    /// It was in force before.
    Unchanged,
    /// It has errors; whatever was in force stays. The findings say why.
    Refused(Diagnostics),
}

/// Applies revisions, one after another.
pub(crate) struct Reloader {
    pub(super) settings: Settings,
    compiler: Compiler,
    seed: u64,
    pub(super) active: ActiveCell,
    pub(super) desk: Arc<Desk>,
    pub(super) ports: Ports,
    pub(super) credentials: Store,
    pub(super) resolver: Resolver,
    /// Whether the objects are a cluster's, where nothing that one of them lacks may stop the others.
    pub(super) in_cluster: bool,
    /// In a cluster, the ports that our own Service leads to, by its ports.
    pub(super) translated: BTreeMap<u16, u16>,
    /// In a cluster, the warnings and notes of what was last applied.
    pub(super) found: Diagnostics,
    /// The revision in force as it was read, where it has names that may get other addresses.
    named: Option<Arc<ConfigSet>>,
    pub(super) metrics: Arc<Metrics>,
    prober: Prober,
    supervisor: Supervisor,
    pub(super) kept: Kept,
    /// Whether what is in force is not from the files, but was kept of them.
    pub(super) is_kept: bool,
    /// Why the newest files are not in force, in a few words.
    pub(super) refusal: Option<String>,
    /// What the start said of them, which the first reading after it need not say again.
    pub(super) said_of_start: Option<String>,
    /// What was last said of the files, so that it is not said again with every edit.
    said: BTreeSet<String>,
    pub(super) refused: bool,
    /// What revisions before this one leave, as long as requests work by them.
    pub(super) remains: Remains,
}

impl Reloader {
    pub(crate) fn new(
        settings: Settings,
        seed: u64,
        desk: Arc<Desk>,
        ports: Ports,
        (resolver, prober): (Resolver, Prober),
        metrics: Arc<Metrics>,
        supervisor: Supervisor,
    ) -> Self {
        let compiler = Compiler::new(seed);
        let credentials = Store::new(settings.certificates.clone());
        let (said, active) = (BTreeSet::new(), desk.active.clone());
        let kept = Kept::new(settings.state());
        Reloader {
            settings,
            compiler,
            seed,
            active,
            desk,
            ports,
            credentials,
            resolver,
            in_cluster: false,
            translated: BTreeMap::new(),
            found: Diagnostics::default(),
            named: None,
            metrics,
            prober,
            supervisor,
            kept,
            is_kept: false,
            refusal: None,
            said_of_start: None,
            said,
            refused: false,
            remains: Remains::default(),
        }
    }

    /// Who looks names up.
    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Who is told how the process fares.
    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// How it fares, in one line.
    pub(crate) fn status(&self) -> String {
        status::line(&self.active.load(), self.is_kept, self.refusal.as_deref())
    }

    /// Whether a file of a certificate or key is another now.
    pub(crate) fn credentials_changed(&self) -> bool {
        self.credentials.is_stale()
    }

    /// What to call when [`Reloader::reopen`] has something to do.
    pub(crate) fn wake_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.prober.wake_by(wake);
    }

    /// Lets those take their share whose probes have succeeded since: the same revision, with its state reconciled
    /// anew.
    pub(crate) fn reopen(&self) {
        if !self.prober.is_stale() {
            return;
        }
        let (before, began) = (self.active.load_full(), Instant::now());
        let upstreams = Upstreams::reconcile(&before.upstreams, &before.snapshot, self.seed, began);
        let board = self.desk.board.bind(&before.board, &before.snapshot, &upstreams, began);
        self.put(before.with(upstreams, board, Term::default()));
        self.note(&before, Source::Endpoints, began);
    }

    /// Reads the directories and applies them; what happened is in the log.
    pub(crate) fn follow(&mut self, directories: &mut Directories, why: Wake) {
        let began = Instant::now();
        // Who asks is not told that nothing can have changed.
        let read = match why {
            Wake::Asked(_) => directories.read_all(),
            _ => directories.read(),
        };
        let (revision, outcome) = match read {
            Reading::Set(set) => (set.revision.clone(), self.apply(set, why.source(), began)),
            Reading::Unreadable(findings) => (Revision::default(), self.refuse(findings)),
        };
        match &outcome {
            Outcome::Refused(findings) => self.refusal = Some(status::refusal(findings)),
            Outcome::Applied | Outcome::Unchanged => {
                self.refusal = None;
                self.serves_kept(None);
            }
        }
        let history = &self.desk.history;
        match &outcome {
            Outcome::Applied => {}
            Outcome::Unchanged => history.confirmed(&revision, why.source(), began.elapsed()),
            Outcome::Refused(findings) => {
                history.refused(&revision, why.source(), findings.iter(), began.elapsed());
            }
        }
        match &outcome {
            Outcome::Applied => {}
            Outcome::Unchanged if self.refused || matches!(why, Wake::Asked(_)) => {
                info!(
                    "revision {} is what {} says, and in force",
                    self.active.load().revision.short(),
                    directories.name()
                );
            }
            Outcome::Unchanged => {}
            Outcome::Refused(findings) => self.log_refusal(findings, &directories.name()),
        }
        if let Wake::Asked(Some(asker)) = why {
            // Who has gone need not be told.
            let _ = asker.send(self.told(&outcome, &directories.name()));
        }
        self.refused = !self.metrics.configuration.is_good();
    }

    /// What became of a reading, for whoever asked for it.
    pub(super) fn told(&self, outcome: &Outcome, roots: &str) -> ReloadOf {
        let active = self.active.load();
        let (revision, hash) = (active.revision.short().to_owned(), active.revision.hash().to_owned());
        let newest = self.desk.history.newest();
        let (text, findings) = match (outcome, newest) {
            (Outcome::Applied, Some(entry)) => {
                let changes =
                    if entry.changes.is_empty() { String::new() } else { format!(": {}", entry.changes) };
                (
                    format!("revision {revision} in force after {} ms{changes}", entry.took_ms as u64),
                    Vec::new(),
                )
            }
            (Outcome::Refused(_), Some(entry)) => {
                let count = render::counts(entry.findings.len() + entry.more_findings, 0);
                (format!("refused, {revision} stays in force: {count}"), entry.findings)
            }
            _ => (format!("revision {revision} is what {roots} says, and in force"), Vec::new()),
        };
        ReloadOf { revision, hash, text, findings }
    }

    /// Puts the revision in force in force again with the addresses that its names have now. Nothing else is looked
    /// at: what lies in the files may have changed, and may be refused.
    pub(crate) fn follow_names(&mut self) {
        let (addresses, began) = (self.resolver.addresses(), Instant::now());
        let Some(set) = self.named.clone() else { return };
        let before = self.active.load_full();
        let Compiled { snapshot, .. } = self.compile(&set, addresses);
        if snapshot.clusters != before.snapshot.clusters {
            let credentials = (before.tls.clone(), before.trusts.clone());
            self.store(&before, snapshot, &set, credentials, before.bound.clone());
            self.note(&before, Source::Names, began);
        }
    }

    /// Says which subsets are held from now on, and which no more.
    fn say_held(&self, before: &Active) -> Vec<String> {
        let changes = held::changes(before, &self.active.load());
        changes.iter().for_each(|line| info!("{line}"));
        changes
    }

    /// The same of a swap that no file asked for; also in the history.
    fn note(&self, before: &Active, source: Source, began: Instant) {
        let changes = self.say_held(before);
        match (changes.as_slice(), source) {
            ([], Source::Endpoints) => self.desk.history.stir(),
            _ => {
                let revision = &self.active.load().revision;
                self.desk.history.applied(revision, source, changes.join("; "), began.elapsed());
            }
        }
    }

    pub(super) fn compile(&mut self, set: &ConfigSet, addresses: Addresses) -> Compiled {
        let here = Surroundings { addresses, ..self.settings.surroundings() };
        self.compiler.compile(set, &here)
    }

    /// Applies one revision, if it has no error.
    pub(crate) fn apply(&mut self, set: ConfigSet, source: Source, began: Instant) -> Outcome {
        let objects = self.active.load().snapshot.objects;
        let known = self.resolver.addresses();
        let mut compiled = self.compile(&set, known.clone());
        let findings = &mut compiled.findings;
        if compiled.snapshot.objects == 0
            && objects > 0
            && !self.settings.allow_empty
            && !findings.has_errors()
        {
            let message = format!("there is no object left, where there were {objects}");
            let finding = Diagnostic::new(Code::EMPTY, Severity::Error, None, message);
            findings.push(finding.hint("the setting allowEmpty: true lets this pass"));
        }
        if findings.has_errors() {
            return self.refuse(compiled.findings);
        }
        self.put_in_force(set, compiled, &known, source, began)
    }

    /// Puts in force what was compiled by the addresses that are known, if its credentials and ports can be had.
    pub(super) fn put_in_force(
        &mut self,
        set: ConfigSet,
        Compiled { mut snapshot, mut findings, .. }: Compiled,
        known: &Addresses,
        source: Source,
        began: Instant,
    ) -> Outcome {
        let before = self.active.load_full();
        let (tls, trusts) = self.credentials.read(&snapshot, &mut findings);
        if findings.has_errors() {
            return self.refuse(findings);
        }
        let renewed = !same_credentials(&tls, &trusts, &before);
        if set.revision == before.revision && !renewed {
            self.metrics.configuration.confirmed();
            // Ports were not asked for again: what was said of them is so still.
            findings.extend(self.found.iter().filter(|finding| finding.code == Code::PORT).cloned());
            self.say(findings);
            self.keep(&Arc::new(set));
            return Outcome::Unchanged;
        }
        let mut prepared = Prepared::default();
        let bound = self.open_ports(&snapshot.listeners, &mut prepared, &mut findings);
        if findings.has_errors() {
            return self.refuse(findings);
        }
        // Names that are new are asked for now that nothing stands in the way, so that no request comes too early.
        let names = snapshot.names();
        let addresses = self.resolver.learn(&names);
        if addresses != *known {
            snapshot = self.compile(&set, addresses).snapshot;
        }
        let is_first = before.revision.hash().is_empty();
        let changes = match before.revision.hash() {
            "" => {
                let (routes, ports) = (snapshot.routes, snapshot.listeners.len());
                format!("{} on {}", render::counted(routes, "route"), render::counted(ports, "port"))
            }
            _ if set.revision == before.revision => "credentials renewed".to_owned(),
            _ => changes::describe(&before.snapshot, &snapshot),
        };
        let closed = snapshot.listeners.is_empty() && snapshot.objects > 0;
        self.swap(&before, snapshot, &set, (tls, trusts), bound, prepared);
        if !is_first {
            self.metrics.configuration.took(began.elapsed());
        }
        self.say(findings);
        self.desk.history.applied(&set.revision, source, changes.clone(), began.elapsed());
        let changes = if changes.is_empty() { String::new() } else { format!(": {changes}") };
        info!("revision {} in force after {} ms{changes}", set.revision.short(), began.elapsed().as_millis());
        if closed && (is_first || !before.snapshot.listeners.is_empty()) {
            warn!("no port is open, as no Gateway opens one here; trysail check says why");
        }
        self.say_held(&before);
        self.resolver.keep(&names);
        let set = Arc::new(set);
        self.keep(&set);
        self.named = (!names.is_empty()).then_some(set);
        Outcome::Applied
    }

    /// Keeps what is in force on disk: files at once, a cluster's state when it is time.
    fn keep(&mut self, set: &Arc<ConfigSet>) {
        match self.in_cluster {
            true => self.kept.keep_soon(set),
            false => self.kept.keep(set),
        }
    }

    /// Puts a revision in force. The new ports have queues already, and are accepted from after the swap.
    fn swap(
        &mut self,
        before: &Active,
        snapshot: Snapshot,
        set: &ConfigSet,
        credentials: (Configs, Trusts),
        bound: Vec<(SocketAddr, usize)>,
        prepared: Prepared,
    ) {
        let keep: Vec<_> = snapshot.listeners.iter().map(|listener| listener.key).collect();
        let opened: Vec<_> = keep.iter().filter(|key| self.ports.address(key).is_none()).copied().collect();
        let closed =
            before.snapshot.listeners.iter().map(|listener| listener.key).filter(|key| !keep.contains(key));
        let closed: Vec<String> = closed.map(|key| key.to_string()).collect();
        for (address, index) in &bound {
            let listener = &snapshot.listeners[*index];
            if opened.contains(&listener.key) {
                info!("listening {} → {address} ({})", listener.key, listener.speaks());
            }
        }
        let timestamp =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        self.metrics.configuration.in_force(&set.revision, &snapshot, timestamp);
        self.metrics.configuration.reloaded(Reload::Applied);
        self.store(before, snapshot, set, credentials, bound);
        self.ports.commit(prepared, &keep);
        if !closed.is_empty() {
            info!("closed {}", closed.join(", "));
        }
    }

    /// The swap itself: what requests go by from now on, with the state of what stays.
    fn store(
        &self,
        before: &Active,
        snapshot: Snapshot,
        set: &ConfigSet,
        (tls, trusts): (Configs, Trusts),
        bound: Vec<(SocketAddr, usize)>,
    ) {
        let upstream = &self.settings.upstream;
        let times = PeerTimes { connect: upstream.connect_timeout.0, idle: upstream.idle_timeout.0 };
        let now = Instant::now();
        let upstreams = Upstreams::reconcile(&before.upstreams, &snapshot, self.seed, now);
        let snapshot = Arc::new(snapshot);
        let requests = self.metrics.traffic.bind_after(Some(&before.requests), &snapshot, now);
        self.put(Active {
            board: Arc::new(self.desk.board.bind(&before.board, &snapshot, &upstreams, now)),
            term: Term::default(),
            revision: set.revision.clone(),
            upstreams: Arc::new(upstreams),
            endpoints: self.metrics.endpoints.clone(),
            peers: Arc::new(before.peers.build_after(&snapshot, &trusts, times)),
            requests: Arc::new(requests),
            loads: Arc::new(self.metrics.overloads.bind(&snapshot, now)),
            tls,
            trusts,
            bound,
            snapshot,
        });
    }

    /// The one swap; then those are probed that it wants probed.
    fn put(&self, active: Active) {
        self.metrics.endpoints.bind(&active.snapshot, &active.upstreams);
        self.metrics.credentials.in_force(&active.tls.expiries);
        self.metrics.configuration.split_by(&active.snapshot, &active.upstreams);
        let before = self.active.swap(Arc::new(active));
        self.remains.keep(&before);
        self.desk.formers.replaced(&before, Instant::now());
        self.prober.follow();
    }

    pub(super) fn refuse(&mut self, findings: Diagnostics) -> Outcome {
        self.metrics.configuration.reloaded(Reload::Refused);
        Outcome::Refused(findings)
    }

    /// One entry for one refusal: which revision stays, and every error in full.
    pub(super) fn log_refusal(&mut self, findings: &Diagnostics, roots: &str) {
        let said = self.refusal_in_words(findings, roots);
        if self.said_of_start.take().as_ref() != Some(&said) {
            error!("revision refused, {} stays in force: {said}", self.active.load().revision.short());
        }
    }

    /// How many errors there are and where, and then each of them.
    pub(super) fn refusal_in_words(&self, findings: &Diagnostics, roots: &str) -> String {
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        let files: BTreeSet<&str> =
            errors.filter_map(|error| error.origin.as_ref()).map(|origin| &*origin.piece.file).collect();
        let place = match files.len() {
            1 => files.into_iter().collect::<String>(),
            _ => roots.to_owned(),
        };
        let count = render::counts(findings.count(Severity::Error), 0);
        format!("{count} in {place}{}", errors_in_full(findings))
    }

    /// Logs the warnings that were not there before.
    fn say(&mut self, findings: Diagnostics) {
        let warnings = findings.iter().filter(|finding| finding.severity == Severity::Warning);
        let now: BTreeSet<String> = warnings.map(|finding| render::finding(finding, false)).collect();
        let new: Vec<String> = now.difference(&self.said).cloned().collect();
        if !new.is_empty() {
            let count = render::counts(0, new.len());
            let more = new.len().saturating_sub(TOLD);
            let more =
                if more > 0 { format!("\nand {more} more; trysail check shows them") } else { String::new() };
            warn!("{count}, applied all the same{}{more}", in_full(new.into_iter().take(TOLD)));
        }
        self.said = now;
        if self.in_cluster {
            self.found = findings;
        }
    }
}

/// Findings that are logged in full; more of them are counted.
const TOLD: usize = 20;

/// The errors below a log line, the first of them in full.
pub(super) fn errors_in_full(findings: &Diagnostics) -> String {
    let errors: Vec<&Diagnostic> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
    let more = errors.len().saturating_sub(TOLD);
    let more = if more > 0 { format!("\nand {more} more; trysail check shows them") } else { String::new() };
    in_full(errors.iter().take(TOLD).map(|error| render::finding(error, false))) + &more
}

/// Findings below a log line, each on lines of its own.
fn in_full(findings: impl Iterator<Item = String>) -> String {
    findings.map(|finding| format!("\n{finding}")).collect()
}

/// Whether certificates and keys are those that are in force.
fn same_credentials(tls: &Configs, trusts: &Trusts, before: &Active) -> bool {
    tls.digest == before.tls.digest && trusts.digest == before.trusts.digest
}
