//! kubectl as a program, for one API server: by the path in `TRYSAIL_KUBECTL`, else by its name.

use std::ffi::OsString;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs, io};

use tempfile::TempDir;

use crate::process::Process;

/// A kubectl with a kubeconfig and a home of its own.
#[derive(Debug)]
pub struct Kubectl {
    program: OsString,
    kubeconfig: PathBuf,
    home: TempDir,
}

impl Kubectl {
    /// For the API server of a kubeconfig, given as text. `None`, said aloud, where there is no kubectl; with `CI=true`
    /// that fails.
    ///
    /// # Panics
    ///
    /// Where there is none and has to be one, and when no file can be written.
    pub fn find(kubeconfig: &str) -> Option<Kubectl> {
        let home = tempfile::tempdir().expect("a temporary directory");
        let file = home.path().join("kubeconfig");
        fs::write(&file, kubeconfig).expect("a file in it");
        Kubectl::at(home, file)
    }

    /// The same for a kubeconfig that is a file.
    ///
    /// # Panics
    ///
    /// As [`Kubectl::find`].
    pub fn find_for(kubeconfig: &Path) -> Option<Kubectl> {
        Kubectl::at(tempfile::tempdir().expect("a temporary directory"), kubeconfig.to_owned())
    }

    fn at(home: TempDir, kubeconfig: PathBuf) -> Option<Kubectl> {
        let named = env::var_os("TRYSAIL_KUBECTL").filter(|path| !path.is_empty());
        let kubectl = Kubectl { program: named.unwrap_or("kubectl".into()), kubeconfig, home };
        if kubectl.run(&["version", "--client"]).is_ok() {
            return Some(kubectl);
        }
        let words = "no kubectl: make test fetches it";
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{words}");
        // Around the harness, which keeps back what a test prints that passes.
        let _ = writeln!(stderr(), "skipped: {words}");
        None
    }

    /// What it printed, or what it found wrong.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())
            .and_then(told)
    }

    /// The same with a text on its standard input: `kubectl apply -f -`.
    pub fn feed(&self, arguments: &[&str], text: &str) -> Result<String, String> {
        let fed = || -> io::Result<Output> {
            let mut command = self.command(arguments);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            // It may end without having read all; what it says then tells why.
            let _ = child.stdin.take().map(|mut input| input.write_all(text.as_bytes()));
            child.wait_with_output()
        };
        fed().map_err(|error| error.to_string()).and_then(told)
    }

    /// Starts one that goes on: `kubectl get -w`.
    pub fn spawn(&self, arguments: &[&str]) -> io::Result<Process> {
        let words = self.own().into_iter().chain(arguments.iter().map(OsString::from));
        Process::spawn(Path::new(&self.program), words, [("HOME", self.home.path())])
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.own()).args(arguments).env("HOME", self.home.path());
        command
    }

    fn own(&self) -> [OsString; 2] {
        ["--kubeconfig".into(), self.kubeconfig.clone().into()]
    }
}

fn told(output: Output) -> Result<String, String> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kubernetes::ApiServer;

    const SEED: &str = include_str!("../../../../conf/examples/reviews/seed-reviews.yaml");
    const PATIENCE: Duration = Duration::from_secs(30);

    fn start() -> Option<(ApiServer, Kubectl)> {
        let api = ApiServer::start();
        let kubectl = Kubectl::find(&api.kubeconfig("default"))?;
        Some((api, kubectl))
    }

    #[test]
    fn the_seed_is_applied_edited_shown_and_deleted() {
        let Some((api, kubectl)) = start() else { return };
        let edited = SEED.replacen("weight: 50", "weight: 90", 1).replacen("weight: 50", "weight: 10", 1);
        let wrong = SEED.replacen("weight: 50", "wait: 50", 1);
        let rows: &[(&[&str], &str, Result<&str, &str>)] = &[
            (&["apply", "--dry-run=server", "-f", "-"], SEED, Ok("reviews created (server dry run)")),
            (&["get", "virtualservices"], "", Ok("")),
            (&["apply", "-f", "-"], SEED, Ok("virtualservice.networking.istio.io/reviews created")),
            (&["apply", "-f", "-"], SEED, Ok("virtualservice.networking.istio.io/reviews unchanged")),
            (&["apply", "-f", "-"], &edited, Ok("virtualservice.networking.istio.io/reviews configured")),
            (&["apply", "-f", "-"], &edited, Ok("virtualservice.networking.istio.io/reviews unchanged")),
            (&["get", "vs", "reviews", "-o", "yaml"], "", Ok("weight: 90")),
            (&["get", "gw,vs,dr"], "", Ok("destinationrule.networking.istio.io/reviews")),
            (
                &["get", "virtualservices", "-A", "-o", "name"],
                "",
                Ok("virtualservice.networking.istio.io/reviews"),
            ),
            (&["get", "vs", "reviews", "-o", "jsonpath={.metadata.generation}"], "", Ok("2")),
            (&["apply", "-f", "-"], &wrong, Err("unknown field \"spec.http[0].route[0].wait\"")),
            (&["apply", "--validate=false", "-f", "-"], &wrong, Ok("reviews configured")),
            (&["diff", "-f", "-"], SEED, Err("")),
            (&["label", "vs", "reviews", "team=shop"], "", Ok("reviews labeled")),
            (&["get", "vs", "-l", "team=shop"], "", Ok("reviews")),
            (
                &["patch", "vs", "reviews", "--type=merge", "-p", "{\"spec\":{\"hosts\":[\"a.test\"]}}"],
                "",
                Ok("patched"),
            ),
            (
                &["apply", "--server-side", "--force-conflicts", "-f", "-"],
                SEED,
                Ok("reviews serverside-applied"),
            ),
            (&["create", "-f", "-"], SEED, Err("already exists")),
            (
                &["apply", "-f", "-"],
                "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}",
                Ok("namespace/shop created"),
            ),
            (&["get", "ns", "shop"], "", Ok("shop")),
            (&["describe", "vs", "reviews"], "", Ok("Prefix:  /reviews")),
            (&["delete", "-f", "-"], SEED, Ok("virtualservice.networking.istio.io \"reviews\"")),
            (&["get", "vs", "reviews"], "", Err("NotFound")),
        ];
        for (arguments, text, expected) in rows {
            let told = kubectl.feed(arguments, text);
            let is_as_expected = match (&told, expected) {
                (Ok(told), Ok(words)) | (Err(told), Err(words)) => told.contains(words),
                _ => false,
            };
            assert!(is_as_expected, "kubectl {}: {told:#?}, expected {expected:?}", arguments.join(" "));
        }
        assert!(api.all("virtualservices").is_empty());
    }

    #[test]
    fn what_changes_is_watched() {
        let Some((api, kubectl)) = start() else { return };
        api.apply(SEED);
        let watching = kubectl
            .spawn(&["get", "virtualservices", "-w", "--output-watch-events", "--no-headers"])
            .unwrap();
        let seen = |words: &str| {
            let line = watching.wait_for_line(|line| line.starts_with(words), PATIENCE);
            assert!(line.is_some(), "no {words} in {:?}", watching.lines());
        };
        seen("ADDED");
        api.edit("virtualservices", "default", "reviews", |object| {
            object["spec"]["hosts"][0] = "a.test".into()
        });
        seen("MODIFIED");
        api.delete("virtualservices", "default", "reviews");
        seen("DELETED");
    }
}
