//! A child process: started on its processors, heard until it says its address, its CPU time read, ended with us.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// A start takes tens of milliseconds, under callgrind some seconds.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Lines of output kept for the message when something goes wrong.
const TAIL: usize = 20;

/// What to run.
#[derive(Debug)]
pub struct Launch {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where it is to listen, if it does not say so itself.
    pub address: Option<SocketAddr>,
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    tail: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts it behind `wrapper` (a command line that ends by executing its last argument, such as valgrind's)
    /// and waits until `heard` makes something of a line of its output.
    pub fn start<T>(
        name: &str,
        launch: &Launch,
        cpus: Option<&str>,
        wrapper: &[OsString],
        heard: impl Fn(&str) -> Option<T>,
    ) -> anyhow::Result<(Self, T)> {
        let (process, lines) = Process::spawn(name, launch, cpus, wrapper)?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(said) = heard(&line) {
                        return Ok((process, said));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{name} did not say where it listens:\n{}", process.last_words())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("{name} ended:\n{}", process.last_words()),
            }
        }
    }

    /// The same of one that says nothing: waits until it takes connections at `address`.
    pub fn start_at(
        name: &str,
        launch: &Launch,
        cpus: Option<&str>,
        wrapper: &[OsString],
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let (mut process, _lines) = Process::spawn(name, launch, cpus, wrapper)?;
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child.try_wait()? {
                bail!("{name} ended with {status}:\n{}", process.last_words());
            }
            ensure!(Instant::now() < deadline, "{name} takes no connections:\n{}", process.last_words());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }

    fn spawn(
        name: &str,
        launch: &Launch,
        cpus: Option<&str>,
        wrapper: &[OsString],
    ) -> anyhow::Result<(Self, Receiver<String>)> {
        let mut words: Vec<OsString> = Vec::new();
        if in_path("setpriv") {
            // Whatever ends the driver ends the child.
            words.extend(["setpriv", "--pdeathsig", "KILL"].map(Into::into));
        }
        if let Some(cpus) = cpus {
            words.extend(["taskset", "-c", cpus].map(Into::into));
        }
        words.extend_from_slice(wrapper);
        words.push(launch.program.clone().into());
        words.extend_from_slice(&launch.args);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name} ({})", launch.program.display()))?;

        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, lines) = channel();
        listen(child.stdout.take(), Arc::clone(&tail), sender.clone());
        listen(child.stderr.take(), Arc::clone(&tail), sender);
        Ok((Process { child, name: name.to_owned(), tail }, lines))
    }

    /// Its process id; the wrappers before it have become it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// User and system time of all its threads so far, in clock ticks.
    pub fn ticks(&self) -> anyhow::Result<u64> {
        ticks_of(&self.id().to_string())
            .with_context(|| format!("{} is gone; its last words:\n{}", self.name, self.last_words()))
    }

    /// Ends it in peace, by SIGTERM, and waits until it has ended with 0.
    pub fn end(mut self, limit: Duration) -> anyhow::Result<()> {
        let kill = format!("kill -TERM {}", self.id());
        let told = Command::new("sh").args(["-c", &kill]).status().context("run sh")?;
        ensure!(told.success(), "{} is gone; its last words:\n{}", self.name, self.last_words());
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}:\n{}", self.name, self.last_words());
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("{} did not end within {} s:\n{}", self.name, limit.as_secs(), self.last_words())
    }

    /// The last lines of its output.
    #[must_use]
    pub fn last_words(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().map(|line| format!("    {line}\n")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, so that the child never waits for a full pipe.
fn listen(
    pipe: Option<impl Read + Send + 'static>,
    tail: Arc<Mutex<VecDeque<String>>>,
    sender: Sender<String>,
) {
    let Some(pipe) = pipe else { return };
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.push_back(line.clone());
            if tail.len() > TAIL {
                tail.pop_front();
            }
            // After the start nobody listens any more.
            let _ = sender.send(line);
        }
    });
}

/// `utime + stime` of `/proc/WHO/stat`: all threads, also those that have ended.
pub fn ticks_of(who: &str) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(who).join("stat"))?;
    parse_ticks(&stat).with_context(|| format!("/proc/{who}/stat reads {stat:?}"))
}

fn parse_ticks(stat: &str) -> Option<u64> {
    // The name in parentheses may hold spaces and parentheses; fields 14 and 15 are counted from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Ticks that all processors together spent on anything: user, nice, system, interrupts, stolen.
pub fn machine_ticks() -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line =
        stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("no cpu in /proc/stat")?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    // Fields: user nice system idle iowait irq softirq steal; guest time after them is part of user.
    Ok(fields.iter().take(8).sum::<u64>() - fields.iter().skip(3).take(2).sum::<u64>())
}

/// Clock ticks in a second.
pub fn ticks_per_second() -> anyhow::Result<f64> {
    let answer = Command::new("getconf").arg("CLK_TCK").output().context("run getconf CLK_TCK")?;
    String::from_utf8_lossy(&answer.stdout).trim().parse().context("getconf CLK_TCK")
}

/// Whether a program of that name can be run.
#[must_use]
pub fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_an_odd_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 700 50 0 0 20 0 1 0";
        assert_eq!(parse_ticks(stat), Some(750));
        assert_eq!(parse_ticks("42 (x"), None);
    }

    #[test]
    fn a_child_that_ends_is_quoted() {
        let launch = Launch {
            program: "sh".into(),
            args: ["-c", "echo no such port >&2"].map(Into::into).into(),
            address: None,
        };
        let error = Process::start("it", &launch, None, &[], |_| None::<()>).expect_err("it ends");
        assert_eq!(error.to_string(), "it ended:\n    no such port\n");
    }
}
