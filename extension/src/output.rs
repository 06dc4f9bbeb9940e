//! Lines on stdout, which CloudWatch keeps. One thread writes them, so that a stalled pipe never stops the
//! extension: what does not fit the queue is not printed, what has to be confirmed is confirmed.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::core::{Level, Notice};

/// Lines that may wait for a slow pipe.
const QUEUE_LINES: usize = 256;

/// See the module's description.
#[derive(Debug, Clone, Default)]
pub struct Output {
    queue: Option<SyncSender<Job>>,
}

#[derive(Debug)]
struct Job {
    lines: Vec<String>,
    written: Option<oneshot::Sender<bool>>,
}

#[derive(Serialize)]
struct NoticeLine<'a> {
    lambda_flush: &'static str,
    level: &'static str,
    message: &'a str,
}

impl Output {
    /// Starts the writer.
    #[must_use]
    pub fn stdout() -> Self {
        let (queue, jobs) = sync_channel(QUEUE_LINES);
        let writer = std::thread::Builder::new().name("output".into()).stack_size(64 << 10);
        match writer.spawn(move || write_jobs(&jobs)) {
            Ok(_) => Self { queue: Some(queue) },
            Err(_) => Self { queue: None },
        }
    }

    /// Prints a notice, if the pipe is not stalled.
    pub fn notice(&self, notice: &Notice) {
        let level = match notice.level {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let line = NoticeLine { lambda_flush: "notice", level, message: &notice.message };
        if let Ok(line) = serde_json::to_string(&line) {
            self.send(Job { lines: vec![line], written: None });
        }
    }

    /// Prints lines; the answer says whether they went out whole. It may never come if the pipe is stalled.
    #[must_use]
    pub fn confirmed(&self, lines: Vec<String>) -> oneshot::Receiver<bool> {
        let (written, confirmed) = oneshot::channel();
        self.send(Job { lines, written: Some(written) });
        confirmed
    }

    fn send(&self, job: Job) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(job) {
            // A job that is not taken drops its confirmation, which says so.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

fn write_jobs(jobs: &Receiver<Job>) {
    for job in jobs {
        let written = write_lines(&job.lines).is_ok();
        if let Some(confirm) = job.written {
            // Nobody waits any longer: the deadline came first.
            let _unheard = confirm.send(written);
        }
    }
}

fn write_lines(lines: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()
}
