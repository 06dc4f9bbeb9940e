//! The extension's end of the ring: copies frames out before anybody looks at them.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use bytes::BytesMut;

use super::counters::{DROP_SLOTS, HeaderCounters};
use super::{
    COMMIT, DROPPED, ENDED, Layout, READ, RingError, WAITING, WORD_BYTES, WRITTEN, Word, Words, padded,
};
use crate::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};

/// See the module's description.
#[derive(Debug)]
pub struct Reader<M> {
    layout: Layout<M>,
    read: u64,
    /// The writer's position when it was last looked at.
    commit: u64,
}

impl<M: Words> Reader<M> {
    /// The reader of a ring of `ring_bytes` from which nothing has been read.
    ///
    /// # Errors
    /// [`RingError::Size`].
    pub fn new(memory: M, ring_bytes: u64) -> Result<Self, RingError> {
        Ok(Self { layout: Layout::new(memory, ring_bytes)?, read: 0, commit: 0 })
    }

    /// Moves whole frames to the end of `out`: at least one if there is one, more as long as they begin within
    /// `bytes_max`. Returns how many bytes; 0 if there is nothing.
    ///
    /// # Errors
    /// The writer broke the ring, and nothing more can be read from it. Frames before the fault are read first.
    pub fn read(&mut self, out: &mut BytesMut, bytes_max: usize) -> Result<usize, RingError> {
        let commit = self.layout.load(COMMIT, Acquire);
        let ours = self.read;
        let whole = commit.is_multiple_of(WORD_BYTES as u64);
        if commit < self.commit || commit - ours > self.layout.ring_bytes() || !whole {
            return Err(RingError::Position { theirs: commit, ours });
        }
        self.commit = commit;
        let start = out.len();
        let mut fault = None;
        while self.read < commit && out.len() - start < bytes_max {
            if let Err(error) = self.frame(commit - self.read, out) {
                fault = Some(error);
                break;
            }
        }
        if self.read != ours {
            // The writer may write there from now on: all of it has been copied before.
            self.layout.store(READ, self.read, Release);
            // Before the next look for more: a writer that still sees the old position relies on that look.
            M::Word::fence(SeqCst);
        }
        match fault {
            Some(fault) if self.read == ours => Err(fault),
            _ => Ok(out.len() - start),
        }
    }

    /// Copies the next frame, which is within `committed` bytes.
    fn frame(&mut self, committed: u64, out: &mut BytesMut) -> Result<(), RingError> {
        let (words, _) = self.layout.span(self.read, WORD_BYTES as u64);
        let first = words.first().map_or(0, |word| word.load(Relaxed));
        // Looked at once: another look might find something else.
        let length = u64::from(u32::from_le_bytes(first_half(first)));
        let bytes = FRAME_HEADER_BYTES as u64 + length;
        if length > FRAME_BYTES_MAX as u64 || padded(bytes) > committed {
            return Err(RingError::Frame { bytes });
        }
        let start = out.len();
        let (words, wrapped) = self.layout.span(self.read, padded(bytes));
        out.resize(start + (words.len() + wrapped.len()) * WORD_BYTES, 0);
        let (chunks, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<WORD_BYTES>();
        // What the length was taken from goes in as it was then.
        let mut words = words.iter().chain(wrapped);
        let mut chunks = chunks.iter_mut();
        if let (Some(_), Some(chunk)) = (words.next(), chunks.next()) {
            *chunk = first.to_le_bytes();
        }
        chunks.zip(words).for_each(|(chunk, word)| *chunk = word.load(Relaxed).to_le_bytes());
        self.read += padded(bytes);
        out.truncate(start + FRAME_HEADER_BYTES + usize::try_from(length).unwrap_or_default());
        Ok(())
    }

    /// To be asked after reading: whether the writer waits for room. It is told so once.
    pub fn writer_waits(&self) -> bool {
        M::Word::fence(SeqCst);
        let waiting = self.layout.header(WAITING);
        waiting.is_some_and(|word| word.load(Relaxed) != 0 && word.swap(0, Relaxed) != 0)
    }

    /// Whether all that has been committed is read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.layout.load(COMMIT, Acquire) == self.read
    }

    /// What the writer says of its items, which is all there is to know once it has died.
    #[must_use]
    pub fn counters(&self) -> HeaderCounters {
        let mut dropped = [0; DROP_SLOTS];
        for (slot, items) in dropped.iter_mut().enumerate() {
            *items = self.layout.load(DROPPED + slot, Relaxed);
        }
        let (ended, written) = (self.layout.load(ENDED, Relaxed), self.layout.load(WRITTEN, Relaxed));
        HeaderCounters { ended, written, dropped }
    }
}

fn first_half(word: u64) -> [u8; FRAME_HEADER_BYTES] {
    let [a, b, c, d, ..] = word.to_le_bytes();
    [a, b, c, d]
}
