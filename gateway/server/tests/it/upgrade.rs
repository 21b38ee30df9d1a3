//! A process replaced by another one that serves in its place: no request is lost, what is under way ends by itself, and
//! where it can't be done nothing has changed.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use trysail_testkit::client::{Client, fetch};
use trysail_testkit::dns::{Dns, Says};
use trysail_testkit::folder::Folder;
use trysail_testkit::load::Plan;
use trysail_testkit::origin::{Answer, Origin};
use trysail_testkit::wait::eventually;

use crate::drain::{Manager, end_of, http2_goes_away};
use crate::gateway::{Gateway, HTTP, PATIENCE, Reviews, SEED, service_entry, shop};
use crate::timeout::talker;
use crate::websocket::{SWITCH, echo, websocket};

/// A gateway, and all that take its place after it.
struct Line {
    gateway: Gateway,
    runtime: Folder,
    /// Who serves now.
    process: Cell<u32>,
    /// Those that nobody waits for; they end with this.
    orphans: RefCell<Vec<u32>>,
}

impl Line {
    fn start(config: &Path, settings: &str) -> Line {
        let runtime = Folder::new();
        let gateway = Gateway::spawn(config, &with_runtime(&runtime, settings));
        Line::of(gateway, runtime)
    }

    fn of(gateway: Gateway, runtime: Folder) -> Line {
        let ready = gateway.process.wait_for_line(|line| line.contains("ready after"), PATIENCE);
        assert!(ready.is_some(), "not ready:\n{}", gateway.process.lines().join("\n"));
        let process = Cell::new(gateway.process.pid());
        Line { gateway, runtime, process, orphans: RefCell::default() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trysail"));
        command.arg("upgrade").arg(self.runtime.path()).args(words);
        command
    }

    fn asks(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("it runs")
    }

    /// Has it replaced, and waits until it was. Gives what was said.
    fn upgrade(&self, words: &[&str]) -> String {
        let output = self.asks(words);
        let said = text(&output);
        assert!(output.status.success(), "{said}\n{}", self.gateway.process.lines().join("\n"));
        let before = format!(" serves in place of {};", self.process.get());
        let (done, _) = said.split_once(&before).unwrap_or_else(|| panic!("no {before:?} in {said}"));
        let process = done.rsplit(' ').next().expect("a word").parse().expect("a process id");
        self.orphans.borrow_mut().push(process);
        self.process.set(process);
        said
    }

    /// Who is said to be there, of a process that is not ready yet.
    fn newcomer(&self, seen: usize) -> u32 {
        let line = |line: &str| line.contains("upgrade: process ") && line.contains(" has ");
        let line = self.gateway.process.wait_for_line_after(seen, line, PATIENCE).expect("it is there");
        let (_, process) = line.split_once("upgrade: process ").expect("its id");
        let process = process.split(' ').next().and_then(|id| id.parse().ok()).expect("a process id");
        self.orphans.borrow_mut().push(process);
        process
    }

    fn log(&self) -> String {
        self.gateway.process.lines().join("\n")
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.orphans.borrow().iter().for_each(|process| signal("KILL", *process));
    }
}

fn with_runtime(runtime: &Folder, settings: &str) -> String {
    format!("runtime: {}\n{settings}", runtime.path().display())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn signal(name: &str, process: u32) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {process} 2>/dev/null")]).status();
}

fn is_alive(process: u32) -> bool {
    // One that nobody has waited for yet is a zombie, which is no life.
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// An upstream whose downloads stop half-way until they may go on.
struct Downloads {
    address: SocketAddr,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

const HALF: usize = 1 << 20;

impl Downloads {
    fn start() -> Downloads {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let shared = gate.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let gate = shared.clone();
                thread::spawn(move || serve(stream, &gate));
            }
        });
        Downloads { address, gate }
    }

    /// Lets downloads go on, or keeps them half-way.
    fn may_end(&self, may: bool) {
        *self.gate.0.lock().expect("nobody panics") = may;
        self.gate.1.notify_all();
    }
}

/// Answers what ends in `/download` in two halves, and anything else at once.
fn serve(stream: TcpStream, gate: &(Mutex<bool>, Condvar)) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut first) = (String::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
            if first.is_empty() {
                first.clone_from(&line);
            }
            line.clear();
        }
        if first.is_empty() {
            return;
        }
        let is_download = first.contains("/download ");
        let length = if is_download { HALF * 2 } else { 2 };
        let head = format!("HTTP/1.1 200 OK\r\nx-version: v1\r\ncontent-length: {length}\r\n\r\n");
        let first = if is_download { vec![b'a'; HALF] } else { b"ok".to_vec() };
        if reader.get_mut().write_all(&[head.as_bytes(), &first].concat()).is_err() {
            return;
        }
        if is_download {
            let open = gate.0.lock().expect("nobody panics");
            drop(gate.1.wait_timeout_while(open, PATIENCE, |open| !*open));
            if reader.get_mut().write_all(&[b'b'; HALF]).is_err() {
                return;
            }
        }
    }
}

/// A download that has come half-way.
fn download(address: SocketAddr) -> (BufReader<TcpStream>, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("the gateway accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.write_all(b"GET /reviews/download HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("a head");
    }
    let mut half = vec![0; HALF];
    reader.read_exact(&mut half).expect("one half");
    (reader, half)
}

/// A folder with the seed for one upstream, and a rule that sends `/socket` to another.
fn folder(upstream: SocketAddr, talker: SocketAddr) -> Folder {
    let folder = Folder::new();
    folder.write("seed.yaml", SEED);
    folder.write("endpoints.yaml", &service_entry(&[("v1", upstream), ("v2", upstream)]));
    let rule =
        "  http:\n  - match: [{uri: {prefix: /socket}}]\n    route: [{destination: {host: talker.test}}]\n";
    folder.write("seed.yaml", &SEED.replacen("  http:\n", rule, 1));
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: talker}}\nspec:\n  \
         hosts: [talker.test]\n  resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  \
         endpoints: [{{address: {}, ports: {{http: {}}}}}]\n",
        talker.ip(),
        talker.port()
    );
    folder.write("talker.yaml", &entry);
    folder
}

/// So many upgrades under load.
fn upgrades(rounds: u64) {
    let downloads = Downloads::start();
    let state = Folder::new();
    let log = state.path().join("access.log");
    let folder = folder(downloads.address, talker(SWITCH));
    let state = state.path().display();
    let line =
        Line::start(folder.path(), &format!("state: {state}/kept\naccessLog: {{path: {}}}\n", log.display()));
    let address = line.gateway.address();
    let health = line.gateway.logged("health on ");
    std::fs::create_dir(format!("{state}/kept")).expect("a directory");
    let plan = || Plan::new(address, "a", "/reviews/0").threads(2).max_time(PATIENCE * 10);
    let kept_alive = plan().start();
    let one_each = plan().header("connection", "close").start();
    let readiness = Plan::new(health, "a", "/healthz/ready").max_time(PATIENCE * 10).start();
    for round in 1..=rounds {
        downloads.may_end(false);
        let (seen, before) = (line.gateway.process.lines().len(), one_each.so_far().total());
        let (mut rest, half) = download(address);
        let mut socket = websocket(&line.gateway, "/socket");
        let said = line.upgrade(&[]);
        let version = env!("CARGO_PKG_VERSION");
        assert!(said.contains(&format!("; trysail {version} → {version}, revision ")), "{said}");
        // What was open stays where it was, and ends as it would have.
        echo(&mut socket);
        assert!(half.iter().all(|byte| *byte == b'a'));
        downloads.may_end(true);
        let mut half = vec![0; HALF];
        rest.read_exact(&mut half).unwrap_or_else(|error| panic!("round {round}: {error}\n{}", line.log()));
        assert!(half.iter().all(|byte| *byte == b'b'));
        echo(&mut socket);
        drop((socket, rest));
        let left = |line: &str| line.contains("stopped after ");
        let left = line.gateway.process.wait_for_line_after(seen, left, PATIENCE);
        let left = left.unwrap_or_else(|| panic!("round {round}: it stays\n{}", line.log()));
        assert!(left.contains(&format!("process {} serves", line.process.get())), "{left}");
        assert!(!left.contains("cut"), "{left}");
        eventually(PATIENCE, "there is load", || one_each.so_far().total() > before + 200);
    }
    for load in [kept_alive, one_each, readiness] {
        let tally = load.stop();
        assert_eq!(tally.failed, 0, "of {}: {:#?}\n{}", tally.total(), tally.failures, line.log());
        let _ = writeln!(std::io::stderr(), "{rounds} upgrades: {} requests, none failed", tally.total());
    }
    // Two processes have written to one file, and neither into the other's lines.
    let lines = std::fs::read_to_string(&log).expect("an access log");
    assert!(lines.lines().count() > 100);
    for line in lines.lines() {
        assert!(line.starts_with('[') && line.matches("HTTP/1.1\"").count() == 1, "{line:?}");
    }
    let kept: Vec<_> = std::fs::read_dir(format!("{state}/kept")).expect("a directory").collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
}

#[test]
fn no_request_is_lost_and_what_runs_ends_by_itself() {
    upgrades(4);
}

#[test]
#[ignore = "takes half a minute; the same with fewer upgrades is run each time"]
fn twenty_upgrades_lose_nothing() {
    upgrades(20);
}

#[test]
fn a_websocket_is_cut_at_the_deadline_and_the_other_process_serves_on() {
    let folder = folder(talker(SWITCH), talker(SWITCH));
    let line = Line::start(folder.path(), "");
    let mut socket = websocket(&line.gateway, "/socket");
    let began = Instant::now();
    // The setting drain of all tests is five seconds.
    let waits = line.command(&["--wait"]).stdout(Stdio::piped()).spawn().expect("it runs");
    line.newcomer(0);
    assert!(line.gateway.process.wait_for_line(|line| line.contains("draining: 1 "), PATIENCE).is_some());
    echo(&mut socket);
    drop(websocket(&line.gateway, "/socket"));
    let _ = socket.read_to_end(&mut Vec::new());
    assert!(began.elapsed() >= Duration::from_millis(4900), "cut after {:?}", began.elapsed());
    let status = line.gateway.process.wait(PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", line.log());
    assert!(line.log().contains("1 connection cut"), "{}", line.log());
    let output = waits.wait_with_output().expect("it ends");
    assert!(output.status.success() && text(&output).ends_with("the former process has left\n"));
    drop(websocket(&line.gateway, "/socket"));
}

#[test]
fn http2_is_told_to_go_away_and_its_streams_end() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let line = Line::start(folder.path(), "");
    http2_goes_away(&line.gateway, &reviews, || drop(line.upgrade(&[])));
    assert!(!end_of(&line.gateway).contains("cut"));
}

#[test]
fn who_can_not_take_over_changes_nothing() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let line = Line::start(folder.path(), "");
    let load = Plan::new(line.gateway.address(), "a", "/reviews/0").threads(2).max_time(PATIENCE * 4).start();
    let script = |name: &str, text: &str| {
        folder.write(name, &format!("#!/bin/sh\n{text}\n"));
        let path = folder.path().join(name);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("a mode");
        path.to_str().expect("UTF-8").to_owned()
    };
    let hangs = script("hangs.sh", "exec sleep 60");
    let chatters = script("chatters.sh", "printf '{\"is\":\"yours\"}' >&0");
    let crashes = script("crashes.sh", "kill -9 $$");
    for (words, said) in [
        (vec!["--binary", "/bin/false"], "it ended before it was ready (exit code 1); its log says why"),
        (vec!["--binary", &crashes], "it ended before it was ready (signal 9)"),
        (vec!["--binary", &hangs, "--timeout", "300ms"], "it was not ready within 300ms and was ended"),
        (vec!["--binary", &chatters], "it said Yours first"),
        (vec!["--binary", "/etc/passwd"], "/etc/passwd can't be started: Permission denied"),
    ] {
        let output = line.asks(&words);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {told}");
        assert!(
            told.contains(said) && told.ends_with("\nnot upgraded: the process before serves on\n"),
            "{told}"
        );
    }
    assert_eq!(line.asks(&["--binary", "/nowhere"]).status.code(), Some(2));

    // Files that it refuses.
    let broken = SEED.replacen("subset: v2", "subset: v9", 1);
    line.gateway.after(|| folder.write("seed-reviews.yaml", &broken), "revision refused");
    let output = line.asks(&[]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("seed-reviews.yaml:36:17") && told.contains("has no subset \"v9\""), "{told}");

    // The files are followed as before, the process is the same, and no request was lost.
    line.gateway.after(|| folder.write("seed-reviews.yaml", SEED), "and in force");
    line.gateway
        .after(|| folder.write("seed-reviews.yaml", &crate::gateway::weighted(10, 90)), "in force after");
    assert!(is_alive(line.process.get()));
    load.stop().assert_all_good();
    line.upgrade(&["--wait"]);
    assert_eq!(fetch(line.gateway.address(), "a", "/reviews/0").expect("an answer").status, 200);
}

/// A route to a name, and what starts a gateway that asks a server of ours for it.
fn named(dns: &Dns, origin: &Origin) -> (Folder, String) {
    let folder = Folder::new();
    let rules = "  http:\n  - route: [{destination: {host: api.test}}]\n";
    let entry = format!(
        "\n---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: api}}\nspec:\n  \
         hosts: [api.test]\n  resolution: DNS\n  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {}}}]\n",
        origin.addr().port()
    );
    folder.write("shop.yaml", &format!("{}{entry}", shop(HTTP, rules)));
    dns.at("api.test", &["127.0.0.1"]);
    (folder, format!("dns: {{servers: ['{}'], minRefresh: 1h, maxRefresh: 1h}}\n", dns.addr()))
}

/// An upgrade whose new process waits for an answer that does not come for two seconds.
fn half_way(line: &Line, dns: &Dns) -> (Child, u32) {
    dns.says("api.test", Says::Silence);
    let seen = line.gateway.process.lines().len();
    let asking = line.command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    (asking, line.newcomer(seen))
}

#[test]
fn a_new_process_that_is_killed_half_way_is_no_loss() {
    let (dns, origin) = (Dns::start(), Origin::start(Answer::version("v1")));
    let (folder, settings) = named(&dns, &origin);
    let line = Line::start(folder.path(), &settings);
    let load = Plan::new(line.gateway.address(), "a", "/").threads(2).max_time(PATIENCE * 4).start();
    let (asking, process) = half_way(&line, &dns);
    signal("KILL", process);
    let output = asking.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("it ended before it was ready"), "{}", text(&output));
    let before = load.so_far().total();
    eventually(PATIENCE, "it serves on", || load.so_far().total() > before + 20);
    load.stop().assert_all_good();

    // Neither is one whose former process is told to stop meanwhile: both are gone.
    let (asking, process) = half_way(&line, &dns);
    line.gateway.process.signal_term().expect("a signal");
    assert_eq!(line.gateway.process.wait(PATIENCE).and_then(|status| status.code()), Some(0));
    eventually(PATIENCE, "the other one is gone", || !is_alive(process));
    assert_eq!(asking.wait_with_output().expect("it ends").status.code(), Some(1));
}

#[test]
fn where_the_old_process_is_killed_half_way_the_new_one_serves() {
    let (dns, origin) = (Dns::start(), Origin::start(Answer::version("v1")));
    let (folder, settings) = named(&dns, &origin);
    let line = Line::start(folder.path(), &settings);
    let address = line.gateway.address();
    let (asking, process) = half_way(&line, &dns);
    signal("KILL", line.process.get());
    // Who connects now waits in the socket, which has never been closed.
    let mut client = Client::connect(address).expect("the port is open");
    dns.at("api.test", &["127.0.0.1"]);
    let reply = client.get("a", "/", &[]).expect("an answer");
    assert!(reply.status == 200 || reply.status == 503, "{}", reply.status);
    assert!(is_alive(process));
    let output = asking.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("the process ended while it handed over"), "{}", text(&output));
    // It is whole: it can be replaced in its turn.
    line.process.set(process);
    line.upgrade(&["--wait"]);
    assert_eq!(fetch(address, "a", "/").expect("an answer").status, 200);
}

#[test]
fn ports_that_come_and_go_are_bound_and_closed() {
    let reviews = Reviews::start(&["v1", "v2"]);
    let folder = reviews.folder();
    let line = Line::start(folder.path(), "");
    let second = shop(
        "port: {number: 81, name: http, protocol: HTTP}",
        "  http:\n  - directResponse: {status: 200}\n",
    );
    // A port that came by an edit is handed over as those of the start are.
    line.gateway.after(|| folder.write("second.yaml", &second), "listening 81 → ");
    let (first, second) = (line.gateway.address(), line.gateway.logged("listening 81 → "));
    let (metrics, health) = (line.gateway.logged("metrics on "), line.gateway.logged("health on "));
    // A setting that waited for a restart: another address for one of its own ports.
    let settings =
        std::fs::read_to_string(line.gateway.settings.path().join("settings.yaml")).expect("settings");
    line.gateway
        .settings
        .write("settings.yaml", &settings.replace("health: 127.0.0.1:0", "health: 127.0.0.2:0"));
    line.upgrade(&["--wait"]);
    assert_eq!(line.gateway.address(), first);
    assert_eq!(line.gateway.logged("metrics on "), metrics);
    for address in [first, second] {
        assert_eq!(fetch(address, "a", "/reviews/0").expect("an answer").status, 200);
    }
    let moved = line.gateway.logged("health on ");
    assert_eq!(fetch(moved, "a", "/healthz/ready").expect("an answer").status, 200);
    assert_ne!(moved, health);
    assert!(Client::connect(health).is_err(), "{}", line.log());
    assert!(line.log().contains("health (") && line.log().contains("is not wanted any more, and closed"));
    // And a port that goes after an upgrade is closed by whoever has it.
    line.gateway.after(|| folder.remove("second.yaml"), "closed 81");
    eventually(PATIENCE, "it is closed", || Client::connect(second).is_err());
}

#[test]
fn strangers_are_refused() {
    let reviews = Reviews::start(&["v1"]);
    let folder = reviews.folder();
    let line = Line::start(folder.path(), "dangling: serve\n");
    let path = line.runtime.path().join("upgrade.sock");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (asked, answer) in [
        (&b"\n"[..], "not asked as trysail upgrade asks"),
        (b"{}\n", "not asked as trysail upgrade asks"),
        (b"GET / HTTP/1.1\r\n\r\n", "not asked as trysail upgrade asks"),
        (b"{\"binary\":null", "nothing was asked for"),
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).expect("it is open");
        stream.write_all(asked).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("shut");
        let mut told = String::new();
        stream.read_to_string(&mut told).expect("an answer");
        assert!(told.contains(answer), "{told:?}");
    }
    // Another user: kept out by the file's rights, and by who it is where those were opened.
    let user = |line: &Line| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--clear-groups", env!("CARGO_BIN_EXE_trysail"), "upgrade"]);
        command.arg(line.runtime.path()).output()
    };
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    if !is_root || user(&line).is_err() {
        let _ = writeln!(std::io::stderr(), "another user is not tried: that needs root and setpriv");
        return;
    }
    let open = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
    let own = |path: &&Path| path.starts_with(std::env::temp_dir()) && **path != std::env::temp_dir();
    for directory in line.runtime.path().ancestors().take_while(own) {
        std::fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).expect("a mode");
    }
    for (mode, code, said) in
        [(0o600, 2, "nobody answers on"), (0o666, 1, "user 65534 may not: this process is user 0's")]
    {
        open(mode);
        let output = user(&line).expect("it runs");
        // A directory on the way may be closed to others, as that of a checkout can be.
        if output.status.code() == Some(126) || output.status.code() == Some(127) {
            return;
        }
        assert_eq!(
            (output.status.code(), text(&output).contains(said)),
            (Some(code), true),
            "{}",
            text(&output)
        );
    }
    assert!(is_alive(line.process.get()));
}

#[test]
fn a_service_manager_is_told_of_the_other_process_and_then_hears_it_alone() {
    let manager = Manager::start();
    let folder = folder(talker(SWITCH), talker(SWITCH));
    let runtime = Folder::new();
    let gateway = manager.gateway(folder.path(), &["WATCHDOG_USEC=600000"], &with_runtime(&runtime, ""));
    let line = Line::of(gateway, runtime);
    manager.until("READY=1");
    line.upgrade(&["--wait"]);
    let heard = manager.until(&format!("MAINPID={}", line.process.get()));
    let wrong = |told: &String| told.contains("STOPPING") || told.contains("READY");
    assert!(!heard.iter().any(wrong), "{heard:#?}");
    let heard = manager.until("READY=1");
    assert!(heard.iter().any(|told| told.contains("STATUS=revision ")), "{heard:#?}");
    assert!(!heard.iter().any(|told| told.contains("STOPPING") || told.contains("draining")), "{heard:#?}");
    // Its own, as the former has left by now.
    (0..3).for_each(|_| drop(manager.until("WATCHDOG=1")));
}
