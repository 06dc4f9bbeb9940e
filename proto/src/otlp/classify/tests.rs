//! Answers against the specification's tables.

use super::*;
use crate::otlp::messages::{Any, Span};

/// Seven seconds before the example date of RFC 9110, 5.6.7.
const NOW: Duration = Duration::from_secs(784_111_770);

fn of(status: u16, retry_after: Option<&str>, body: &[u8]) -> Answer {
    http(status, retry_after, body, NOW, &str::to_owned)
}

fn grpc(code: u32, message: &str, details: &[u8], response: &[u8]) -> Answer {
    super::grpc(code, message, details, response, &str::to_owned)
}

/// "the requests that receive a response status code listed in following table SHOULD be retried. All other 4xx or
/// 5xx response status codes MUST NOT be retried."
#[test]
fn only_the_four_statuses_of_the_specification_are_retried() {
    for status in 300..600 {
        let retried = matches!(of(status, None, b""), Answer::Retry { .. });
        assert_eq!(retried, [429, 502, 503, 504].contains(&status), "{status}");
    }
    assert!(matches!(of(400, None, b""), Answer::Rejected { .. }));
    assert!(matches!(of(401, None, b""), Answer::Refused { .. }));
}

#[test]
fn a_server_says_when_to_come_back() {
    for (header, seconds) in [
        ("7", Some(7)),
        (" 7 ", Some(7)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
        ("soon", None),
        ("-3", None),
    ] {
        let Answer::Retry { after, .. } = of(503, Some(header), b"") else { panic!("{header}") };
        assert_eq!(after, seconds.map(Duration::from_secs), "{header}");
    }
}

#[test]
fn a_partial_success_counts_and_a_strange_body_does_not_fail_a_success() {
    let response = |rejected| {
        let partial = PartialSuccess { rejected, error_message: "too old".to_owned() };
        ExportResponse { partial_success: Some(partial) }.encode_to_vec()
    };
    let accepted = |rejected, message: &str| Answer::Accepted { rejected, message: message.to_owned() };
    for (body, expected) in [
        (response(3), accepted(3, "too old")),
        (response(0), accepted(0, "too old")),
        (response(-1), accepted(0, "too old")),
        (b"{}".to_vec(), accepted(0, "")),
        (b"\xff\xff".to_vec(), accepted(0, "")),
        (Vec::new(), accepted(0, "")),
    ] {
        assert_eq!(of(200, None, &body), expected);
        assert_eq!(grpc(0, "", b"", &body), expected);
    }
}

#[test]
fn the_backends_words_are_kept_short_and_on_one_line() {
    let Answer::Rejected { message } = of(400, None, "é".repeat(4_000).as_bytes()) else { panic!() };
    assert!(message.len() <= MESSAGE_BYTES_MAX + 32);
    let status = RpcStatus { code: 3, message: "bad\nid\u{1b}[2J".to_owned(), details: Vec::new() };
    let Answer::Rejected { message } = of(400, None, &status.encode_to_vec()) else { panic!() };
    assert_eq!(message, "HTTP 400: bad id [2J");
}

fn retry_in(seconds: i64, nanos: i32) -> Vec<u8> {
    let info = RetryInfo { retry_delay: Some(Span { seconds, nanos }) };
    let any =
        Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: info.encode_to_vec() };
    RpcStatus { code: 8, message: String::new(), details: vec![any] }.encode_to_vec()
}

/// The table of "OTLP/gRPC Failures".
#[test]
fn grpc_statuses_are_retried_as_the_specification_says() {
    for code in 1..20 {
        let retried = matches!(grpc(code, "", b"", b""), Answer::Retry { .. });
        assert_eq!(retried, [1, 4, 10, 11, 14, 15].contains(&code), "{code}");
    }
    assert!(matches!(grpc(3, "", b"", b""), Answer::Rejected { .. }));
    let exhausted = grpc(8, "slow down", &retry_in(2, 500_000_000), b"");
    let Answer::Retry { after, maybe_sent: false, message } = exhausted else { panic!("{exhausted:?}") };
    assert_eq!(after, Some(Duration::from_millis(2_500)));
    assert_eq!(message, "gRPC status 8 RESOURCE_EXHAUSTED: slow down");
    for nonsense in [retry_in(-5, -1), retry_in(0, i32::MAX)] {
        assert!(matches!(grpc(8, "", &nonsense, b""), Answer::Retry { after: Some(Duration::ZERO), .. }));
    }
    assert!(matches!(grpc(8, "", b"\xff\xff", b""), Answer::Refused { .. }));
}

#[test]
fn what_a_gateway_says_of_a_backend_may_follow_a_request_that_was_taken() {
    let doubt = |answer| matches!(answer, Answer::Retry { maybe_sent: true, .. });
    assert_eq!([429, 502, 503, 504].map(|status| doubt(of(status, None, b""))), [false, true, false, true]);
    let asked = retry_in(1, 0);
    assert_eq!([&b""[..], &asked].map(|details| doubt(grpc(14, "", details, b""))), [true, false]);
    assert!(doubt(grpc(4, "", b"", b"")) && !doubt(grpc(8, "", &asked, b"")));
}

#[test]
fn credentials_are_taken_out_before_the_words_are_cut() {
    let hide = |text: &str| text.replace("s3cret-key", "[hidden]");
    let said = format!("{} s3cret-key", "x".repeat(MESSAGE_BYTES_MAX - 5));
    let status = RpcStatus { code: 16, message: said.clone(), details: Vec::new() }.encode_to_vec();
    let partial = PartialSuccess { rejected: 1, error_message: said.clone() };
    let partial = ExportResponse { partial_success: Some(partial) }.encode_to_vec();
    let messages = [
        http(401, None, said.as_bytes(), NOW, &hide),
        http(401, None, &status, NOW, &hide),
        http(200, None, &partial, NOW, &hide),
        super::grpc(16, &said, b"", b"", &hide),
        super::grpc(0, "", b"", &partial, &hide),
    ];
    for answer in messages {
        let shown = format!("{answer:?}");
        assert!(shown.contains("x [hid") && !shown.contains("s3c"), "{shown}");
    }
}
