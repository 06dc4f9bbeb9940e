//! Captures of whole sessions in the fuzzer's corpus, made by the real function end: a change of what goes over
//! the wire is a visible diff. `UPDATE_CORPUS=1` writes them anew; they are kept when a version is released.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::PathBuf;

use bytes::Bytes;
use lambda_flush_proto::wire::{InvocationStarted, invocation_done::Status};
use lambda_flush_proto::{Counters, ExtensionLink, FunctionLink, Received, Signal, fuzzing};

/// A function's side of a connection, recorded.
struct Capture {
    link: FunctionLink,
    bytes: Vec<u8>,
}

impl Capture {
    /// The first byte of a seed is the size of the pieces in which it is read.
    fn open(piece: u8) -> Self {
        let mut link = FunctionLink::new(0x0123_4567_89AB_CDEF);
        let resource = Bytes::from_static(b"\x0a\x16\x0a\x0cservice.name\x12\x06\x0a\x04shop");
        let hello = link.connect(&resource, "https://opentelemetry.io/schemas/1.37.0").unwrap();
        link.receive(&ExtensionLink::default().welcome(1 << 20)).unwrap();
        Self { link, bytes: [&[piece][..], &hello].concat() }
    }

    fn scope(&mut self, id: u32, name: &'static [u8]) -> &mut Self {
        let scope = self.link.scope(id, Bytes::from_static(name), "").unwrap();
        self.bytes.extend(scope);
        self
    }

    fn spans(&mut self, count: u64) -> &mut Self {
        for n in 0..count {
            let span = [&b"\x12\x08"[..], &n.to_be_bytes(), b"\x2a\x04work"].concat();
            let frame = self.link.item(Signal::Traces, 1, &span).unwrap();
            assert!(self.link.may_write(&frame));
            self.bytes.extend(&frame.bytes);
            self.link.wrote(&frame);
        }
        self
    }

    fn metrics(&mut self) -> &mut Self {
        let request = Bytes::from_static(b"\x0a\x0a\x12\x08\x12\x06\x0a\x04load");
        let frame = self.link.payload(Signal::Metrics, 1, request).unwrap();
        self.bytes.extend(&frame.bytes);
        self.link.wrote(&frame);
        self
    }

    fn counters(&self) -> Counters {
        let written = self.link.written_seq();
        let dropped = [("too_large".to_owned(), 1)].into();
        Counters { ended: written + 1, written, buffered: 0, dropped }
    }

    fn started(&mut self, id: &str) -> &mut Self {
        let started = InvocationStarted {
            request_id: id.to_owned(),
            attempt: "1".to_owned(),
            deadline_unix_ms: 1_795_368_632_856,
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        };
        self.bytes.extend(self.link.invocation_started(started).unwrap());
        self
    }

    fn done(&mut self, id: &str, status: Status) -> &mut Self {
        self.bytes.extend(self.link.invocation_done(id, "1", status, self.counters()).unwrap());
        self
    }

    fn barrier(&mut self) -> &mut Self {
        self.bytes.extend(self.link.barrier().unwrap());
        self
    }

    fn goodbye(&mut self) -> &mut Self {
        self.bytes.extend(self.link.goodbye(self.counters()).unwrap());
        self
    }
}

/// The captures by name.
fn captures() -> Vec<(&'static str, Vec<u8>)> {
    let mut ordinary = Capture::open(64);
    ordinary.scope(1, b"\x0a\x03app").started("8f5d").spans(3).done("8f5d", Status::Ok);
    ordinary.started("90aa").spans(2).metrics().done("90aa", Status::Error).barrier().goodbye();
    let mut bytewise = Capture::open(1);
    bytewise.scope(1, b"\x0a\x03app").started("8f5d").spans(1).done("8f5d", Status::Panic).goodbye();
    let mut killed = Capture::open(255);
    killed.scope(1, b"\x0a\x03app").started("8f5d").spans(5);
    killed.bytes.truncate(killed.bytes.len() - 7);
    let mut silent = Capture::open(200);
    silent.goodbye();
    let mut many = Capture::open(13);
    many.scope(1, b"\x0a\x03app").scope(2, b"\x0a\x03lib").spans(40).barrier().goodbye();
    vec![
        ("capture_v1_two_invocations", ordinary.bytes),
        ("capture_v1_byte_by_byte", bytewise.bytes),
        ("capture_v1_killed_in_a_frame", killed.bytes),
        ("capture_v1_nothing_to_say", silent.bytes),
        ("capture_v1_burst", many.bytes),
    ]
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decode").join(name)
}

#[test]
fn the_function_end_writes_what_was_captured() {
    for (name, bytes) in captures() {
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            std::fs::write(path(name), &bytes).unwrap();
        }
        let committed = std::fs::read(path(name)).expect(name);
        assert!(committed == bytes, "{name} is not what the function end writes today; see UPDATE_CORPUS");
        fuzzing::decode(&committed);
    }
}

#[test]
fn every_capture_is_understood_to_its_last_frame() {
    for (name, bytes) in captures() {
        let mut link = ExtensionLink::default();
        link.receive(&bytes[1..]);
        let mut last = None;
        while let Some(message) = link.poll().expect(name) {
            drop(link.welcome(1 << 20));
            last = Some(message);
        }
        let killed = name.contains("killed");
        assert_eq!(link.torn(), killed, "{name}");
        assert!(killed || matches!(last, Some(Received::Goodbye(_))), "{name}: {last:?}");
    }
}
