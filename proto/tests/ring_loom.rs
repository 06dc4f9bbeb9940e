//! The ring's protocol under every order of memory accesses that the memory model allows.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::Ordering;

use bytes::BytesMut;
use lambda_flush_proto::limits::RING_HEADER_BYTES;
use lambda_flush_proto::ring::{Reader, Word, Words, Writer};
use loom::sync::atomic::AtomicU64;
use loom::sync::{Arc, Mutex};
use loom::thread;

/// Two frames of one word fit.
const RING_BYTES: u64 = 16;

#[derive(Debug)]
struct Checked(AtomicU64);

impl Word for Checked {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, order)
    }

    fn fence(order: Ordering) {
        loom::sync::atomic::fence(order);
    }
}

#[derive(Clone)]
struct Memory(Arc<Vec<Checked>>);

impl Memory {
    fn new() -> Self {
        let words = (RING_HEADER_BYTES + 16) / 8;
        Self(Arc::new((0..words).map(|_| Checked(AtomicU64::new(0))).collect()))
    }
}

impl Words for Memory {
    type Word = Checked;

    fn words(&self) -> &[Checked] {
        &self.0
    }
}

fn frame(number: u8) -> [u8; 8] {
    [4, 0, 0, 0, number, number, number, number]
}

/// Three frames through a ring of two: each comes whole and in order, and a writer that found no room is told.
#[test]
fn frames_are_whole_and_in_order_and_no_wake_up_is_lost() {
    loom::model(|| {
        let memory = Memory::new();
        let mut writer = Writer::new(memory.clone(), RING_BYTES).unwrap();
        let mut reader = Reader::new(memory, RING_BYTES).unwrap();
        let writing = thread::spawn(move || {
            let mut written = 0;
            for number in 1..=3 {
                if !writer.write(&frame(number)).unwrap() {
                    break;
                }
                written += 1;
            }
            (writer, written)
        });
        let mut out = BytesMut::new();
        let mut told = false;
        for _ in 0..2 {
            reader.read(&mut out, 1).unwrap();
            told |= reader.writer_waits();
        }
        let (mut writer, written) = writing.join().unwrap();
        if written < 3 {
            // It gave up for want of room. Whatever the reader did after that, it saw the wish, or will see it
            // with the next frame it takes: the ring is full, so there is one.
            while reader.read(&mut out, 1).unwrap() > 0 {
                told |= reader.writer_waits();
            }
            assert!(told, "nobody wakes the writer");
            assert!(writer.write(&frame(3)).unwrap());
        }
        while reader.read(&mut out, 1).unwrap() > 0 {}
        assert_eq!(out, [frame(1), frame(2), frame(3)].concat());
    });
}

/// The place of a frame that was read is written again only after it was copied.
#[test]
fn a_place_is_reused_only_after_it_was_read() {
    loom::model(|| {
        let memory = Memory::new();
        let mut writer = Writer::new(memory.clone(), RING_BYTES).unwrap();
        let mut reader = Reader::new(memory, RING_BYTES).unwrap();
        assert!(writer.write(&frame(1)).unwrap() && writer.write(&frame(2)).unwrap());
        let reading = thread::spawn(move || {
            let mut out = BytesMut::new();
            reader.read(&mut out, 1).unwrap();
            (reader, out)
        });
        let written = writer.write(&frame(3)).unwrap();
        let (mut reader, mut out) = reading.join().unwrap();
        while reader.read(&mut out, 1).unwrap() > 0 {}
        let expected =
            if written { [frame(1), frame(2), frame(3)].concat() } else { [frame(1), frame(2)].concat() };
        assert_eq!(out, expected);
    });
}

/// Half of the ring is taken: the reader is told, unless it looked after that anyway.
#[test]
fn a_watermark_is_told_or_seen() {
    loom::model(|| {
        let memory = Memory::new();
        let mut writer = Writer::new(memory.clone(), RING_BYTES).unwrap();
        let mut reader = Reader::new(memory, RING_BYTES).unwrap();
        let writing = thread::spawn(move || {
            let mut bells = 0;
            for number in 1..=2 {
                assert!(writer.write(&frame(number)).unwrap());
                bells += u32::from(writer.bell_due().unwrap());
            }
            bells
        });
        let mut out = BytesMut::new();
        reader.read(&mut out, 64).unwrap();
        let bells = writing.join().unwrap();
        assert!(bells > 0 || out.len() >= 8, "half of the ring is taken and nobody was told");
    });
}

/// A writer that can't go on is not left waiting for a reader that does not know of its last frame.
#[test]
fn what_a_stuck_writer_wrote_is_read_or_told() {
    loom::model(|| {
        let memory = Memory::new();
        // A socket, which the kernel locks.
        let bell = Arc::new(Mutex::new(false));
        let mut writer = Writer::new(memory.clone(), RING_BYTES).unwrap();
        let mut reader = Reader::new(memory, RING_BYTES).unwrap();
        let theirs = bell.clone();
        let writing = thread::spawn(move || {
            for number in 1..=2 {
                assert!(writer.write(&frame(number)).unwrap());
                if writer.bell_due_stuck().unwrap() {
                    *theirs.lock().unwrap() = true;
                }
            }
        });
        let mut out = BytesMut::new();
        // It has heard a bell, if there was one, and reads until there is nothing.
        *bell.lock().unwrap() = false;
        while reader.read(&mut out, 64).unwrap() > 0 {}
        writing.join().unwrap();
        assert!(out.len() == 16 || *bell.lock().unwrap(), "{} bytes read, and nobody rings", out.len());
    });
}
