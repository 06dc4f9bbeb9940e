//! An OTLP backend on loopback, over HTTP or gRPC, that fails on demand and remembers everything.

mod decode;
mod grpc;
mod proxy;
mod record;
mod script;
mod server;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use proxy::HttpProxy;
pub use record::{Deliveries, OtlpRequest, OtlpSignal};
pub use script::Script;
pub use tls::TlsSetup;

use crate::engine::Engine;
use crate::span_id::SpanId;
use record::Records;

/// A running backend. It serves until it is dropped.
#[derive(Debug)]
pub struct Backend {
    _engine: Engine,
    address: SocketAddr,
    records: Arc<Records>,
    pem: Option<tls::Pem>,
}

impl Backend {
    /// Starts a healthy backend on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The operating system refuses a socket or a thread.
    pub fn start() -> io::Result<Self> {
        Self::start_with(None, false)
    }

    /// Starts a healthy backend that speaks https, with a certificate authority of its own ([`Backend::ca_pem`]).
    ///
    /// # Errors
    /// As [`Backend::start`], or no certificate can be made.
    pub fn start_https() -> io::Result<Self> {
        Self::start_tls(&TlsSetup::default())
    }

    /// As [`Backend::start_https`], with a certificate as described.
    ///
    /// # Errors
    /// As [`Backend::start_https`].
    pub fn start_tls(setup: &TlsSetup) -> io::Result<Self> {
        Self::start_with(Some(tls::Identity::new(setup, b"http/1.1")?), false)
    }

    /// Starts a healthy backend that speaks OTLP/gRPC, with TLS if a certificate is described.
    ///
    /// # Errors
    /// As [`Backend::start_https`].
    pub fn start_grpc(setup: Option<&TlsSetup>) -> io::Result<Self> {
        Self::start_with(setup.map(|setup| tls::Identity::new(setup, b"h2")).transpose()?, true)
    }

    fn start_with(identity: Option<tls::Identity>, grpc: bool) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let records = Arc::new(Records::default());
        let engine = Engine::start("testkit-backend", async {})?;
        let of_server = Arc::clone(&records);
        let (acceptor, pem) = identity.map(|identity| (identity.acceptor, identity.pem)).unzip();
        drop(engine.spawn(async move {
            match grpc {
                false => server::run(listener, acceptor, of_server).await,
                true => grpc::run(listener, acceptor, of_server).await,
            }
        }));
        Ok(Self { _engine: engine, address, records, pem })
    }

    /// The base for `OTEL_EXPORTER_OTLP_ENDPOINT`: `http://127.0.0.1:<port>`, or `https://localhost:<port>`.
    pub fn endpoint(&self) -> String {
        match self.pem {
            None => format!("http://{}", self.address),
            Some(_) => format!("https://localhost:{}", self.address.port()),
        }
    }

    /// The certificate authority behind an https backend, for `OTEL_EXPORTER_OTLP_CERTIFICATE`.
    pub fn ca_pem(&self) -> Option<&str> {
        self.pem.as_ref().map(|pem| pem.authority.as_str())
    }

    /// A client certificate and its key that the same authority has signed.
    pub fn client_pem(&self) -> Option<(&str, &str)> {
        self.pem.as_ref().map(|pem| (pem.client.0.as_str(), pem.client.1.as_str()))
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How requests are answered from now on, those under way excepted.
    pub fn set(&self, script: Script) {
        self.records.update(|log| log.base = script);
    }

    /// How the next `times` requests are answered; queued scripts go before [`Backend::set`].
    pub fn queue(&self, script: &Script, times: usize) {
        self.records.update(|log| log.queue.extend(std::iter::repeat_n(script.clone(), times)));
    }

    /// Closes the connections that no request is under way on, and the others after their answer.
    pub fn close_idle(&self) {
        self.records.closer.close();
    }

    /// Whether the bodies of requests are kept, for decoding them. Default false.
    pub fn keep_bodies(&self, keep: bool) {
        self.records.update(|log| log.keep_bodies = keep);
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<OtlpRequest> {
        self.records.update(|log| log.requests.clone())
    }

    /// What was delivered, span by span.
    pub fn deliveries(&self) -> Deliveries {
        self.records.update(|log| Deliveries::of(&log.requests))
    }

    /// How often each span was in a request that was answered with success.
    pub fn answered_ok(&self) -> HashMap<SpanId, u32> {
        self.deliveries().answered_ok
    }

    /// How often each span was in a request that arrived whole, whatever the answer.
    pub fn received(&self) -> HashMap<SpanId, u32> {
        self.deliveries().received
    }

    /// Waits until the requests fulfil a condition, at most for `limit`. Needs a tokio runtime with time enabled.
    pub async fn until(&self, limit: Duration, condition: impl Fn(&[OtlpRequest]) -> bool) -> bool {
        self.records.until(limit, condition).await
    }
}
