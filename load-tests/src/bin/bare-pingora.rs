//! The baseline: the smallest useful Pingora proxy, `/reviews` split 90/10 over two upstreams.
//!
//! It is built with Trysail's profile and allocator, and started as Trysail starts Pingora, a listening `Service` on a Tokio
//! runtime of ours and no `Server`, so that the two differ only in what the gateway does. No timeouts, no
//! metrics, no forwarded headers, no log.
#![expect(clippy::print_stdout, reason = "the bound address is the answer")]

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use async_trait::async_trait;
use clap::Parser;
use parking_lot::Mutex;
use pingora_core::apps::HttpServerOptions;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::modules::http::HttpModules;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{Fds, ListenFds};
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType};
use pingora_proxy::{ProxyHttp, Session, http_proxy};

#[global_allocator]
static ALLOCATOR: trysail_malloc::Mimalloc = trysail_malloc::Mimalloc;

/// Of a hundred requests, how many the first upstream gets.
const FIRST_OF_HUNDRED: u64 = 90;
/// Idle upstream connections kept, over all threads: more than any scenario has in flight.
const POOL: usize = 256;
/// Streams at a time on a connection of HTTP/2 to an upstream, as in Trysail; Pingora's default is one.
const STREAMS: usize = 1024;
/// The listener's read buffer in bytes; Pingora's default of 64 KiB costs that much per idle connection.
const READ_BUFFER: usize = 4096;

/// The smallest useful Pingora proxy.
#[derive(Parser)]
struct Args {
    /// Address to listen on; port 0 lets the kernel pick.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The two upstreams: 90 % and 10 %.
    #[arg(long, value_name = "A,B", value_parser = pair)]
    upstreams: (SocketAddr, SocketAddr),
    /// Worker threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// With it the port speaks TLS.
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<String>,
    /// The certificate's key.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<String>,
    /// HTTP/2 as well as HTTP/1.1 on the port.
    #[arg(long)]
    h2: bool,
    /// HTTP/2 to the upstreams.
    #[arg(long)]
    h2_upstreams: bool,
}

fn pair(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let (first, second) = text.split_once(',').ok_or("two addresses are wanted")?;
    let address = |text: &str| text.parse().map_err(|_| format!("{text} is not an address"));
    Ok((address(first)?, address(second)?))
}

struct Bare {
    /// Built once, cloned for each request.
    peers: [HttpPeer; 2],
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    /// Without Pingora's default compression module, as in Trysail.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn upstream_peer(&self, session: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        if !session.req_header().uri.path().starts_with("/reviews") {
            return Err(Error::explain(ErrorType::HTTPStatus(404), "no route"));
        }
        let [first, second] = &self.peers;
        let peer = if draw() % 100 < FIRST_OF_HUNDRED { first } else { second };
        Ok(Box::new(peer.clone()))
    }
}

/// A xorshift generator for each thread.
fn draw() -> u64 {
    thread_local!(static STATE: Cell<u64> = const { Cell::new(0x9E37_79B9_7F4A_7C15) });
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x >> 33
    })
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let threads = usize::from(args.threads);
    let peers = <[SocketAddr; 2]>::from(args.upstreams).map(|address| {
        let mut peer = HttpPeer::new(address, false, String::new());
        if args.h2_upstreams {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = STREAMS;
        }
        peer
    });
    let conf = Arc::new(ServerConf {
        threads,
        // Pingora multiplies it by the threads.
        upstream_keepalive_pool_size: POOL.div_ceil(threads),
        ..ServerConf::default()
    });
    let mut proxy = http_proxy(&conf, Bare { peers });
    if args.h2 {
        let mut options = HttpServerOptions::default();
        options.h2c = true;
        proxy.server_options = Some(options);
    }

    // Bound here and put into the table of sockets, since the Service cannot tell which port it got.
    let listener = TcpListener::bind(args.listen)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?.to_string();
    let mut fds = Fds::new();
    fds.add(address.clone(), listener.into_raw_fd());
    let fds: ListenFds = Arc::new(Mutex::new(fds));

    let mut service = Service::new("bare".into(), proxy);
    let mut listener =
        ListenerConfig::tcp(address.as_str()).l4_buffer(L4BufferSettings::default().read(READ_BUFFER));
    if let (Some(certificate), Some(key)) = (&args.certificate, &args.key) {
        let mut settings = TlsSettings::intermediate(certificate, key)?;
        if args.h2 {
            settings.enable_h2();
        }
        listener = listener.tls(settings);
    }
    service.endpoints().add_listener(listener);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    println!("listening {address}");
    // Nobody sends: the process is stopped by its end.
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    // As many accept loops as threads, as in Trysail.
    runtime.block_on(service.start_service(Some(fds), stopped, threads));
    Ok(())
}
