//! The demo's screen: on a terminal a table that is redrawn, with news above it; elsewhere plain lines.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use parking_lot::Mutex;

/// Where the demo writes; shared with the log, whose lines must not tear the table.
#[derive(Clone)]
pub(super) struct Screen(Arc<Mutex<Drawn>>);

struct Drawn {
    terminal: bool,
    /// The table's lines, as they stand on the screen now.
    table: Vec<String>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Screen(Arc::new(Mutex::new(Drawn { terminal, table: Vec::new() })))
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.0.lock().terminal
    }

    /// Writes lines that stay, above the table.
    pub(super) fn say(&self, text: &str) {
        let mut drawn = self.0.lock();
        let table = std::mem::take(&mut drawn.table);
        let mut out = erase(&table);
        out.push_str(text);
        out.push('\n');
        write(&(out + &joined(&table)));
        drawn.table = table;
    }

    /// Shows the table as it is now: in place of the last one on a terminal, as new lines elsewhere.
    pub(super) fn table(&self, lines: Vec<String>) {
        let mut drawn = self.0.lock();
        let out = if drawn.terminal { erase(&drawn.table) } else { String::new() };
        write(&(out + &joined(&lines)));
        drawn.table = if drawn.terminal { lines } else { Vec::new() };
    }
}

/// Goes back over what was drawn, and clears it.
fn erase(table: &[String]) -> String {
    match table.len() {
        0 => String::new(),
        lines => format!("\x1b[{lines}A\x1b[J"),
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A line of the log arrives in one piece: it is said above the table.
impl Write for Screen {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.say(String::from_utf8_lossy(text).trim_end());
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
