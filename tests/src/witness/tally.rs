//! The tally: a witness for sums. Counters in a mapped file, which a function keeps beside the instruments under test.
//!
//! ```text
//!  0  magic "LFTALLY1"      8  slots, u64, little-endian
//! ```
//! What the slots mean is between the function and its test.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::MmapRaw;

use super::writer::words;

/// Names the tally file for the function's process.
pub const TALLY_ENV: &str = "LAMBDA_TESTKIT_TALLY";

const MAGIC: u64 = u64::from_le_bytes(*b"LFTALLY1");
const WORD_BYTES: usize = size_of::<u64>();

/// An open tally file. Any number of threads may count at once.
#[derive(Debug)]
pub struct Tally {
    map: MmapRaw,
}

impl Tally {
    /// Opens the file that `LAMBDA_TESTKIT_TALLY` names; `None` if the variable is not set.
    ///
    /// # Errors
    /// As [`Tally::open`].
    pub fn from_env(slots: usize) -> io::Result<Option<Self>> {
        std::env::var_os(TALLY_ENV).map(|path| Self::open(path, slots)).transpose()
    }

    /// Creates the file with `slots` slots of zero, or goes on in one that exists, whose size then counts.
    ///
    /// # Errors
    /// The file can't be created or mapped, or is something else.
    pub fn open(path: impl AsRef<Path>, slots: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() == 0 {
            let bytes = (slots + 1) * WORD_BYTES;
            file.set_len(u64::try_from(bytes).map_err(io::Error::other)?)?;
        }
        let tally = Self { map: MmapRaw::map_raw(&file)? };
        let magic = words(&tally.map).first().ok_or_else(not_a_tally)?;
        match magic.compare_exchange(0, MAGIC, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(MAGIC) => Ok(tally),
            Err(_) => Err(not_a_tally()),
        }
    }

    /// Adds to a slot, wrapping, so that a negative number may be added in two's complement. One that does not exist
    /// is ignored.
    pub fn add(&self, slot: usize, number: u64) {
        self.at(slot, |word| _ = word.fetch_add(number, Ordering::Release));
    }

    /// Sets a slot.
    pub fn set(&self, slot: usize, number: u64) {
        self.at(slot, |word| word.store(number, Ordering::Release));
    }

    fn at(&self, slot: usize, change: impl FnOnce(&AtomicU64)) {
        if let Some(word) = words(&self.map).get(slot + 1) {
            change(word);
        }
    }
}

/// The slots of a tally file, whose writer may be dead or alive.
///
/// # Errors
/// The file can't be read or is not a tally.
pub fn read_tally(path: impl AsRef<Path>) -> io::Result<Vec<u64>> {
    let bytes = std::fs::read(path)?;
    let mut words =
        bytes.chunks_exact(WORD_BYTES).filter_map(|word| word.try_into().ok().map(u64::from_le_bytes));
    match words.next() {
        Some(MAGIC) => Ok(words.collect()),
        _ => Err(not_a_tally()),
    }
}

fn not_a_tally() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file is not a tally")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_processes_count_together() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tally");
        let tally = Tally::open(&path, 3).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| tally.add(0, 2)));
            }
        });
        let again = Tally::open(&path, 3).unwrap();
        again.add(1, (-5_i64).cast_unsigned());
        again.set(2, 7);
        again.set(3, 9);
        assert_eq!(read_tally(&path).unwrap(), [8_000, (-5_i64).cast_unsigned(), 7]);
    }

    #[test]
    fn another_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other");
        std::fs::write(&path, [b'x'; 200]).unwrap();
        assert!(Tally::open(&path, 3).is_err() && read_tally(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), [b'x'; 200]);
    }
}
