//! Which processors the proxy and the two ends of the wire run on.
//!
//! *Split*: the proxy has processors of its own, client and origin share the first one. *One core*: everything
//! on the last one; each process then drains its queue in batches and the core never idles, which spreads
//! least. Pinning is done with `taskset`; without it, or with too few processors, nothing is pinned.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Where the processes run; `None` is anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// For `taskset -c`, the proxies.
    pub proxy: Option<String>,
    /// For `taskset -c`, origin and client.
    pub ends: Option<String>,
}

impl Placement {
    /// Places `threads` proxy threads on the processors that this process may use.
    #[must_use]
    pub fn choose(allowed: &[usize], threads: usize, one_core: bool) -> Self {
        match allowed {
            [.., last] if one_core => {
                Placement { proxy: Some(last.to_string()), ends: Some(last.to_string()) }
            }
            [first, rest @ ..] if rest.len() >= threads => {
                let proxy: Vec<_> = rest[..threads].iter().map(usize::to_string).collect();
                Placement { proxy: Some(proxy.join(",")), ends: Some(first.to_string()) }
            }
            _ => Placement::default(),
        }
    }

    /// A phrase for the report.
    #[must_use]
    pub fn describe(&self) -> String {
        match (&self.proxy, &self.ends) {
            (Some(proxy), Some(ends)) if proxy == ends => format!("everything on processor {proxy}"),
            (Some(proxy), Some(ends)) => format!("proxy on processor {proxy}, client and origin on {ends}"),
            _ => String::from("nothing pinned"),
        }
    }
}

/// The processors that this process may use.
pub fn allowed() -> anyhow::Result<Vec<usize>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    parse_list(list.context("no Cpus_allowed_list in /proc/self/status")?.trim())
}

/// `0-2,5` → 0, 1, 2, 5.
fn parse_list(list: &str) -> anyhow::Result<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>()?..=last.parse()?);
    }
    Ok(cpus)
}

/// Moves this process with all its threads.
pub fn pin_self(cpus: &str) -> anyhow::Result<()> {
    let pinned = Command::new("taskset")
        .args(["-acp", cpus, &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status()
        .context("run taskset")?;
    ensure!(pinned.success(), "taskset -acp {cpus} ended with {pinned}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placements() {
        let places =
            |allowed: &[usize], threads, one_core| Placement::choose(allowed, threads, one_core).describe();
        assert_eq!(places(&[0, 1], 1, false), "proxy on processor 1, client and origin on 0");
        assert_eq!(places(&[2, 4, 5, 6], 2, false), "proxy on processor 4,5, client and origin on 2");
        assert_eq!(places(&[0, 1], 1, true), "everything on processor 1");
        assert_eq!(places(&[0, 1], 2, false), "nothing pinned");
        assert_eq!(places(&[3], 1, false), "nothing pinned");
    }

    #[test]
    fn lists() {
        assert_eq!(parse_list("0-2,5").expect("a list"), [0, 1, 2, 5]);
        assert!(parse_list("").is_err());
    }
}
