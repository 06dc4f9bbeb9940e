//! Everything held: open batches, closed ones, and which of them are on their way.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lambda_flush_proto::items::ReceivedBytes;

use super::batch::{Closed, OpenBatch, Origin};
use super::{BatchId, DeadLetter, Moment, Signal, Wall};
use crate::limits::BATCH_BYTES_MAX;

/// Where a closed batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Here.
    Held,
    /// In a request that began then.
    InFlight(Moment),
    /// With the dead-letter writer.
    Writing,
}

/// A batch's dead-letter lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// Not asked for.
    None,
    /// Being made.
    Asked,
    /// Ready, so many bytes.
    Ready(usize),
}

/// A closed batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its contents.
    pub closed: Closed,
    /// Where it is.
    pub place: Place,
    /// Requests that failed.
    pub attempts: u32,
    /// Requests after which the backend may have it: it must not be sent again in billed time.
    pub sent_unknown: u32,
    /// Not tried before.
    pub not_before: Wall,
    /// The backend refuses it as things are configured.
    pub refused: bool,
    /// Whether its dead-letter lines are made.
    pub lines: Lines,
}

/// See the module's description.
#[derive(Debug)]
pub struct Store {
    open: [(Signal, OpenBatch); 3],
    batches: BTreeMap<BatchId, Batch>,
    next_id: u64,
    /// A batch of this size is closed.
    bytes_max: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self::new(BATCH_BYTES_MAX)
    }
}

impl Store {
    /// Empty; a batch of `bytes_max` is closed.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let open = [Signal::Traces, Signal::Logs, Signal::Metrics];
        Self {
            bytes_max,
            open: open.map(|signal| (signal, OpenBatch::new(signal))),
            batches: BTreeMap::new(),
            next_id: 1,
        }
    }

    /// Adds one encoded item.
    pub fn push_item(&mut self, signal: Signal, origin: &Origin, item: &[u8], credit_bytes: u64) {
        self.with_open(signal, |open| open.push_item(origin, item, credit_bytes));
    }

    /// Adds encoded items of one origin, in as many batches as it takes.
    pub fn push_items<'a>(
        &mut self,
        signal: Signal,
        origin: &Origin,
        mut items: impl Iterator<Item = ReceivedBytes<'a>>,
    ) {
        let bytes_max = self.bytes_max;
        let mut full = true;
        while std::mem::take(&mut full) {
            self.with_open(signal, |open| full = open.push_items(origin, &mut items, bytes_max));
        }
    }

    /// Adds a whole request.
    pub fn push_request(&mut self, signal: Signal, request: Bytes, items: u64, credit_bytes: u64) {
        self.make_room(signal, request.len());
        self.with_open(signal, |open| open.push_request(request, items, credit_bytes));
    }

    /// Adds a whole request that came in at a door and takes `bytes` of the byte budget.
    pub fn push_door_request(&mut self, signal: Signal, request: Bytes, items: u64, bytes: u64) {
        self.make_room(signal, request.len());
        self.with_open(signal, |open| {
            open.push_request(request, items, bytes);
            open.at_doors(bytes);
        });
    }

    /// What is open closes before a request that would make too large a batch of it: so the request may get one
    /// of its own, without being copied.
    fn make_room(&mut self, signal: Signal, bytes: usize) {
        let bytes_max = self.bytes_max;
        let fits = |open: &OpenBatch| open.is_empty() || open.len().saturating_add(bytes) <= bytes_max;
        self.close_if(signal, |open| !fits(open));
    }

    fn with_open(&mut self, signal: Signal, push: impl FnOnce(&mut OpenBatch)) {
        if let Some((_, open)) = self.open.iter_mut().find(|(of, _)| *of == signal) {
            push(open);
        }
        let bytes_max = self.bytes_max;
        self.close_if(signal, |open| open.is_full(bytes_max));
    }

    fn close_if(&mut self, signal: Signal, wanted: impl FnOnce(&OpenBatch) -> bool) {
        if let Some((_, open)) = self.open.iter_mut().find(|(of, _)| *of == signal)
            && wanted(open)
        {
            let closed = std::mem::replace(open, OpenBatch::new(signal)).close();
            self.insert(closed);
        }
    }

    /// Closes what is open.
    pub fn close_open(&mut self) {
        for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
            self.close_if(signal, |open| !open.is_empty());
        }
    }

    /// Whether there is anything in an open batch.
    #[must_use]
    pub fn is_gathering(&self) -> bool {
        self.open.iter().any(|(_, open)| !open.is_empty())
    }

    fn insert(&mut self, closed: Closed) {
        let id = BatchId(self.next_id);
        self.next_id += 1;
        self.batches.insert(id, Batch::held(closed));
    }

    /// Puts small held batches of a signal together, if there are at least `batches_min` of them: many short
    /// invocations are not as many requests. What may have been sent stays apart, and so does what has to wait.
    pub fn merge(&mut self, now: Moment, batches_min: usize) {
        let signals = [Signal::Traces, Signal::Logs, Signal::Metrics];
        let bytes_max = self.bytes_max;
        for (signal, sent) in signals.into_iter().flat_map(|signal| [(signal, false), (signal, true)]) {
            let small = |batch: &Batch| {
                batch.closed.signal == signal
                    && batch.closed.body.len() < bytes_max
                    && batch.place == Place::Held
                    && (batch.sent_unknown > 0) == sent
                    && !batch.refused
                    && batch.lines == Lines::None
                    && now.reached(batch.not_before)
            };
            let ids: Vec<BatchId> =
                self.batches.iter().filter(|(_, batch)| small(batch)).map(|(id, _)| *id).collect();
            if ids.len() < batches_min {
                continue;
            }
            let small: Vec<Batch> = ids.iter().filter_map(|id| self.batches.remove(id)).collect();
            for group in grouped(small, bytes_max) {
                self.insert_merged(group);
            }
        }
    }

    fn insert_merged(&mut self, mut group: Vec<Batch>) {
        let id = BatchId(self.next_id);
        self.next_id += 1;
        let attempts = group.iter().map(|batch| batch.attempts).max().unwrap_or(0);
        let sent_unknown = group.iter().map(|batch| batch.sent_unknown).max().unwrap_or(0);
        let merged = if group.len() == 1 { group.pop() } else { None };
        let batch =
            merged.unwrap_or_else(|| Batch { attempts, sent_unknown, ..Batch::held(Closed::concat(&group)) });
        self.batches.insert(id, batch);
    }

    /// Held batches that `wanted` accepts, the most valuable first.
    #[must_use]
    pub fn ready(&self, now: Moment, wanted: impl Fn(&Batch) -> bool) -> Vec<BatchId> {
        let mut ready: Vec<(Signal, BatchId)> = self
            .batches
            .iter()
            .filter(|(_, batch)| batch.place == Place::Held && now.reached(batch.not_before) && wanted(batch))
            .map(|(id, batch)| (batch.closed.signal, *id))
            .collect();
        ready.sort_unstable();
        ready.into_iter().map(|(_, id)| id).collect()
    }

    /// The earliest retry time of the batches that `wanted` accepts.
    #[must_use]
    pub fn next_retry(&self, wanted: impl Fn(&Batch) -> bool) -> Option<Wall> {
        let held = self.batches.values().filter(|batch| batch.place == Place::Held && wanted(batch));
        held.map(|batch| batch.not_before).min()
    }

    /// Puts a batch in flight and returns what the request needs.
    pub fn start(&mut self, id: BatchId, now: Moment) -> Option<(Signal, Bytes)> {
        let batch = self.batches.get_mut(&id)?;
        batch.place = Place::InFlight(now);
        Some((batch.closed.signal, batch.closed.body.clone()))
    }

    /// A batch that is with the dead-letter writer.
    #[must_use]
    pub fn is_writing(&self, id: BatchId) -> bool {
        self.batches.get(&id).is_some_and(|batch| batch.place == Place::Writing)
    }

    /// The size of a closed batch's request.
    #[must_use]
    pub fn body_bytes(&self, id: BatchId) -> usize {
        self.batches.get(&id).map_or(0, |batch| batch.closed.body.len())
    }

    /// A batch in flight and since when.
    pub fn in_flight(&mut self, id: BatchId) -> Option<(&mut Batch, Moment)> {
        let batch = self.batches.get_mut(&id)?;
        match batch.place {
            Place::InFlight(since) => Some((batch, since)),
            Place::Held | Place::Writing => None,
        }
    }

    /// Takes every batch out of flight; the backend may have got any of them.
    pub fn cancel_in_flight(&mut self) -> Vec<(BatchId, Moment)> {
        let mut cancelled = Vec::new();
        for (id, batch) in &mut self.batches {
            if let Place::InFlight(since) = batch.place {
                batch.place = Place::Held;
                batch.attempts += 1;
                batch.sent_unknown += 1;
                cancelled.push((*id, since));
            }
        }
        cancelled
    }

    /// A settled batch leaves.
    pub fn remove(&mut self, id: BatchId) -> Option<Batch> {
        self.batches.remove(&id)
    }

    /// One batch.
    pub fn get_mut(&mut self, id: BatchId) -> Option<&mut Batch> {
        self.batches.get_mut(&id)
    }

    /// All closed batches.
    pub fn batches(&self) -> impl Iterator<Item = (BatchId, &Batch)> {
        self.batches.iter().map(|(id, batch)| (*id, batch))
    }

    /// All closed batches, to be changed.
    pub fn batches_mut(&mut self) -> impl Iterator<Item = (BatchId, &mut Batch)> {
        self.batches.iter_mut().map(|(id, batch)| (*id, batch))
    }

    /// How many requests are on their way.
    #[must_use]
    pub fn in_flight_count(&self) -> usize {
        self.batches.values().filter(|batch| matches!(batch.place, Place::InFlight(_))).count()
    }

    /// Telemetry items with no end yet.
    #[must_use]
    pub fn items(&self) -> u64 {
        let open: u64 = self.open.iter().map(|(_, open)| open.items()).sum();
        open + self.batches.values().map(|batch| batch.closed.items).sum::<u64>()
    }

    /// Whether nothing is held at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.open.iter().all(|(_, open)| open.is_empty())
    }

    /// What they take of the byte budget together with their finished dead-letter lines.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.credit_bytes() + self.dead_letter_bytes().1
    }

    /// What they take of the byte budget.
    #[must_use]
    pub fn credit_bytes(&self) -> u64 {
        let open: u64 = self.open.iter().map(|(_, open)| open.credit_bytes()).sum();
        open + self.batches.values().map(|batch| batch.closed.credit_bytes).sum::<u64>()
    }

    /// As much of that came in at the doors.
    #[must_use]
    pub fn door_bytes(&self) -> u64 {
        let open: u64 = self.open.iter().map(|(_, open)| open.door_bytes()).sum();
        open + self.batches.values().map(|batch| batch.closed.door_bytes).sum::<u64>()
    }

    /// Bytes that would still have to be made into dead letters, and bytes of finished lines.
    #[must_use]
    pub fn dead_letter_bytes(&self) -> (u64, u64) {
        let mut raw: u64 = self.open.iter().map(|(_, open)| open.len() as u64).sum();
        let mut lines = 0;
        for batch in self.batches.values() {
            match batch.lines {
                Lines::Ready(bytes) => lines += bytes as u64,
                Lines::None | Lines::Asked => raw += batch.closed.body.len() as u64,
            }
        }
        (raw, lines)
    }
}

/// In runs whose bodies make one batch of the usual size.
fn grouped(batches: Vec<Batch>, bytes_max: usize) -> Vec<Vec<Batch>> {
    let mut groups: Vec<Vec<Batch>> = Vec::new();
    let mut bytes = 0;
    for batch in batches {
        bytes += batch.closed.body.len();
        match groups.last_mut() {
            Some(group) if bytes <= bytes_max => group.push(batch),
            _ => {
                bytes = batch.closed.body.len();
                groups.push(vec![batch]);
            }
        }
    }
    groups
}

impl Batch {
    fn held(closed: Closed) -> Self {
        Self {
            closed,
            place: Place::Held,
            attempts: 0,
            sent_unknown: 0,
            not_before: Duration::ZERO,
            refused: false,
            lines: Lines::None,
        }
    }

    /// In billed time only what the backend can't have yet is sent.
    #[must_use]
    pub fn may_be_billed(&self) -> bool {
        !self.refused && self.sent_unknown == 0
    }

    /// For the dead-letter writer.
    #[must_use]
    pub fn dead_letter(&self, batch: BatchId) -> DeadLetter {
        let Closed { signal, items, ref body, .. } = self.closed;
        DeadLetter { batch, signal, items, body: body.clone() }
    }
}
