//! The platform's HTTP client, with one kept connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// To one listener. `sandbox.localdomain` is this machine's loopback.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    path: String,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn new(port: u16, path: &str) -> Self {
        Self { address: (Ipv4Addr::LOCALHOST, port).into(), path: path.to_owned(), connection: None }
    }

    /// Posts a body and reads the answer's status, without a limit of its own. After an error, or if it is dropped,
    /// the next one goes over a new connection.
    pub(super) async fn post(&mut self, body: Bytes) -> io::Result<u16> {
        let kept = self.connection.take().filter(|connection| !connection.is_closed());
        let mut connection = match kept {
            Some(connection) => connection,
            None => connect(self.address).await?,
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(HOST, format!("sandbox.localdomain:{}", self.address.port()))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        connection.ready().await.map_err(io::Error::other)?;
        let mut answer = connection.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        while let Some(frame) = answer.frame().await {
            frame.map_err(io::Error::other)?;
        }
        self.connection = Some(connection);
        Ok(status)
    }
}

async fn connect(address: SocketAddr) -> io::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Its error is the request's too.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}
