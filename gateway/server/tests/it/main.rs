//! End to end: the binary as a process, real sockets on both sides, ports picked by the kernel.

mod admin;
mod answers;
mod balance;
mod check;
mod cli;
mod cors;
mod dns;
mod entries;
mod explain;
mod fault;
mod gateway;
mod http2;
mod kubernetes_files;
mod mirror;
mod paths;
mod ports;
mod reload;
mod retry;
mod split;
mod tcp;
mod timeout;
mod tls;
mod upstream;
mod variables;
mod wrong_input;
