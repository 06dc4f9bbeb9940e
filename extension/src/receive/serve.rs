//! HTTP on connections that come in. All have one kind of handler, of body and of stream, the exporter's own: so that
//! HTTP is compiled once for them, and its lower half once for both directions.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;

use bytes::BytesMut;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::doors::answer::Answer;
use crate::export::Transport;

/// How a connection of HTTP/2 begins (RFC 9113, 3.4), as far as no request of HTTP/1.1 does: `PRI` is reserved.
const HTTP2_BEGIN: &[u8] = b"PRI ";

type Responding = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

/// Makes a response of each request of a connection.
pub(crate) struct Handler(Box<dyn Fn(Request<Incoming>) -> Responding + Send>);

impl Handler {
    /// `respond` never fails: a refusal is a response.
    pub(crate) fn new<F>(respond: impl Fn(Request<Incoming>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Response<Answer>> + Send + 'static,
    {
        Self(Box::new(move |request| {
            let response = respond(request);
            Box::pin(async move { Ok(response.await) })
        }))
    }
}

impl Service<Request<Incoming>> for Handler {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Responding;

    fn call(&self, request: Request<Incoming>) -> Responding {
        (self.0)(request)
    }
}

/// Serves HTTP/1.1 to the connection's end.
pub(crate) async fn http1(
    settings: &http1::Builder,
    stream: Transport,
    handler: Handler,
) -> hyper::Result<()> {
    settings.serve_connection(TokioIo::new(stream), handler).await
}

/// Serves HTTP/2 to the connection's end.
pub(crate) async fn http2(
    settings: &http2::Builder<TokioExecutor>,
    stream: Transport,
    handler: Handler,
) -> hyper::Result<()> {
    settings.serve_connection(TokioIo::new(stream), handler).await
}

/// Waits until it is known whether the client speaks HTTP/2; what was read for that is read again.
pub(crate) async fn speaks_http2(mut stream: TcpStream) -> io::Result<(bool, Transport)> {
    let mut read = BytesMut::with_capacity(HTTP2_BEGIN.len());
    while read.len() < HTTP2_BEGIN.len() && HTTP2_BEGIN.starts_with(&read) {
        if stream.read_buf(&mut read).await? == 0 {
            break;
        }
    }
    let http2 = read.starts_with(HTTP2_BEGIN);
    Ok((http2, Transport::Begun(stream, read.freeze())))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What is made of what comes in these pieces, and all that can be read of it.
    async fn seen(pieces: &[&[u8]]) -> (bool, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let server = tokio::spawn(async move {
            let (http2, mut stream) = speaks_http2(stream).await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            (http2, all)
        });
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            // The reader gets it alone.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        drop(client);
        server.await.unwrap()
    }

    #[tokio::test]
    async fn what_is_looked_at_is_not_lost_and_pieces_do_not_matter() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let bytes: Vec<&[u8]> = preface.chunks(1).collect();
        for pieces in [&[&preface[..]][..], &bytes] {
            assert_eq!(seen(pieces).await, (true, preface.to_vec()));
        }
        for request in ["POST / HTTP/1.1\r\n\r\n", "PROPFIND / HTTP/1.1\r\n\r\n", "PRIX / HTTP/1.1", "PR", ""]
        {
            let bytes: Vec<&[u8]> = request.as_bytes().chunks(1).collect();
            for pieces in [&[request.as_bytes()][..], &bytes] {
                assert_eq!(seen(pieces).await, (false, request.as_bytes().to_vec()), "{request:?}");
            }
        }
    }
}
