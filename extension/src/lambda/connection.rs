//! A connection of our own to the platform's HTTP API, for the calls that `lambda-extension` does not make.

use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::export::Transport;

/// Sends requests.
pub(super) type Sender = http1::SendRequest<Full<Bytes>>;
/// Has to be polled for as long as an answer is awaited. Of the same types as the exporter's: compiled once.
pub(super) type Connection = http1::Connection<TokioIo<Transport>, Full<Bytes>>;

/// Straight to the platform: a proxy has no part in this.
///
/// # Errors
/// Nobody listens there.
pub(super) async fn connect(runtime_api: &str) -> io::Result<(Sender, Connection)> {
    let stream = TcpStream::connect(runtime_api).await?;
    stream.set_nodelay(true)?;
    http1::handshake(TokioIo::new(Transport::Clear(stream))).await.map_err(io::Error::other)
}
