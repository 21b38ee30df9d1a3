//! A child process under test: its lines as they come, signals, its exit, and what `/proc` tells of it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::wait::holds_within;

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    child: Mutex<Child>,
    output: Arc<Output>,
}

#[derive(Debug, Default)]
struct Output {
    gathered: Mutex<Gathered>,
    /// Notified for each line and each end of a stream.
    more: Condvar,
}

#[derive(Debug, Default)]
struct Gathered {
    lines: Vec<String>,
    /// Of standard output and standard error, how many have ended.
    ended: usize,
}

// === impl Process ===

impl Process {
    /// Starts `binary` with our environment and `envs`, without standard input.
    pub fn spawn<A, E, K, V>(binary: &Path, args: A, envs: E) -> io::Result<Process>
    where
        A: IntoIterator<Item: AsRef<OsStr>>,
        E: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let mut command = Command::new(binary);
        command.args(args).envs(envs).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().expect("standard output is piped");
        let stderr = child.stderr.take().expect("standard error is piped");
        let process = Process { pid: child.id(), child: Mutex::new(child), output };
        process.gather(stdout)?;
        process.gather(stderr)?;
        Ok(process)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Both streams' lines so far, in the order in which they came.
    pub fn lines(&self) -> Vec<String> {
        self.output.gathered.lock().expect(UNPOISONED).lines.clone()
    }

    /// The first line, past or to come, that is `wanted`. `None`: not in time, or the child closed both
    /// streams without it.
    pub fn wait_for_line(&self, wanted: impl FnMut(&str) -> bool, within: Duration) -> Option<String> {
        self.wait_for_line_after(0, wanted, within)
    }

    /// The same, passing over the first `seen` lines: `process.lines().len()` before an act, to wait for the
    /// line that the act brings.
    pub fn wait_for_line_after(
        &self,
        seen: usize,
        mut wanted: impl FnMut(&str) -> bool,
        within: Duration,
    ) -> Option<String> {
        let (mut next, mut found) = (seen, None);
        let unfinished = |gathered: &mut Gathered| {
            found = gathered.lines.iter().skip(next).find(|line| wanted(line)).cloned();
            next = next.max(gathered.lines.len());
            found.is_none() && gathered.ended < STREAMS
        };
        let gathered = self.output.gathered.lock().expect(UNPOISONED);
        drop(self.output.more.wait_timeout_while(gathered, within, unfinished).expect(UNPOISONED));
        found
    }

    /// Asks it to drain and exit.
    pub fn signal_term(&self) -> io::Result<()> {
        self.signal("TERM")
    }

    /// Asks it to reload.
    pub fn signal_hup(&self) -> io::Result<()> {
        self.signal("HUP")
    }

    /// As Ctrl-C does.
    pub fn signal_int(&self) -> io::Result<()> {
        self.signal("INT")
    }

    /// Asks it to open its files anew.
    pub fn signal_usr1(&self) -> io::Result<()> {
        self.signal("USR1")
    }

    /// Asks it to hand over its listeners.
    pub fn signal_quit(&self) -> io::Result<()> {
        self.signal("QUIT")
    }

    /// How it exited; `None` if it still runs after this time.
    pub fn wait(&self, within: Duration) -> Option<ExitStatus> {
        let mut status = None;
        holds_within(within, &mut || {
            status = self.child.lock().expect(UNPOISONED).try_wait().expect("a child can be waited for");
            status.is_some()
        });
        if status.is_some() {
            self.wait_for_output();
        }
        status
    }

    /// Processor time, user and system, of all its threads; in steps of 10 ms.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let stat = self.proc("stat")?;
        // The second field is the name in parentheses, which may hold anything; utime and stime are 14 and 15.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: Vec<u64> = fields.skip(11).take(2).map_while(|field| field.parse().ok()).collect();
        match ticks.as_slice() {
            // The kernel reports in USER_HZ, which is 100 whatever its own clock.
            [user, system] => Ok(Duration::from_millis((user + system) * 10)),
            _ => Err(Error::new(ErrorKind::InvalidData, stat)),
        }
    }

    /// How many descriptors it has open.
    pub fn fds(&self) -> io::Result<usize> {
        let _alive = self.alive()?;
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid))?.count())
    }

    /// Its resident memory.
    pub fn rss_bytes(&self) -> io::Result<u64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .and_then(|kib| kib.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| Error::new(ErrorKind::InvalidData, status))
    }

    fn proc(&self, file: &str) -> io::Result<String> {
        let _alive = self.alive()?;
        fs::read_to_string(format!("/proc/{}/{file}", self.pid))
    }

    /// The id is ours only until the child was waited for: then another process may bear it. Nobody waits for
    /// it while the guard is held.
    fn alive(&self) -> io::Result<MutexGuard<'_, Child>> {
        let mut child = self.child.lock().expect(UNPOISONED);
        match child.try_wait()? {
            None => Ok(child),
            Some(status) => Err(Error::new(ErrorKind::NotFound, format!("it ended: {status}"))),
        }
    }

    fn signal(&self, name: &str) -> io::Result<()> {
        let _alive = self.alive()?;
        // The shell's own `kill`: the program of that name is not installed everywhere.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid)]).status()?;
        if sent.success() { Ok(()) } else { Err(Error::other(format!("kill -{name} {}: {sent}", self.pid))) }
    }

    fn gather(&self, stream: impl Read + Send + 'static) -> io::Result<()> {
        let output = Arc::clone(&self.output);
        let work = move || {
            let mut lines = BufReader::new(stream).split(b'\n');
            while let Some(Ok(line)) = lines.next() {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                output.gathered.lock().expect(UNPOISONED).lines.push(line);
                output.more.notify_all();
            }
            output.gathered.lock().expect(UNPOISONED).ended += 1;
            output.more.notify_all();
        };
        thread::Builder::new().name("lines".to_owned()).spawn(work).map(drop)
    }

    /// Until both streams have ended, bounded: a grandchild may keep them open.
    fn wait_for_output(&self) {
        let gathered = self.output.gathered.lock().expect(UNPOISONED);
        let wait = self.output.more.wait_timeout_while(gathered, OUTPUT_WITHIN, |all| all.ended < STREAMS);
        drop(wait.expect(UNPOISONED));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not the lock's `expect`: a test that panicked must still not leave its child behind.
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

const STREAMS: usize = 2;
const OUTPUT_WITHIN: Duration = Duration::from_secs(2);
const UNPOISONED: &str = "no thread panics while it holds the lock";

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Process {
        Process::spawn(Path::new("/bin/sh"), ["-c", script], [("GREETING", "hello there")]).unwrap()
    }

    #[test]
    fn lines_of_both_streams_and_the_exit() {
        let process = shell("echo $GREETING; echo trouble >&2; exit 3");
        assert_eq!(process.wait_for_line(|line| line.contains("hello"), LONG).unwrap(), "hello there");
        assert_eq!(process.wait_for_line(|line| line == "trouble", LONG).unwrap(), "trouble");
        assert_eq!(
            process.wait_for_line(|line| line == "never", LONG),
            None,
            "ends with the child, not the time"
        );
        assert_eq!(process.wait(LONG).unwrap().code(), Some(3));
        assert_eq!(process.lines().len(), 2);
        assert_eq!(process.fds().unwrap_err().kind(), ErrorKind::NotFound);
        assert!(process.signal_term().is_err());
    }

    #[test]
    fn signals_and_figures() {
        let process = shell("trap 'echo again' HUP; trap 'exit 7' TERM; echo ready; while :; do :; done");
        process.wait_for_line(|line| line == "ready", LONG).unwrap();
        assert_eq!(process.wait_for_line(|line| line == "again", Duration::from_millis(1)), None);
        for _ in 0..2 {
            let seen = process.lines().len();
            process.signal_hup().unwrap();
            process.wait_for_line_after(seen, |line| line == "again", LONG).unwrap();
        }
        assert!(holds_within(LONG, &mut || process.cpu_time().unwrap() > Duration::ZERO));
        assert!(process.fds().unwrap() >= 3);
        assert!(process.rss_bytes().unwrap() > 100_000);
        assert_eq!(process.wait(Duration::from_millis(1)), None);
        process.signal_term().unwrap();
        assert_eq!(process.wait(LONG).unwrap().code(), Some(7));
    }

    #[test]
    fn dropping_kills() {
        let process = shell("echo ready; while :; do :; done");
        process.wait_for_line(|line| line == "ready", LONG).unwrap();
        let proc = format!("/proc/{}", process.pid());
        drop(process);
        assert!(!Path::new(&proc).exists());
    }
}
