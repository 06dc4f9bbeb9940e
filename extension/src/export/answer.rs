//! A backend's answer as it comes in, over HTTP and over gRPC.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use lambda_flush_proto::otlp::classify::{self, Answer, Hide};
use percent_encoding::percent_decode_str;

use super::failure::Failure;
use crate::config::Protocol;
use crate::core::{Outcome, Wall};
use crate::limits::RESPONSE_BYTES_MAX;

/// One byte says whether it is compressed, four how long it is.
pub(super) const GRPC_PREFIX_BYTES: usize = 5;
const GRPC_UNAUTHENTICATED: u32 = 16;
const GRPC_PERMISSION_DENIED: u32 = 7;

/// What came of a request that was answered.
pub(super) struct Answered {
    pub(super) outcome: Outcome,
    /// The credentials are not accepted.
    pub(super) denied: bool,
    /// The answer was read to its end: the connection is as good as before.
    pub(super) clean: bool,
}

/// Reads the answer. The status stands, also when the backend's words break off.
/// They may repeat what was sent, which `hide` takes out.
pub(super) async fn read(
    response: Response<Incoming>,
    protocol: Protocol,
    now: Wall,
    hide: Hide<'_>,
) -> Answered {
    let (parts, body) = response.into_parts();
    let (body, trailers, end) = collect(body, protocol).await;
    let clean = matches!(end, End::Whole);
    let answer = match protocol {
        Protocol::Grpc if parts.status.is_success() => {
            of_grpc(&parts.headers, trailers.as_ref(), &body, hide)
        }
        _ => match end {
            End::Broken(failure) if parts.status.is_success() => Err(failure),
            _ => Ok((of_http(&parts, &body, now, hide), matches!(parts.status.as_u16(), 401 | 403))),
        },
    };
    match answer {
        Ok((answer, denied)) => Answered { outcome: outcome(answer), denied, clean },
        Err(failure) => Answered { outcome: failure.outcome(true), denied: false, clean: false },
    }
}

enum End {
    Whole,
    /// The rest was not read.
    TooLong,
    Broken(Failure),
}

/// At most [`RESPONSE_BYTES_MAX`]. Over gRPC the rest is passed over, for the status comes after it.
async fn collect(mut body: Incoming, protocol: Protocol) -> (Bytes, Option<HeaderMap>, End) {
    let (mut out, mut trailers) = (BytesMut::new(), None);
    let end = loop {
        let frame = match body.frame().await {
            None => break End::Whole,
            Some(Err(error)) => break End::Broken(Failure::of(&error)),
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) => {
                let room = RESPONSE_BYTES_MAX - out.len();
                out.extend_from_slice(data.get(..room).unwrap_or(&data));
                if out.len() == RESPONSE_BYTES_MAX && protocol != Protocol::Grpc {
                    break End::TooLong;
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok().or(trailers),
        }
    };
    (out.freeze(), trailers, end)
}

fn of_http(parts: &Parts, body: &[u8], now: Wall, hide: Hide<'_>) -> Answer {
    let retry_after = text(&parts.headers, header::RETRY_AFTER.as_str());
    classify::http(parts.status.as_u16(), retry_after, body, now, hide)
}

/// The status stands in the trailers, or in the head when there is nothing else.
fn of_grpc(
    headers: &HeaderMap,
    trailers: Option<&HeaderMap>,
    body: &[u8],
    hide: Hide<'_>,
) -> Result<(Answer, bool), Failure> {
    let said = [trailers, Some(headers)].into_iter().flatten().find(|map| map.contains_key("grpc-status"));
    let Some(said) = said else {
        return Err(Failure::Later("the answer has no grpc-status".to_owned()));
    };
    let code = text(said, "grpc-status").and_then(|text| text.trim().parse::<u32>().ok());
    let code = code.ok_or_else(|| Failure::Later("the answer's grpc-status is no number".to_owned()))?;
    let message = text(said, "grpc-message").map(|text| percent_decode_str(text).decode_utf8_lossy());
    let details = text(said, "grpc-status-details-bin").map(|text| {
        let text = text.trim_end_matches('=');
        STANDARD_NO_PAD.decode(text).or_else(|_| STANDARD.decode(text)).unwrap_or_default()
    });
    // Compressed although we did not offer it: no words then.
    let message_bytes = match body.split_first() {
        Some((0, _)) => body.get(GRPC_PREFIX_BYTES..).unwrap_or_default(),
        _ => &[],
    };
    let answer =
        classify::grpc(code, &message.unwrap_or_default(), &details.unwrap_or_default(), message_bytes, hide);
    Ok((answer, matches!(code, GRPC_UNAUTHENTICATED | GRPC_PERMISSION_DENIED)))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn outcome(answer: Answer) -> Outcome {
    match answer {
        Answer::Accepted { rejected: 0, .. } => Outcome::Exported,
        Answer::Accepted { rejected, message } => Outcome::Partial { rejected, message },
        Answer::Retry { after, maybe_sent, message } => Outcome::Retry { after, maybe_sent, message },
        Answer::Rejected { message } => Outcome::Rejected { message },
        Answer::Refused { message } => Outcome::Refused { message },
    }
}
