//! `process_*`: what the kernel says of this process, under the names that every exporter gives it.
//!
//! Read from `/proc` when somebody scrapes; Prometheus' own crate would bring a parser of all of `/proc` for these seven.
//! What the kernel does not tell is left out.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::{Told, family};

const CPU: Told = ("process_cpu_seconds_total", "Time that the process has worked, in seconds.");
const OPEN: Told = ("process_open_fds", "Descriptors that are open.");
const MOST: Told = ("process_max_fds", "Descriptors that may be.");
const RESIDENT: Told = ("process_resident_memory_bytes", "Memory that the process holds, in bytes.");
const VIRTUAL: Told = ("process_virtual_memory_bytes", "Memory that it has asked for, in bytes.");
const THREADS: Told = ("process_threads", "Threads of the process.");
const START: Told = ("process_start_time_seconds", "When the process was started, in seconds since 1970.");

const ALL: [Told; 7] = [CPU, OPEN, MOST, RESIDENT, VIRTUAL, THREADS, START];

/// The kernel counts time for programs in hundredths of a second, whatever it does itself (`USER_HZ`, `times(2)`).
const TICKS: f64 = 100.0;

/// This process.
pub(super) struct Process {
    descs: Vec<Desc>,
    started: Option<f64>,
}

impl Process {
    pub(super) fn new() -> prometheus::Result<Self> {
        let descs = ALL.into_iter().map(super::desc).collect::<prometheus::Result<Vec<Desc>>>()?;
        let boot = read("stat").and_then(|text| after(&text, "btime ")?.parse::<f64>().ok());
        let started = boot.zip(read("self/stat")).and_then(|(boot, text)| Some(boot + ticks(&text, 19)?));
        Ok(Process { descs, started })
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status = read("self/status").unwrap_or_default();
        let kilobytes = |name| Some(number(&status, name)? * 1024.0);
        let limits = read("self/limits").unwrap_or_default();
        let stat = read("self/stat").unwrap_or_default();
        let values = [
            (CPU, ticks(&stat, 11).zip(ticks(&stat, 12)).map(|(user, system)| user + system)),
            (OPEN, fs::read_dir("/proc/self/fd").ok().map(|all| all.count() as f64)),
            (MOST, number(&limits, "Max open files")),
            (RESIDENT, kilobytes("VmRSS:")),
            (VIRTUAL, kilobytes("VmSize:")),
            (THREADS, number(&status, "Threads:")),
            (START, self.started),
        ];
        let family = |(told, value): (Told, Option<f64>)| {
            let kind = if told == CPU { MetricType::COUNTER } else { MetricType::GAUGE };
            Some(family(told, kind, vec![(Vec::new(), value?)]))
        };
        values.into_iter().filter_map(family).collect()
    }
}

fn read(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{name}")).ok()
}

/// The word that stands behind these at the beginning of a line.
fn after<'t>(text: &'t str, words: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(words))?.split_whitespace().next()
}

fn number(text: &str, words: &str) -> Option<f64> {
    after(text, words)?.parse().ok()
}

/// A time in `/proc/self/stat`, in seconds, by its place behind the name, which stands in brackets and may hold anything.
fn ticks(stat: &str, place: usize) -> Option<f64> {
    let (_, behind) = stat.rsplit_once(')')?;
    Some(behind.split_whitespace().nth(place)?.parse::<f64>().ok()? / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_understood() {
        let stat = "12 (a) b)) S 1 2 3 4 5 6 7 8 9 10 150 250 13 14 15 16 17 18 70000 20";
        assert_eq!((ticks(stat, 11), ticks(stat, 12), ticks(stat, 19)), (Some(1.5), Some(2.5), Some(700.0)));
        assert_eq!(number("Max open files            1024   4096   files\n", "Max open files"), Some(1024.0));
        assert_eq!(number("Max open files            unlimited\n", "Max open files"), None);
        assert_eq!(Process::new().unwrap().collect().len(), ALL.len());
    }
}
