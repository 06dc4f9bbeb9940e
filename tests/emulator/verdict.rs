//! The check: lost, overflowed, duplicated, dead-lettered; dead letters in any order; ledgers that do not balance.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lambda_testkit::check::{DeadLetters, Summary};
use lambda_testkit::witness::Record;
use lambda_testkit::{Evidence, SpanId, check};
use prost::Message;

use crate::backend::request;

/// The lines of a dead letter in `parts` parts.
fn dead_letter(ids: &[u8], parts: usize) -> Vec<String> {
    let request = request(ids).encode_to_vec();
    let crc32 = format!("{:08x}", crc32fast::hash(&request));
    let text = BASE64_STANDARD.encode(zstd::stream::encode_all(request.as_slice(), 3).unwrap());
    let slices: Vec<_> = text.as_bytes().chunks(text.len().div_ceil(parts)).collect();
    assert_eq!(slices.len(), parts);
    let line = |(index, slice): (usize, &&[u8])| {
        let data = std::str::from_utf8(slice).unwrap();
        let (part, items) = (index + 1, ids.len());
        format!(
            r#"{{"lambda_flush":"dead_letter","version":1,"batch":"00112233445566aa-1","signal":"traces","items":{items},"encoding":"zstd+base64","crc32":"{crc32}","part":{part},"parts":{parts},"data":"{data}"}}"#
        )
    };
    slices.iter().enumerate().map(line).collect()
}

const BALANCED: &str = r#"{"lambda_flush":"summary","version":1,"reason":"spindown","spare_ms":9,"destinations":[{"name":"default","accepted":5,"exported":2,"rejected":0,"dead_lettered":2,"dropped":{"full":1},"held":0}],"functions":[{"process":"00","ended":6,"dropped":{"full":1}}]}"#;

fn evidence(witness: std::ops::Range<u8>, ok: &[u8], lines: &[String]) -> Evidence {
    let lines = || lines.iter().map(String::as_str).chain([BALANCED]);
    let mut evidence = Evidence {
        witness: witness.map(|id| Record { span_id: SpanId([id; 8]), buffered: 2 }).collect(),
        dead_letters: DeadLetters::parse(lines()),
        summaries: Summary::parse(lines()).0,
        ..Evidence::default()
    };
    for id in ok {
        *evidence.deliveries.answered_ok.entry(SpanId([*id; 8])).or_default() += 1;
        *evidence.deliveries.received.entry(SpanId([*id; 8])).or_default() += 1;
    }
    evidence
}

#[test]
fn every_span_is_somewhere() {
    let mut evidence = evidence(1..6, &[1, 2, 2], &dead_letter(&[3, 4], 1));
    evidence.deliveries.received.insert(SpanId([5; 8]), 1);
    let verdict = check(&evidence);
    assert_eq!((verdict.spans_ended, verdict.spans_received, verdict.dead_lettered), (5, 2, 2));
    assert_eq!((verdict.duplicates, verdict.late, verdict.reported_dropped), (1, 1, 2));
    assert_eq!(verdict.lost, [SpanId([5; 8])]);
    assert!(!verdict.is_ok() && verdict.ledger_balanced.is_ok());
    evidence.deliveries.rejected.insert(SpanId([5; 8]));
    let verdict = check(&evidence);
    assert!(verdict.is_ok() && verdict.rejected == 1 && verdict.late == 0, "{verdict:?}");
}

#[test]
fn only_a_kill_excuses_and_only_the_last_ones() {
    let mut evidence = evidence(1..8, &[1, 2, 3], &[]);
    assert_eq!(check(&evidence).lost.len(), 4);
    evidence.function_killed = true;
    let verdict = check(&evidence);
    // Two were still with the library, by the last record: 6 and 7. Spans 4 and 5 had been handed over.
    assert_eq!(verdict.lost, [SpanId([4; 8]), SpanId([5; 8])]);
    assert_eq!(verdict.overflowed, [SpanId([6; 8]), SpanId([7; 8])]);
}

#[test]
fn parts_may_come_in_any_order_and_between_other_text() {
    let mut lines = dead_letter(&[1, 2, 3, 4, 5], 3);
    lines.reverse();
    lines.insert(1, "some other line".to_owned());
    lines[0] = format!("2026-11-23T00:00:00Z INFO {} trailing", lines[0]);
    lines.push(lines[2].clone());
    let letters = DeadLetters::parse(lines.iter().map(String::as_str));
    assert_eq!(letters.faults, Vec::<String>::new());
    assert_eq!((letters.batches.len(), letters.spans().count()), (1, 5));
}

#[test]
fn a_dead_letter_that_is_not_whole_is_a_fault() {
    let whole = dead_letter(&[1, 2, 3], 2);
    let cut = whole[1][..whole[1].len() - 9].to_owned();
    let altered = whole[1].replacen("\"crc32\":\"", "\"crc32\":\"0", 1);
    let miscounted: Vec<_> = whole.iter().map(|line| line.replace("\"items\":3", "\"items\":4")).collect();
    let wrong_sum = |line: &String| {
        let (head, tail) = line.split_once("\"crc32\":\"").unwrap();
        format!("{head}\"crc32\":\"00000000{}", &tail[8..])
    };
    let wrong_sum: Vec<_> = whole.iter().map(wrong_sum).collect();
    let damaged: Vec<_> = whole.iter().map(|line| line.replace("\"data\":\"", "\"data\":\"AAAA")).collect();
    for lines in [
        &[whole[0].clone()][..],
        &[whole[0].clone(), cut],
        &[whole[0].clone(), altered],
        &miscounted,
        &damaged,
        &wrong_sum,
    ] {
        let letters = DeadLetters::parse(lines.iter().map(String::as_str));
        assert!(letters.batches.is_empty() && !letters.faults.is_empty(), "{lines:?}");
    }
}

#[test]
fn a_ledger_that_does_not_balance_is_told() {
    let mut evidence = evidence(1..2, &[1], &[]);
    evidence.summaries[0].destinations[0].exported += 1;
    assert!(check(&evidence).ledger_balanced.unwrap_err().contains("default"));
    evidence.summaries[0].destinations[0].exported -= 2;
    evidence.summaries[0].destinations[0].held = 1;
    assert!(check(&evidence).ledger_balanced.unwrap_err().contains("held at exit"));
    evidence.summaries.clear();
    assert_eq!(check(&evidence).ledger_balanced.unwrap_err(), "there is no summary");
}
