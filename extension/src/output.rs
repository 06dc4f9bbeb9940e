//! Lines on stdout, which CloudWatch keeps. One thread writes them, so that a stalled pipe never stops the
//! extension: what does not fit the queue is not printed, what has to be confirmed is confirmed.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use tokio::sync::oneshot;

use crate::core::{Level, Notice};

/// Lines that may wait for a slow pipe.
const QUEUE_LINES: usize = 256;

/// See the module's description.
#[derive(Debug, Clone, Default)]
pub struct Output {
    writer: Option<Arc<OnceLock<Option<Queue>>>>,
}

type Queue = SyncSender<Job>;

/// Blocks of lines, each with the way to say whether it went out whole.
type Job = Vec<(Vec<String>, Option<oneshot::Sender<bool>>)>;

#[derive(Serialize)]
struct NoticeLine<'a> {
    lambda_flush: &'static str,
    level: &'static str,
    message: &'a str,
}

impl Output {
    /// Lines go to standard output. The writer starts with the first one: a thread would cost the start of the
    /// process more than all that comes before `register`.
    #[must_use]
    pub fn stdout() -> Self {
        Self { writer: Some(Arc::default()) }
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
            self.send(vec![(vec![line], None)]);
        }
    }

    /// Prints blocks of lines; each answer says whether that block went out whole. Answers may never come if the
    /// pipe is stalled. All blocks take one place in the queue, however many they are.
    #[must_use]
    pub fn confirmed(&self, blocks: Vec<Vec<String>>) -> Vec<oneshot::Receiver<bool>> {
        let mut job = Vec::new();
        let mut confirmed = Vec::new();
        for lines in blocks {
            let (written, confirm) = oneshot::channel();
            job.push((lines, Some(written)));
            confirmed.push(confirm);
        }
        self.send(job);
        confirmed
    }

    fn send(&self, job: Job) {
        let Some(queue) = self.writer.as_ref().and_then(|writer| writer.get_or_init(start).as_ref()) else {
            return;
        };
        match queue.try_send(job) {
            // A job that is not taken drops its confirmation, which says so.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

/// `None` where no thread can be had: then nothing is printed, and nothing confirmed.
fn start() -> Option<Queue> {
    let (queue, jobs) = sync_channel(QUEUE_LINES);
    let writer = std::thread::Builder::new().name("output".into()).stack_size(64 << 10);
    writer.spawn(move || write_jobs(&jobs)).ok().map(|_| queue)
}

fn write_jobs(jobs: &Receiver<Job>) {
    for (lines, confirm) in jobs.iter().flatten() {
        let written = write_lines(&lines).is_ok();
        if let Some(confirm) = confirm {
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
