//! The upstreams of a scenario, one address for each version, all on one thread.
//!
//! `origin --versions v1,v2 --body 100` prints `listening v1=127.0.0.1:41001 v2=127.0.0.1:41002`.
#![expect(clippy::print_stdout, reason = "the bound addresses are the answer")]

use clap::{Parser, ValueEnum};
use tokio::net::TcpListener;
use trysail_load_tests::origin;
use trysail_load_tests::origin::grpc::Reply;

/// What the upstreams speak.
#[derive(Clone, Copy, ValueEnum)]
enum Speaks {
    /// HTTP/1.1.
    Http,
    /// Unary calls by HTTP/2.
    Grpc,
    /// Upgrades to WebSockets, which echo.
    Websocket,
}

/// Cheap keep-alive upstreams on loopback.
#[derive(Parser)]
struct Args {
    /// What each upstream says in `x-version`.
    #[arg(long, value_delimiter = ',', default_value = "v1,v2")]
    versions: Vec<String>,
    /// Bytes in the body of an answer.
    #[arg(long, default_value_t = 100)]
    body: usize,
    /// What they speak.
    #[arg(long, value_enum, default_value = "http")]
    speaks: Speaks,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut said = String::from("listening");
    let mut serving = tokio::task::JoinSet::new();
    for version in &args.versions {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        said += &format!(" {version}={}", listener.local_addr()?);
        let (version, body) = (version.clone(), args.body);
        match args.speaks {
            Speaks::Http => serving.spawn(origin::serve(listener, origin::answer(&version, body))),
            Speaks::Grpc => {
                serving.spawn(origin::grpc::serve(listener, Reply { version, body, status: "0" }))
            }
            Speaks::Websocket => serving.spawn(origin::websocket::serve(listener, version, body)),
        };
    }
    println!("{said}");
    while let Some(ended) = serving.join_next().await {
        ended??;
    }
    Ok(())
}
