//! An OTLP/HTTP backend on loopback that fails on demand and remembers everything.

mod decode;
mod record;
mod script;
mod server;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use record::{Deliveries, OtlpRequest, OtlpSignal};
pub use script::Script;

use crate::engine::Engine;
use crate::span_id::SpanId;
use record::Records;

/// A running backend. It serves until it is dropped.
#[derive(Debug)]
pub struct Backend {
    _engine: Engine,
    address: SocketAddr,
    records: Arc<Records>,
}

impl Backend {
    /// Starts a healthy backend on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The operating system refuses a socket or a thread.
    pub fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let records = Arc::new(Records::default());
        let engine = Engine::start("testkit-backend", async {})?;
        let of_server = Arc::clone(&records);
        drop(engine.spawn(async move { server::run(listener, of_server).await }));
        Ok(Self { _engine: engine, address, records })
    }

    /// The base for `OTEL_EXPORTER_OTLP_ENDPOINT`: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
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
