//! What a backend's answer means (OTLP specification, "OTLP/HTTP Response"; pure).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use prost::Message;

use crate::core::{Outcome, Wall};
use crate::limits::MESSAGE_BYTES_MAX;

/// `Export{Trace,Metrics,Logs}ServiceResponse`: all three have this shape.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`, the body of an error answer.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// The outcome of a request that was answered.
pub fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Wall) -> Outcome {
    if status.is_success() {
        return accepted(body);
    }
    let message = describe(status, body);
    match status.as_u16() {
        429 | 502 | 503 | 504 => {
            Outcome::Retry { after: retry_after(headers, now), maybe_sent: false, message }
        }
        400 => Outcome::Rejected { message },
        _ => Outcome::Refused { message },
    }
}

/// "If the request is only partially accepted […] the server MUST respond with HTTP 200"; the client "MUST NOT
/// retry". A body that can't be read does not turn a success into a failure.
fn accepted(body: &[u8]) -> Outcome {
    let partial = ExportResponse::decode(body).ok().and_then(|response| response.partial_success);
    match partial {
        Some(PartialSuccess { rejected, error_message }) if rejected > 0 => {
            Outcome::Partial { rejected: rejected.unsigned_abs(), message: shortened(&error_message) }
        }
        _ => Outcome::Exported,
    }
}

/// Seconds or an HTTP date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Wall) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::UNIX_EPOCH).ok()?.saturating_sub(now))
}

fn describe(status: StatusCode, body: &[u8]) -> String {
    let said = match RpcStatus::decode(body) {
        Ok(rpc) if !rpc.message.is_empty() => rpc.message,
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    let said = shortened(said.trim());
    if said.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {said}") }
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, retry_after: Option<&str>, body: &[u8]) -> Outcome {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        classify(StatusCode::from_u16(status).unwrap(), &headers, body, Duration::from_secs(784_111_770))
    }

    /// <https://opentelemetry.io/docs/specs/otlp/#failures-1>: "the requests that receive a response status code
    /// listed in following table SHOULD be retried. All other 4xx or 5xx response status codes MUST NOT be retried."
    #[test]
    fn only_the_four_statuses_of_the_specification_are_retried() {
        for status in (300..600).filter(|status| StatusCode::from_u16(*status).is_ok()) {
            let retried = matches!(outcome(status, None, b""), Outcome::Retry { .. });
            assert_eq!(retried, [429, 502, 503, 504].contains(&status), "{status}");
        }
    }

    #[test]
    fn a_server_says_when_to_come_back() {
        for (header, seconds) in
            [("7", Some(7)), ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)), ("soon", None), ("-3", None)]
        {
            let Outcome::Retry { after, .. } = outcome(503, Some(header), b"") else { panic!("{header}") };
            assert_eq!(after, seconds.map(Duration::from_secs), "{header}");
        }
    }

    #[test]
    fn a_partial_success_counts_and_a_strange_body_does_not_fail_a_success() {
        let partial = ExportResponse {
            partial_success: Some(PartialSuccess { rejected: 3, error_message: "too old".into() }),
        };
        assert_eq!(
            outcome(200, None, &partial.encode_to_vec()),
            Outcome::Partial { rejected: 3, message: "too old".into() }
        );
        let warning = ExportResponse {
            partial_success: Some(PartialSuccess { rejected: 0, error_message: "a warning".into() }),
        };
        for body in [&b""[..], b"{}", b"\xff\xff", &warning.encode_to_vec()] {
            assert_eq!(outcome(200, None, body), Outcome::Exported);
        }
    }

    #[test]
    fn the_backends_words_are_kept_short() {
        let Outcome::Rejected { message } = outcome(400, None, "é".repeat(4_000).as_bytes()) else {
            panic!()
        };
        assert!(message.len() <= MESSAGE_BYTES_MAX + 32);
    }
}
