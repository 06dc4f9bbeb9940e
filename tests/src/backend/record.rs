//! What the backend remembers of each request: arrival apart from the answer.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::sync::watch;

use super::script::Script;
use crate::http1::Closer;
use crate::span_id::SpanId;

/// The kind of telemetry that a request carries, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OtlpSignal {
    /// `/v1/traces`
    Traces,
    /// `/v1/metrics`
    Metrics,
    /// `/v1/logs`
    Logs,
}

/// One request. It is in the list from its first byte on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OtlpRequest {
    /// When its head arrived.
    pub at: Instant,
    /// Its head.
    pub headers: HeaderMap,
    /// What it carries; `None` for a path that OTLP does not have.
    pub signal: Option<OtlpSignal>,
    /// When its body had arrived whole; `None` if it never did.
    pub received_at: Option<Instant>,
    /// Bytes of the body on the wire.
    pub wire_bytes: usize,
    /// Spans, metrics data points or log records in it.
    pub items: usize,
    /// The ids of its spans, in order.
    pub spans: Vec<SpanId>,
    /// Why it is no OTLP request; it was answered with 400 then, whatever the script.
    pub malformed: Option<String>,
    /// The script that was followed.
    pub script: Script,
    /// The status of the answer (of a gRPC backend 200, or 900 and the gRPC status) and when it was given; `None` if the client left before, or got none.
    pub answered: Option<(u16, Instant)>,
    /// How many items, the last ones, were refused by a partial success.
    pub rejected: usize,
    /// The decoded (uncompressed) body, if bodies are kept.
    pub body: Option<Bytes>,
}

impl OtlpRequest {
    /// True if the client was told of a success, partial or whole.
    pub fn is_ok(&self) -> bool {
        self.answered.is_some_and(|(status, _)| (200..300).contains(&status))
    }

    /// The request as traces, if it is that and its body was kept.
    pub fn traces(&self) -> Option<ExportTraceServiceRequest> {
        let body = self.body.as_ref().filter(|_| self.signal == Some(OtlpSignal::Traces))?;
        ExportTraceServiceRequest::decode(body.clone()).ok()
    }

    /// The request as metrics, if it is that and its body was kept.
    pub fn metrics(&self) -> Option<ExportMetricsServiceRequest> {
        let body = self.body.as_ref().filter(|_| self.signal == Some(OtlpSignal::Metrics))?;
        ExportMetricsServiceRequest::decode(body.clone()).ok()
    }
}

/// What the requests so far come to, span by span.
#[derive(Clone, Debug, Default)]
pub struct Deliveries {
    /// How often each span was in a request that arrived whole.
    pub received: HashMap<SpanId, u32>,
    /// How often each span was in a request that was answered with success, those refused in it excepted.
    pub answered_ok: HashMap<SpanId, u32>,
    /// Spans refused by a partial success.
    pub rejected: HashSet<SpanId>,
}

impl Deliveries {
    pub(crate) fn of(requests: &[OtlpRequest]) -> Self {
        let mut deliveries = Self::default();
        for request in requests.iter().filter(|request| request.received_at.is_some()) {
            for span in &request.spans {
                *deliveries.received.entry(*span).or_default() += 1;
            }
            if request.is_ok() {
                let accepted = request.spans.len().saturating_sub(request.rejected);
                let (accepted, rejected) = request.spans.split_at(accepted);
                for span in accepted {
                    *deliveries.answered_ok.entry(*span).or_default() += 1;
                }
                deliveries.rejected.extend(rejected);
            }
        }
        deliveries
    }
}

/// The requests, and what to do with the next one.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) base: Script,
    pub(crate) queue: VecDeque<Script>,
    pub(crate) keep_bodies: bool,
    pub(crate) requests: Vec<OtlpRequest>,
}

/// The log, shared by the server and the test.
#[derive(Debug)]
pub(crate) struct Records {
    log: Mutex<Log>,
    changed: watch::Sender<()>,
    pub(crate) closer: Closer,
}

impl Default for Records {
    fn default() -> Self {
        let log =
            Log { base: Script::Healthy, queue: VecDeque::new(), keep_bodies: false, requests: Vec::new() };
        Self { log: Mutex::new(log), changed: watch::Sender::new(()), closer: Closer::default() }
    }
}

impl Records {
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
        result
    }

    /// Enters a request and decides how it is treated. Returns its index.
    pub(crate) fn open(&self, signal: Option<OtlpSignal>, headers: &HeaderMap) -> (usize, Script) {
        self.update(|log| {
            let script = log.queue.pop_front().unwrap_or_else(|| log.base.clone());
            log.requests.push(OtlpRequest {
                at: Instant::now(),
                headers: headers.clone(),
                signal,
                received_at: None,
                wire_bytes: 0,
                items: 0,
                spans: Vec::new(),
                malformed: None,
                script: script.clone(),
                answered: None,
                rejected: 0,
                body: None,
            });
            (log.requests.len() - 1, script)
        })
    }

    /// Changes one request.
    pub(crate) fn amend(&self, index: usize, change: impl FnOnce(&mut OtlpRequest)) {
        self.update(|log| log.requests.get_mut(index).map(change));
    }

    pub(crate) async fn until(&self, limit: Duration, condition: impl Fn(&[OtlpRequest]) -> bool) -> bool {
        let mut changes = self.changed.subscribe();
        let holds = || condition(&self.log.lock().unwrap_or_else(PoisonError::into_inner).requests);
        let change = async { while !holds() && changes.changed().await.is_ok() {} };
        tokio::time::timeout(limit, change).await.ok();
        holds()
    }
}
