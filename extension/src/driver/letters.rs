//! Dead letters: made ahead when an export failed, printed when time is up.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::core::{BatchId, DeadLetter, Event, Wall};
use crate::dead_letter;
use crate::output::Output;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Letters {
    output: Output,
    clock: Clock,
    /// Random, once per environment: makes batch ids unique.
    environment: u64,
    finished: BTreeMap<BatchId, Vec<String>>,
    prepared: VecDeque<Event>,
    printing: JoinSet<Event>,
}

impl Letters {
    pub(super) fn new(output: Output, clock: Clock) -> Self {
        Self {
            output,
            clock,
            environment: 0,
            finished: BTreeMap::new(),
            prepared: VecDeque::new(),
            printing: JoinSet::new(),
        }
    }

    pub(super) fn identify(&mut self, environment: u64) {
        self.environment = environment;
    }

    pub(super) fn prepare(&mut self, letter: &DeadLetter) {
        let began = Instant::now();
        // A failure is tried again when it has to be printed, and counted if it fails then.
        let lines = dead_letter::lines(self.environment, letter).ok();
        let line_bytes = lines.iter().flatten().map(String::len).sum();
        if let Some(lines) = lines {
            self.finished.insert(letter.batch, lines);
        }
        self.prepared.push_back(Event::DeadLetterPrepared {
            batch: letter.batch,
            line_bytes,
            took: began.elapsed(),
        });
    }

    pub(super) fn forget(&mut self, batch: BatchId) {
        self.finished.remove(&batch);
    }

    /// Prints what can be printed by the deadline; [`Self::next`] tells how it went.
    pub(super) fn write(&mut self, batches: Vec<DeadLetter>, deadline: Wall) {
        let (mut ids, mut blocks) = (Vec::new(), Vec::new());
        let mut failed = Vec::new();
        for letter in batches {
            let finished = self.finished.remove(&letter.batch);
            let in_time = !self.clock.now().reached(deadline);
            let lines = finished.or_else(|| dead_letter::lines(self.environment, &letter).ok());
            match lines.filter(|_| in_time) {
                Some(lines) => {
                    ids.push(letter.batch);
                    blocks.push(lines);
                }
                None => failed.push(letter.batch),
            }
        }
        let pending = self.output.confirmed(blocks);
        let clock = self.clock;
        self.printing.spawn(async move {
            let mut written = Vec::new();
            for (batch, confirmed) in ids.into_iter().zip(pending) {
                let left = clock.now().until(deadline);
                match tokio::time::timeout(left, confirmed).await {
                    Ok(Ok(true)) => written.push(batch),
                    _ => failed.push(batch),
                }
            }
            Event::DeadLettersWritten { written, failed }
        });
    }

    /// The next result; `None` when there is none to wait for.
    pub(super) async fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.prepared.pop_front() {
            return Some(event);
        }
        // A task that only waits for the writer cannot panic; if it did, SHUTDOWN's deadline still holds.
        self.printing.join_next().await?.ok()
    }
}
