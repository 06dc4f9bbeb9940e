//! What a backend's answer means, over HTTP and over gRPC
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp-response>, `#failures`, `#otlpgrpc-throttling`).

use std::time::{Duration, SystemTime};

use prost::Message;

use super::messages::{ExportResponse, PartialSuccess, RetryInfo, RpcStatus};

/// What is kept of a backend's words.
pub const MESSAGE_BYTES_MAX: usize = 512;

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The backend has it, so many items excepted, which it refuses for good.
    Accepted {
        /// Items of the request, never sent again.
        rejected: u64,
        /// The backend's words about them, or a warning.
        message: String,
    },
    /// It may go better later.
    Retry {
        /// Not before, if the backend says so.
        after: Option<Duration>,
        /// Whether the backend may have taken it all the same.
        maybe_sent: bool,
        /// Status and the backend's words.
        message: String,
    },
    /// The request itself is bad.
    Rejected {
        /// Status and the backend's words.
        message: String,
    },
    /// Not with this configuration: credentials, path, size.
    Refused {
        /// Status and the backend's words.
        message: String,
    },
}

/// Takes the sender's credentials out of a backend's words, which are whole yet.
pub type Hide<'a> = &'a (dyn Fn(&str) -> String + Sync);

/// Of an HTTP answer. `now` is the time since the Unix epoch, for a `Retry-After` that is a date.
#[must_use]
pub fn http(status: u16, retry_after: Option<&str>, body: &[u8], now: Duration, hide: Hide<'_>) -> Answer {
    if (200..300).contains(&status) {
        return accepted(body, hide);
    }
    let message = described(&format!("HTTP {status}"), &words(body, hide));
    match status {
        429 | 502 | 503 | 504 => Answer::Retry {
            after: retry_after.and_then(|text| delay(text, now)),
            // A gateway says so too when the backend behind it took the request and its answer was late or broken.
            maybe_sent: matches!(status, 502 | 504),
            message,
        },
        400 => Answer::Rejected { message },
        _ => Answer::Refused { message },
    }
}

/// Of a gRPC answer: `grpc-status`, `grpc-message` (percent-decoded), the decoded `grpc-status-details-bin`, and the
/// response message, which only a success has.
#[must_use]
pub fn grpc(code: u32, message: &str, details: &[u8], response: &[u8], hide: Hide<'_>) -> Answer {
    if code == 0 {
        return accepted(response, hide);
    }
    let name = usize::try_from(code).ok().and_then(|code| GRPC_CODES.get(code)).copied().unwrap_or("UNKNOWN");
    let message = described(&format!("gRPC status {code} {name}"), &told(message, hide));
    let after = retry_info(details);
    match code {
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, DATA_LOSS: some of the work may be done.
        1 | 4 | 10 | 11 | 15 => Answer::Retry { after, maybe_sent: true, message },
        // A gateway says so too when the backend behind it went away; who asks to come back has not taken it.
        14 => Answer::Retry { after, maybe_sent: after.is_none(), message },
        // RESOURCE_EXHAUSTED: "only if the server signals that the recovery […] is possible", by RetryInfo.
        8 if after.is_some() => Answer::Retry { after, maybe_sent: false, message },
        3 => Answer::Rejected { message },
        _ => Answer::Refused { message },
    }
}

/// <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>, by number.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// "If the request is only partially accepted […] the server MUST respond with HTTP 200"; the client "MUST NOT
/// retry". A body that can't be read does not turn a success into a failure.
fn accepted(body: &[u8], hide: Hide<'_>) -> Answer {
    let partial = ExportResponse::decode(body).ok().and_then(|response| response.partial_success);
    let PartialSuccess { rejected, error_message } = partial.unwrap_or_default();
    Answer::Accepted {
        rejected: u64::try_from(rejected).unwrap_or_default(),
        message: told(&error_message, hide),
    }
}

/// Seconds or an HTTP date (RFC 9110, 10.2.3).
fn delay(text: &str, now: Duration) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::UNIX_EPOCH).ok()?.saturating_sub(now))
}

/// `google.rpc.RetryInfo` among the details of a `google.rpc.Status`.
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay.unwrap_or_default();
    let nanos = u32::try_from(delay.nanos).ok().filter(|nanos| *nanos < 1_000_000_000).unwrap_or_default();
    Some(Duration::new(u64::try_from(delay.seconds).unwrap_or_default(), nanos))
}

/// The backend's words in an error's body: those of a `google.rpc.Status`, or the text itself.
fn words(body: &[u8], hide: Hide<'_>) -> String {
    let text = match RpcStatus::decode(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    told(&text, hide)
}

fn told(text: &str, hide: Hide<'_>) -> String {
    let text = text.trim();
    if text.is_empty() { String::new() } else { shortened(&hide(text)) }
}

fn described(status: &str, words: &str) -> String {
    if words.is_empty() { status.to_owned() } else { format!("{status}: {words}") }
}

/// At most [`MESSAGE_BYTES_MAX`], and one line: it is printed as one.
#[must_use]
pub fn shortened(text: &str) -> String {
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().replace(|letter: char| letter.is_control(), " ")
}

#[cfg(test)]
#[path = "classify/tests.rs"]
mod tests;
