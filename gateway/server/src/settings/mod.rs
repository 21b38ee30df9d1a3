//! The process's settings: one file, every value with a default, unknown keys refused.
//!
//! Nothing else reads a file, a flag or the environment for settings. What is here needs a restart to change.

mod access_log;
mod directions;
mod kubernetes;
mod limits;
mod paths;
mod ranges;
mod reporters;
mod template;
mod tracing;
mod trust;
mod units;
mod written;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use trysail_routing::compile::{Addresses, Dangling, Surroundings};
use trysail_routing::diagnostic::{Code, Diagnostic, Severity};
use trysail_routing::nearest;
use trysail_routing::origin::{Origin, Piece, Pos};
use trysail_routing::snapshot::Locality;

pub(crate) use access_log::{AccessLog, Format, Only};
pub(crate) use directions::Dns;
use directions::{Downstream, Upstream};
pub(crate) use kubernetes::Kubernetes;
pub(crate) use limits::Limits;
use paths::{PathForm, PathNormalization};
pub(crate) use reporters::Reporters;
pub(crate) use template::{Operator, Part, Template};
#[cfg(feature = "otlp")]
pub(crate) use tracing::Endpoint;
pub(crate) use tracing::Tracing;
pub(crate) use trust::{OtherServer, ProxyProtocol, Token, Trust};
pub(crate) use units::{Bytes, Cidr, PortPair, Share, Span};
pub(crate) use written::Written;

/// A file of this name directly in a configuration directory is the settings, and never read as objects.
pub(crate) const FILE_NAME: &str = "trysail.yaml";

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "camelCase",
    default,
    expecting = "settings, such as \"drain: 30s\""
)]
pub(crate) struct Settings {
    /// The gateway's namespace, and that of objects that name none.
    #[serde(deserialize_with = "ranges::namespace")]
    pub(crate) namespace: String,
    /// Istio's root namespace: its DestinationRules are everyone's default.
    #[serde(deserialize_with = "ranges::namespace")]
    pub(crate) root_namespace: String,
    /// The gateway's labels, which Gateways select.
    pub(crate) labels: BTreeMap<String, String>,
    /// Where the gateway runs, as `region/zone/subzone`; empty where that is of no importance.
    #[serde(deserialize_with = "ranges::locality")]
    pub(crate) locality: String,
    /// The address that listeners bind where their Gateway names none.
    #[serde(deserialize_with = "ranges::ip")]
    pub(crate) bind: IpAddr,
    /// The port map: a Gateway's port → the port that is opened; 0 lets the kernel pick one.
    #[serde(deserialize_with = "ranges::ports")]
    pub(crate) ports: BTreeMap<u16, u16>,
    /// Where credentials lie: `credentialName: shop` reads `shop/tls.crt`, `shop/tls.key` and `shop/ca.crt`.
    #[serde(deserialize_with = "ranges::directory")]
    pub(crate) certificates: PathBuf,
    /// Worker threads.
    #[serde(deserialize_with = "ranges::number::<_, 1, 1024>")]
    pub(crate) threads: usize,
    /// Where metrics are served: `/metrics` and `/stats/prometheus`.
    #[serde(deserialize_with = "ranges::address")]
    pub(crate) metrics: SocketAddr,
    /// Whose view of each request is exported in Istio's metrics.
    pub(crate) metrics_reporters: Reporters,
    /// Where readiness is served: `/healthz/ready`.
    #[serde(deserialize_with = "ranges::address")]
    pub(crate) health: SocketAddr,
    /// Where the process answers what is in force, and why: `/explain`, `/config`, `/version`.
    #[serde(deserialize_with = "ranges::address")]
    pub(crate) admin: SocketAddr,
    /// The file with what callers there have to show; needed where the address is not on loopback.
    pub(crate) admin_token: Option<PathBuf>,
    /// How many proxies before the gateway are believed in what they say of a request (Istio `numTrustedProxies`).
    pub(crate) trusted_hops: u8,
    /// Where connections of such proxies come from; empty for anywhere.
    pub(crate) trusted_networks: Vec<Cidr>,
    /// Connections that begin with a header of the PROXY protocol.
    pub(crate) proxy_protocol: ProxyProtocol,
    /// What a client of HTTPS is told that asks for a host of another server.
    pub(crate) other_server: OtherServer,
    /// How paths are made canonical before they are matched and sent on.
    pub(crate) path_normalization: PathNormalization,
    /// Forms of paths that are refused.
    pub(crate) path_refuse: Vec<PathForm>,
    /// Whose requests may ask, with `x-trysail-explain: 1`, to be told in the answer where they went.
    pub(crate) explain_from: Vec<Cidr>,
    /// What a route to a host or subset that does not exist means.
    pub(crate) dangling: DanglingSetting,
    /// Whether a revision without any object may replace one that has some.
    pub(crate) allow_empty: bool,
    /// The `server` field of answers.
    pub(crate) server_header: ServerHeader,
    /// How long connections are accepted after SIGTERM, while readiness says no already.
    #[serde(deserialize_with = "ranges::time")]
    pub(crate) pre_stop_delay: Span,
    /// How long running requests may go on after that.
    #[serde(deserialize_with = "ranges::time")]
    pub(crate) drain: Span,
    /// The directory that keeps the last good revision; without one, the service manager's.
    #[serde(deserialize_with = "ranges::file")]
    pub(crate) state: Option<PathBuf>,
    /// The directory of the socket at which `trysail upgrade` asks; without one, the service manager's.
    #[serde(deserialize_with = "ranges::file")]
    pub(crate) runtime: Option<PathBuf>,
    /// Towards the clients.
    pub(crate) downstream: Downstream,
    /// Towards the upstreams.
    pub(crate) upstream: Upstream,
    /// Whether plain requests of HTTP/1 go by a lane of their own, past Pingora's proxy.
    pub(crate) express_lane: bool,
    /// Names as endpoints.
    pub(crate) dns: Dns,
    /// Whether mirrors see `-shadow` behind the host, as from Istio before 1.28.
    pub(crate) mirror_host_suffix: bool,
    /// Copies of requests that may be under way at a time; more are dropped.
    #[serde(deserialize_with = "ranges::number::<_, 0, 1_000_000>")]
    pub(crate) mirror_requests: usize,
    /// The longest body that is copied; a longer one ends its copy.
    pub(crate) mirror_body: Bytes,
    /// Ceilings of what is read, and of what clients may do.
    pub(crate) limits: Limits,
    /// A line for each request.
    pub(crate) access_log: AccessLog,
    /// Spans for requests and their tries.
    pub(crate) tracing: Tracing,
    /// The cluster as the source.
    pub(crate) kubernetes: Kubernetes,
    /// What the file says.
    #[serde(skip)]
    pub(crate) written: Written,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            namespace: "default".to_owned(),
            root_namespace: "istio-system".to_owned(),
            labels: BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]),
            locality: String::new(),
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ports: BTreeMap::new(),
            certificates: PathBuf::from("/etc/trysail/certificates"),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            metrics: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 15020)),
            metrics_reporters: Reporters::BOTH,
            health: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 15021)),
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 15000)),
            admin_token: None,
            trusted_hops: 0,
            trusted_networks: Vec::new(),
            proxy_protocol: ProxyProtocol::default(),
            other_server: OtherServer::default(),
            path_normalization: PathNormalization::Base,
            path_refuse: Vec::new(),
            explain_from: Vec::new(),
            dangling: DanglingSetting::Refuse,
            allow_empty: false,
            server_header: ServerHeader::Text("trysail".to_owned()),
            pre_stop_delay: Span(Duration::ZERO),
            drain: Span(Duration::from_secs(30)),
            state: None,
            runtime: None,
            downstream: Downstream::default(),
            upstream: Upstream::default(),
            express_lane: true,
            dns: Dns::default(),
            mirror_host_suffix: false,
            mirror_requests: 1024,
            mirror_body: Bytes(1 << 20),
            limits: Limits::default(),
            access_log: AccessLog::default(),
            tracing: Tracing::default(),
            kubernetes: Kubernetes::default(),
            written: Written::default(),
        }
    }
}

/// The setting behind [`Dangling`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) enum DanglingSetting {
    Refuse,
    Serve,
}

/// What answers say in `server`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ServerHeader {
    /// This text, over whatever the upstream says.
    Text(String),
    /// Whatever the upstream says: `pass`.
    Pass,
    /// Nothing: empty, or null.
    None,
}

impl<'de> Deserialize<'de> for ServerHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written(ServerHeader);
        impl<'de> Deserialize<'de> for Written {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                ranges::text(deserializer, |text| match text {
                    "" => Ok(Written(ServerHeader::None)),
                    "pass" => Ok(Written(ServerHeader::Pass)),
                    text => ranges::field_value(text).map(|text| Written(ServerHeader::Text(text))),
                })
            }
        }
        Ok(Option::<Written>::deserialize(deserializer)?.map_or(ServerHeader::None, |Written(it)| it))
    }
}

impl Settings {
    /// The settings of a process that was started for these directories: from the file that is named, else
    /// from the one that lies in one of them, else the defaults.
    pub(crate) fn load(file: Option<&Path>, roots: &[PathBuf]) -> Result<Self, Box<Diagnostic>> {
        match file.map(Path::to_owned).or_else(|| Self::beside(roots)) {
            None => {
                let written = Written::new(None, roots, String::new());
                Ok(Settings { written, ..Settings::default() })
            }
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(&path).map_err(|error| {
                    let message = format!("the settings can't be read: {error}");
                    Box::new(Diagnostic::new(
                        Code::UNREADABLE,
                        Severity::Error,
                        Some(Origin::file(&name)),
                        message,
                    ))
                })?;
                let settings = Self::parse(&name, &text)?;
                Ok(Settings { written: Written::new(file, roots, text), ..settings })
            }
        }
    }

    /// The settings file that lies in one of the configuration's directories.
    fn beside(roots: &[PathBuf]) -> Option<PathBuf> {
        roots.iter().map(|root| root.join(FILE_NAME)).find(|path| path.is_file())
    }

    fn parse(name: &str, text: &str) -> Result<Self, Box<Diagnostic>> {
        let refuse = |pos: Pos, message: String| {
            let piece = Piece { file: name.into(), first_line: 1.into(), text: text.into() };
            let origin = Origin { piece: piece.into(), pos };
            Box::new(Diagnostic::new(Code::SCHEMA_VALIDATION, Severity::Error, Some(origin), message))
        };
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Settings::default());
        }
        let settings: Settings = serde_yaml::from_str(text).map_err(|error| {
            let place = error.location().map_or((0, 0), |place| (place.line() as u32, place.column() as u32));
            let said = error.to_string();
            let said = said.split(" at line ").next().unwrap_or_default();
            let finding = refuse(Pos::new(place.0, place.1, 0), said.to_owned());
            match meant(said) {
                Some(known) => Box::new(finding.hint(format!("did you mean {known:?}?"))),
                None => finding,
            }
        })?;
        let Dns { min_refresh, max_refresh, .. } = &settings.dns;
        if min_refresh.0 > max_refresh.0 {
            let message = "dns: minRefresh is longer than maxRefresh".to_owned();
            let pos = place_of(text, "minRefresh").or_else(|| place_of(text, "maxRefresh"));
            return Err(refuse(pos.unwrap_or_default(), message));
        }
        let limits = settings.limits.check();
        limits
            .and_then(|()| settings.access_log.check())
            .and_then(|()| settings.tracing.check())
            .and_then(|()| settings.kubernetes.check())
            .map_err(|(name, message)| refuse(place_of(text, name).unwrap_or_default(), message))?;
        Ok(settings)
    }

    /// Where the last good revision is kept: as set, else the first directory that systemd made for it
    /// (`StateDirectory=`).
    pub(crate) fn state(&self) -> Option<PathBuf> {
        self.state.clone().or_else(|| given("STATE_DIRECTORY"))
    }

    /// Where the socket for upgrades is: as set, else in the first directory that systemd made (`RuntimeDirectory=`).
    pub(crate) fn runtime(&self) -> Option<PathBuf> {
        self.runtime.clone().or_else(|| given("RUNTIME_DIRECTORY"))
    }

    /// The ceilings of what is read from texts.
    pub(crate) fn reading(&self) -> trysail_routing::wire::Limits {
        trysail_routing::wire::Limits {
            document_bytes: usize::try_from(self.limits.document.0).unwrap_or(usize::MAX),
            objects: self.limits.objects,
        }
    }

    /// What the configuration is compiled for.
    pub(crate) fn surroundings(&self) -> Surroundings {
        Surroundings {
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            root_namespace: self.root_namespace.clone(),
            locality: Locality::parse(&self.locality),
            dangling: match self.dangling {
                DanglingSetting::Refuse => Dangling::Refuse,
                DanglingSetting::Serve => Dangling::Serve,
            },
            hostname: hostname(),
            // Names and values that are not UTF-8 can not be named in a file.
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            // Only a running process looks names up.
            addresses: Addresses::default(),
        }
    }
}

/// The machine's name, as Linux tells it; empty where it does not.
fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| String::new(), |name| name.trim().to_owned())
}

/// Where the value of a key stands, which only one map has.
fn place_of(text: &str, key: &str) -> Option<Pos> {
    let written = |line: &str| {
        let (before, after) = line.split('#').next()?.split_once(&format!("{key}:"))?;
        let space = after.len() - after.trim_start().len();
        Some(before.chars().count() + key.len() + 1 + space + 1)
    };
    let (line, column) = text.lines().enumerate().find_map(|(line, said)| Some((line, written(said)?)))?;
    Some(Pos::new(line as u32 + 1, column as u32, 0))
}

/// The key that was meant, from serde's own sentence: "unknown field `prots`, expected one of `ports`, …".
fn meant(said: &str) -> Option<&str> {
    let mut quoted = said.split('`').skip(1).step_by(2);
    let written = quoted.next().filter(|_| said.contains("unknown field"))?;
    nearest(written, quoted)
}

/// The first directory that the service manager names.
fn given(variable: &str) -> Option<PathBuf> {
    let given = std::env::var_os(variable)?;
    std::env::split_paths(&given).find(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use trysail_routing::path::{Form, Forms, Normalization};

    use super::*;

    #[test]
    fn values_are_as_people_write_them() {
        let text = "ports: {80: 8080, 443: 0}\nthreads: 3\ndrain: 1m\nlimits:\n  file: 1MiB\nserverHeader: istio-envoy\nmetrics: 127.0.0.1:0\npathNormalization: MERGE_SLASHES\npathRefuse: [BACKSLASH, NOT_UTF8]\nexplainFrom: [10.0.0.0/8, '::1']\ndns: {servers: ['127.0.0.1:53', '[::1]:5353'], maxRefresh: 1m}\n";
        let settings = Settings::parse("s.yaml", text).unwrap();
        assert_eq!(settings.ports, BTreeMap::from([(80, 8080), (443, 0)]));
        assert_eq!(settings.drain, Span(Duration::from_secs(60)));
        assert_eq!(settings.limits.file, Bytes(1 << 20));
        assert_eq!(settings.limits.objects, 1_000_000);
        assert_eq!(settings.server_header, ServerHeader::Text("istio-envoy".to_owned()));
        assert_eq!(settings.paths().normalization, Normalization::MergeSlashes);
        assert_eq!(settings.paths().refused, Forms::NONE.with(Form::Backslash).with(Form::NotUtf8));
        assert_eq!(settings.explain_from.len(), 2);
        assert_eq!(settings.dns.servers, ["127.0.0.1:53".parse().unwrap(), "[::1]:5353".parse().unwrap()]);
        assert_eq!(settings.dns.min_refresh, Span(Duration::from_secs(5)));
        assert_eq!(settings.dns.max_refresh, Span(Duration::from_secs(60)));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, line, message, hint) in [
            ("threads: 2\nprots: {80: 1}\n", 2, "unknown field `prots`", Some("did you mean \"ports\"?")),
            ("drain: 10\n", 1, "\"10\" is not a time", None),
            ("drain: ten\n", 1, "\"ten\" is not a time", None),
            ("limits: {fiel: 1MiB}\n", 1, "unknown field `fiel`", Some("did you mean \"file\"?")),
            ("threads: 0\n", 1, "threads: 0 is not within 1 to 1024", None),
            (
                "dns: {servers: [localhost]}\n",
                1,
                "dns.servers[0]: \"localhost\" is not an IP address with a port",
                None,
            ),
            ("limits: {fields: 300}\n", 1, "limits.fields is 300; it takes 1 to 256", None),
            ("downstream: {headTimeout: 0s}\n", 1, "downstream.headTimeout: 0s is no time", None),
            ("dns: {minRefresh: 0s}\n", 1, "dns.minRefresh: 0s is no time", None),
            ("metricsReporters: []\n", 1, "it takes source, destination or both", None),
            ("metricsReporters: [mesh]\n", 1, "unknown variant `mesh`", None),
            ("metrics: here\n", 1, "metrics: \"here\" is not an IP address with a port", None),
            ("bind: here\n", 1, "bind: \"here\" is not an IP address", None),
            ("ports: {80: 99999}\n", 1, "ports.80: 99999 is not within 0 to 65535", None),
            ("- threads\n", 1, "expected settings, such as \"drain: 30s\"", None),
            ("accessLog: {pat: x}\n", 1, "unknown field `pat`", Some("did you mean \"path\"?")),
            ("accessLog: {format: xml}\n", 1, "unknown variant `xml`", None),
            ("explainFrom: [10.0.0.0/33]\n", 1, "\"10.0.0.0/33\" is not a range of addresses", None),
            ("pathNormalization: base\n", 1, "unknown variant `base`", None),
        ] {
            let finding = Settings::parse("s.yaml", text).unwrap_err();
            assert!(finding.message.contains(message), "{text}: {}", finding.message);
            assert_eq!(finding.origin.as_ref().unwrap().line(), line, "{text}");
            assert_eq!(finding.hints.first().map(String::as_str), hint, "{text}");
        }
    }
    #[test]
    fn values_out_of_range_are_refused_where_they_stand() {
        for (text, place, message) in [
            ("drain: 5\n", (1, 8), "drain: "),
            ("drain: 876001h\n", (1, 8), "over 100 years"),
            ("upstream:\n  poolSize: 99999999999999\n", (2, 13), "is not within 0 to 1000000"),
            ("upstream: {connectTimeout: 0s}\n", (1, 28), "0s is no time"),
            ("# minRefresh: 1h\ndns:\n  minRefresh: 10m\n", (3, 15), "minRefresh is longer than maxRefresh"),
            ("dns: {maxRefresh: 1s}\n", (1, 19), "minRefresh is longer than maxRefresh"),
            ("threads: -1\n", (1, 10), "a whole number from 1 to 1024"),
            ("namespace: \"A B\"\n", (1, 12), "\"A B\" is not the name of a namespace"),
            ("rootNamespace: a-\n", (1, 16), "\"a-\" is not the name of a namespace"),
            ("serverHeader: \"a\\nb\"\n", (1, 15), "can't stand in a header field"),
            ("serverHeader: é\n", (1, 15), "can't stand in a header field"),
            ("locality: a/b/c/d\n", (1, 11), "is not region/zone/subzone"),
            ("certificates: ''\n", (1, 15), "is not a path"),
            ("ports:\n  0: 80\n", (2, 3), "0 is not within 1 to 65535"),
            ("ports:\n  80: 70000\n", (2, 7), "70000"),
            ("mirrorRequests: 1000001\n", (1, 17), "is not within 0 to 1000000"),
            ("limits: {objects: 0}\n", (1, 19), "0 is not within 1"),
            ("limits: {file: 0B}\n", (1, 16), "0B is no size"),
            ("explainFrom: [here]\n", (1, 15), "is not a range of addresses"),
            ("accessLog: {path: ''}\n", (1, 19), "is not a path"),
            ("tracing: {endpoint: here}\n", (1, 21), "\"here\" is not the URL of a collector"),
            ("tracing: {serviceName: ''}\n", (1, 24), "is how spans are found"),
            ("accessLog: {sample: 10}\n", (1, 21), "sample: "),
            ("accessLog: {sample: 200%}\n", (1, 21), "\"200%\" is not a share"),
            ("accessLog: {template: '%DURATON%'}\n", (1, 23), "did you mean %DURATION%?"),
            ("accessLog: {buffer: 1KiB}\n", (1, 21), "it takes 4KiB to 1GiB"),
            ("accessLog: {format: json, template: x}\n", (1, 37), "is for the format text"),
            ("kubernetes: {namespaces: [a, B/c]}\n", (1, 26), "\"B/c\" is not the name of a namespace"),
            ("kubernetes: {lease: ''}\n", (1, 21), "is not the name of a Lease"),
            ("kubernetes: {retryMost: 0s}\n", (1, 25), "0s is no time"),
        ] {
            let finding = Settings::parse("s.yaml", text).unwrap_err();
            assert!(finding.message.contains(message), "{text}: {}", finding.message);
            let pos = finding.origin.as_ref().unwrap().pos;
            assert_eq!((pos.line(), pos.column()), place, "{text}: {}", finding.message);
        }
        assert!(Settings::parse("s.yaml", "ports: {80: 1, 80: 2}\n").unwrap_err().message.contains("80"));
        assert_eq!(Settings::parse("s.yaml", "serverHeader:\n").unwrap().server_header, ServerHeader::None);
        assert_eq!(
            Settings::parse("s.yaml", "serverHeader: pass\n").unwrap().server_header,
            ServerHeader::Pass
        );
    }
}
