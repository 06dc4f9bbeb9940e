//! Entries for the fuzzer and for the committed corpora, so that both run the same checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;

use crate::Signal;
use crate::extension_link::{ExtensionLink, Received};
use crate::function_link::FunctionLink;
use crate::limits::{FRAME_HEADER_BYTES, RING_HEADER_BYTES};
use crate::otlp::walk::count;
use crate::ring::{Reader, Words, Writer};

/// Feeds `data` to both ends in pieces whose size the first byte chooses. Must not panic, must not loop.
pub fn decode(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let piece = usize::from(*first).max(1);
    let whole = received(stream, stream.len().max(1), false);
    let pieces = received(stream, piece, false);
    assert!(whole == pieces, "how the bytes were cut changed what they mean");
    for piece in [stream.len().max(1), piece] {
        assert!(whole == received(stream, piece, true), "taken together they mean something else");
    }
    let mut function = FunctionLink::new(1);
    for chunk in stream.chunks(piece) {
        if function.receive(chunk).is_err() {
            return;
        }
    }
}

/// Memory that a hostile writer has as well.
#[derive(Clone)]
struct Shared(Arc<[AtomicU64]>);

impl Words for Shared {
    type Word = AtomicU64;

    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// Plays `data` against both ends of a ring: its first byte is the size, then ten bytes a step of which one writes a
/// frame, one reads, and others change any word. Must not panic, must not loop, and what is read are whole frames.
pub fn ring(data: &[u8]) {
    let Some((first, steps)) = data.split_first() else { return };
    let ring_bytes = 8 * (u64::from(*first % 32) + 1);
    let all = RING_HEADER_BYTES / 8 + usize::from(*first % 32) + 1;
    let memory = Shared((0..all).map(|_| AtomicU64::new(0)).collect());
    let (writer, reader) = (Writer::new(memory.clone(), ring_bytes), Reader::new(memory.clone(), ring_bytes));
    let (Ok(mut writer), Ok(mut reader)) = (writer, reader) else { return };
    let (steps, _) = steps.as_chunks::<10>();
    for [kind, index, value @ ..] in steps {
        let (index, value) = (usize::from(*index), u64::from_le_bytes(*value));
        match kind % 4 {
            0 => set(&memory, index, value),
            1 => set(&memory, COMMIT_WORD, 8 * (value % 64)),
            2 => {
                let mut frame = vec![0; FRAME_HEADER_BYTES + index];
                frame.iter_mut().zip((*kind / 4).to_le_bytes()).for_each(|(to, from)| *to = from);
                let _full = writer.write(&frame);
                let _broken = writer.bell_due();
            }
            _ => read_ring(&mut reader, index, ring_bytes),
        }
    }
}

/// Where the writer says how far it is.
const COMMIT_WORD: usize = 8;

fn set(memory: &Shared, index: usize, value: u64) {
    let words = memory.words();
    if let Some(word) = words.get(index % words.len().max(1)) {
        word.store(value, Ordering::SeqCst);
    }
}

fn read_ring(reader: &mut Reader<Shared>, bytes_max: usize, ring_bytes: u64) {
    let mut out = BytesMut::new();
    let read = reader.read(&mut out, bytes_max);
    assert!(out.len() as u64 <= ring_bytes, "more than a lap");
    assert!(read == Ok(out.len()) || read.is_err());
    let mut rest = &out[..];
    while let Some((prefix, behind)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let length = u32::from_le_bytes(*prefix) as usize;
        assert!(length <= behind.len(), "half a frame");
        rest = behind.get(length..).unwrap_or_default();
    }
    assert!(rest.is_empty() || read.is_err(), "half a prefix");
    reader.writer_waits();
    drop(reader.counters().to_wire());
}

/// One message at a time, or all that are there, and whether there was no fault. The first `Hello` is welcomed.
fn received(stream: &[u8], piece: usize, together: bool) -> (Vec<Received>, bool) {
    let (mut link, mut out, mut welcomed) = (ExtensionLink::default(), Vec::new(), false);
    for chunk in stream.chunks(piece) {
        link.receive(chunk);
        loop {
            let before = out.len();
            let polled = match together && welcomed {
                true => link.poll_all(&mut out),
                false => link.poll().map(|message| out.extend(message)),
            };
            if !welcomed && matches!(out.last(), Some(Received::Hello(_))) {
                link.welcome(1 << 20);
                welcomed = true;
            }
            if polled.is_err() {
                return (apart(out), false);
            }
            if out.len() == before {
                break;
            }
        }
    }
    (apart(out), true)
}

/// Each item as a message of its own.
pub(crate) fn apart(messages: Vec<Received>) -> Vec<Received> {
    let apart = |message| match message {
        Received::Items(items) => items.each().into_iter().map(Received::Item).collect(),
        message => vec![message],
    };
    messages.into_iter().flat_map(apart).collect()
}

/// Goes through `data` as an export request, whose signal the first byte chooses. Whether it passed; what passes has
/// to `decode`, with the same number of items.
pub fn walk(data: &[u8], decode: impl Fn(Signal, &[u8]) -> Option<u64>) -> bool {
    let Some((first, request)) = data.split_first() else { return false };
    let signal = [Signal::Traces, Signal::Metrics, Signal::Logs].get(usize::from(first % 3)).copied();
    let signal = signal.unwrap_or_default();
    match count(signal, request) {
        Ok(items) => {
            assert_eq!(Some(items), decode(signal, request), "what passes decodes");
            true
        }
        Err(_) => false,
    }
}
