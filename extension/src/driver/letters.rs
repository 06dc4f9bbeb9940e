//! Dead letters: made ahead when an export failed, printed when time is up.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::core::{BatchId, DeadLetter, Event, Wall};
use crate::dead_letter;
use crate::limits::DEAD_LETTER_LINE_BYTES_MAX;
use crate::output::Output;

/// Whether a batch went out whole.
type Confirmation = oneshot::Receiver<bool>;

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

/// Batches that are printed together: many small ones must not fill the output's queue.
#[derive(Debug, Default)]
struct Block {
    batches: Vec<BatchId>,
    lines: Vec<Vec<String>>,
    bytes: usize,
}

impl Block {
    fn push(&mut self, batch: BatchId, lines: Vec<String>) {
        self.bytes += lines.iter().map(String::len).sum::<usize>();
        self.batches.push(batch);
        self.lines.push(lines);
    }

    /// Leaves it empty.
    fn print(&mut self, output: &Output) -> Vec<(BatchId, Confirmation)> {
        let Self { batches, lines, .. } = std::mem::take(self);
        if batches.is_empty() {
            return Vec::new();
        }
        batches.into_iter().zip(output.confirmed(lines)).collect()
    }
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

    /// Prints what can be printed by the deadline; [`Self::next`] tells how it went. Finished lines go first, for they
    /// cost next to nothing. The others are printed while the next ones are made, and none is begun that would end after
    /// the deadline if it took twice as long as the slowest: nothing else is done meanwhile, and the summary still has
    /// to go out.
    pub(super) fn write(&mut self, batches: Vec<DeadLetter>, deadline: Wall) {
        let mut failed = Vec::new();
        let mut block = Block::default();
        let mut unfinished = Vec::new();
        for letter in batches {
            match self.finished.remove(&letter.batch) {
                Some(lines) => block.push(letter.batch, lines),
                None => unfinished.push(letter),
            }
        }
        let mut pending = block.print(&self.output);
        let mut slowest = Duration::ZERO;
        for letter in unfinished {
            let left = self.clock.now().until(deadline);
            let began = Instant::now();
            let in_time = !left.is_zero() && slowest * 2 < left;
            let lines = in_time.then(|| dead_letter::lines(self.environment, &letter).ok()).flatten();
            slowest = slowest.max(began.elapsed());
            match lines {
                Some(lines) => block.push(letter.batch, lines),
                None => failed.push(letter.batch),
            }
            if block.bytes >= DEAD_LETTER_LINE_BYTES_MAX {
                pending.extend(block.print(&self.output));
            }
        }
        pending.extend(block.print(&self.output));
        let clock = self.clock;
        self.printing.spawn(async move {
            let mut written = Vec::new();
            for (batch, confirmed) in pending {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::Signal;

    /// Large, and only a few lines of output.
    fn letter(number: u64) -> DeadLetter {
        let body = Bytes::from_static(&[0; 1 << 20]);
        DeadLetter { batch: BatchId(number), signal: Signal::Traces, items: 1, body }
    }

    #[tokio::test]
    async fn with_too_little_time_some_are_printed_and_none_is_begun_in_vain() {
        let clock = Clock::start();
        let mut letters = Letters::new(Output::stdout(), clock);
        let began = Instant::now();
        assert!(dead_letter::lines(0, &letter(0)).is_ok());
        let one = began.elapsed();
        // Finished before.
        letters.prepare(&letter(99));
        assert!(letters.next().await.is_some());
        let began = Instant::now();
        let batches = (1..=99).map(letter).collect();
        letters.write(batches, clock.now().wall + one * 10);
        let took = began.elapsed();
        let Some(Event::DeadLettersWritten { written, failed }) = letters.next().await else {
            panic!("it is told how it went");
        };
        assert_eq!(written.first(), Some(&BatchId(99)));
        assert!(written.len() > 1 && failed.len() > 40, "{} and {}", written.len(), failed.len());
        assert_eq!(written.len() + failed.len(), 99);
        assert!(took < one * 40, "{took:?} for 98 of {one:?}");
    }
}
