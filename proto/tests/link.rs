//! Both ends of a link against each other: greeting, credit, order, reconnects, versions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod pair;

use bytes::Bytes;
use lambda_flush_proto::extension_link::Content;
use lambda_flush_proto::function_link::ItemFrame;
use lambda_flush_proto::wire::{InvocationStarted, SpanStarted, invocation_done::Status, to_extension};
use lambda_flush_proto::{
    Counters, ExtensionLink, FunctionLink, LinkState, Received, Signal, Versions, WireError,
};

use pair::{Pair, framed, message};

#[test]
fn greeting() {
    let mut pair = Pair::new();
    assert_eq!(pair.function.state(), LinkState::Closed);
    pair.connect();
    assert_eq!(pair.function.state(), LinkState::Greeting);
    let frame = pair.item(b"early");
    assert!(!pair.function.may_write(&frame), "nothing is granted yet");
    pair.run().unwrap();
    assert_eq!(pair.function.state(), LinkState::Open);
    let Received::Hello(hello) = &pair.received[0] else { panic!("{:?}", pair.received) };
    assert_eq!((hello.process, &hello.resource[..]), (7, &b"resource"[..]));
    assert_eq!(hello.resource_schema_url, "https://schema");
    pair.write(&frame);
    pair.run().unwrap();
    assert_eq!(pair.items()[0].bytes, "early");
}

#[test]
fn the_first_message_is_hello_or_the_link_is_closed() {
    let mut pair = Pair::new();
    let barrier = pair.function.barrier().unwrap();
    assert_eq!(pair.raw(barrier), Err(WireError::HelloExpected));
}

#[test]
fn a_whole_session_arrives_in_order_however_it_is_cut() {
    for seed in 0..50 {
        let mut pair = Pair::new();
        pair.random = fastrand::Rng::with_seed(seed);
        pair.connect();
        pair.run().unwrap();
        let scope = pair.function.scope(1, Bytes::from_static(b"scope"), "").unwrap();
        pair.up.extend(scope);
        let started = InvocationStarted { request_id: "r1".to_owned(), ..InvocationStarted::default() };
        pair.up.extend(pair.function.invocation_started(started).unwrap());
        for n in 0..20_u8 {
            let frame = pair.item(&vec![n; usize::from(n) * 3]);
            pair.write(&frame);
        }
        let payload = pair.function.payload(Signal::Metrics, 3, Bytes::from_static(b"request")).unwrap();
        pair.write(&payload);
        let counters = Counters { ended: 23, written: 23, ..Counters::default() };
        let done = pair.function.invocation_done("r1", "1", Status::Ok, counters.clone());
        pair.up.extend(done.unwrap());
        pair.up.extend(pair.function.barrier().unwrap());
        pair.up.extend(pair.function.goodbye(counters).unwrap());
        pair.run().unwrap();
        let seqs: Vec<u64> = pair.items().iter().map(|item| item.seq).collect();
        assert_eq!(seqs, (1..=21).collect::<Vec<u64>>());
        assert_eq!(pair.items()[4].bytes, vec![4; 12]);
        assert_eq!(pair.items()[4].content, Content::Item { scope_id: 1 });
        assert_eq!((pair.items()[20].items, pair.items()[20].content), (3, Content::Request));
        assert!(matches!(pair.received.last(), Some(Received::Goodbye(counters)) if counters.ended == 23));
        assert!(pair.received.iter().any(|m| matches!(m, Received::InvocationDone(d) if d.last_seq == 21)));
        assert_eq!(pair.function.accepted_seq(), 21);
        assert!(!pair.extension.torn());
    }
}

#[test]
fn credit_is_cumulative_and_exact() {
    let mut pair = Pair::new();
    let frame = pair.item(&[1; 100]);
    let size = frame.bytes.len() as u64;
    pair.credit = 2 * size - 1;
    pair.connect();
    pair.run().unwrap();
    pair.write(&frame);
    let second = pair.item(&[2; 100]);
    assert_eq!(second.bytes.len() as u64, size);
    assert!(!pair.function.may_write(&second), "one byte short");
    let grant = pair.extension.grant(1);
    pair.down.extend(grant);
    pair.run().unwrap();
    pair.write(&second);
    pair.run().unwrap();
    assert_eq!(pair.items().len(), 2);
    let charged: u64 = pair.items().iter().map(|item| item.credit_bytes).sum();
    assert_eq!(charged, 2 * size, "both ends count the whole frame");
}

#[test]
fn an_overrun_is_refused() {
    let mut pair = Pair::new();
    pair.credit = 50;
    pair.connect();
    pair.run().unwrap();
    let frame = pair.item(&[1; 100]);
    let error = pair.raw(frame.bytes).unwrap_err();
    assert!(matches!(error, WireError::CreditExceeded { credit_bytes: 50, .. }), "{error}");
    assert!(pair.items().is_empty());
}

#[test]
fn open_spans_take_credit_too() {
    let mut pair = Pair::new();
    pair.credit = 40;
    pair.connect();
    pair.run().unwrap();
    let started = SpanStarted { seq: 1, scope_id: 1, span: Bytes::from_static(&[1; 20]) };
    let bytes = message(to_extension::Message::SpanStarted(started));
    let size = bytes.len() as u64;
    pair.raw(bytes.clone()).unwrap();
    let last = pair.received.last();
    assert!(matches!(last, Some(Received::SpanStarted { credit_bytes, .. }) if *credit_bytes == size));
    assert!(matches!(pair.raw(bytes), Err(WireError::CreditExceeded { .. })));
}

#[test]
fn control_messages_take_no_credit() {
    let mut pair = Pair::new();
    pair.credit = 0;
    pair.connect();
    pair.run().unwrap();
    for _ in 0..100 {
        pair.up.extend(pair.function.barrier().unwrap());
        pair.up.extend(pair.function.invocation_done("r", "1", Status::Error, Counters::default()).unwrap());
    }
    pair.run().unwrap();
    assert_eq!(pair.received.len(), 201);
}

#[test]
fn the_barrier_confirms_what_was_written_before() {
    let mut pair = Pair::open();
    let frames: Vec<ItemFrame> = (0..3).map(|_| pair.item(b"x")).collect();
    pair.write(&frames[0]);
    pair.write(&frames[1]);
    pair.up.extend(pair.function.barrier().unwrap());
    pair.write(&frames[2]);
    assert_eq!(pair.function.accepted_seq(), 0);
    pair.run().unwrap();
    assert!(pair.function.accepted_seq() >= 2);
    let late = pair.extension.accepted(1);
    pair.function.receive(&late).unwrap();
    assert!(pair.function.accepted_seq() >= 2, "a barrier is never taken back");
}

#[test]
fn a_reconnect_keeps_sequence_numbers_and_starts_credit_anew() {
    let mut pair = Pair::open();
    let first = pair.item(&[0; 9_000]);
    pair.write(&first);
    pair.run().unwrap();
    let second = pair.item(&[0; 9_000]);
    assert!(!pair.function.may_write(&second));
    pair.function.disconnect();
    assert_eq!(pair.function.state(), LinkState::Closed);
    assert!(!pair.function.may_write(&second));
    pair.extension = ExtensionLink::default();
    pair.connect();
    pair.run().unwrap();
    pair.write(&second);
    let third = pair.item(b"x");
    pair.write(&third);
    pair.run().unwrap();
    let seqs: Vec<u64> = pair.items().iter().map(|item| item.seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
}

#[test]
fn half_an_answer_is_forgotten_with_its_connection() {
    let mut pair = Pair::open();
    let accepted = pair.extension.accepted(5);
    pair.function.receive(&accepted[..4]).unwrap();
    pair.extension = ExtensionLink::default();
    pair.connect();
    pair.run().unwrap();
    assert_eq!(pair.function.state(), LinkState::Open);
}

#[test]
fn neighbouring_versions_serve_each_other_and_strangers_are_refused() {
    let versions = |min, max| Versions { min, max };
    for (function, extension) in [((1, 2), (2, 3)), ((2, 3), (1, 2)), ((2, 2), (1, 2)), ((1, 2), (1, 1))] {
        let mut pair = Pair::speaking(versions(function.0, function.1), versions(extension.0, extension.1));
        pair.connect();
        pair.run().unwrap();
        assert_eq!(pair.function.state(), LinkState::Open, "{function:?} {extension:?}");
    }
    for (function, extension) in [((3, 4), (1, 2)), ((1, 2), (3, 4))] {
        let mut pair = Pair::speaking(versions(function.0, function.1), versions(extension.0, extension.1));
        pair.connect();
        assert_eq!(pair.run(), Err(WireError::Version { theirs: function.1 }));
        let refusal = pair.extension.refusal();
        assert_eq!(pair.function.receive(&refusal), Err(WireError::Version { theirs: extension.1 }));
        assert_eq!(pair.function.state(), LinkState::Refused);
        let frame = pair.item(b"x");
        assert!(!pair.function.may_write(&frame));
    }
}

#[test]
fn hello_may_be_repeated_with_a_new_resource() {
    let mut pair = Pair::open();
    let frame = pair.item(&[0; 5_000]);
    pair.write(&frame);
    let mut other = FunctionLink::new(8);
    let hello = other.connect(&Bytes::from_static(b"restored"), "").unwrap();
    pair.raw(hello).unwrap();
    assert!(matches!(pair.received.last(), Some(Received::Hello(h)) if h.process == 8));
    let next = pair.item(&[0; 9_000]);
    assert!(pair.function.may_write(&next), "the second Welcome adds to the credit");
}

#[test]
fn unknown_messages_and_fields_are_ignored() {
    let mut pair = Pair::open();
    pair.raw(framed(&[])).unwrap();
    pair.raw(framed(&[0xFA, 0x07, 3, 1, 2, 3])).unwrap(); // Field 127, three bytes.
    let known = message(to_extension::Message::Barrier(lambda_flush_proto::wire::Barrier { last_seq: 1 }));
    let newer = [&known[4..], &[0xF8, 0x07, 1][..]].concat(); // And a varint field 127 behind it.
    pair.raw(framed(&newer)).unwrap();
    assert!(matches!(pair.received.last(), Some(Received::Barrier)));
    pair.function.receive(&framed(&[0xFA, 0x07, 1, 9])).unwrap();
    assert_eq!(pair.function.state(), LinkState::Open);
}

#[test]
fn a_signal_from_the_future_is_an_item_all_the_same() {
    let mut pair = Pair::open();
    let item = lambda_flush_proto::wire::Item { seq: 1, signal: 99, ..Default::default() };
    pair.raw(message(to_extension::Message::Item(item))).unwrap();
    assert_eq!(pair.items()[0].signal, Signal::Unspecified);
}

#[test]
fn a_torn_tail_is_seen() {
    let mut pair = Pair::open();
    let frame = pair.item(&[5; 200]);
    for cut in [1, 3, 4, 5, 100, frame.bytes.len() - 1] {
        pair.extension = ExtensionLink::default();
        pair.connect();
        pair.run().unwrap();
        assert!(!pair.extension.torn());
        pair.raw(frame.bytes[..cut].to_vec()).unwrap();
        assert!(pair.extension.torn(), "cut after {cut} bytes");
        pair.raw(frame.bytes[cut..].to_vec()).unwrap();
        assert!(!pair.extension.torn());
    }
}
