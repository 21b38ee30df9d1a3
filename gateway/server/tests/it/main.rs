//! End to end: the binary as a process, real sockets on both sides, ports picked by the kernel.

mod answers;
mod check;
mod cli;
mod gateway;
mod ports;
mod reload;
mod split;
mod tcp;
mod tls;
mod upstream;
mod wrong_input;
