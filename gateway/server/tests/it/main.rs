//! End to end: the binary as a process, real sockets on both sides, ports picked by the kernel.

mod answers;
mod balance;
mod cli;
mod gateway;
mod ports;
mod reload;
mod split;
mod wrong_input;
