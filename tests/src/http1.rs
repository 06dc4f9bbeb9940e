//! The small HTTP/1.1 server below the sandbox and the backend.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Pause after a failed `accept`, which means that file descriptors ran out.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// An answer whose body is at hand.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Ends the connection without an answer.
#[derive(Debug)]
pub(crate) struct Abort;

impl fmt::Display for Abort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the script closes this connection")
    }
}

impl std::error::Error for Abort {}

/// Lets a handler choose how its connection ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    reset: Arc<AtomicBool>,
}

impl Connection {
    /// Makes the end of the connection a TCP RST instead of a FIN.
    pub(crate) fn reset_on_close(&self) {
        self.reset.store(true, Ordering::Relaxed);
    }
}

/// Closes connections of a server: idle ones at once, others after their answer. New ones are accepted as before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closer(watch::Sender<()>);

impl Closer {
    /// Does it.
    pub(crate) fn close(&self) {
        self.0.send_replace(());
    }
}

/// Accepts connections for ever and hands their requests to `handler`.
pub(crate) async fn serve<H, F>(listener: TcpListener, handler: H) -> Infallible
where
    H: Fn(Request<Incoming>, Connection) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Reply, Abort>> + Send + 'static,
{
    serve_with(listener, None, &Closer::default(), handler).await
}

/// As [`serve`], with TLS if there is an acceptor for it.
pub(crate) async fn serve_with<H, F>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    closer: &Closer,
    handler: H,
) -> Infallible
where
    H: Fn(Request<Incoming>, Connection) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Reply, Abort>> + Send + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        stream.set_nodelay(true).ok();
        let handler = handler.clone();
        let tls = tls.clone();
        let closing = closer.0.subscribe();
        tokio::spawn(async move {
            let connection = Connection::default();
            let stream = Stream { stream, reset: Arc::clone(&connection.reset) };
            let service = service_fn(move |request| handler(request, connection.clone()));
            match tls {
                None => attend(stream, service, closing).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        attend(stream, service, closing).await;
                    }
                }
            }
        });
    }
}

/// Serves one connection to its end. An error is the peer's or the script's doing; the trace and the records tell
/// what happened.
async fn attend<S>(stream: impl AsyncRead + AsyncWrite + Unpin, service: S, mut closing: watch::Receiver<()>)
where
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Abort>,
{
    let mut connection =
        pin!(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    loop {
        tokio::select! {
            _ended = connection.as_mut() => return,
            Ok(()) = closing.changed() => connection.as_mut().graceful_shutdown(),
        }
    }
}

/// Reads a body whole; `None` if it broke off or is longer than `bytes_max`.
pub(crate) async fn read_body(body: Incoming, bytes_max: usize) -> Option<Bytes> {
    Limited::new(body, bytes_max).collect().await.ok().map(http_body_util::Collected::to_bytes)
}

/// An answer with a body of the given type.
pub(crate) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Adds a header; a value that HTTP does not allow is left out.
pub(crate) fn set_header(reply: &mut Reply, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
        reply.headers_mut().insert(name, value);
    }
}

/// A TCP stream that can be told to end with a reset.
struct Stream {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            self.stream.set_zero_linger().ok();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            // A FIN first would turn the reset into an ordinary end of stream for the peer.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
