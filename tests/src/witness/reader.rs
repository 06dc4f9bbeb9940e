//! Reads a witness file, also one whose writer was killed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::{CLAIMED_WORD, HEADER_BYTES, MAGIC, NOTED_WORD, RECORD_BYTES, REFUSED_WORD};
use crate::span_id::SpanId;

/// One span that had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub span_id: SpanId,
    /// The spans that the library still kept to itself right after this one's end.
    pub buffered: u32,
}

/// What a witness file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The spans in the order in which their slots were claimed.
    pub records: Vec<Record>,
    /// Slots claimed by writers that died before they had written.
    pub torn: u64,
    /// Spans for which the file had no room: with any, the witness proves nothing.
    pub refused: u64,
}

/// Reads a witness file. One that was never created, because the function never opened it, is an error.
///
/// # Errors
/// The file can't be read or is not a witness.
pub fn read(path: impl AsRef<Path>) -> io::Result<Contents> {
    parse(&std::fs::read(path)?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file is not a witness"))
}

/// How many spans were noted so far: a glance at the file's header, for a test that watches a running function.
///
/// # Errors
/// As [`read`].
pub fn noted(path: impl AsRef<Path>) -> io::Result<u64> {
    let mut header = [0; HEADER_BYTES];
    File::open(path)?.read_exact(&mut header)?;
    let noted = header.get(NOTED_WORD * 8..).and_then(|words| word(words.get(..8)?));
    noted
        .filter(|_| header.starts_with(&MAGIC))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file is not a witness"))
}

fn parse(bytes: &[u8]) -> Option<Contents> {
    let (header, records) = bytes.split_at_checked(HEADER_BYTES)?;
    let header: Vec<u64> = header.chunks_exact(8).filter_map(word).collect();
    if header.first()?.to_le_bytes() != MAGIC {
        return None;
    }
    let claimed = *header.get(CLAIMED_WORD)?;
    let room = u64::try_from(records.len() / RECORD_BYTES).ok()?;
    let written = claimed.min(room).max((*header.get(NOTED_WORD)?).min(room));
    let slots = records.chunks_exact(RECORD_BYTES).take(usize::try_from(written).ok()?);
    let mut contents = Contents { refused: *header.get(REFUSED_WORD)?, ..Contents::default() };
    for slot in slots {
        let (id, rest) = slot.split_at_checked(8)?;
        let (span_id, rest) = (SpanId::from_slice(id)?, rest.get(..4)?);
        if span_id.is_zero() {
            contents.torn += 1;
        } else {
            contents.records.push(Record { span_id, buffered: u32::from_le_bytes(rest.try_into().ok()?) });
        }
    }
    Some(contents)
}

fn word(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::Witness;
    use super::*;

    fn id(number: u64) -> SpanId {
        SpanId(number.to_be_bytes())
    }

    #[test]
    fn threads_lose_nothing_and_a_full_file_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness");
        let witness = Witness::open(&path, 3_000).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let witness = &witness;
                scope.spawn(move || (0..1_000).for_each(|n| _ = witness.note(id(thread * 1_000 + n + 1), 7)));
            }
        });
        let contents = read(&path).unwrap();
        assert_eq!((contents.records.len(), contents.torn, contents.refused), (3_000, 0, 1_000));
        assert_eq!(noted(&path).unwrap(), 3_000);
        let mut ids: Vec<_> = contents.records.iter().map(|record| record.span_id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 3_000);
        assert!(contents.records.iter().all(|record| record.buffered == 7));
    }

    #[test]
    fn a_second_process_goes_on_where_the_first_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness");
        assert!(Witness::open(&path, 10).unwrap().note(id(1), 1));
        assert!(Witness::open(&path, 10).unwrap().note(id(2), 0));
        let records = read(&path).unwrap().records;
        assert_eq!(records, [Record { span_id: id(1), buffered: 1 }, Record { span_id: id(2), buffered: 0 }]);
    }

    #[test]
    fn a_torn_slot_is_skipped_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness");
        let witness = Witness::open(&path, 4).unwrap();
        (1..=3).for_each(|n| _ = witness.note(id(n), 0));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER_BYTES + RECORD_BYTES..][..8].fill(0);
        let contents = parse(&bytes).unwrap();
        assert_eq!((contents.records.len(), contents.torn), (2, 1));
    }

    #[test]
    fn another_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("other");
        std::fs::write(&path, [b'x'; 200]).unwrap();
        assert!(Witness::open(&path, 10).is_err());
        assert!(read(&path).is_err() && noted(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), [b'x'; 200]);
    }
}
