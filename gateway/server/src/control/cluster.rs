//! A cluster's state into force: what may be of it, each object for itself; and what is said of those that may not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use log::{error, info};
use trysail_kubernetes::{Cluster, Entry, Key, View};
use trysail_routing::diagnostic::{Diagnostic, Diagnostics, Severity};
use trysail_routing::snapshot::policy::Credentials;
use trysail_routing::snapshot::{Certificate, Clients, Issuers, Snapshot};
use trysail_routing::wire::Revision;

use super::isolate::{Isolated, Stand, Versions};
use super::reload::{self, Outcome, Reloader};
use super::{Wake, judge, status, translate};
use crate::render;
use crate::settings::Settings;
use crate::status::told::{Finding, RefusedObject, Source};
use crate::status::{ClusterDesk, time};
use crate::tls::Secrets;

/// Findings that are told of one object.
const FINDINGS: usize = 20;

/// A cluster that is followed, and what was in force of it.
pub(crate) struct Watched {
    pub(crate) cluster: Arc<Cluster>,
    desk: Arc<ClusterDesk>,
    /// The pod that this is, where it is known.
    pod: Option<String>,
    /// Whether somebody was told of changes, and has not asked for them yet.
    pending: Arc<AtomicBool>,
    versions: Versions,
    /// What was last said of broken objects, by object, so that it is not said again with every change.
    said: BTreeSet<(String, String)>,
    /// Since when objects are broken.
    since: BTreeMap<String, SystemTime>,
    /// All that the cluster said when it was last asked.
    view: View,
    /// What was kept on disk, where the start found no API server: of the kinds that are not told of yet.
    pub(super) kept: BTreeMap<Key, Entry>,
}

impl Watched {
    pub(crate) fn new(cluster: Arc<Cluster>, desk: Arc<ClusterDesk>) -> Self {
        let (pending, versions, said) = (Arc::default(), Versions::default(), BTreeSet::new());
        let (pod, since, kept) = (Settings::pod().1, BTreeMap::new(), BTreeMap::new());
        let view = View::default();
        Watched { cluster, desk, pod, pending, versions, said, since, view, kept }
    }

    /// Whether changes were told of that nobody has asked for yet.
    pub(super) fn pending(&self) -> Arc<AtomicBool> {
        self.pending.clone()
    }

    /// All that the cluster says now; of kinds that it has not told of, what was kept.
    fn view(&mut self) -> View {
        let mut view = std::mem::take(&mut self.view);
        if !self.kept.is_empty() {
            let untold = self.cluster.standing().untold();
            let (kept, told) = std::mem::take(&mut self.kept)
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|(key, _)| untold.contains(&key.kind));
            // What the cluster has told of stands for itself; of what is broken there, what was kept is the good one.
            for (key, entry) in &told {
                if view.entries.get(key).is_some_and(|there| Arc::ptr_eq(&there.single, &entry.single)) {
                    view.entries.remove(key);
                }
            }
            self.versions.changed(told.into_iter().map(|(key, entry)| (key, Some(entry))).collect());
            self.kept = kept;
        }
        self.versions.changed(self.cluster.catch_up(&mut view));
        for (key, entry) in &self.kept {
            view.entries.entry(key.clone()).or_insert_with(|| entry.clone());
        }
        view
    }

    /// The API server, as a person knows it.
    pub(crate) fn name(&self) -> String {
        format!("the cluster at {}", self.cluster.connection().server)
    }
}

impl Reloader {
    /// Puts the cluster's first state in force.
    pub(crate) fn begin_with_cluster(
        &mut self,
        watched: &mut Watched,
        began: Instant,
    ) -> Result<(), Diagnostics> {
        self.in_cluster = true;
        let view = watched.view();
        info!("{}: {}", watched.name(), render::counted(view.entries.len(), "object"));
        let (_, outcome) = self.apply_view(watched, &view, Source::Start, began);
        watched.view = view;
        match outcome {
            Outcome::Refused(findings) => Err(findings),
            Outcome::Applied | Outcome::Unchanged => Ok(()),
        }
    }

    /// Puts in force what the cluster says now; what happened is in the log.
    pub(crate) fn follow_cluster(&mut self, watched: &mut Watched, why: Wake) {
        let began = Instant::now();
        watched.pending.store(false, Ordering::Release);
        // Half of what a cluster says is none of its states: what was kept serves until all is known.
        if self.is_kept && !watched.cluster.standing().is_settled() {
            if let Wake::Asked(Some(asker)) = why {
                let _ = asker.send(self.told(&Outcome::Unchanged, &watched.name()));
            }
            return;
        }
        let source = if matches!(why, Wake::Asked(_)) { Source::Signal } else { Source::Cluster };
        let view = watched.view();
        let (revision, outcome) = self.apply_view(watched, &view, source, began);
        watched.view = view;
        if self.is_kept && !matches!(outcome, Outcome::Refused(_)) {
            self.serves_kept(None);
            info!("what the cluster says is in force, in place of the last good revision from disk");
        }
        if let Outcome::Refused(findings) = &outcome {
            self.refusal = Some(status::refusal(findings));
            self.desk.history.refused(&revision, source, findings.iter(), began.elapsed());
            self.log_refusal(findings, &watched.name());
        }
        if let Wake::Asked(asker) = why {
            if matches!(outcome, Outcome::Unchanged) {
                info!("revision {} is what {} says, and in force", revision.short(), watched.name());
            }
            if let Some(asker) = asker {
                // Who has gone need not be told.
                let _ = asker.send(self.told(&outcome, &watched.name()));
            }
        }
    }

    pub(super) fn apply_view(
        &mut self,
        watched: &mut Watched,
        view: &View,
        source: Source,
        began: Instant,
    ) -> (Revision, Outcome) {
        let (directory, secrets) = secrets(view, &self.settings.namespace);
        self.credentials.take_from(directory, secrets);
        let us = translate::Us {
            namespace: &self.settings.namespace,
            labels: &self.settings.labels,
            pod: watched.pod.as_deref(),
        };
        self.translated = translate::ports(view, &us);
        let known = self.resolver.addresses();
        let ((set, compiled), mut isolated) =
            watched.versions.isolate(&view.entries, |set| self.compile(set, known.clone()));
        watched.cluster.want_secrets(&wanted(&compiled.snapshot));
        let revision = set.revision.clone();
        let outcome = self.put_in_force(set, compiled, &known, source, began);
        if !matches!(outcome, Outcome::Refused(_)) {
            watched.versions.in_force(&mut isolated);
            self.refusal = match isolated.refused.len() {
                0 => None,
                count => Some(format!("{} of the cluster", render::counted(count, "object"))),
            };
        }
        self.tell_refused(watched, view, &isolated);
        // Of what was kept nobody wants to hear: there may be another by now.
        if self.settings.kubernetes.status && watched.kept.is_empty() {
            watched.cluster.judge(judge::judgements(view, &isolated, &self.found));
        }
        (revision, outcome)
    }

    /// Says which objects are not in force as they are, unless it was said, and which are again.
    fn tell_refused(&mut self, watched: &mut Watched, view: &View, isolated: &Isolated) {
        let mut now = BTreeSet::new();
        let mut refused = Vec::new();
        for (key, stand) in &isolated.refused {
            let title = key.to_string();
            let of_it = |error: &&Diagnostic| {
                error.origin.as_ref().is_some_and(|origin| *origin.piece.file == *title)
            };
            let found: Vec<&Diagnostic> = isolated.errors.iter().filter(of_it).collect();
            let mut errors = Diagnostics::default();
            errors.extend(found.iter().map(|error| (*error).clone()));
            let words = reload::errors_in_full(&errors);
            if !watched.said.contains(&(title.clone(), words.clone())) {
                let version = view.entries.get(key).map_or(0, |entry| entry.facts.generation);
                let stays = match stand {
                    Stand::Before => "the version before it stays in force",
                    Stand::Out => "it is left out",
                };
                let count = render::counts(errors.count(Severity::Error), 0);
                error!(
                    "{title} (generation {version}) is refused, {stays}, all else goes on: {count}{words}"
                );
            }
            now.insert((title.clone(), words));
            let since = *watched.since.entry(title.clone()).or_insert_with(SystemTime::now);
            refused.push(RefusedObject {
                object: title,
                stays: *stand == Stand::Before,
                since: time(since),
                for_seconds: 0.0,
                findings: found.into_iter().take(FINDINGS).map(Finding::of).collect(),
            });
        }
        watched.since.retain(|title, _| refused.iter().any(|object| object.object == *title));
        let mended = |title: &String| !refused.iter().any(|object| object.object == *title);
        let titles: BTreeSet<&String> = watched.said.iter().map(|(title, _)| title).collect();
        for title in titles.into_iter().filter(|title| mended(title)) {
            let there = view.entries.keys().any(|key| key.to_string() == *title);
            info!("{title} is {}", if there { "in force again as it is" } else { "gone" });
        }
        if now != watched.said {
            self.desk.history.stir();
        }
        watched.said = now;
        let since = |object: RefusedObject| {
            (watched.since.get(&object.object).copied().unwrap_or_else(SystemTime::now), object)
        };
        watched.desk.refuse(refused.into_iter().map(since).collect());
    }
}

/// The Secrets as files of a directory that is called what they are.
pub(crate) fn secrets(view: &View, namespace: &str) -> (PathBuf, Secrets) {
    let directory = PathBuf::from(format!("Secret {namespace}"));
    let files = view.secrets.iter().flat_map(|(name, secret)| {
        let directory = directory.join(name);
        secret.files.iter().map(move |(file, content)| (directory.join(file), content.clone()))
    });
    let secrets = files.collect();
    (directory, secrets)
}

/// The Secrets that are named, by Gateways and by DestinationRules.
pub(crate) fn wanted(snapshot: &Snapshot) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for tls in &snapshot.tls {
        for certificate in &tls.certificates {
            if let Certificate::Credential(name) = certificate {
                names.insert(name.name.to_string());
            }
        }
        if let Clients::Asked(clients) = &tls.clients
            && let Issuers::Credential(name) = &clients.issuers
        {
            names.extend([name.name.to_string(), format!("{}-cacert", name.name)]);
        }
    }
    for cluster in &snapshot.clusters {
        if let Some(tls) = &cluster.policy.tls
            && let Credentials::Secret(name) = &tls.credentials
        {
            names.extend([name.name.to_string(), format!("{}-cacert", name.name)]);
        }
    }
    names
}
