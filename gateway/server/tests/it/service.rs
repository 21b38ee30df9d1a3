//! The shipped units in a real systemd, which has a machine of its own (`systemd/tests/sandbox`): started, reloaded,
//! restarted under load, killed, hung and stopped.
//!
//! That needs root, util-linux, systemd and dbus. Where something is missing a test says so and passes; where CI runs as
//! root it fails. A test runs itself again with the sandbox's network, so that it can talk to what is started in there.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use trysail_testkit::client::{Client, fetch};
use trysail_testkit::folder::Folder;
use trysail_testkit::load::Plan;
use trysail_testkit::origin::Answer;
use trysail_testkit::wait::eventually;

use crate::gateway::{PATIENCE, Reviews, SEED, weighted};
use crate::timeout::talker;
use crate::websocket::SWITCH;

/// In a test that runs itself: where its sandbox is.
const SANDBOX: &str = "TRYSAIL_TEST_SANDBOX";

/// The ports are the shipped ones: in a network of its own nobody else has them.
pub(crate) const HTTP: SocketAddr = address(80);
const METRICS: SocketAddr = address(15020);
const HEALTH: SocketAddr = address(15021);

const fn address(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

/// A file of `systemd/`.
pub(crate) fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd").join(name)
}

fn sandbox(words: &[&str]) -> Output {
    Command::new(shipped("tests/sandbox")).args(words).output().expect("bash runs")
}

/// A machine on which trysail is installed as the README says, or nothing yet.
pub(crate) struct Machine {
    at: String,
    config: Folder,
    pub(crate) reviews: Reviews,
}

impl Machine {
    /// Runs a test on a machine of its own; `name` is the test's own name.
    fn with(name: &str, test: impl FnOnce(&Machine)) {
        Machine::with_files(name, &units_and_program(), |machine| {
            machine.write("seed.yaml", SEED);
            machine.write("endpoints.yaml", &machine.reviews.service_entry());
            test(machine);
        });
    }

    /// Whether this is the test as it runs itself, with the sandbox's network.
    pub(crate) fn is_inside() -> bool {
        std::env::var_os(SANDBOX).is_some()
    }

    /// The same on a machine that has these files of ours, each `FILE:PATH`, and no object to serve.
    pub(crate) fn with_files(name: &str, files: &[String], test: impl FnOnce(&Machine)) {
        if let Ok(at) = std::env::var(SANDBOX) {
            let machine = Machine { at, config: Folder::new(), reviews: Reviews::start(&["v1", "v2"]) };
            return test(&machine);
        }
        let needs = sandbox(&["needs"]);
        if !needs.status.success() {
            let missing = String::from_utf8_lossy(&needs.stdout).trim().to_owned();
            // What is missing can be installed, rights can not.
            let rights = missing.contains("root") || missing.contains("the right");
            let must = std::env::var("CI").is_ok_and(|ci| ci == "true") && !rights;
            assert!(!must, "the unit can't be tried: {missing}");
            let _ = writeln!(std::io::stderr(), "{name} is skipped, {missing}");
            return;
        }
        let booted = Booted::boot(files);
        let itself = std::env::current_exe().expect("a test is a program");
        let inside = Command::new(shipped("tests/sandbox"))
            .args(["net", booted.at()])
            .arg(itself)
            .args(["--exact", name, "--nocapture", "--include-ignored"])
            .env(SANDBOX, booted.at())
            .output()
            .expect("it runs");
        if !inside.status.success() {
            let said = [&inside.stdout[..], &inside.stderr].concat();
            let journal = sandbox(&["run", booted.at(), "journalctl", "--no-pager", "-n", "60", "-o", "cat"]);
            drop(booted);
            panic!(
                "{}\njournal:\n{}",
                String::from_utf8_lossy(&said),
                String::from_utf8_lossy(&journal.stdout)
            );
        }
        let said = String::from_utf8_lossy(&inside.stdout);
        assert!(said.contains("1 passed"), "it was not run in there: {said}");
    }

    /// What a command in there says.
    pub(crate) fn run(&self, command: &str) -> String {
        let output = sandbox(&["run", &self.at, "sh", "-c", command]);
        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
    }

    /// The same of one that succeeds.
    pub(crate) fn must(&self, command: &str) -> String {
        let output = sandbox(&["run", &self.at, "sh", "-c", command]);
        let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
        assert!(
            output.status.success(),
            "{command}: {said}\n{}",
            self.run("systemctl status --no-pager -l trysail")
        );
        said
    }

    pub(crate) fn property(&self, name: &str) -> String {
        self.run(&format!("systemctl show --value -p {name} trysail")).trim().to_owned()
    }

    /// Puts a file into /etc/trysail of the machine in one step. The folder is one of ours, since the sandbox's files are
    /// not to be seen from here.
    pub(crate) fn write(&self, name: &str, text: &str) {
        self.config.write(name, text);
        let source = self.config.path().join(name);
        let mut child = Command::new(shipped("tests/sandbox"))
            .args(["run", &self.at, "sh", "-c"])
            .arg(format!(
                "umask 022; cat >/etc/trysail/.{name} && mv /etc/trysail/.{name} /etc/trysail/{name}"
            ))
            .stdin(std::fs::File::open(source).expect("it was written"))
            .spawn()
            .expect("bash runs");
        assert!(child.wait().expect("it ends").success(), "{name} is written");
    }

    fn status(&self) -> String {
        self.property("StatusText")
    }

    pub(crate) fn waits_for_status(&self, words: &str) {
        eventually(PATIENCE, words, || self.status().contains(words));
    }

    fn drop_in(&self, text: &str) {
        self.must(&format!(
            "mkdir -p /etc/systemd/system/trysail.service.d && printf '{text}' \
             >/etc/systemd/system/trysail.service.d/test.conf && systemctl daemon-reload"
        ));
    }
}

/// What the README has installed, by where it goes.
fn units_and_program() -> Vec<String> {
    let mut files = vec![format!("{}:/usr/local/bin/trysail", env!("CARGO_BIN_EXE_trysail"))];
    files.extend(
        [
            ("trysail.service", "/etc/systemd/system/trysail.service"),
            ("trysail.socket", "/etc/systemd/system/trysail.socket"),
            ("trysail.sysusers.conf", "/usr/lib/sysusers.d/trysail.conf"),
            ("trysail.tmpfiles.conf", "/usr/lib/tmpfiles.d/trysail.conf"),
        ]
        .map(|(file, path)| format!("{}:{path}", shipped(file).display())),
    );
    files
}

/// A sandbox; it ends with this.
struct Booted {
    folder: Folder,
}

impl Booted {
    fn boot(files: &[String]) -> Booted {
        let booted = Booted { folder: Folder::new() };
        let mut words = vec!["boot", booted.at()];
        words.extend(files.iter().map(String::as_str));
        let output = sandbox(&words);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        booted
    }

    fn at(&self) -> &str {
        self.folder.path().to_str().expect("paths of tests are UTF-8")
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        sandbox(&["halt", self.at()]);
    }
}

#[test]
fn the_units_are_sound() {
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        let _ = writeln!(std::io::stderr(), "service::the_units_are_sound is skipped, no systemd-analyze");
        return;
    }
    // Where it is not installed, that is not the unit's fault.
    let sound = |line: &str| line.contains("/usr/local/bin/trysail is not executable");
    for unit in ["trysail.service", "trysail.socket"] {
        let unit = shipped(unit);
        let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output();
        let output = output.expect("systemd-analyze runs");
        // What it does not know it prints, and ends with 0 all the same.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.lines().all(|line| sound(line) || !line.contains("trysail")), "{said}");
    }
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=16", "--no-pager"])
        .arg(shipped("trysail.service"))
        .output()
        .expect("systemd-analyze runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn it_starts_reloads_and_survives_broken_files() {
    Machine::with("service::it_starts_reloads_and_survives_broken_files", |machine| {
        machine.must("systemctl start trysail");
        assert_eq!(fetch(HTTP, "a", "/reviews/0").expect("port 80 answers").status, 200);
        assert_eq!(fetch(HEALTH, "a", "/healthz/ready").expect("it answers").status, 200);
        let status = machine.status();
        assert!(status.starts_with("revision ") && status.ends_with(", 1 route on 1 port"), "{status}");
        let user = machine.must(
            "ps -o user= -p $(systemctl show --value -p MainPID trysail) || \
             stat -c %U /proc/$(systemctl show --value -p MainPID trysail)",
        );
        assert_eq!(user.trim(), "trysail");

        // A reload that is good, and one that is not.
        machine.write("seed.yaml", &weighted(100, 0));
        machine.must("systemctl reload trysail");
        eventually(PATIENCE, "the reload is over", || machine.property("ActiveState") == "active");
        assert_eq!(fetch(HTTP, "a", "/reviews/0").expect("an answer").version(), Some("v1"));
        machine.write("seed.yaml", &SEED.replacen("subset: v2", "subset: v9", 1));
        assert!(machine.run("systemctl reload trysail 2>/dev/null || echo refused").contains("refused"));
        assert_eq!(machine.property("ActiveState"), "active");
        assert!(machine.run("journalctl -u trysail -o cat").contains("has no subset \"v9\""));
        machine.waits_for_status("newest refused: 1 error, /etc/trysail/seed.yaml:36:17: ");
        let shown = machine.run("systemctl status --no-pager -l trysail");
        assert!(shown.contains("Status: \"revision "), "{shown}");
        assert_eq!(fetch(HTTP, "a", "/reviews/0").expect("an answer").version(), Some("v1"));

        // A restart with it: what was good before.
        machine.must("systemctl restart trysail");
        machine.waits_for_status("(the last good one, kept on disk)");
        assert_eq!(fetch(HTTP, "a", "/reviews/0").expect("an answer").version(), Some("v1"));
        let metrics = fetch(METRICS, "a", "/metrics").expect("metrics").text();
        assert!(metrics.contains("trysail_config_last_reload_successful 0"), "{metrics}");
        let mode = machine.must("stat -c '%a %U' /var/lib/trysail /var/lib/trysail/last-good.json");
        assert_eq!(mode, "700 trysail\n600 trysail\n");

        // Without that there is nothing to start with, and starting again and again would not help.
        machine.must("systemctl stop trysail && rm /var/lib/trysail/last-good.json");
        assert!(machine.run("systemctl start trysail").contains("failed"));
        assert_eq!(
            (machine.property("ExecMainStatus"), machine.property("NRestarts")),
            ("78".into(), "0".into())
        );
        machine.write("seed.yaml", SEED);
        machine.must("systemctl start trysail");
    });
}

#[test]
fn restarts_and_kills_under_load() {
    Machine::with("service::restarts_and_kills_under_load", |machine| {
        let more = "[Socket]\\nListenStream=15020\\nListenStream=0.0.0.0:81\\n";
        machine.must(&format!(
            "mkdir /etc/systemd/system/trysail.socket.d && printf '{more}' \
             >/etc/systemd/system/trysail.socket.d/test.conf && systemctl daemon-reload"
        ));
        machine.drop_in(OFTEN);
        machine.must("systemctl start trysail.socket trysail.service");
        let journal = machine.run("journalctl -u trysail -o cat");
        for line in [
            "0.0.0.0:80 is the service manager's socket on 0.0.0.0:80",
            "0.0.0.0:15020 is the service manager's socket on [::]:15020",
            "the service manager's socket on 0.0.0.0:81 is for no port",
        ] {
            assert!(journal.contains(line), "{line}:\n{journal}");
        }
        assert_eq!(fetch(METRICS, "a", "/metrics").expect("metrics").status, 200);
        restarts(machine, 3);
        // Another process has systemd's sockets in its turn, and the unit goes on as before.
        machine.must("trysail upgrade --wait");
        let journal = machine.run("journalctl -u trysail -o cat");
        let line = "0.0.0.0:80 is the service manager's socket on 0.0.0.0:80";
        assert_eq!(journal.matches(line).count(), 5, "{journal}");
        restarts(machine, 1);

        let killed = machine.property("MainPID");
        machine.must(&format!("kill -9 {killed}"));
        eventually(PATIENCE, "it was started anew", || machine.property("NRestarts") == "1");
        // Who connects meanwhile waits in the socket.
        assert_eq!(fetch(HTTP, "a", "/reviews/0").expect("an answer").status, 200);
        eventually(PATIENCE, "it is another", || !["0", &killed].contains(&&*machine.property("MainPID")));
    });
}

/// A unit may be started five times a minute, which is for one that ends at once.
const OFTEN: &str = "[Unit]\\nStartLimitIntervalSec=0\\n";

/// So many restarts under load, on connections that are kept and on new ones.
fn restarts(machine: &Machine, count: u64) {
    let plan = || Plan::new(HTTP, "a", "/reviews/0").threads(2).max_time(PATIENCE * 10);
    let (kept_alive, one_each) = (plan().start(), plan().header("connection", "close").start());
    for restart in 1..=count {
        let before = one_each.so_far().total();
        eventually(PATIENCE, "there is load", || one_each.so_far().total() > before + 100);
        machine.must("systemctl restart trysail");
        assert_eq!(machine.property("ActiveState"), "active", "after restart {restart}");
    }
    for load in [kept_alive, one_each] {
        let tally = load.stop();
        tally.assert_all_good();
        let _ = writeln!(std::io::stderr(), "{count} restarts: {} requests, none failed", tally.total());
    }
}

#[test]
#[ignore = "takes half a minute; the same with fewer restarts is run each time"]
fn twenty_restarts_lose_nothing() {
    Machine::with("service::twenty_restarts_lose_nothing", |machine| {
        machine.drop_in(OFTEN);
        machine.must("systemctl start trysail.socket trysail.service");
        restarts(machine, 20);
    });
}

#[test]
fn an_upgrade_makes_the_other_process_the_units() {
    Machine::with("service::an_upgrade_makes_the_other_process_the_units", |machine| {
        machine.drop_in("[Service]\\nWatchdogSec=1\\n");
        machine.must("systemctl start trysail");
        let main = || machine.property("MainPID");
        let first = main();
        let load = Plan::new(HTTP, "a", "/reviews/0").threads(2).header("connection", "close");
        let load = load.max_time(PATIENCE * 4).start();
        // The same file, and another one, which is what runs from then on.
        machine.must("cp /usr/local/bin/trysail /usr/local/bin/trysail-next");
        for words in ["", "--binary /usr/local/bin/trysail-next"] {
            let before = main();
            let said = machine.must(&format!("trysail upgrade --wait {words}"));
            assert!(said.contains(&format!("process {} serves in place of {before};", main())), "{said}");
            let gone = || machine.run(&format!("test -d /proc/{before} && echo there")).is_empty();
            eventually(PATIENCE, "the former is gone", gone);
        }
        let program = machine.must(&format!("tr '\\0' ' ' </proc/{}/cmdline", main()));
        assert_eq!(program, "/usr/local/bin/trysail-next run --config /etc/trysail ");
        assert_eq!(
            (machine.property("NRestarts"), machine.property("ActiveState")),
            ("0".into(), "active".into())
        );
        machine.waits_for_status(", 1 route on 1 port");
        let shown = machine.run("systemctl status --no-pager -l trysail");
        assert!(shown.contains(&format!("Main PID: {} (trysail", main())), "{shown}");

        // A new process that does not like the files: the unit stays as it is.
        machine.write("seed.yaml", &SEED.replacen("subset: v2", "subset: v9", 1));
        let (before, said) = (main(), machine.run("trysail upgrade 2>&1; echo $?"));
        assert!(said.contains("has no subset \"v9\"") && said.ends_with("\n1\n"), "{said}");
        assert_eq!(main(), before);
        machine.write("seed.yaml", &weighted(100, 0));
        machine.must("systemctl reload trysail");

        // Longer than the watchdog waits: the new one feeds it.
        let began = Instant::now();
        eventually(PATIENCE, "time goes by", || began.elapsed() > Duration::from_millis(2500));
        assert_eq!((machine.property("NRestarts"), main()), ("0".into(), before.clone()));
        load.stop().assert_all_good();
        let journal = machine.run("journalctl -u trysail -o cat");
        assert!(!journal.contains("reception only permitted") && !journal.contains("Watchdog"), "{journal}");

        // It is the unit's main process in all that counts: its end is seen, and it is the one that is stopped.
        machine.must(&format!("kill -9 {before}"));
        eventually(PATIENCE, "it was started anew", || machine.property("NRestarts") == "1");
        eventually(PATIENCE, "by systemd", || ![&*before, "0"].contains(&&*main()));
        eventually(PATIENCE, "it is ready", || machine.property("ActiveState") == "active");
        machine.must("trysail upgrade");
        let last = main();
        machine.must("systemctl stop trysail");
        assert_eq!(
            (machine.property("Result"), machine.property("ActiveState")),
            ("success".into(), "inactive".into())
        );
        assert!(machine.run(&format!("test -d /proc/{last} && echo there")).is_empty());
        assert!(Client::connect(HTTP).is_err());
        assert_ne!(first, last);
    });
}

#[test]
fn one_that_hangs_is_replaced() {
    Machine::with("service::one_that_hangs_is_replaced", |machine| {
        machine.drop_in("[Service]\\nWatchdogSec=1\\n");
        machine.must("systemctl start trysail.socket trysail.service");
        // Longer than the watchdog waits: fed, it does nothing.
        let began = Instant::now();
        let hung = machine.property("MainPID");
        eventually(PATIENCE, "time goes by", || began.elapsed() > Duration::from_millis(2500));
        assert_eq!(machine.property("MainPID"), hung);
        machine.must(&format!("kill -STOP {hung}"));
        eventually(PATIENCE, "it was started anew", || machine.property("NRestarts") == "1");
        assert_eq!(fetch(HTTP, "a", "/reviews/0").expect("an answer").status, 200);
        let journal = machine.run("journalctl --no-pager -o cat");
        assert!(journal.contains("trysail.service: Watchdog timeout"), "{journal}");
    });
}

#[test]
fn a_stop_drains_for_as_long_as_the_settings_say() {
    Machine::with("service::a_stop_drains_for_as_long_as_the_settings_say", |machine| {
        // Less than the process asks for, in place of the unit's own limit.
        machine.drop_in("[Service]\\nTimeoutStopSec=1\\n");
        machine.write("trysail.yaml", "drain: 4s\n");
        let slow = Answer::version("v1").delay(Duration::from_secs(2));
        machine.reviews.origins.values().for_each(|origin| origin.set_answer(slow.clone()));
        machine.must("systemctl start trysail");
        let mut client = Client::connect(HTTP).expect("port 80");
        let waiting = std::thread::spawn(move || client.get("a", "/reviews/0", &[]));
        let arrived =
            || machine.reviews.origins.values().map(|origin| origin.received().len()).sum::<usize>() > 0;
        eventually(PATIENCE, "the request arrives", arrived);
        machine.must("systemctl stop --no-block trysail");
        machine.waits_for_status("draining: 1 connection left, ");
        let reply = waiting.join().expect("no panic").expect("it is answered");
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        eventually(PATIENCE, "it stops", || machine.property("ActiveState") == "inactive");
        assert_eq!(machine.property("Result"), "success");

        // What does not end is cut at the deadline, and that is no failure.
        let endless = crate::gateway::service_entry(&[("v1", talker(SWITCH)), ("v2", talker(SWITCH))]);
        machine.write("endpoints.yaml", &endless);
        machine.write("trysail.yaml", "drain: 2s\n");
        machine.must("systemctl start trysail");
        let mut socket = Client::connect(HTTP).expect("port 80");
        let upgrade = "GET /reviews/ws HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        socket.send(upgrade.as_bytes()).expect("sent");
        machine.must("systemctl stop trysail");
        assert_eq!(machine.property("Result"), "success");
        assert!(machine.run("journalctl -u trysail -o cat -n 20").contains("1 connection cut"));
    });
}
