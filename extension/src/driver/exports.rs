//! Export requests under way.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::clock::Clock;
use crate::core::{BatchId, Event, Outcome, Signal, Wall};
use crate::export::Exporter;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Exports {
    exporter: Exporter,
    clock: Clock,
    tasks: JoinSet<Outcome>,
    running: Vec<(Id, BatchId, AbortHandle)>,
}

impl Exports {
    pub(super) fn new(exporter: Exporter, clock: Clock) -> Self {
        Self { exporter, clock, tasks: JoinSet::new(), running: Vec::new() }
    }

    pub(super) fn start(&mut self, batch: BatchId, signal: Signal, body: Bytes, deadline: Wall) {
        let timeout = self.clock.now().until(deadline).max(Duration::from_millis(1));
        let task = self.tasks.spawn(self.exporter.send(signal, body, timeout, self.clock));
        self.running.push((task.id(), batch, task));
    }

    pub(super) fn cancel(&mut self, batch: BatchId) {
        if let Some(position) = self.running.iter().position(|(_, of, _)| *of == batch) {
            let (_, _, task) = self.running.swap_remove(position);
            task.abort();
        }
    }

    #[cfg(test)]
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// The request under way, if there is one, ends like this.
    #[cfg(test)]
    pub(super) fn answer(&mut self, outcome: Outcome) {
        let batch = self.running.pop().map_or(BatchId(u64::MAX), |(_, batch, task)| {
            task.abort();
            batch
        });
        let task = self.tasks.spawn(async { outcome });
        self.running.push((task.id(), batch, task));
    }

    pub(super) fn reset(&mut self) {
        self.exporter.reset();
    }

    /// The next export that ended by itself; `None` when there is none to wait for.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            let (id, outcome) = match self.tasks.join_next_with_id().await? {
                Ok((id, outcome)) => (id, outcome),
                Err(error) => {
                    let message = format!("the exporter failed: {error}");
                    (error.id(), Outcome::Retry { after: None, maybe_sent: true, message })
                }
            };
            // A cancelled one is no longer listed, and nobody asks for its outcome.
            if let Some(position) = self.running.iter().position(|(of, _, _)| *of == id) {
                let (_, batch, _) = self.running.swap_remove(position);
                return Some(Event::ExportDone(batch, outcome));
            }
        }
    }
}
