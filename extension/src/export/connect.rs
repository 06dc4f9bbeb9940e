//! A connection to a backend: name, TCP, proxy, TLS, HTTP.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use lambda_flush_proto::otlp::secrets::Secrets;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::failure::Failure;
use super::kept::Life;
use super::resolve::resolve;
use super::tls::Tls;
use super::transport::Transport;
use super::{Body, H1, H2};
use crate::config::{Destination, Protocol, Proxies, Proxy, TlsFiles};
use crate::limits::{NEXT_ADDRESS_AFTER, PROXY_ANSWER_BYTES_MAX};

/// What connections are told apart by.
#[derive(Debug)]
pub(super) struct Target {
    https: bool,
    host: String,
    port: u16,
    protocol: Protocol,
    proxy: Option<Proxy>,
    tls: Tls,
    files: Arc<TlsFiles>,
    name_server: Option<SocketAddr>,
}

/// One that is ready for a request.
pub(super) enum Connection {
    H1(H1),
    H2(H2),
}

impl Target {
    pub(super) fn new(destination: &Destination, proxies: &Proxies, name_server: Option<SocketAddr>) -> Self {
        let Destination { url, protocol, tls: files, .. } = destination;
        let https = url.scheme_str() == Some("https");
        Self {
            https,
            host: url.host().unwrap_or_default().to_owned(),
            port: url.port_u16().unwrap_or(if https { 443 } else { 80 }),
            protocol: *protocol,
            proxy: proxies.of(url),
            tls: Tls::new(Arc::clone(files), *protocol),
            files: Arc::clone(files),
            name_server,
        }
    }

    /// Whether a connection for one is as good for the other.
    pub(super) fn same(&self, other: &Self) -> bool {
        let of = |target: &Self| (target.https, target.port, target.protocol);
        of(self) == of(other) && self.host == other.host && Arc::ptr_eq(&self.files, &other.files)
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The proxy that is sent whole requests instead of being asked for a tunnel.
    pub(super) fn forwarding_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.tunnels())
    }

    /// What an answer must not repeat in a log: the values of these headers, and a proxy's credentials.
    pub(super) fn secrets(&self, headers: &HeaderMap) -> Secrets {
        let authorization = self.proxy.as_ref().and_then(|proxy| proxy.authorization.as_ref());
        let sent = headers.values().chain(authorization);
        let sent: Vec<_> = sent.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        Secrets::of(sent.iter().map(AsRef::as_ref))
    }

    fn tunnels(&self) -> bool {
        self.https || self.protocol == Protocol::Grpc
    }

    /// The caller sets the deadline.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let mut stream = match &self.proxy {
            None => self.dial(&self.host, self.port).await?,
            Some(proxy) => {
                let (host, port) = (proxy.url.host().unwrap_or_default(), proxy.url.port_u16().unwrap_or(80));
                let stream = self.dial(host, port).await;
                stream.map_err(|failure| through(&proxy.url, failure))?
            }
        };
        if let Some(proxy) = self.proxy.as_ref().filter(|_| self.tunnels()) {
            self.tunnel(&mut stream, proxy).await.map_err(|failure| through(&proxy.url, failure))?;
        }
        if self.https {
            let stream = self.tls.connect(&self.host, stream).await?;
            self.handshake(Transport::Tls(Box::new(stream))).await
        } else {
            self.handshake(Transport::Clear(stream)).await
        }
    }

    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let addresses = resolve(host, self.name_server)
            .await
            .map_err(|error| Failure::Later(format!("the name {host} can't be resolved: {error}")))?;
        let stream = first(addresses, port).await;
        let stream =
            stream.map_err(|error| Failure::Later(format!("no connection to {host}:{port}: {error}")))?;
        // A request's head and body are two writes: with Nagle the second waits for the backend's delayed ACK.
        let _slower_without = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn handshake(&self, stream: Transport) -> Result<Connection, Failure> {
        let (io, life) = (TokioIo::new(stream), Life::new());
        match self.protocol {
            Protocol::HttpProtobuf => {
                let (sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(io)
                    .await
                    .map_err(|error| Failure::of(&error))?;
                life.tasks().spawn(connection);
                Ok(Connection::H1(life.keep(sender)))
            }
            Protocol::Grpc => {
                let (sender, connection) =
                    hyper::client::conn::http2::handshake::<_, _, Body>(life.tasks(), io)
                        .await
                        .map_err(|error| Failure::of(&error))?;
                life.tasks().spawn(connection);
                Ok(Connection::H2(life.keep(sender)))
            }
        }
    }

    /// RFC 9110, 9.3.6.
    async fn tunnel(&self, stream: &mut TcpStream, proxy: &Proxy) -> Result<(), Failure> {
        let authority = format!("{}:{}", self.host, self.port);
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
        if let Some(authorization) = &proxy.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(HeaderValue::as_bytes(authorization));
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let broken = |error: std::io::Error| Failure::Later(error.to_string());
        stream.write_all(&request).await.map_err(broken)?;
        let mut answer = Vec::new();
        // What follows the head is the backend's, who speaks only when spoken to.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= PROXY_ANSWER_BYTES_MAX {
                return Err(Failure::Never("its answer is no HTTP".to_owned()));
            }
            answer.push(stream.read_u8().await.map_err(broken)?);
        }
        let head = String::from_utf8_lossy(&answer);
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or_default();
        match status {
            "200" => Ok(()),
            "407" => Err(Failure::Never("it wants other credentials in its URL (407)".to_owned())),
            "502" | "503" | "504" => Err(Failure::Later(format!("it can't reach the backend ({status})"))),
            _ => Err(Failure::Never(format!("it does not connect to {authority} ({status})"))),
        }
    }
}

fn through(proxy: &Uri, failure: Failure) -> Failure {
    let authority = proxy.authority().map_or("", |authority| authority.as_str());
    let told = |message: String| format!("the proxy {authority}: {message}");
    match failure {
        Failure::Later(message) => Failure::Later(told(message)),
        Failure::Never(message) => Failure::Never(told(message)),
    }
}

/// The first address that answers; each gets a head start over the next one.
async fn first(addresses: Vec<IpAddr>, port: u16) -> std::io::Result<TcpStream> {
    let mut addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port));
    let mut attempts = JoinSet::new();
    let mut error = std::io::Error::other("the name has no address");
    loop {
        if let Some(address) = addresses.next() {
            attempts.spawn(TcpStream::connect(address));
        } else if attempts.is_empty() {
            return Err(error);
        }
        let head_start = async {
            if addresses.len() == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(NEXT_ADDRESS_AFTER).await;
        };
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(failure)) => error = failure,
                Err(_) => {}
            },
            () = head_start => {}
        }
    }
}
