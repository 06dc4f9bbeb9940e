//! The extension's exporter against scripted backends: HTTP and gRPC, TLS, proxies, name servers, rotated headers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod connections;
mod grpc;
mod hostile;
mod http;
mod names;
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lambda_flush_extension::clock::Clock;
use lambda_flush_extension::config::{self, Source};
use lambda_flush_extension::core::{Outcome, Signal};
use lambda_flush_extension::export::Exporter;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Env(BTreeMap<String, String>);

impl Source for Env {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

/// Configured by these variables, in which nothing is wrong.
fn exporter(vars: &[(&str, &str)]) -> Exporter {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let (config, faults) = config::read(&Env(vars.collect()));
    assert_eq!(faults, []);
    Exporter::new(config.export)
}

async fn send(exporter: &Exporter, body: &Bytes) -> Outcome {
    exporter.send(Signal::Traces, body.clone(), PATIENCE, Clock::start()).await
}

/// A request with so many spans, about 300 bytes each.
fn spans(count: usize) -> Bytes {
    let span = |number: usize| Span {
        trace_id: vec![7; 16],
        span_id: (number as u64 + 1).to_be_bytes().to_vec(),
        name: format!("GET /orders/{number} {}", "by the way ".repeat(24)),
        ..Span::default()
    };
    let spans = (0..count).map(span).collect();
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec().into()
}

/// What is said of a request that must not be tried again as things are.
fn refusal(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused { message } => message,
        other => panic!("{other:?}"),
    }
}

/// A file with this content.
fn file(content: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}
