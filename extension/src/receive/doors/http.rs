//! OTLP/HTTP (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>): one request in, one answer out.

use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use hyper::body::{Body, Incoming};
use prost::Message;
use serde_json::json;

use super::Door;
use super::answer::Answer;
use super::body::{self, Encoding};
use super::refusal::Refusal;
use super::room::Buffer;
use super::work::Effort;
use crate::core::Signal;
use crate::limits::{DOOR_INLINE_JSON_BYTES, DOOR_REQUEST_BYTES};

/// How a request and its answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

impl Format {
    fn of(headers: &HeaderMap) -> Option<Self> {
        match media_type(headers)?.to_ascii_lowercase().as_str() {
            "application/x-protobuf" | "application/protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }
}

/// The content type without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim())
}

/// Answers one request.
pub(crate) async fn answer(door: &Door, request: Request<Incoming>) -> Response<Answer> {
    let format = Format::of(request.headers());
    match take(door, request, format).await {
        // Without fields both of them: everything was accepted.
        Ok(()) if format == Some(Format::Json) => response(Format::Json, Answer::data("{}")),
        Ok(()) => response(Format::Protobuf, Answer::default()),
        Err(refusal) => {
            door.tell(&refusal);
            refused(format, &refusal)
        }
    }
}

async fn take(door: &Door, request: Request<Incoming>, format: Option<Format>) -> Result<(), Refusal> {
    let mut effort = door.work.effort();
    let taken = read(door, request, format, &mut effort).await;
    effort.judge(taken)
}

async fn read(
    door: &Door,
    request: Request<Incoming>,
    format: Option<Format>,
    effort: &mut Effort,
) -> Result<(), Refusal> {
    let (head, body) = request.into_parts();
    let checked = signal(head.uri.path()).ok_or(Refusal::Path).and_then(|signal| {
        if head.method != Method::POST {
            return Err(Refusal::Method);
        }
        Refusal::of_sender(&head.headers)?;
        let format = format.ok_or(Refusal::MediaType)?;
        let (encoding, bytes) = (encoding(&head.headers)?, body.size_hint().lower());
        let is_plain = encoding == Encoding::Identity;
        match format {
            // It becomes smaller, who knows by how much.
            Format::Json => door.expects(1, !is_plain || bytes > DOOR_INLINE_JSON_BYTES as u64)?,
            Format::Protobuf => door.expects(if is_plain { bytes } else { 1 }, !is_plain)?,
        }
        Ok((signal, format, encoding))
    });
    let (signal, format, encoding) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return body::refused(body, refusal, door.body_wait).await,
    };
    let buffer = door.room.claim(DOOR_REQUEST_BYTES).map(Buffer::new).and_then(|mut buffer| {
        if encoding == Encoding::Identity {
            buffer.reserve(body::announced(&body))?;
        }
        Ok(encoding.decoder(buffer))
    });
    let buffer = match buffer {
        Ok(decoder) => body::read(body, decoder, door.body_wait, effort).await?,
        Err(refusal) => return body::refused(body, refusal, door.body_wait).await,
    };
    door.admit(signal, buffer, format == Format::Json, effort).await
}

fn signal(path: &str) -> Option<Signal> {
    match path {
        "/v1/traces" => Some(Signal::Traces),
        "/v1/metrics" => Some(Signal::Metrics),
        "/v1/logs" => Some(Signal::Logs),
        _ => None,
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let mut all = headers.get_all(CONTENT_ENCODING).iter();
    let first = all.next().map_or(&b""[..], HeaderValue::as_bytes);
    if all.next().is_some() {
        return Err(Refusal::Encoding);
    }
    Encoding::named(first)
}

fn response(format: Format, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, format.content_type());
    response
}

/// An error's body is a `google.rpc.Status` in the request's format; JSON, which people can read, if that is none.
fn refused(format: Option<Format>, refusal: &Refusal) -> Response<Answer> {
    let format = format.unwrap_or(Format::Json);
    let body = match format {
        Format::Protobuf => refusal.rpc_status().encode_to_vec(),
        Format::Json => {
            json!({"code": refusal.code(), "message": refusal.message()}).to_string().into_bytes()
        }
    };
    let mut response = response(format, Answer::data(body));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    match refusal {
        Refusal::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("POST"))),
        Refusal::Encoding => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, identity"));
        }
        _ => {}
    }
    if let Some(seconds) = refusal.retry_after_secs() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}
