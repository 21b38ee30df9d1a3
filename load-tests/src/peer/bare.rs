//! Bare Pingora, the baseline: our binary `bare-pingora`. Its route and split are compiled in.

use std::ffi::OsString;
use std::net::SocketAddr;

use anyhow::ensure;

use super::{Peer, Site, reachable};
use crate::process::Launch;
use crate::scenario::{Exactness, Scenario};
use crate::tls;
use crate::wire::Wire;

#[derive(Debug)]
pub(super) struct Bare;

impl Peer for Bare {
    fn name(&self) -> &'static str {
        "bare"
    }

    fn exactness(&self) -> Exactness {
        Exactness::Drawn
    }

    fn prepare(&self, scenario: &Scenario, site: &Site<'_>) -> anyhow::Result<Launch> {
        let weights: Vec<u64> = scenario.split.iter().map(|(_, weight)| *weight).collect();
        ensure!(
            scenario.prefix == "/reviews" && weights == [90, 10],
            "bare knows only /reviews split 90/10, not {} split {weights:?}",
            scenario.prefix
        );
        let upstreams: Vec<String> = site.origins.iter().map(SocketAddr::to_string).collect();
        let args = ["--listen", "127.0.0.1:0", "--upstreams", &upstreams.join(","), "--threads"];
        let threads = site.threads.to_string();
        let mut args: Vec<OsString> = args.into_iter().chain([threads.as_str()]).map(Into::into).collect();
        if scenario.wire.is_tls() {
            let files = tls::write(site.folder)?;
            args.extend(["--certificate".into(), files.chain.into(), "--key".into(), files.key.into()]);
        }
        if scenario.wire.is_h2() {
            args.push("--h2".into());
        }
        if scenario.wire == Wire::Grpc {
            args.push("--h2-upstreams".into());
        }
        Ok(Launch { program: site.binaries.join("bare-pingora"), address: None, args })
    }

    fn heard(&self, line: &str) -> Option<SocketAddr> {
        line.strip_prefix("listening ")?.parse().ok().map(reachable)
    }
}
