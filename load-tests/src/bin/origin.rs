//! The upstreams of a scenario, one address for each version, all on one thread.
//!
//! `origin --versions v1,v2 --body 100` prints `listening v1=127.0.0.1:41001 v2=127.0.0.1:41002`.
#![expect(clippy::print_stdout, reason = "the bound addresses are the answer")]

use clap::Parser;
use tokio::net::TcpListener;
use trysail_load_tests::origin;

/// Cheap keep-alive upstreams on loopback.
#[derive(Parser)]
struct Args {
    /// What each upstream says in `x-version`.
    #[arg(long, value_delimiter = ',', default_value = "v1,v2")]
    versions: Vec<String>,
    /// Bytes in the body of an answer.
    #[arg(long, default_value_t = 100)]
    body: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut said = String::from("listening");
    let mut serving = tokio::task::JoinSet::new();
    for version in &args.versions {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        said += &format!(" {version}={}", listener.local_addr()?);
        serving.spawn(origin::serve(listener, origin::answer(version, args.body)));
    }
    println!("{said}");
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    Ok(())
}
