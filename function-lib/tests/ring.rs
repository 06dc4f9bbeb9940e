//! Spans on their way through a ring in shared memory, the extension's end of it held by the test.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::collections::HashMap;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Instant;

use bytes::BytesMut;
use common::{PATIENCE, address, builder_with};
use lambda_flush::Telemetry;
use lambda_flush::opentelemetry::trace::{Tracer, TracerProvider};
use lambda_flush_proto::limits::{RING_BYTES_MAX, RING_BYTES_MIN};
use lambda_flush_proto::ring::Reader;
use lambda_flush_proto::ring::memory::SharedMemory;
use lambda_flush_proto::wire::Hello;
use lambda_flush_proto::{ExtensionLink, Received, frame};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

const CREDIT: u64 = 8 << 20;

/// The extension's end of a link.
struct Peer {
    stream: UnixStream,
    link: ExtensionLink,
    hello: Hello,
    file: Option<OwnedFd>,
    ring: Option<Reader<SharedMemory>>,
}

impl Peer {
    /// Accepts, and reads no more than `Hello`.
    fn accept(listener: &UnixListener) -> Self {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut prefix = [0; 4];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
        let read = recvmsg(&stream, &mut [IoSliceMut::new(&mut prefix)], &mut ancillary, flags).unwrap();
        assert_eq!(read.bytes, prefix.len());
        let mut files = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(came) = message {
                files.extend(came);
            }
        }
        assert!(files.len() <= 1);
        let mut rest = vec![0; u32::from_le_bytes(prefix) as usize];
        stream.read_exact(&mut rest).unwrap();
        let mut link = ExtensionLink::default();
        link.receive(&prefix);
        link.receive(&rest);
        let Ok(Some(Received::Hello(hello))) = link.poll() else { panic!("no Hello") };
        Self { stream, link, hello, file: files.pop(), ring: None }
    }

    fn welcome(&mut self, credit_bytes: u64, ring_bytes: u64) {
        if ring_bytes > 0 {
            let memory = SharedMemory::open(self.file.as_ref().unwrap(), self.hello.ring_bytes).unwrap();
            self.ring = Some(Reader::new(memory, ring_bytes).unwrap());
        }
        let welcome = self.link.welcome_to_ring(credit_bytes, ring_bytes);
        self.stream.write_all(&welcome).unwrap();
    }

    /// What is in the ring. Rings the function if it waits for room.
    fn drain(&mut self) -> Vec<Received> {
        let (ring, mut frames, mut messages) = (self.ring.as_mut().unwrap(), BytesMut::new(), Vec::new());
        while ring.read(&mut frames, usize::MAX).unwrap() > 0 {}
        if ring.writer_waits() {
            self.stream.write_all(&frame::BELL).unwrap();
        }
        self.link.poll_ring(&mut frames, &mut messages).unwrap();
        messages.into_iter().flat_map(apart).collect()
    }

    /// Drains until `enough`.
    fn drain_until(&mut self, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let (until, mut messages) = (Instant::now() + PATIENCE, Vec::new());
        while !enough(&messages) {
            assert!(Instant::now() < until, "it did not come: {} messages", messages.len());
            messages.extend(self.drain());
            std::thread::yield_now();
        }
        messages
    }

    /// Bells since the last call; nothing else may come on the socket.
    fn bells(&mut self) -> usize {
        let mut bytes = [1; 4096];
        self.stream.set_nonblocking(true).unwrap();
        let read = self.stream.read(&mut bytes).unwrap_or(0);
        self.stream.set_nonblocking(false).unwrap();
        assert!(
            read.is_multiple_of(4) && bytes[..read].iter().all(|byte| *byte == 0),
            "{:?}",
            &bytes[..read]
        );
        read / 4
    }
}

fn apart(message: Received) -> Vec<Received> {
    match message {
        Received::Items(items) => items.each().into_iter().map(Received::Item).collect(),
        other => vec![other],
    }
}

fn seqs(messages: &[Received]) -> Vec<u64> {
    let seq = |message: &Received| match message {
        Received::Item(item) => Some(item.seq),
        _ => None,
    };
    messages.iter().filter_map(seq).collect()
}

fn listening() -> (String, UnixListener) {
    let address = address();
    let name = SocketAddr::from_abstract_name(&address[1..]).unwrap();
    (address, UnixListener::bind_addr(&name).unwrap())
}

/// A telemetry whose `Hello` is answered with `ring_bytes`, and the other end.
fn open(variables: &[(&str, &str)], ring_bytes: u64) -> (Telemetry, Peer) {
    let (address, listener) = listening();
    let variables: HashMap<_, _> = [("OTEL_METRICS_EXPORTER", "none")]
        .iter()
        .chain(variables)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let opening = std::thread::spawn(move || {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        builder_with(&address, &variables).init().unwrap()
    });
    let mut peer = Peer::accept(&listener);
    peer.welcome(CREDIT, ring_bytes);
    (opening.join().unwrap(), peer)
}

/// Until the library has taken `Welcome` in, which may come after its patience at `init` on a busy machine.
fn settle(telemetry: &Telemetry, ring_bytes: u64) {
    let until = Instant::now() + PATIENCE;
    while telemetry.stats().ring_bytes != ring_bytes {
        assert!(Instant::now() < until, "{:?}", telemetry.stats());
        drop(telemetry.tracer_provider().force_flush());
        std::thread::yield_now();
    }
}

fn end_spans(telemetry: &Telemetry, count: usize) {
    let tracer = telemetry.tracer_provider().tracer("test");
    (0..count).for_each(|number| drop(tracer.start(format!("span {number}"))));
}

#[test]
fn spans_come_through_the_ring_in_order_and_wake_nobody() {
    let (telemetry, mut peer) = open(&[], RING_BYTES_MAX);
    assert_eq!(peer.hello.ring_bytes, RING_BYTES_MAX);
    settle(&telemetry, RING_BYTES_MAX);
    end_spans(&telemetry, 1);
    peer.drain_until(|messages| seqs(messages) == [1]);
    end_spans(&telemetry, 999);
    assert_eq!(telemetry.buffered(), 0);
    assert_eq!(peer.bells(), 0, "nobody is woken for a span");
    assert_eq!(seqs(&peer.drain()), (2..=1_000).collect::<Vec<_>>());
    let counters = peer.ring.as_ref().unwrap().counters();
    assert_eq!((counters.ended, counters.written), (1_000, 1_000));
    drop(telemetry);
    let last = peer.drain_until(|messages| matches!(messages.last(), Some(Received::Goodbye(_))));
    let Some(Received::Goodbye(counters)) = last.last() else { panic!("{last:?}") };
    assert_eq!((counters.ended, counters.written), (1_000, 1_000));
}

/// What overflows the ring waits in the library, what overflows that is counted in the header; and when there is room
/// it goes on.
#[test]
fn a_full_ring_holds_nothing_up_and_loses_nothing_that_fits() {
    let (telemetry, mut peer) = open(&[], RING_BYTES_MIN);
    settle(&telemetry, RING_BYTES_MIN);
    // Each about 100 bytes: more than ring and buffer hold.
    end_spans(&telemetry, 40_000);
    let stats = telemetry.stats();
    let dropped: u64 = stats.dropped.values().sum();
    assert!(stats.buffered > 1_000 && dropped > 1_000, "{stats:?}");
    assert_eq!(peer.bells(), 1, "half of the ring is taken");
    let counters = peer.ring.as_ref().unwrap().counters();
    assert_eq!((counters.ended, counters.written), (40_000, stats.written));
    assert_eq!(counters.dropped[0], dropped);
    assert_eq!(counters.to_wire().buffered, stats.buffered);
    let all = stats.written + stats.buffered;
    let messages = peer.drain_until(|messages| seqs(messages).len() as u64 == all);
    assert_eq!(seqs(&messages), (1..=all).collect::<Vec<_>>());
    end_spans(&telemetry, 1);
    assert_eq!(seqs(&peer.drain()).len(), 1);
}

#[test]
fn a_ring_that_is_declined_or_not_wanted_is_no_ring() {
    for (carrier, offers) in [("auto", true), ("ring", true), ("socket", false)] {
        let (telemetry, mut peer) = open(&[("LAMBDA_FLUSH_CARRIER", carrier)], 0);
        assert_eq!((peer.hello.ring_bytes > 0, peer.file.is_some()), (offers, offers), "{carrier}");
        end_spans(&telemetry, 3);
        let (until, mut messages) = (Instant::now() + PATIENCE, Vec::new());
        while seqs(&messages) != [1, 2, 3] {
            assert!(Instant::now() < until, "{carrier}: {messages:?}");
            let mut bytes = [0; 4096];
            let read = peer.stream.read(&mut bytes).unwrap();
            peer.link.receive(&bytes[..read]);
            while let Some(message) = peer.link.poll().unwrap() {
                messages.push(message);
            }
        }
        assert_eq!(telemetry.stats().ring_bytes, 0);
    }
}

/// Two ways at once have no order: a scope could come after its spans.
#[test]
fn nothing_is_written_before_welcome_and_nothing_is_lost() {
    let (address, listener) = listening();
    let telemetry = builder_with(&address, &[("OTEL_METRICS_EXPORTER", "none")]).init().unwrap();
    end_spans(&telemetry, 5);
    let mut peer = Peer::accept(&listener);
    assert_eq!((peer.bells(), telemetry.buffered()), (0, 5));
    peer.welcome(CREDIT, RING_BYTES_MAX);
    let messages = peer.drain_until(|messages| seqs(messages).len() == 5);
    assert!(matches!(messages[0], Received::Scope(_)), "{messages:?}");
    assert_eq!(seqs(&messages), [1, 2, 3, 4, 5]);
}

/// Killed now, it leaves no frame that says what it had; the memory that it offered does.
#[test]
fn what_waits_for_welcome_is_counted_where_it_outlives_the_function() {
    let (address, listener) = listening();
    let telemetry = builder_with(&address, &[("OTEL_METRICS_EXPORTER", "none")]).init().unwrap();
    end_spans(&telemetry, 20_000);
    let stats = telemetry.stats();
    let dropped: u64 = stats.dropped.values().sum();
    assert!(stats.buffered > 1_000 && dropped > 1_000, "{stats:?}");
    let mut peer = Peer::accept(&listener);
    peer.welcome(CREDIT, RING_BYTES_MAX);
    // Before the function has read that.
    let memory = SharedMemory::open(peer.file.as_ref().unwrap(), peer.hello.ring_bytes).unwrap();
    let counters = Reader::new(memory, RING_BYTES_MIN).unwrap().counters();
    assert_eq!((counters.ended, counters.dropped[0]), (20_000, dropped));
}

/// The extension gives new credit as it reads. It must not wait for half a ring that can't come.
#[test]
fn who_has_no_credit_left_rings_though_the_ring_is_nearly_empty() {
    let (address, listener) = listening();
    let telemetry = builder_with(&address, &[("OTEL_METRICS_EXPORTER", "none")]).init().unwrap();
    let mut peer = Peer::accept(&listener);
    peer.welcome(10_000, RING_BYTES_MAX);
    settle(&telemetry, RING_BYTES_MAX);
    end_spans(&telemetry, 1);
    end_spans(&telemetry, 1_000);
    assert!(telemetry.buffered() > 500, "{:?}", telemetry.stats());
    assert_eq!(peer.bells(), 1, "once, until the extension has read");
    let more = peer.link.grant(10_000);
    let first = seqs(&peer.drain()).len();
    end_spans(&telemetry, 1);
    assert_eq!((first > 0, peer.bells()), (true, 0), "nothing new for it to read");
    peer.stream.write_all(&more).unwrap();
    let until = Instant::now() + PATIENCE;
    while peer.bells() == 0 {
        assert!(Instant::now() < until, "{:?}", telemetry.stats());
        std::thread::yield_now();
    }
    assert!(seqs(&peer.drain()).len() > 10);
}

/// A peer that breaks the protocol costs the connection, not the function.
#[test]
fn a_ring_that_makes_no_sense_is_left() {
    for ring_bytes in [8, RING_BYTES_MIN - 8, RING_BYTES_MIN + 1, RING_BYTES_MAX + 8, u64::MAX] {
        let (address, listener) = listening();
        let telemetry = builder_with(&address, &[("OTEL_METRICS_EXPORTER", "none")]).init().unwrap();
        let mut peer = Peer::accept(&listener);
        let welcome = peer.link.welcome_to_ring(CREDIT, ring_bytes);
        peer.stream.write_all(&welcome).unwrap();
        end_spans(&telemetry, 3);
        drop(telemetry.tracer_provider().force_flush());
        assert_eq!(peer.stream.read(&mut [0; 64]).unwrap(), 0, "it hangs up: {ring_bytes}");
        assert_eq!((telemetry.buffered(), telemetry.stats().ring_bytes), (3, 0));
    }
}
