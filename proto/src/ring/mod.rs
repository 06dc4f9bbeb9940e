//! The hand-off's second carrier: a ring of frames in memory that both processes share.
//!
//! A span that ends costs a copy, wakes nobody, and outlives its process: what is committed is still there when the
//! function has been killed. One writer and one reader; each trusts nothing that the other could have written.
//!
//! ```text
//!  word 0        8       9      10       16..32             40    41       64 ..
//!       │ unused │commit│ ended │written│ dropped by reason │ read │waiting│ frames, each at a multiple of 8 bytes │
//!                └─────────────── the writer's ────────────┘ └ reader's ┘└ both
//! ```
//! `commit` and `read` are positions in the stream of frames, in bytes; they only grow, and their remainder by the
//! ring's size is the place. What stands between them is the reader's. A frame is written behind `commit`, which then
//! moves over it (release, acquire): a writer that dies in the middle leaves no torn frame.
//!
//! There is no lock and nothing to wait for. A writer without room sets `waiting` and looks once more; a reader that
//! has moved `read` takes `waiting` and rings. A fence (`SeqCst`) between the two steps of each sees to it that one of
//! them sees the other.
//!
//! Words are accessed as atomics only, so that not even a hostile peer makes a data race.

pub mod counters;
pub mod memory;
mod reader;
mod writer;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering, fence};

pub use reader::Reader;
pub use writer::Writer;

/// A word of the shared memory. Implemented by [`AtomicU64`], and by the model checker's in tests.
pub trait Word {
    /// As [`AtomicU64::load`].
    fn load(&self, order: Ordering) -> u64;
    /// As [`AtomicU64::store`].
    fn store(&self, value: u64, order: Ordering);
    /// As [`AtomicU64::swap`].
    fn swap(&self, value: u64, order: Ordering) -> u64;
    /// As [`std::sync::atomic::fence`].
    fn fence(order: Ordering);
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.swap(value, order)
    }

    #[inline]
    fn fence(order: Ordering) {
        fence(order);
    }
}

/// Memory that both ends see. Its first [`RING_HEADER_BYTES`](crate::limits::RING_HEADER_BYTES) are the header.
pub trait Words {
    /// What it is made of.
    type Word: Word;

    /// All of it; always the same length.
    fn words(&self) -> &[Self::Word];
}

/// Why a ring can't be used, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingError {
    /// The ring is not a multiple of eight bytes, is empty, or is larger than its memory.
    Size {
        /// What was asked for.
        ring_bytes: u64,
    },
    /// The other end moved its position to where it can't be.
    Position {
        /// What it said.
        theirs: u64,
        /// What we know.
        ours: u64,
    },
    /// A frame that is larger than frames may be, than the ring, or than what was committed.
    Frame {
        /// With its length prefix.
        bytes: u64,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { ring_bytes } => write!(f, "a ring of {ring_bytes} bytes does not fit its memory"),
            Self::Position { theirs, ours } => {
                write!(f, "the other end of the ring is at {theirs}, which can't be beside {ours}")
            }
            Self::Frame { bytes } => write!(f, "a frame of {bytes} bytes in the ring"),
        }
    }
}

impl std::error::Error for RingError {}

const WORD_BYTES: usize = size_of::<u64>();
const COMMIT: usize = 8;
const ENDED: usize = 9;
const WRITTEN: usize = 10;
const DROPPED: usize = 16;
const READ: usize = 40;
const WAITING: usize = 41;
const HEADER_WORDS: usize = crate::limits::RING_HEADER_BYTES / WORD_BYTES;

const _: () = assert!(DROPPED + counters::DROP_SLOTS <= READ && WAITING < HEADER_WORDS);

/// Header and frames of one memory.
#[derive(Debug)]
struct Layout<M> {
    memory: M,
    ring_words: usize,
}

impl<M: Words> Layout<M> {
    fn new(memory: M, ring_bytes: u64) -> Result<Self, RingError> {
        let wrong = RingError::Size { ring_bytes };
        let words = usize::try_from(ring_bytes).map_err(|_| wrong)? / WORD_BYTES;
        let fits = words <= memory.words().len().saturating_sub(HEADER_WORDS);
        if words == 0 || !fits || !ring_bytes.is_multiple_of(WORD_BYTES as u64) {
            return Err(wrong);
        }
        Ok(Self { memory, ring_words: words })
    }

    fn ring_bytes(&self) -> u64 {
        (self.ring_words * WORD_BYTES) as u64
    }

    /// A word of the header.
    fn header(&self, index: usize) -> Option<&M::Word> {
        self.memory.words().get(index)
    }

    fn load(&self, index: usize, order: Ordering) -> u64 {
        self.header(index).map_or(0, |word| word.load(order))
    }

    fn store(&self, index: usize, value: u64, order: Ordering) {
        if let Some(word) = self.header(index) {
            word.store(value, order);
        }
    }

    /// The words of `bytes` bytes from `position` on: up to the end of the ring, and from its beginning.
    fn span(&self, position: u64, bytes: u64) -> (&[M::Word], &[M::Word]) {
        let ring = self.memory.words().get(HEADER_WORDS..HEADER_WORDS + self.ring_words).unwrap_or_default();
        // Both are less than the ring, which fits into memory.
        let start = usize::try_from(position % self.ring_bytes()).unwrap_or_default() / WORD_BYTES;
        let words = usize::try_from(bytes).unwrap_or_default().div_ceil(WORD_BYTES);
        let (before, behind) = ring.split_at_checked(start).unwrap_or_default();
        let first = words.min(behind.len());
        (behind.get(..first).unwrap_or_default(), before.get(..words - first).unwrap_or_default())
    }
}

/// With the zeros that follow a frame.
fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(WORD_BYTES as u64)
}
