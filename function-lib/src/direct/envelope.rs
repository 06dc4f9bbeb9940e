//! opentelemetry-otlp's exporter as the envelope for requests that are encoded already.
//!
//! Items are encoded once, when they end, for all signals and both ways out; the exporter takes SDK objects only,
//! and would need a clone of each for a retry. So it is given nothing to encode: it makes the empty request for an
//! endpoint, with method, content type and user agent, and judges the answer, and our `HttpClient` below it puts
//! the encoded body in. Its own retries are off: the thread above retries within its deadline. The headers come
//! from `settings.rs`, as the exporter knows nothing of `LAMBDA_FLUSH_OTLP_HEADERS`. An envelope differs by
//! its path only, so the span exporter serves all three signals.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::trace::SpanExporter as _;

use super::client::{Client, Outcome};
use super::held::Batch;
use super::settings::{SIGNALS, Settings, index};

/// See the module's description.
pub(crate) struct Envelope {
    client: Arc<Client>,
    exporters: [Option<SpanExporter>; SIGNALS.len()],
    settings: Arc<Settings>,
}

/// Not the exporters: they have the endpoints as they were given.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Envelope {
    /// Connects to nothing yet.
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        let client = Arc::new(Client::new(&settings));
        let exporter = |signal| {
            let exporter = SpanExporter::builder()
                .with_http()
                .with_shared_http_client(client.clone())
                .with_endpoint(settings.endpoint(signal)?.to_string())
                .with_protocol(Protocol::HttpBinary)
                .with_timeout(settings.timeout)
                .with_retry_policy(RetryPolicy::disabled());
            // Only a URL that is none fails here, and these were parsed.
            exporter.build().ok()
        };
        let exporters = SIGNALS.map(exporter);
        Self { client, exporters, settings }
    }

    /// Forgets all connections.
    pub(crate) fn reset(&self) {
        self.client.reset();
    }

    /// Sends one request, blocking this thread until `until` at the most.
    pub(crate) fn send(&self, batch: &Batch, until: Instant) -> Outcome {
        let Some(exporter) = self.exporters.get(index(batch.signal)).and_then(Option::as_ref) else {
            let message = format!("there is no endpoint for {}", batch.signal.as_str_name().to_lowercase());
            return Outcome::Rejected { message };
        };
        let until = until.min(Instant::now() + self.settings.timeout);
        self.client.load(self.settings.headers(batch.signal), batch.body.clone(), until);
        let mut export = std::pin::pin!(exporter.export(Vec::new()));
        // Our client never leaves a future pending, and without retries the exporter does not either.
        let answered = export.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let outcome = self.client.take_outcome();
        match (answered, outcome) {
            (_, Some(outcome)) => outcome,
            (Poll::Ready(Err(error)), None) => Outcome::Retry { after: None, message: error.to_string() },
            (_, None) => Outcome::Retry { after: None, message: "the exporter sent nothing".to_owned() },
        }
    }
}
