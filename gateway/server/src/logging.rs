//! What the process says: one line for each thing that changed, on standard error.

use std::io::Write;

use log::LevelFilter;

/// Starts logging. `RUST_LOG` chooses other levels, as everywhere in Rust.
///
/// Pingora's own lines are left out: whatever of them matters is said by us, in our users' words.
pub(crate) fn start() {
    // journald and its like put a time before each line themselves.
    let timed = std::env::var_os("JOURNAL_STREAM").is_none();
    let _ = env_logger::Builder::new()
        .filter_level(LevelFilter::Off)
        .filter_module("trysail", LevelFilter::Info)
        .parse_default_env()
        .format(move |out, record| {
            let level = record.level();
            match timed {
                true => writeln!(out, "{} {level:<5} {}", out.timestamp_millis(), record.args()),
                false => writeln!(out, "{level:<5} {}", record.args()),
            }
        })
        .try_init();
}
