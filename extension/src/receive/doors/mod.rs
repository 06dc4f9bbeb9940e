//! The doors: where the function's own OpenTelemetry SDK may send OTLP, over HTTP and over gRPC.
//!
//! Both addresses speak both. A request is read into claimed memory ([`room`]), walked through without decoding, and
//! offered to the core, whose answer is the sender's answer. Nothing here waits without a deadline, and a request that
//! can't be taken is refused at once: its sender still has it.

mod answer;
mod body;
mod connections;
mod grpc;
mod http;
pub(crate) mod refusal;
pub(crate) mod room;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use lambda_flush_proto::otlp::walk;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::core::{Admission, Level, Notice, Signal};
use crate::limits::{
    ACCEPT_PAUSE, DOOR_ANSWER_WAIT, DOOR_BODY_WAIT, DOOR_FAULTS_TOLD_MAX, DOOR_HEADERS_BYTES_MAX,
    DOOR_READ_BYTES, DOOR_STREAMS_MAX, DOOR_WINDOW_BYTES,
};
use crate::output::Output;
use crate::receive::door::DoorInput;

use answer::Answer;
use connections::{Connection, Connections};
use refusal::Refusal;
use room::{Buffer, Room};

/// What all doors share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Door {
    room: Room,
    connections: Connections,
    input: mpsc::Sender<DoorInput>,
    output: Output,
    told: Arc<AtomicU32>,
    body_wait: Duration,
}

/// Binds an address of `LAMBDA_FLUSH_OTLP_HTTP_ADDR` or `LAMBDA_FLUSH_OTLP_GRPC_ADDR`; to be done before `register`,
/// so that the function's first export finds somebody.
///
/// # Errors
/// The address is taken, or is not ours.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
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
        }
    }

    /// Serves a listener for ever.
    pub async fn serve(self, listener: TcpListener) {
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

    /// Offers a request to the core, which takes it or not. Its room is given back with the answer: from then on the
    /// core's own budget has it.
    async fn admit(&self, signal: Signal, request: Buffer) -> Result<(), Refusal> {
        let items = walk::count(to_wire(signal), request.bytes())
            .map_err(|malformed| Refusal::Malformed(malformed.to_string()))?;
        if items == 0 {
            return Ok(());
        }
        let (body, claim) = request.into_parts();
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

fn to_wire(signal: Signal) -> lambda_flush_proto::Signal {
    match signal {
        Signal::Traces => lambda_flush_proto::Signal::Traces,
        Signal::Metrics => lambda_flush_proto::Signal::Metrics,
        Signal::Logs => lambda_flush_proto::Signal::Logs,
    }
}

/// Runs one connection to its end, or until its place is wanted: it is idle then.
async fn serve_connection(
    door: Door,
    stream: TcpStream,
    connection: Connection,
    close: oneshot::Receiver<()>,
) {
    // Answers are small and somebody waits for each.
    let _slower = stream.set_nodelay(true);
    let connection = Arc::new(connection);
    let service = service_fn(move |request| {
        let (door, busy) = (door.clone(), connection.busy());
        async move { Ok::<_, Infallible>(door.answer(request).await.map(|answer| answer.keeping(busy))) }
    });
    let builder = builder();
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // Broken by its client, which knows.
        _ended = served => {}
        _wanted = close => {}
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // No deadline for heads: it would also end idle connections, see `connections`.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(DOOR_READ_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(DOOR_WINDOW_BYTES)
        .initial_connection_window_size(DOOR_WINDOW_BYTES)
        .max_concurrent_streams(DOOR_STREAMS_MAX)
        .max_header_list_size(DOOR_HEADERS_BYTES_MAX)
        .max_send_buf_size(DOOR_READ_BYTES);
    builder
}
