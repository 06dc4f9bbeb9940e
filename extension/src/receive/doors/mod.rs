//! The doors: where the function's own OpenTelemetry SDK may send OTLP, over HTTP and over gRPC.
//!
//! Both addresses speak both. A request is read into claimed memory (`room`), walked through without decoding, and
//! offered to the core, whose answer is the sender's answer. Nothing here waits without a deadline, and a request that
//! can't be taken is refused at once: its sender still has it.

pub(crate) mod answer;
mod body;
mod connections;
mod grpc;
mod http;
pub(crate) mod refusal;
pub(crate) mod room;
#[cfg(test)]
mod tests;
mod work;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioExecutor;
use lambda_flush_proto::otlp::walk;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::core::{Admission, Level, Notice, Signal};
use crate::limits::{
    ACCEPT_PAUSE, DOOR_ANSWER_WAIT, DOOR_BODY_WAIT, DOOR_FAULTS_TOLD_MAX, DOOR_HEADERS_BYTES_MAX,
    DOOR_INLINE_BYTES, DOOR_INLINE_JSON_BYTES, DOOR_READ_BYTES, DOOR_RETRY_AFTER, DOOR_SIGN_BYTES_MAX,
    DOOR_STREAMS_MAX, DOOR_WINDOW_BYTES,
};
use crate::output::Output;
use crate::receive::door::{DoorInput, Sign};
use crate::receive::json;
use crate::receive::serve::{self, Handler};

use answer::Answer;
use connections::{Connection, Connections};
use refusal::Refusal;
use room::{Buffer, Claim, Room};
use work::{Effort, Work};

/// What all doors share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Door {
    room: Room,
    connections: Connections,
    input: mpsc::Sender<DoorInput>,
    output: Output,
    told: Arc<AtomicU32>,
    body_wait: Duration,
    sign: Sign,
    work: Work,
}

impl Door {
    /// Requests go to `input`; the first few that are refused as bad are told on `output`.
    #[must_use]
    pub fn new(input: mpsc::Sender<DoorInput>, output: Output) -> Self {
        Self {
            room: Room::default(),
            connections: Connections::default(),
            input,
            output,
            told: Arc::default(),
            body_wait: DOOR_BODY_WAIT,
            sign: Sign::default(),
            work: Work::default(),
        }
    }

    /// Where the driver shows what can be taken.
    #[must_use]
    pub fn sign(&self) -> Sign {
        self.sign.clone()
    }

    /// Serves a listener until nothing is taken any more.
    pub async fn serve(self, listener: TcpListener) {
        tokio::select! {
            () = self.accept(&listener) => {}
            () = self.sign.closed() => {}
        }
    }

    async fn accept(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (connection, close) = self.connections.enter().await;
                    tokio::spawn(serve_connection(self.clone(), stream, connection, close));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        if grpc::is_grpc(request.headers()) {
            grpc::answer(self, request).await
        } else {
            http::answer(self, request).await
        }
    }

    /// Refuses a request before anything is done for it: one of at least `bytes` can't be taken at the moment, or
    /// none, or none that makes `work`.
    fn expects(&self, bytes: u64, work: bool) -> Result<(), Refusal> {
        let Some(room) = self.sign.room_bytes() else { return Err(Refusal::Ending) };
        // Nothing in it needs no room, and is not known to be nothing yet.
        let full = room < bytes.min(DOOR_SIGN_BYTES_MAX);
        if full || (work && self.work.paused()) {
            return Err(Refusal::Busy { retry_after: DOOR_RETRY_AFTER });
        }
        Ok(())
    }

    /// Offers a request to the core, which takes it or not. Its room is given back with the answer: from then on the
    /// core's own budget has it.
    async fn admit(
        &self,
        signal: Signal,
        request: Buffer,
        is_json: bool,
        effort: &mut Effort,
    ) -> Result<(), Refusal> {
        let inline = if is_json { DOOR_INLINE_JSON_BYTES } else { DOOR_INLINE_BYTES };
        let prepared = match request.len() <= inline {
            true => prepared(signal, request, is_json)?,
            false => effort.beside(move || prepared(signal, request, is_json)).await??,
        };
        let Prepared { items, body, claim } = prepared;
        if body.is_empty() {
            return Ok(());
        }
        let (answer, admission) = oneshot::channel();
        let input = DoorInput { signal, items, body: Bytes::from(body), answer };
        let admitted = async {
            self.input.send(input).await.map_err(|_| Refusal::Ending)?;
            admission.await.map_err(|_| Refusal::Ending)
        };
        let admission = tokio::time::timeout(DOOR_ANSWER_WAIT, admitted).await;
        drop(claim);
        match admission.map_err(|_| Refusal::Ending)?? {
            Admission::Accepted => Ok(()),
            Admission::Refused { retry_after } => Err(Refusal::Busy { retry_after }),
            Admission::TooLarge => Err(Refusal::TooLarge),
        }
    }

    /// Exporters hide what they are told, so what somebody has to change is said here too.
    fn tell(&self, refusal: &Refusal) {
        let theirs = !matches!(refusal, Refusal::Busy { .. } | Refusal::Ending | Refusal::Slow);
        if theirs && self.told.fetch_add(1, Ordering::Relaxed) < DOOR_FAULTS_TOLD_MAX {
            let message = format!("an OTLP request was refused: {}", refusal.message());
            self.output.notice(&Notice { level: Level::Warn, message });
        }
    }
}

/// A request as the core takes it.
struct Prepared {
    items: u64,
    body: Vec<u8>,
    claim: Claim,
}

/// Writes it in protobuf, walks through it, and gives back memory it does not need.
fn prepared(signal: Signal, mut request: Buffer, is_json: bool) -> Result<Prepared, Refusal> {
    if is_json {
        request = json::to_protobuf(signal, &mut request)?;
    }
    let items = walk::count(to_wire(signal), request.bytes())
        .map_err(|malformed| Refusal::Malformed(malformed.to_string()))?;
    let (body, claim) = request.into_parts();
    Ok(Prepared { items, body, claim })
}

fn to_wire(signal: Signal) -> lambda_flush_proto::Signal {
    match signal {
        Signal::Traces => lambda_flush_proto::Signal::Traces,
        Signal::Metrics => lambda_flush_proto::Signal::Metrics,
        Signal::Logs => lambda_flush_proto::Signal::Logs,
    }
}

/// Runs one connection to its end, or until its place is wanted (it is idle then, or does not take its answer), or
/// nothing is taken any more.
async fn serve_connection(
    door: Door,
    stream: TcpStream,
    connection: Connection,
    close: oneshot::Receiver<()>,
) {
    // Answers are small and somebody waits for each.
    let _slower = stream.set_nodelay(true);
    let connection = Arc::new(connection);
    let sign = door.sign.clone();
    let handler = Handler::new(move |request| {
        let (door, busy) = (door.clone(), connection.busy());
        async move { door.answer(request).await.map(|answer| answer.keeping(busy)) }
    });
    let served = serve_either(stream, handler);
    tokio::select! {
        biased;
        // First of all: a request that comes at the same moment must not be begun.
        _wanted = close => {}
        // Broken by its client, which knows.
        _ended = served => {}
        // Last: what was answered is written before.
        () = sign.closed() => {}
    }
}

/// In the version that the client speaks.
async fn serve_either(stream: TcpStream, handler: Handler) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (speaks_http2, stream) = serve::speaks_http2(stream).await?;
    if speaks_http2 {
        let mut settings = http2::Builder::new(TokioExecutor::new());
        settings
            .initial_stream_window_size(DOOR_WINDOW_BYTES)
            .initial_connection_window_size(DOOR_WINDOW_BYTES)
            .max_concurrent_streams(DOOR_STREAMS_MAX)
            .max_header_list_size(DOOR_HEADERS_BYTES_MAX)
            .max_send_buf_size(DOOR_READ_BYTES);
        serve::http2(&settings, stream, handler).await?;
    } else {
        let mut settings = http1::Builder::new();
        // No deadline for heads: it would also end idle connections, see `connections`.
        settings.header_read_timeout(None).max_buf_size(DOOR_READ_BYTES);
        serve::http1(&settings, stream, handler).await?;
    }
    Ok(())
}
