//! The access log: a line for each request that is over, in Istio's form.
//!
//! What is told of a request is put together by who served it (`proxy`, `listener`) as an [`Entry`]; which requests have a
//! line, how it looks and how it gets to the file is decided here. The line is made on the request's thread, in a buffer
//! that the thread keeps, and handed to a queue of bytes (`writer`). Nothing here waits for the file: a full queue drops
//! lines, and counts them.

mod file;
mod line;
mod writer;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use trysail_routing::snapshot::{ClusterKey, Route};

use crate::metrics::{Ended, Flags, Lines};
use crate::settings::{AccessLog as Setting, Format, Only, Operator, Share, Template};
use file::Target;
use writer::Writer;

/// All that is told of one request, or of a connection that was passed on. What is empty is not known.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// When it came.
    pub(crate) start: SystemTime,
    /// What metrics are told of it, too.
    pub(crate) ended: Ended,
    /// What its client sent.
    pub(crate) request: Asked<'a>,
    /// Why the answer is what it is.
    pub(crate) details: Details,
    /// Why its connection was ended.
    pub(crate) termination: &'a str,
    /// Why there was no connection to the upstream.
    pub(crate) transport: &'a str,
    /// From its end to the head of the upstream's answer.
    pub(crate) service_time: Option<Duration>,
    /// Whose turn it was.
    pub(crate) cluster: Option<&'a ClusterKey>,
    /// The endpoint that was last tried, and our side of the connection to it.
    pub(crate) upstream: Option<SocketAddr>,
    pub(crate) upstream_local: Option<SocketAddr>,
    /// Our side of the connection to the client, and the client.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    /// The name that it asked for in TLS.
    pub(crate) server_name: &'a str,
    /// Its rule.
    pub(crate) route: Option<&'a Route>,
    /// The revision that decided.
    pub(crate) revision: &'a str,
    /// How often it was tried.
    pub(crate) attempts: u32,
}

/// What a client sent, as bytes, since nothing else is sure of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    pub(crate) protocol: &'a str,
    pub(crate) authority: &'a [u8],
    pub(crate) forwarded_for: &'a [u8],
    pub(crate) user_agent: &'a [u8],
    pub(crate) request_id: &'a [u8],
}

/// Why an answer is what it is, in Envoy's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Details {
    /// Nothing is to be said.
    #[default]
    None,
    /// This.
    Is(&'static str),
    /// The upstream failed before its answer, for this reason.
    Before(&'static str),
    /// Or after it had begun.
    After(&'static str),
}

impl Entry<'_> {
    /// One of which nothing is known yet.
    pub(crate) fn new(start: SystemTime, ended: Ended) -> Self {
        Entry {
            start,
            ended,
            request: Asked::default(),
            details: Details::None,
            termination: "",
            transport: "",
            service_time: None,
            cluster: None,
            upstream: None,
            upstream_local: None,
            local: None,
            remote: None,
            server_name: "",
            route: None,
            revision: "",
            attempts: 0,
        }
    }
}

/// The access log of the process.
pub(crate) struct AccessLog {
    form: Form,
    only: Only,
    min_duration: Duration,
    sample: Share,
    /// Lines so far that the filters let pass.
    passed: AtomicU64,
    writer: Writer,
}

/// How a line looks.
#[derive(Debug)]
enum Form {
    Text(Template),
    /// With these facts.
    Json(Vec<Operator>),
}

thread_local! {
    /// Where a thread makes its lines, so that none of them allocates.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// Starts one, where the settings name a file.
    pub(crate) fn start(setting: &Setting, lines: Lines) -> std::io::Result<Option<Arc<Self>>> {
        let Some(path) = &setting.path else { return Ok(None) };
        let room = usize::try_from(setting.buffer.0).unwrap_or(usize::MAX);
        Ok(Some(Arc::new(AccessLog {
            form: Form::of(setting),
            only: setting.only,
            min_duration: setting.min_duration.0,
            sample: setting.sample,
            passed: AtomicU64::new(0),
            writer: Writer::start(Target::new(path), room, lines)?,
        })))
    }

    /// Whether a request that ended so has a line. Each is asked of once, as it may count for the share.
    pub(crate) fn wants(&self, ended: &Ended) -> bool {
        if self.only == Only::Errors && !is_error(ended) || ended.duration < self.min_duration {
            return false;
        }
        self.sample == Share::ALL || self.sample.takes(self.passed.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes a line.
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let made = LINE.try_with(|line| {
            let mut line = line.try_borrow_mut().ok()?;
            line.clear();
            self.form.put(entry, &mut line);
            self.writer.push(&line);
            Some(())
        });
        // A thread that ends has no buffer any more.
        if !matches!(made, Ok(Some(()))) {
            let mut line = Vec::new();
            self.form.put(entry, &mut line);
            self.writer.push(&line);
        }
    }

    /// Opens the file anew, as its name may mean another by now.
    pub(crate) fn reopen(&self) {
        self.writer.reopen();
    }

    /// Writes what is left, for as long as that may take before the process ends.
    pub(crate) fn close(&self, grace: Duration) {
        self.writer.close(grace);
    }
}

/// A request without an answer, one that failed, or one of whose answer there is something to say; that it was delayed on
/// purpose is no error.
fn is_error(ended: &Ended) -> bool {
    let Ended { status, flags, .. } = *ended;
    status == 0 || status >= 500 || Flags { delayed: false, ..flags } != Flags::default()
}

impl Form {
    fn of(setting: &Setting) -> Self {
        match setting.format {
            Format::Text => Form::Text(setting.template.clone().unwrap_or_default()),
            Format::Json => {
                let all = Operator::ALL.iter().copied();
                Form::Json(all.filter(|fact| setting.origin || *fact != Operator::Origin).collect())
            }
        }
    }

    /// Puts a line, with its end, behind what is there.
    fn put(&self, entry: &Entry<'_>, line: &mut Vec<u8>) {
        match self {
            Form::Text(template) => line::text(template, entry, line),
            Form::Json(facts) => line::json(facts, entry, line),
        }
        line.push(b'\n');
    }
}

#[cfg(test)]
mod tests;
