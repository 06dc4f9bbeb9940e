//! Where the platform delivers its telemetry: a delivery is answered 200 once its body has been read.
//!
//! What is no delivery is refused: an exporter that took this for its backend must not be told that it succeeded. To a
//! delivery another answer would make the platform keep the same bytes and send them again, which would not make them better;
//! so bodies that are no array and records that can't be read are counted and confirmed. Each connection carries one
//! request: a kept one would be stale after a freeze. Of a body only the record at hand is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::records::{self, Schema};
use super::splitter::Splitter;
use crate::core::{Level, Notice, Platform};
use crate::export::Transport;
use crate::limits::{
    ACCEPT_PAUSE, TELEMETRY_BODY_BYTES_MAX, TELEMETRY_CONNECTION_MAX, TELEMETRY_CONNECTIONS_MAX,
    TELEMETRY_QUEUE_WAIT, TELEMETRY_READ_BYTES,
};
use crate::output::Output;
use crate::receive::doors::answer::Answer;
use crate::receive::serve::{self, Handler};

/// Where what is read goes. Clones share it.
#[derive(Debug, Clone)]
pub struct Sink(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    events: mpsc::Sender<Platform>,
    schema: Schema,
    output: Output,
    malformed: AtomicU64,
    dropped: AtomicU64,
}

impl Sink {
    /// The driver listens at the other end of `events`.
    #[must_use]
    pub fn new(events: mpsc::Sender<Platform>, schema: Schema, output: Output) -> Self {
        let (malformed, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { events, schema, output, malformed, dropped }))
    }

    /// Bodies and records that could not be read.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.0.malformed.load(Ordering::Relaxed)
    }

    /// Events that the driver had no room for in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn fault(&self, faults: u64) {
        if faults > 0 && self.0.malformed.fetch_add(faults, Ordering::Relaxed) == 0 {
            self.tell("telemetry that can't be read came to LAMBDA_FLUSH_TELEMETRY_ADDR and was passed over");
        }
    }

    /// Waits a little for room, for a batch may have more events than the queue has places. Returns whether it is
    /// worth to wait again.
    async fn send(&self, event: Platform, patient: bool) -> bool {
        let event = match self.0.events.try_send(event) {
            Ok(()) => return patient,
            Err(TrySendError::Full(event)) if patient => event,
            Err(_) => return self.lost(),
        };
        match timeout(TELEMETRY_QUEUE_WAIT, self.0.events.send(event)).await {
            Ok(Ok(())) => true,
            _ => self.lost(),
        }
    }

    fn lost(&self) -> bool {
        if self.0.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            self.tell(
                "the platform's telemetry came faster than the extension could take it; some was dropped",
            );
        }
        false
    }

    /// At most once for each cause.
    fn tell(&self, message: &str) {
        self.0.output.notice(&Notice { level: Level::Info, message: message.to_owned() });
    }
}

/// Accepts for ever. Connections beyond the limit wait in the backlog; each ends in time, whatever the peer does.
pub async fn serve(listener: TcpListener, sink: Sink) {
    let places = Arc::new(Semaphore::new(TELEMETRY_CONNECTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let sink = sink.clone();
                tokio::spawn(async move {
                    // Late or torn: the platform sends again what was not confirmed.
                    let _end = timeout(TELEMETRY_CONNECTION_MAX, connection(stream, sink)).await;
                    drop(place);
                });
            }
            // Out of file descriptors, most likely. Whoever holds them has to let go first.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, sink: Sink) -> hyper::Result<()> {
    let handler = Handler::new(move |request| {
        let sink = sink.clone();
        async move {
            let status = status(&request);
            if status == StatusCode::OK {
                take(request, &sink).await;
            } else {
                pass_over(request).await;
            }
            let mut response = Response::new(Answer::default());
            *response.status_mut() = status;
            response
        }
    });
    let mut settings = http1::Builder::new();
    settings.keep_alive(false).max_buf_size(TELEMETRY_READ_BYTES);
    serve::http1(&settings, Transport::Clear(stream), handler).await
}

/// The platform's deliveries are `POST /` with `application/json`; one without a content type may be one.
fn status<B>(request: &Request<B>) -> StatusCode {
    let json = |value: &http::HeaderValue| {
        let media = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        media.trim_ascii().eq_ignore_ascii_case(b"application/json")
    };
    if request.uri().path() != "/" {
        StatusCode::NOT_FOUND
    } else if request.method() != Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if request.headers().get(CONTENT_TYPE).is_none_or(json) {
        StatusCode::OK
    } else {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    }
}

/// An unread body would turn the answer into a reset.
async fn pass_over(request: Request<Incoming>) {
    let (mut body, mut left) = (request.into_body(), TELEMETRY_BODY_BYTES_MAX);
    while let Some(Ok(frame)) = body.frame().await
        && left > 0
    {
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}

/// Reads one body to its end, to its limit or to where it tears.
async fn take(request: Request<Incoming>, sink: &Sink) {
    let (mut body, mut splitter) = (request.into_body(), Splitter::default());
    let (mut left, mut patient) = (TELEMETRY_BODY_BYTES_MAX, true);
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(chunk) = frame.into_data() else { continue };
        let mut events = Vec::new();
        splitter.feed(chunk.get(..left).unwrap_or(&chunk), |record| {
            match records::read(record, sink.0.schema) {
                Ok(event) => events.extend(event),
                Err(records::Malformed) => sink.fault(1),
            }
        });
        for event in events {
            patient = sink.send(event, patient).await;
        }
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            break;
        }
    }
    sink.fault(splitter.finish());
}
