//! OTLP/HTTP with protobuf bodies, over plain HTTP/1.1 connections that are reused within one active window.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::classify::classify;
use crate::clock::Clock;
use crate::config::{Endpoints, Headers};
use crate::core::{Outcome, Signal};
use crate::limits::RESPONSE_BYTES_MAX;

type Pool = Client<HttpConnector, Full<Bytes>>;

/// Connections to the backend.
#[derive(Debug)]
pub struct Exporter {
    endpoints: Endpoints,
    headers: Headers,
    pool: Pool,
}

impl Exporter {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(endpoints: Endpoints, headers: Headers) -> Self {
        Self { endpoints, headers, pool: pool() }
    }

    /// Forgets all connections: after a thaw the backend has closed them.
    pub fn reset(&mut self) {
        self.pool = pool();
    }

    /// Sends one request; ends within `timeout`, whatever the backend does.
    pub fn send(
        &self,
        signal: Signal,
        body: Bytes,
        timeout: Duration,
        clock: Clock,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let request = self.request(signal, body);
        let pool = self.pool.clone();
        async move {
            let request = match request {
                Ok(request) => request,
                Err(message) => return Outcome::Refused { message },
            };
            match tokio::time::timeout(timeout, exchange(pool, request, clock)).await {
                Ok(outcome) => outcome,
                Err(_) => retry(format!("no answer within {} ms", timeout.as_millis()), true),
            }
        }
    }

    fn request(&self, signal: Signal, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let Some(uri) = self.endpoints.of(signal) else {
            return Err(format!("there is no endpoint for {}", signal.name()));
        };
        let mut request = Request::post(uri.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("lambda-flush-extension/", env!("CARGO_PKG_VERSION")));
        for (name, value) in self.headers.iter() {
            request = request.header(name, value);
        }
        request.body(Full::new(body)).map_err(|error| error.to_string())
    }
}

fn pool() -> Pool {
    let mut connector = HttpConnector::new();
    // A request's head and body are two writes: with Nagle the second waits for the backend's delayed ACK.
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn exchange(pool: Pool, request: Request<Full<Bytes>>, clock: Clock) -> Outcome {
    let response = match pool.request(request).await {
        Ok(response) => response,
        Err(error) => return retry(chain(&error), !error.is_connect()),
    };
    let (parts, body) = response.into_parts();
    let success = parts.status.is_success();
    match read(body).await {
        Ok(body) => classify(parts.status, &parts.headers, &body, clock.now().wall),
        // The status stands; only the backend's words are missing.
        Err(_) if !success => classify(parts.status, &parts.headers, b"", clock.now().wall),
        Err(error) => retry(chain(&error), true),
    }
}

/// At most [`RESPONSE_BYTES_MAX`]; the rest is not read.
async fn read(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    let mut out = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = RESPONSE_BYTES_MAX - out.len();
            out.extend_from_slice(data.get(..room).unwrap_or(&data));
            if out.len() == RESPONSE_BYTES_MAX {
                break;
            }
        }
    }
    Ok(out.freeze())
}

fn retry(message: String, maybe_sent: bool) -> Outcome {
    Outcome::Retry { after: None, maybe_sent, message }
}

/// An error with its causes: hyper's own words are only "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
