//! What the figures were taken on. A fact that cannot be had is "unknown", never a reason to stop.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// The machine, the build and the tree.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Day and time, UTC.
    pub date: String,
    /// As `/proc/cpuinfo` names it.
    pub cpu: String,
    /// Processors this process may use.
    pub processors: usize,
    /// Kernel name and release.
    pub kernel: String,
    /// Of the compiler in the PATH.
    pub rustc: String,
    /// Cargo's profile, from the folder of the executable.
    pub profile: String,
    /// The commit, with `+changes` if the tree differs from it outside the results.
    pub revision: String,
    /// Processes that wanted to run when the driver started, mean over a minute.
    pub load_average: String,
}

impl Machine {
    /// Asks around; `tree` is a folder of the git working tree, `binaries` where the executables are.
    #[must_use]
    pub fn look(tree: &Path, binaries: &Path, processors: usize) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Machine {
            date: ask(tree, "date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            cpu: known(cpu.map(|(_, model)| model.trim().to_owned())),
            processors,
            kernel: ask(tree, "uname", &["-sr"]),
            rustc: ask(tree, "rustc", &["--version"]),
            profile: known(binaries.file_name().map(|name| name.to_string_lossy().into_owned())),
            revision: revision(tree),
            load_average: known(load.split(' ').next().map(str::to_owned)),
        }
    }
}

fn revision(tree: &Path) -> String {
    let commit = ask(tree, "git", &["rev-parse", "--short=12", "HEAD"]);
    let changes = ask(tree, "git", &["status", "--porcelain", "--", ":/", ":/!load-tests/results"]);
    if commit == UNKNOWN || changes == UNKNOWN { commit } else { commit + "+changes" }
}

const UNKNOWN: &str = "unknown";

/// What the command prints, in the given folder; unknown if that is nothing.
fn ask(folder: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(folder).output().ok();
    let said = output.filter(|output| output.status.success());
    known(said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

fn known(fact: Option<String>) -> String {
    fact.filter(|fact| !fact.is_empty()).unwrap_or_else(|| UNKNOWN.to_owned())
}
