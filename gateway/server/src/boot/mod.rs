//! The process put together: settings, runtime, data plane, ports, control; and taken apart again.
//!
//! The one room that names all the others.

mod cluster;
mod ending;
mod not_started;
mod plane;
mod signals;
mod takeover;
mod upgrading;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use log::info;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use trysail_routing::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use trysail_routing::snapshot::Snapshot;
use trysail_routing::wire::Revision;

use self::ending::{End, Leaving};
pub(crate) use self::not_started::NotStarted;
use self::plane::{plane, traces};
use self::signals::Signals;
use self::upgrading::Upgrades;
use crate::access::AccessLog;
use crate::admin::{AdminPort, HealthPort, MetricsPort};
use crate::board::{Board, Exported, STEP};
use crate::control::{Directories, Follower, Origin, Reloader, Wake, Watched};
use crate::health::Prober;
use crate::listener::{self, Bound, Connections, Inherited, Open, Own, Ports};
use crate::metrics::{self, Loads, Metrics, Reporter, Source};
#[cfg(feature = "otlp")]
use crate::otlp::Exporter;
use crate::proxy::outlier;
use crate::proxy::term::Term;
use crate::proxy::{Active, ActiveCell, PeerTimes, Peers};
use crate::render;
use crate::resolver::Resolver;
use crate::settings::Settings;
use crate::status::{ClusterDesk, Desk};
use crate::supervisor::{Supervisor, Watchdog};
use crate::tls::{Configs, Trusts};
use crate::upgrade::{Door, Former, Program};

/// A gateway that serves.
pub(crate) struct Running {
    settings: Settings,
    runtime: Runtime,
    follower: Follower,
    connections: Arc<Connections>,
    /// What is in force.
    pub(crate) active: ActiveCell,
    own_ports: Vec<Open>,
    signals: Signals,
    access: Option<Arc<AccessLog>>,
    leaving: Leaving,
    supervisor: Supervisor,
    program: std::io::Result<Program>,
    door: Option<Door>,
    _watchdog: Option<Watchdog>,
    #[cfg(feature = "otlp")]
    exporter: Option<Arc<Exporter>>,
}

/// Where the configuration comes from.
pub(crate) enum Whence {
    /// From directories.
    Directories(Vec<PathBuf>),
    /// From a cluster's API server.
    Cluster(trysail_kubernetes::Whence),
}

/// Starts a gateway on configuration directories or a cluster, in the place of a former process if there is one. The
/// error is what stands in its way.
pub(crate) fn start(
    settings: Settings,
    whence: Whence,
    former: Option<&Former>,
) -> Result<Running, NotStarted> {
    let began = Instant::now();
    // Two TLS stacks in one process would each bring their own; the first to install decides for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let program = Program::ours();
    let threads = settings.threads;
    info!(
        "trysail {}, process {}, {}",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        render::counted(threads, "thread")
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(|error| fault(format!("threads can't be started: {error}")))?;
    // Heard from the start on, so that a reload asked for too early is not the end of the process.
    let signals = runtime.block_on(async { Signals::new() });
    let mut signals = signals.map_err(|error| fault(format!("signals can't be received: {error}")))?;
    let (settings, followed) = match whence {
        Whence::Directories(roots) => (settings, Err(roots)),
        Whence::Cluster(whence) => {
            let (settings, cluster) = cluster::join(&runtime, &mut signals, settings, &whence)?;
            let server = cluster.connection().server.clone();
            let desk = Arc::new(ClusterDesk::new(server, cluster.standing()));
            (settings, Ok((cluster, desk)))
        }
    };
    let metrics = Metrics::new(source(&settings));
    let metrics = Arc::new(metrics.map_err(|error| fault(format!("metrics can't be set up: {error}")))?);
    let active = nothing(&settings, &metrics);
    let connections = Arc::new(Connections::default());
    let board = Arc::new(Board::default());
    let exported = Exported::new(board.clone()).and_then(|exported| metrics.export(exported));
    exported.map_err(|error| fault(format!("metrics can't be set up: {error}")))?;
    let cluster_desk = followed.as_ref().ok().map(|(_, desk)| desk.clone());
    if let Some(desk) = cluster_desk.clone() {
        let exported = metrics::Cluster::new(desk.standing.clone(), move || desk.refused())
            .and_then(|collector| metrics.export(collector));
        exported.map_err(|error| fault(format!("metrics can't be set up: {error}")))?;
    }
    let desk = Arc::new(Desk {
        active: active.clone(),
        board,
        history: Arc::default(),
        formers: Arc::default(),
        draining: connections.draining(),
        began,
        cluster: cluster_desk,
    });
    let access = AccessLog::start(&settings.access_log, metrics.lines.clone())
        .map_err(|error| fault(format!("the access log can't be started: {error}")))?;
    let (inherited, takeover) = takeover::begin(former, &settings, &runtime)?;
    let supervisor = takeover.supervisor.clone();
    let traces = traces(&settings, &metrics);
    let seen = (access.clone(), traces.clone());
    let plane = plane(&settings, &active, &connections, &metrics, seen);
    let handle = runtime.handle().clone();
    let ports = Ports::new(plane, inherited.clone(), settings.threads, handle.clone(), takeover.gate());

    let seed = fastrand::u64(..);
    let resolver = Resolver::new(&settings.dns, metrics.lookups.clone(), handle.clone());
    #[cfg(feature = "otlp")]
    let exporter = traces.and_then(|spans| Exporter::new(&settings.tracing, spans, resolver.clone()));
    #[cfg(feature = "otlp")]
    if let Some(exporter) = &exporter {
        runtime.spawn(exporter.clone().run());
    }
    let prober = Prober::new(active.clone(), resolver.clone(), handle, metrics.checks.clone());
    let mut reloader = Reloader::new(
        settings.clone(),
        seed,
        desk.clone(),
        ports,
        (resolver, prober.clone()),
        metrics.clone(),
        supervisor.clone(),
    );
    let token = settings.token().map_err(|finding| findings(*finding))?;
    // Had before anything is in force, so that a process that lacks them has served nothing.
    let metrics_port = own_port("metrics", settings.metrics, &inherited)?;
    let health_port = own_port("health", settings.health, &inherited)?;
    let admin_port = own_port("admin", settings.admin, &inherited)?;
    reloader.hold_kept(former.is_some());
    let origin = match followed {
        Err(roots) => {
            let mut directories = Directories::new(roots, &settings);
            reloader.begin(&mut directories, began).map_err(NotStarted::of)?;
            Origin::Files(directories)
        }
        Ok((cluster, desk)) => {
            let mut watched = Watched::new(cluster, desk);
            cluster::begin(&runtime, &mut signals, &mut watched, &mut reloader, (&settings, began))?;
            cluster::report(&settings, &watched.cluster);
            Origin::Cluster(watched)
        }
    };
    inherited.settle();
    takeover.finish(former, &mut reloader, &prober, began).map_err(fault)?;
    supervisor.status(&reloader.status());
    let watchdog = Watchdog::start(supervisor.clone(), runtime.handle().clone())
        .map_err(|error| fault(format!("the watchdog can't be started: {error}")))?;
    let follower = Follower::start(origin, reloader)
        .map_err(|error| fault(format!("the configuration can't be watched: {error}")))?;
    // Asked once more, since nobody watched while the first reading was under way.
    let _ = follower.waker().send(Wake::Changed);
    info!("metrics on {}", metrics_port.address);
    info!("health on {}", health_port.address);
    info!("admin on {}", admin_port.address);
    let waker = follower.waker();
    let admin = AdminPort {
        desk: desk.clone(),
        active: active.clone(),
        paths: settings.paths(),
        other_server: settings.other_server,
        token,
        streams: Semaphore::new(AdminPort::STREAMS),
        reload: Box::new(move |asker| {
            let _ = waker.send(Wake::Asked(Some(asker)));
        }),
    };
    let leaving = Leaving::default();
    let health = HealthPort { draining: leaving.clone(), prober };
    let own_ports = vec![
        listener::open(metrics_port, Own::new(MetricsPort::new(metrics.clone())), 1, runtime.handle()),
        listener::open(health_port, Own::new(health), 1, runtime.handle()),
        listener::open(admin_port, Own::new(admin), 1, runtime.handle()),
    ];
    runtime.spawn(sweep(active.clone()));
    runtime.spawn(sample(desk.board.clone()));
    info!("ready after {} ms", began.elapsed().as_millis());
    supervisor.ready();
    Ok(Running {
        settings,
        runtime,
        follower,
        connections,
        active,
        own_ports,
        signals,
        access,
        leaving,
        supervisor,
        program,
        door: takeover.door,
        _watchdog: watchdog,
        #[cfg(feature = "otlp")]
        exporter,
    })
}

impl Running {
    /// Serves until SIGTERM or SIGINT, or until another process does; SIGHUP reads the configuration again, SIGUSR1 opens
    /// the access log anew.
    pub(crate) fn until_stopped(mut self) {
        let waker = self.follower.waker();
        let upgrades = Upgrades {
            program: &self.program,
            waker: waker.clone(),
            own_ports: &self.own_ports,
            connections: &self.connections,
            supervisor: &self.supervisor,
            drain: self.settings.drain.0,
        };
        let (signals, access, door) = (&mut self.signals, self.access.as_deref(), self.door.as_ref());
        let end = self.runtime.block_on(async {
            tokio::select! {
                () = signals.stop(&waker, access) => End::Asked,
                handed_over = upgrades.wait(door) => End::HandedOver(handed_over),
            }
        });
        self.end(end);
    }

    /// Does something again and again, until SIGTERM or SIGINT.
    pub(crate) fn until_stopped_every(&mut self, tick: Duration, mut act: impl FnMut(&Active)) {
        let waker = self.follower.waker();
        let (runtime, signals, active) = (&self.runtime, &mut self.signals, &self.active);
        let access = self.access.as_deref();
        runtime.block_on(async {
            let stop = signals.stop(&waker, access);
            tokio::pin!(stop);
            loop {
                act(&active.load());
                tokio::select! {
                    () = &mut stop => break,
                    () = tokio::time::sleep(tick) => {}
                }
            }
        });
    }

    /// Where the runtime's tasks may be started.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Where the admin port is.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.own_ports[2].address()
    }

    /// Where metrics are served.
    pub(crate) fn metrics_address(&self) -> SocketAddr {
        self.own_ports[0].address()
    }
}

/// Who this gateway is in Istio's metrics.
fn source(settings: &Settings) -> Source {
    let reporters = settings.metrics_reporters;
    let both = [(reporters.source, Reporter::Source), (reporters.destination, Reporter::Destination)];
    let reporters: Vec<Reporter> = both.into_iter().filter(|(tells, _)| *tells).map(|(_, it)| it).collect();
    Source::new(&settings.labels, &settings.namespace, &reporters)
}

/// How long the file of the access log may take for the last lines, and a collector for the last spans.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Takes ejected endpoints back when their time is over, for as long as the process runs.
async fn sweep(active: ActiveCell) {
    loop {
        // Each cluster sweeps by its own interval; it is asked often enough to be late by a quarter at most.
        let interval = active.load().upstreams.sweep_interval().map_or(SWEEP, |interval| interval / 4);
        tokio::time::sleep(interval.clamp(SOONEST_SWEEP, SWEEP)).await;
        outlier::sweep(&active.load(), Instant::now());
    }
}

/// Notes how the last ten seconds were, for as long as the process runs.
async fn sample(board: Arc<Board>) {
    let mut steps = tokio::time::interval(STEP);
    loop {
        steps.tick().await;
        let board = board.clone();
        let sampled = tokio::task::spawn_blocking(move || board.sample(Instant::now())).await;
        if sampled.is_err() {
            log::error!("a fault of trysail's own ended a sample of the scoreboard");
        }
    }
}

/// Intervals of sweeps are looked at so often, or sooner where one is shorter.
const SWEEP: Duration = Duration::from_secs(1);
const SOONEST_SWEEP: Duration = Duration::from_millis(10);

/// A revision of nothing, to stand before the first.
fn nothing(settings: &Settings, metrics: &Metrics) -> ActiveCell {
    let snapshot = Snapshot::default();
    let times =
        PeerTimes { connect: settings.upstream.connect_timeout.0, idle: settings.upstream.idle_timeout.0 };
    Arc::new(ArcSwap::from_pointee(Active {
        revision: Revision::default(),
        upstreams: Arc::default(),
        peers: Arc::new(Peers::build(&snapshot, &Trusts::default(), times)),
        board: Arc::default(),
        term: Term::default(),
        requests: Arc::new(metrics.traffic.bind(&snapshot, Instant::now())),
        loads: Arc::new(Loads::default()),
        endpoints: metrics.endpoints.clone(),
        tls: Configs::default(),
        trusts: Trusts::default(),
        bound: Vec::new(),
        snapshot: Arc::new(snapshot),
    }))
}

/// A port that the process needs for itself.
fn own_port(what: &str, address: SocketAddr, inherited: &Inherited) -> Result<Bound, Diagnostics> {
    listener::inherit_or_bind(address, what, inherited).map_err(|error| {
        let message = format!("the {what} port can't be opened on {address}: {}", listener::reason(&error));
        let finding = Diagnostic::new(Code::PORT, Severity::Error, None, message);
        findings(finding.hint(format!(
            "the setting \"{what}\" gives it another address; port 0 lets the kernel pick one"
        )))
    })
}

fn fault(message: String) -> Diagnostics {
    findings(Diagnostic::new(Code::UNREADABLE, Severity::Error, None, message))
}

fn findings(finding: Diagnostic) -> Diagnostics {
    let mut findings = Diagnostics::default();
    findings.push(finding);
    findings
}
