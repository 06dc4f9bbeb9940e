//! What waits to be written: control frames, then items in the order they ended. Pure: no socket, no clock.
//!
//! A frame that is partly on its way is finished first, whatever it is: bytes of two frames never mix.

use std::collections::VecDeque;

use lambda_flush_proto::function_link::ItemFrame;

use crate::counters::{Counters, DropReason};

/// Item frames that may wait. A single larger frame may wait alone.
pub(crate) const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Control frames that may wait. A peer that lets more pile up is not reading, and the link is given up.
pub(crate) const CONTROL_BYTES_MAX: usize = 1 << 20;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    control: VecDeque<Vec<u8>>,
    control_bytes: usize,
    items: VecDeque<ItemFrame>,
    items_bytes: usize,
    buffered: u64,
    partial: Option<Partial>,
    counters: Counters,
}

/// How far the head of one of the two queues has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partial {
    Control(usize),
    Item(usize),
}

/// What [`Outbox::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// These bytes come next on the wire.
    Write(&'a [u8]),
    /// An item is waiting that may not be written yet.
    Held,
    /// Nothing is waiting.
    Empty,
}

impl Outbox {
    /// Queues a control frame. Returns whether there was room.
    #[must_use]
    pub(crate) fn push_control(&mut self, frame: Vec<u8>) -> bool {
        let bytes = self.control_bytes + frame.len();
        if bytes > CONTROL_BYTES_MAX {
            return false;
        }
        self.control_bytes = bytes;
        self.control.push_back(frame);
        true
    }

    /// Queues an item that has ended, or drops and counts it. Returns whether it was queued.
    pub(crate) fn push_item(&mut self, frame: ItemFrame) -> bool {
        self.counters.ended += frame.items;
        if self.items_bytes > 0 && self.items_bytes + frame.bytes.len() > BUFFER_BYTES_MAX {
            self.counters.dropped(DropReason::BufferFull, frame.items);
            return false;
        }
        self.items_bytes += frame.bytes.len();
        self.buffered += frame.items;
        self.items.push_back(frame);
        true
    }

    /// Counts an item that ended and was written at once.
    pub(crate) fn passed(&mut self) {
        self.counters.ended += 1;
        self.counters.written += 1;
    }

    /// Counts items that ended and can't be queued.
    pub(crate) fn refuse(&mut self, reason: DropReason, items: u64) {
        self.counters.ended += items;
        self.counters.dropped(reason, items);
    }

    /// What comes next on the wire; `may_write` says whether an item is within the credit.
    pub(crate) fn next(&self, may_write: impl FnOnce(&ItemFrame) -> bool) -> Next<'_> {
        let rest = match self.partial {
            Some(Partial::Control(offset)) => self.control.front().and_then(|frame| frame.get(offset..)),
            Some(Partial::Item(offset)) => self.items.front().and_then(|frame| frame.bytes.get(offset..)),
            None => self.control.front().map(Vec::as_slice),
        };
        match (rest, self.items.front()) {
            (Some(bytes), _) => Next::Write(bytes),
            (None, Some(frame)) if may_write(frame) => Next::Write(&frame.bytes),
            (None, Some(_)) => Next::Held,
            (None, None) => Next::Empty,
        }
    }

    /// `bytes` of what [`Self::next`] returned were written. Returns the item frame that is now whole.
    pub(crate) fn wrote(&mut self, bytes: usize) -> Option<ItemFrame> {
        let head = match self.partial {
            Some(partial) => partial,
            None if self.control.is_empty() => Partial::Item(0),
            None => Partial::Control(0),
        };
        match head {
            Partial::Control(offset) => {
                let len = self.control.front().map_or(0, Vec::len);
                self.partial = Some(Partial::Control(offset + bytes)).filter(|_| offset + bytes < len);
                if self.partial.is_none() {
                    self.control.pop_front();
                    self.control_bytes -= len;
                }
                None
            }
            Partial::Item(offset) => {
                let len = self.items.front().map_or(0, |frame| frame.bytes.len());
                self.partial = Some(Partial::Item(offset + bytes)).filter(|_| offset + bytes < len);
                if self.partial.is_some() {
                    return None;
                }
                let frame = self.items.pop_front()?;
                self.items_bytes -= len;
                self.buffered -= frame.items;
                self.counters.written += frame.items;
                Some(frame)
            }
        }
    }

    /// The connection is gone: items stay, a torn one will be written again whole; control frames were for
    /// that connection.
    pub(crate) fn disconnected(&mut self) {
        self.control.clear();
        self.control_bytes = 0;
        self.partial = None;
    }

    /// Gives everything up that waits, for `reason`.
    pub(crate) fn give_up(&mut self, reason: DropReason) {
        self.counters.dropped(reason, self.buffered);
        self.items.clear();
        self.items_bytes = 0;
        self.buffered = 0;
        self.disconnected();
    }

    /// Gives up the items that wait, for `reason`, but for one that is partly on its way.
    pub(crate) fn give_up_whole(&mut self, reason: DropReason) {
        let torn = usize::from(matches!(self.partial, Some(Partial::Item(_))));
        for frame in self.items.drain(torn.min(self.items.len())..) {
            self.items_bytes -= frame.bytes.len();
            self.buffered -= frame.items;
            self.counters.dropped(reason, frame.items);
        }
    }

    /// Whether less than half of the buffer is taken.
    pub(crate) fn has_room(&self) -> bool {
        self.items_bytes < BUFFER_BYTES_MAX / 2
    }

    /// Whether all control frames are on their way.
    pub(crate) fn is_control_written(&self) -> bool {
        self.control.is_empty()
    }

    /// Whether nothing waits, not even a control frame.
    pub(crate) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.items.is_empty()
    }

    /// Items that wait, a torn one included.
    pub(crate) fn buffered(&self) -> u64 {
        self.buffered
    }

    #[cfg(test)]
    pub(crate) fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
