//! Notes spans from within a function: no lock, no system call, no allocation.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

use super::{
    CLAIMED_WORD, HEADER_BYTES, MAGIC, NOTED_WORD, RECORD_BYTES, RECORDS_MAX_DEFAULT, RECORDS_MAX_ENV,
    REFUSED_WORD, WITNESS_ENV,
};
use crate::span_id::SpanId;

const WORD_BYTES: usize = size_of::<u64>();

/// An open witness file. Any number of threads may note spans at once.
#[derive(Debug)]
pub struct Witness {
    map: MmapRaw,
}

impl Witness {
    /// Opens the file that `LAMBDA_TESTKIT_WITNESS` names; `None` if the variable is not set.
    ///
    /// # Errors
    /// As [`Witness::open`].
    pub fn from_env() -> io::Result<Option<Self>> {
        let Some(path) = std::env::var_os(WITNESS_ENV) else { return Ok(None) };
        let records_max = std::env::var(RECORDS_MAX_ENV).ok().and_then(|value| value.parse().ok());
        Self::open(path, records_max.unwrap_or(RECORDS_MAX_DEFAULT)).map(Some)
    }

    /// Creates the file with room for `records_max` records, or goes on in one that exists, whose size then counts.
    ///
    /// # Errors
    /// The file can't be created or mapped, or is something else.
    pub fn open(path: impl AsRef<Path>, records_max: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() == 0 {
            let bytes = HEADER_BYTES + records_max * RECORD_BYTES;
            file.set_len(u64::try_from(bytes).map_err(io::Error::other)?)?;
        }
        let witness = Self { map: MmapRaw::map_raw(&file)? };
        let magic = witness.words().first().ok_or_else(not_a_witness)?;
        let found = magic.compare_exchange(0, u64::from_le_bytes(MAGIC), Ordering::AcqRel, Ordering::Acquire);
        match found {
            Ok(_) => Ok(witness),
            Err(found) if found.to_le_bytes() == MAGIC && witness.map.len() >= HEADER_BYTES => Ok(witness),
            Err(_) => Err(not_a_witness()),
        }
    }

    /// Notes a span that has ended, with the number of spans that the library still kept to itself right afterwards.
    ///
    /// False, and counted, if the file is full. A zero id, which OTLP calls invalid, is not noted.
    pub fn note(&self, span_id: SpanId, buffered: u32) -> bool {
        let words = self.words();
        let (Some(noted), Some(claimed), Some(refused)) =
            (words.get(NOTED_WORD), words.get(CLAIMED_WORD), words.get(REFUSED_WORD))
        else {
            return false;
        };
        let slot = usize::try_from(claimed.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
        let first = slot.saturating_mul(RECORD_BYTES / WORD_BYTES).saturating_add(HEADER_BYTES / WORD_BYTES);
        let (Some(id_word), Some(rest_word)) = (words.get(first), words.get(first.saturating_add(1))) else {
            refused.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        rest_word.store(u64::from(buffered), Ordering::Relaxed);
        id_word.store(u64::from_le_bytes(span_id.0), Ordering::Release);
        noted.fetch_add(1, Ordering::Release);
        true
    }

    fn words(&self) -> &[AtomicU64] {
        words(&self.map)
    }
}

/// A file that is mapped, as words.
pub(super) fn words(map: &MmapRaw) -> &[AtomicU64] {
    let length = map.len() / WORD_BYTES;
    // SAFETY: the mapping is `map.len()` bytes long, lives as long as `map`, is readable and writable, and starts
    // at a page boundary, which is aligned for `AtomicU64`; `length` rounds down. Every access in this process and
    // in others is atomic or, by readers, of words that are whole, and any bit pattern is a valid u64. The file is
    // never made shorter by the testkit.
    #[expect(unsafe_code, reason = "memory shared through a file has no safe view in std")]
    unsafe {
        std::slice::from_raw_parts(map.as_ptr().cast::<AtomicU64>(), length)
    }
}

fn not_a_witness() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file is not a witness")
}
