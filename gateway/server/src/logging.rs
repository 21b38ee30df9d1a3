//! What the process says: one line for each thing that changed, on standard error.

use std::io::Write;

use log::{Level, LevelFilter};

/// Starts logging on standard error. `RUST_LOG` chooses other levels, as everywhere in Rust.
pub(crate) fn start() {
    // journald and its like put a time before each line themselves.
    let timed = std::env::var_os("JOURNAL_STREAM").is_none();
    let mut builder = builder(LevelFilter::Info);
    builder.format(move |out, record| {
        let level = record.level();
        match timed {
            true => writeln!(out, "{} {level:<5} {}", out.timestamp_millis(), record.args()),
            false => writeln!(out, "{level:<5} {}", record.args()),
        }
    });
    let _ = builder.try_init();
}

/// Starts logging on a screen, one write for each line.
pub(crate) fn start_on(out: Box<dyn Write + Send>) {
    let mut builder = builder(LevelFilter::Info);
    builder.target(env_logger::Target::Pipe(out));
    builder.format(|out, record| {
        let level = record.level();
        let level = if level <= Level::Warn { format!("{level:<5} ") } else { String::new() };
        writeln!(
            out,
            "{}  {level}{}",
            out.timestamp_seconds().to_string().get(11..19).unwrap_or(""),
            record.args()
        )
    });
    let _ = builder.try_init();
}

/// Pingora's own lines are left out: whatever of them matters is said by us, in our users' words.
fn builder(level: LevelFilter) -> env_logger::Builder {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Off).filter_module("trysail", level).parse_default_env();
    builder
}
