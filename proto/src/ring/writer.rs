//! The function's end of the ring. Whoever has it is the only one that writes.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use super::{
    COMMIT, DROPPED, ENDED, Layout, READ, RingError, WAITING, WORD_BYTES, WRITTEN, Word, Words, padded,
};

/// See the module's description.
#[derive(Debug)]
pub struct Writer<M> {
    layout: Layout<M>,
    commit: u64,
    /// As far as the reader was when it was last looked at.
    read: u64,
    /// Where the reader was when it was last told to read.
    belled: Option<u64>,
}

impl<M: Words> Writer<M> {
    /// The writer of a ring of `ring_bytes` in memory that is all zeros.
    ///
    /// # Errors
    /// [`RingError::Size`].
    pub fn new(memory: M, ring_bytes: u64) -> Result<Self, RingError> {
        Ok(Self { layout: Layout::new(memory, ring_bytes)?, commit: 0, read: 0, belled: None })
    }

    /// Writes one whole frame, or nothing: `false` if there is no room now. The reader rings when there may be.
    ///
    /// # Errors
    /// [`RingError::Frame`]: it fits no ring of this size, and nothing has changed. [`RingError::Position`]: the
    /// reader is broken, and the ring of no more use.
    #[inline]
    pub fn write(&mut self, frame: &[u8]) -> Result<bool, RingError> {
        let bytes = padded(frame.len() as u64);
        if bytes > self.layout.ring_bytes() {
            return Err(RingError::Frame { bytes: frame.len() as u64 });
        }
        if !self.fits(bytes) && !self.make_room(bytes)? {
            return Ok(false);
        }
        let (mut words, wrapped) = self.layout.span(self.commit, bytes);
        let (front, back) = frame.split_at_checked(words.len() * WORD_BYTES).unwrap_or((frame, &[]));
        for part in [front, back] {
            let (whole, rest) = part.as_chunks::<WORD_BYTES>();
            for (word, bytes) in words.iter().zip(whole) {
                word.store(u64::from_le_bytes(*bytes), Relaxed);
            }
            if let Some(word) = words.get(whole.len()).filter(|_| !rest.is_empty()) {
                let mut last = [0; WORD_BYTES];
                last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                word.store(u64::from_le_bytes(last), Relaxed);
            }
            words = wrapped;
        }
        self.commit += bytes;
        // All of the frame before this.
        self.layout.store(COMMIT, self.commit, Release);
        Ok(true)
    }

    fn fits(&self, bytes: u64) -> bool {
        self.commit - self.read + bytes <= self.layout.ring_bytes()
    }

    /// Looks where the reader is, and asks to be told if that is not enough.
    #[cold]
    fn make_room(&mut self, bytes: u64) -> Result<bool, RingError> {
        // What the reader has read it must have done with before we write there again.
        self.look(self.layout.load(READ, Acquire))?;
        if self.fits(bytes) {
            return Ok(true);
        }
        self.layout.store(WAITING, 1, Relaxed);
        M::Word::fence(SeqCst);
        self.look(self.layout.load(READ, Acquire))?;
        let fits = self.fits(bytes);
        if fits {
            self.layout.store(WAITING, 0, Relaxed);
        }
        Ok(fits)
    }

    fn look(&mut self, read: u64) -> Result<(), RingError> {
        if read < self.read || read > self.commit || !read.is_multiple_of(WORD_BYTES as u64) {
            return Err(RingError::Position { theirs: read, ours: self.commit });
        }
        self.read = read;
        Ok(())
    }

    /// Whether the reader has to be told that much is waiting: half of the ring. Once, until it has moved.
    ///
    /// # Errors
    /// [`RingError::Position`].
    #[inline]
    pub fn bell_due(&mut self) -> Result<bool, RingError> {
        self.bell_due_for(self.layout.ring_bytes() / 2)
    }

    /// As [`Self::bell_due`], for a writer that can't go on: whatever is waiting. New credit and new room come only
    /// from reading.
    ///
    /// # Errors
    /// [`RingError::Position`].
    #[cold]
    pub fn bell_due_stuck(&mut self) -> Result<bool, RingError> {
        self.bell_due_for(1)
    }

    #[inline]
    fn bell_due_for(&mut self, much: u64) -> Result<bool, RingError> {
        if self.commit - self.read < much {
            return Ok(false);
        }
        // If the reader is still where it was told, it has not looked for the last time: it will find all of this.
        M::Word::fence(SeqCst);
        self.look(self.layout.load(READ, Acquire))?;
        let due = self.commit - self.read >= much && self.belled != Some(self.read);
        if due {
            self.belled = Some(self.read);
        }
        Ok(due)
    }

    /// The same memory with a ring of `ring_bytes`, to which nothing has been written. Counters stay.
    ///
    /// # Errors
    /// [`RingError::Size`].
    pub fn restarted(self, ring_bytes: u64) -> Result<Self, RingError> {
        Self::new(self.layout.memory, ring_bytes)
    }

    /// What became of the items of this process, for a reader that outlives it.
    #[inline]
    pub fn publish(&self, ended: u64, written: u64) {
        self.layout.store(ENDED, ended, Relaxed);
        self.layout.store(WRITTEN, written, Relaxed);
    }

    /// How many were dropped, by the slots of [`DROP_REASONS`](super::counters::DROP_REASONS).
    pub fn publish_dropped(&self, dropped: &[u64]) {
        for (slot, items) in dropped.iter().enumerate().take(super::counters::DROP_SLOTS) {
            self.layout.store(DROPPED + slot, *items, Relaxed);
        }
    }
}
