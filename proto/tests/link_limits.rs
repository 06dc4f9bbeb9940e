//! The limits of a link: what is too large or too much closes it, or loses its name but not its count.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod pair;

use bytes::Bytes;
use lambda_flush_proto::limits::{
    COUNTERS_REASONS_MAX, FRAME_BYTES_MAX, LINK_SCOPES_MAX, NAME_BYTES_MAX, REASON_BYTES_MAX,
    RESOURCE_BYTES_MAX, SCOPE_BYTES_MAX,
};
use lambda_flush_proto::wire::{InvocationStarted, to_extension};
use lambda_flush_proto::{Counters, LinkState, Received, Signal, WireError};

use pair::{Pair, framed, message};

#[test]
fn limits_close_the_link_and_no_number_is_used_up() {
    let mut pair = Pair::open();
    assert!(pair.function.item(Signal::Traces, 1, &vec![0; FRAME_BYTES_MAX]).is_err());
    assert_eq!(pair.item(b"x").seq, 1);
    let large = Bytes::from(vec![0; RESOURCE_BYTES_MAX + 1]);
    assert!(pair.function.connect(&large, "").is_err());
    assert_eq!(pair.function.state(), LinkState::Open, "nothing happened");
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let scope = Bytes::from(vec![0; SCOPE_BYTES_MAX + 1]);
    assert!(pair.function.scope(1, scope.clone(), "").is_err());
    assert!(pair.function.scope(1, Bytes::new(), &long).is_err());
    let scope = lambda_flush_proto::wire::Scope { id: 1, scope, schema_url: String::new() };
    assert_eq!(
        pair.raw(message(to_extension::Message::Scope(scope))),
        Err(WireError::Limit { name: "SCOPE_BYTES_MAX" })
    );
    for named in [
        to_extension::Message::Scope(lambda_flush_proto::wire::Scope {
            schema_url: long.clone(),
            ..Default::default()
        }),
        to_extension::Message::InvocationStarted(InvocationStarted {
            request_id: long.clone(),
            ..Default::default()
        }),
        to_extension::Message::InvocationDone(lambda_flush_proto::wire::InvocationDone {
            attempt: long,
            ..Default::default()
        }),
    ] {
        let mut pair = Pair::open();
        assert_eq!(pair.raw(message(named)), Err(WireError::Limit { name: "NAME_BYTES_MAX" }));
    }
}

#[test]
fn so_many_scopes_and_no_more() {
    let mut pair = Pair::open();
    let last = u32::try_from(LINK_SCOPES_MAX).unwrap();
    for id in 1..=last {
        pair.up.extend(pair.function.scope(id, Bytes::from_static(b"s"), "").unwrap());
    }
    pair.run().unwrap();
    assert!(pair.function.scope(last + 1, Bytes::new(), "").is_err(), "the function knows the limit");
    let scope = lambda_flush_proto::wire::Scope { id: last + 1, ..Default::default() };
    let scope = message(to_extension::Message::Scope(scope));
    assert_eq!(pair.raw(scope), Err(WireError::Limit { name: "LINK_SCOPES_MAX" }));
}

#[test]
fn drop_reasons_are_bounded_but_their_count_is_kept() {
    let mut pair = Pair::open();
    let mut counters = Counters::default();
    for n in 0..COUNTERS_REASONS_MAX as u64 + 10 {
        counters.dropped.insert(format!("reason{n:03}"), 1);
    }
    counters.dropped.insert("y".repeat(REASON_BYTES_MAX + 1), 5);
    counters.dropped.insert("z".repeat(9), u64::MAX);
    pair.raw(pair.function.goodbye(counters).unwrap()).unwrap();
    let Some(Received::Goodbye(counters)) = pair.received.last() else { panic!() };
    assert!(counters.dropped.len() <= COUNTERS_REASONS_MAX);
    assert_eq!(counters.dropped.get("other"), Some(&u64::MAX), "saturated, not wrapped");
}

#[test]
fn a_broken_answer_closes_the_function_end() {
    for broken in [u32::MAX.to_le_bytes().to_vec(), framed(&[0xFF; 9])] {
        let mut pair = Pair::open();
        assert!(pair.function.receive(&broken).is_err());
        assert_eq!(pair.function.state(), LinkState::Closed);
        let frame = pair.item(b"x");
        assert!(!pair.function.may_write(&frame));
    }
}
