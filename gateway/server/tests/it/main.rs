//! End to end: the binary as a process, real sockets on both sides, ports picked by the kernel.

mod admin;
mod answers;
mod cli;
mod explain;
mod gateway;
mod paths;
mod ports;
mod reload;
mod split;
mod wrong_input;
