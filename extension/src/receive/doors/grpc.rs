//! OTLP/gRPC without a gRPC library: one framed message in, one out, the status in trailers
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;

use super::Door;
use super::answer::Answer;
use super::body::{self, Decoder, Encoding, Sink};
use super::http::media_type;
use super::refusal::Refusal;
use super::room::{Buffer, Room};
use crate::core::Signal;
use crate::limits::{DOOR_BODY_BYTES_MAX, DOOR_REQUEST_BYTES};

/// A message's prefix: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// An empty export response: everything was accepted.
const EMPTY_MESSAGE: [u8; PREFIX_BYTES] = [0; PREFIX_BYTES];
/// What `grpc-message` has to escape.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether a request is meant for gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|media| {
        media.get(..16).is_some_and(|start| start.eq_ignore_ascii_case("application/grpc"))
    })
}

/// Answers one request.
pub(crate) async fn answer(door: &Door, request: Request<Incoming>) -> Response<Answer> {
    match take(door, request).await {
        Ok(()) => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            response(Answer::with_trailers(&EMPTY_MESSAGE[..], trailers))
        }
        Err(refusal) => {
            door.tell(&refusal);
            refused(&refusal)
        }
    }
}

async fn take(door: &Door, request: Request<Incoming>) -> Result<(), Refusal> {
    let (head, body) = request.into_parts();
    let checked = checked(&head).and_then(|signal| {
        let encoding = encoding(&head.headers)?;
        door.expects(1, encoding != Encoding::Identity)?;
        Ok((signal, encoding))
    });
    let (signal, encoding) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return body::refused(body, refusal, door.body_wait).await,
    };
    let mut effort = door.work.effort();
    let framed = Framed::new(encoding, &door.room);
    let taken = match body::read(body, framed, door.body_wait, &mut effort).await {
        Ok(buffer) => door.admit(signal, buffer, false, &mut effort).await,
        Err(refusal) => Err(refusal),
    };
    effort.judge(taken)
}

fn checked(head: &http::request::Parts) -> Result<Signal, Refusal> {
    if head.version != Version::HTTP_2 {
        return Err(Refusal::HttpVersion);
    }
    let signal = signal(head.uri.path()).ok_or(Refusal::Path)?;
    if head.method != Method::POST {
        return Err(Refusal::Method);
    }
    Refusal::of_sender(&head.headers)?;
    match media_type(&head.headers).unwrap_or_default().get(16..) {
        Some("" | "+proto") => Ok(signal),
        _ => Err(Refusal::MediaType),
    }
}

fn signal(path: &str) -> Option<Signal> {
    match path.strip_prefix("/opentelemetry.proto.collector.")? {
        "trace.v1.TraceService/Export" => Some(Signal::Traces),
        "metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        "logs.v1.LogsService/Export" => Some(Signal::Logs),
        _ => None,
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    Encoding::named(headers.get("grpc-encoding").map_or(&b""[..], HeaderValue::as_bytes))
}

/// Takes the prefix off and gives the message to its decoder.
struct Framed {
    encoding: Encoding,
    room: Room,
    prefix: Vec<u8>,
    message: Option<(Decoder, usize)>,
}

impl Framed {
    fn new(encoding: Encoding, room: &Room) -> Self {
        Self { encoding, room: room.clone(), prefix: Vec::with_capacity(PREFIX_BYTES), message: None }
    }

    fn begin(&self) -> Result<(Decoder, usize), Refusal> {
        let [flag, length @ ..] = self.prefix.as_slice() else { return Err(framing()) };
        let length = u32::from_be_bytes(length.try_into().map_err(|_| framing())?);
        let length = usize::try_from(length).map_err(|_| Refusal::TooLarge)?;
        if length > DOOR_BODY_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let encoding = match (flag, self.encoding) {
            (0, _) => Encoding::Identity,
            (1, Encoding::Gzip) => Encoding::Gzip,
            (1, Encoding::Identity) => return Err(Refusal::Flag),
            _ => return Err(framing()),
        };
        let buffer = Buffer::new(self.room.claim(DOOR_REQUEST_BYTES)?);
        Ok((encoding.decoder(buffer), length))
    }
}

fn framing() -> Refusal {
    Refusal::Malformed("the body is not one gRPC message".to_owned())
}

impl Sink for Framed {
    fn step(&self) -> Option<usize> {
        self.message.as_ref().map_or(Some(PREFIX_BYTES), |(decoder, _)| decoder.step())
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        let (head, piece) = piece.split_at(piece.len().min(PREFIX_BYTES - self.prefix.len()));
        self.prefix.extend_from_slice(head);
        if self.prefix.len() == PREFIX_BYTES && self.message.is_none() {
            self.message = Some(self.begin()?);
        }
        match &mut self.message {
            Some((decoder, left)) => {
                *left = left.checked_sub(piece.len()).ok_or_else(framing)?;
                decoder.take(piece)
            }
            None => Ok(()),
        }
    }

    fn finish(self) -> Result<Buffer, Refusal> {
        match self.message {
            Some((decoder, 0)) => decoder.finish(),
            _ => Err(framing()),
        }
    }
}

fn response(body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// An answer of trailers only, which travel as headers then.
fn refused(refusal: &Refusal) -> Response<Answer> {
    let mut response = response(Answer::default());
    if matches!(refusal, Refusal::HttpVersion | Refusal::MediaType) {
        *response.status_mut() = refusal.status();
    }
    let headers = response.headers_mut();
    headers.insert("grpc-status", refusal.code().into());
    let message = refusal.message();
    let message = utf8_percent_encode(&message, ESCAPED).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert("grpc-message", message);
    }
    let details = STANDARD_NO_PAD.encode(refusal.rpc_status().encode_to_vec());
    if let Ok(details) = HeaderValue::try_from(details) {
        headers.insert("grpc-status-details-bin", details);
    }
    if *refusal == Refusal::Encoding {
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("gzip,identity"));
    }
    response
}
