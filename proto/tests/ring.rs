//! The ring: what goes in comes out, whole and in order, however it wraps; a broken or hostile writer is told apart.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use bytes::BytesMut;
use lambda_flush_proto::limits::{FRAME_BYTES_MAX, RING_HEADER_BYTES};
use lambda_flush_proto::ring::{Reader, RingError, Words, Writer};

const HEADER_WORDS: usize = RING_HEADER_BYTES / 8;
const COMMIT: usize = 8;
const READ: usize = 40;

/// Shared by two ends of one process.
#[derive(Debug, Clone)]
struct Memory(Arc<Vec<AtomicU64>>);

impl Memory {
    fn new(ring_bytes: usize) -> Self {
        Self(Arc::new((0..HEADER_WORDS + ring_bytes / 8).map(|_| AtomicU64::new(0)).collect()))
    }

    fn set(&self, index: usize, value: u64) {
        self.0[index].store(value, SeqCst);
    }
}

impl Words for Memory {
    type Word = AtomicU64;

    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

fn pair(ring_bytes: usize) -> (Memory, Writer<Memory>, Reader<Memory>) {
    let memory = Memory::new(ring_bytes);
    let size = ring_bytes as u64;
    (memory.clone(), Writer::new(memory.clone(), size).unwrap(), Reader::new(memory, size).unwrap())
}

fn frame(len: usize, fill: u8) -> Vec<u8> {
    [&(len as u32).to_le_bytes()[..], &vec![fill; len]].concat()
}

#[test]
fn frames_come_out_as_they_went_in_however_they_wrap() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let ring_bytes = 8 * random.usize(3..64);
        let (_, mut writer, mut reader) = pair(ring_bytes);
        let (mut sent, mut got) = (Vec::new(), BytesMut::new());
        for step in 0..400_u32 {
            let frame = frame(random.usize(0..=ring_bytes - 4), step as u8);
            let fits = writer.write(&frame).unwrap();
            if fits {
                sent.extend(frame);
            }
            if !fits || random.bool() {
                let before = got.len();
                let taken = reader.read(&mut got, random.usize(1..2 * ring_bytes)).unwrap();
                assert_eq!(got.len() - before, taken);
                assert_eq!(reader.writer_waits(), !fits, "seed {seed}, step {step}");
            }
        }
        while reader.read(&mut got, 1).unwrap() > 0 {}
        assert!(reader.is_empty());
        assert!(got == sent, "seed {seed}");
    }
}

#[test]
fn a_frame_that_is_not_committed_does_not_exist() {
    let (memory, mut writer, mut reader) = pair(64);
    assert!(writer.write(&frame(10, 1)).unwrap());
    // The next one is written, but its writer dies before it commits.
    memory.set(HEADER_WORDS + 2, 3);
    let mut out = BytesMut::new();
    assert_eq!(reader.read(&mut out, 1 << 20), Ok(14));
    assert_eq!(reader.read(&mut out, 1 << 20), Ok(0));
    assert_eq!(out, frame(10, 1));
}

#[test]
fn a_ring_has_to_fit_its_memory_and_a_frame_its_ring() {
    let memory = Memory::new(64);
    for ring_bytes in [0, 7, 63, 65, 72, u64::MAX, u64::MAX - 7] {
        assert_eq!(Writer::new(memory.clone(), ring_bytes).unwrap_err(), RingError::Size { ring_bytes });
        assert_eq!(Reader::new(memory.clone(), ring_bytes).unwrap_err(), RingError::Size { ring_bytes });
    }
    let (_, mut writer, mut reader) = pair(64);
    assert_eq!(writer.write(&frame(61, 1)), Err(RingError::Frame { bytes: 65 }));
    assert_eq!(writer.write(&frame(60, 1)), Ok(true));
    assert_eq!(writer.write(&frame(0, 1)), Ok(false));
    assert_eq!(reader.read(&mut BytesMut::new(), 1), Ok(64));
}

#[test]
fn the_reader_is_told_once_that_half_of_the_ring_is_taken() {
    let (_, mut writer, mut reader) = pair(160);
    let mut told = Vec::new();
    for _ in 0..10 {
        assert!(writer.write(&frame(12, 1)).unwrap());
        told.push(writer.bell_due().unwrap());
    }
    assert_eq!(told.iter().position(|due| *due), Some(4));
    assert_eq!(told.iter().filter(|due| **due).count(), 1);
    assert_eq!(reader.read(&mut BytesMut::new(), 90), Ok(96));
    assert!(!writer.bell_due().unwrap(), "less than half");
    for _ in 0..3 {
        assert!(writer.write(&frame(12, 1)).unwrap());
    }
    assert!(writer.bell_due().unwrap(), "it has moved since");
}

#[test]
fn counters_outlive_the_writer() {
    let (_, writer, reader) = pair(64);
    writer.publish(12, 7);
    writer.publish_dropped(&[3, 0, 1]);
    drop(writer);
    let counters = reader.counters();
    assert_eq!((counters.ended, counters.written, &counters.dropped[..3]), (12, 7, &[3, 0, 1][..]));
    let wire = counters.to_wire();
    assert_eq!((wire.buffered, wire.dropped["buffer_full"], wire.dropped["no_extension"]), (1, 3, 1));
}

#[test]
fn positions_that_cannot_be_are_refused() {
    let wrong = |commit| {
        let (memory, _, mut reader) = pair(64);
        memory.set(COMMIT, commit);
        reader.read(&mut BytesMut::new(), 1 << 20)
    };
    for commit in [7, 72, u64::MAX, u64::MAX - 7, 1 << 63] {
        assert_eq!(wrong(commit), Err(RingError::Position { theirs: commit, ours: 0 }));
    }
    let (memory, mut writer, mut reader) = pair(64);
    assert!(writer.write(&frame(20, 1)).unwrap());
    assert_eq!(reader.read(&mut BytesMut::new(), 1), Ok(24));
    memory.set(COMMIT, 16);
    assert!(matches!(reader.read(&mut BytesMut::new(), 1), Err(RingError::Position { theirs: 16, .. })));
    for read in [u64::MAX, 32, 4] {
        memory.set(READ, 0);
        let (memory, mut writer, _) = pair(64);
        assert!(writer.write(&frame(20, 1)).unwrap());
        memory.set(READ, read);
        let refused = writer.write(&frame(60, 1));
        assert!(matches!(refused, Err(RingError::Position { theirs, .. }) if theirs == read), "{refused:?}");
    }
}

#[test]
fn lengths_are_not_trusted_and_what_stands_before_a_fault_is_read() {
    let (memory, mut writer, mut reader) = pair(64);
    assert!(writer.write(&frame(4, 1)).unwrap());
    for length in [5, FRAME_BYTES_MAX as u64, u64::from(u32::MAX)] {
        memory.set(HEADER_WORDS + 1, length);
        memory.set(COMMIT, 16);
        let mut out = BytesMut::new();
        let first = reader.read(&mut out, 1 << 20);
        if length == 5 {
            assert_eq!(first, Ok(8), "the frame before");
        }
        assert_eq!(reader.read(&mut out, 1 << 20), Err(RingError::Frame { bytes: 4 + length }));
    }
}

/// Whatever is in the memory: no panic, no more than a lap at once, and an end.
#[test]
fn any_memory_can_be_read() {
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (memory, _, mut reader) = pair(8 * random.usize(1..40));
        let ring_bytes = (memory.0.len() - HEADER_WORDS) * 8;
        let mut out = BytesMut::new();
        for _ in 0..random.usize(1..20) {
            let value = if random.bool() { random.u64(0..128) } else { random.u64(..) };
            memory.set(random.usize(0..memory.0.len()), value);
            memory.set(COMMIT, 8 * random.u64(0..64));
            let before = out.len();
            let read = reader.read(&mut out, ring_bytes);
            assert!(out.len() - before <= ring_bytes, "seed {seed}: {read:?}");
            drop(reader.counters().to_wire());
            reader.writer_waits();
        }
    }
}
