//! Prometheus and promtool as processes, and the HTTP API of the former.

use std::collections::BTreeMap;
use std::env;
use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use trysail_testkit::client::fetch;
use trysail_testkit::folder::Folder;
use trysail_testkit::process::Process;

use crate::board;
use crate::gateway::PATIENCE;

/// One series of an answer: labels and value.
pub(crate) type Sample = (BTreeMap<String, String>, f64);

/// A running Prometheus, with a folder of its own. Dropping it ends it.
pub(crate) struct Prometheus {
    process: Process,
    address: SocketAddr,
    _folder: Folder,
}

/// Whether `program` can be run; says so where it can not, and fails where it has to be there.
pub(crate) fn is_installed(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = asked.is_ok_and(|status| status.success());
    if !there {
        let words = format!("{program} is not installed: apt-get install prometheus");
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{words}");
        // Around the harness, which keeps back what a test prints that passes.
        let _ = writeln!(stderr(), "skipped: {words}");
    }
    there
}

/// Runs promtool in `dashboards/prometheus`; what it said.
pub(crate) fn promtool(arguments: &[&str]) -> Result<String, String> {
    let folder = board::path("prometheus");
    let output =
        Command::new("promtool").args(arguments).current_dir(folder).output().expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

// === impl Prometheus ===

impl Prometheus {
    /// One that asks `target` twice a second, and knows our rules. `None`, said aloud, where it is not installed.
    pub(crate) fn start(target: SocketAddr) -> Option<Prometheus> {
        if !is_installed("prometheus") {
            return None;
        }
        let folder = Folder::new();
        let rules = board::path("prometheus");
        let rules = rules.canonicalize().expect("the folder is there");
        folder.write(
            "prometheus.yml",
            &format!(
                "global: {{scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}}\n\
                 rule_files: [{0}/rules.yml, {0}/alerts.yml]\n\
                 scrape_configs: [{{job_name: trysail, static_configs: [{{targets: ['{target}']}}]}}]\n",
                rules.display()
            ),
        );
        let file = |name: &str| folder.path().join(name).display().to_string();
        let arguments = [
            format!("--config.file={}", file("prometheus.yml")),
            format!("--storage.tsdb.path={}", file("data")),
            "--web.listen-address=127.0.0.1:0".to_owned(),
        ];
        let nothing: [(&str, &str); 0] = [];
        let process = Process::spawn(Path::new("prometheus"), arguments, nothing).expect("prometheus starts");
        let line = |words: &str| {
            let line = process.wait_for_line(|line| line.contains(words), PATIENCE);
            line.unwrap_or_else(|| panic!("no {words:?} in\n{}", process.lines().join("\n")))
        };
        let listening = line("msg=\"Listening on\"");
        let (_, address) = listening.rsplit_once("address=").expect("it says where");
        let address = address.trim().parse().expect("an address");
        line("Server is ready");
        Some(Prometheus { process, address, _folder: folder })
    }

    /// `data` of an answer of the API.
    pub(crate) fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pair = |(name, value): &(&str, &str)| format!("{}={}", encode(name), encode(value));
        let parameters: Vec<String> = parameters.iter().map(pair).collect();
        let path = format!("/api/v1/{path}?{}", parameters.join("&"));
        let reply = fetch(self.address, "prometheus", &path)
            .unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.process.lines().join("\n")));
        let mut json: Value = serde_json::from_str(&reply.text()).map_err(|error| error.to_string())?;
        if json["status"] == "success" { Ok(json["data"].take()) } else { Err(json["error"].to_string()) }
    }

    /// What a query gives at a time, in seconds since 1970. A number is a sample without labels.
    pub(crate) fn at(&self, time: f64, query: &str) -> Result<Vec<Sample>, String> {
        let data = self.get("query", &[("query", query), ("time", &format!("{time:.3}"))])?;
        let value = |pair: &Value| pair[1].as_str().and_then(|text| text.parse().ok()).expect("a value");
        if data["resultType"] == "scalar" {
            return Ok(vec![(BTreeMap::new(), value(&data["result"]))]);
        }
        let labels = |metric: &Value| {
            let labels = metric.as_object().expect("labels").iter();
            labels
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect()
        };
        let samples = data["result"].as_array().expect("a list").iter();
        Ok(samples.map(|sample| (labels(&sample["metric"]), value(&sample["value"]))).collect())
    }

    /// When a query gave most, within a time up to now that is given in seconds.
    pub(crate) fn highest(&self, query: &str, seconds: f64) -> f64 {
        let (start, end) = (format!("{:.3}", now() - seconds), format!("{:.3}", now()));
        let parameters = [("query", query), ("start", &*start), ("end", &*end), ("step", "0.1")];
        let data = self.get("query_range", &parameters).unwrap_or_else(|error| panic!("{query}: {error}"));
        let points = data["result"][0]["values"].as_array().expect("one series").iter();
        let point = |point: &Value| Some((point[0].as_f64()?, point[1].as_str()?.parse::<f64>().ok()?));
        let highest = points.filter_map(point).max_by(|one, other| one.1.total_cmp(&other.1));
        highest.expect("a value").0
    }

    /// The sum of what a query gives at a time.
    pub(crate) fn sum_at(&self, time: f64, query: &str) -> f64 {
        let samples = self.at(time, query).unwrap_or_else(|error| panic!("{query}: {error}"));
        samples.iter().map(|(_, value)| value).sum()
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("it is after 1970").as_secs_f64()
}
