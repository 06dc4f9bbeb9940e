//! Spliced batches, decoded by an independent decoder, hold what went in: nothing lost, merged right.

use std::collections::BTreeMap;

use bytes::Bytes;
use lambda_flush_extension::core::{Action, Event, FlushConfig, LinkId, Signal as CoreSignal, Strategy};
use lambda_flush_proto::extension_link::{Content, ReceivedItem};
use lambda_flush_proto::wire::{Hello, Scope};
use lambda_flush_proto::{Received, Signal};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};
use prost::Message;

use super::driver::{Driver, config};

/// Where an item belongs: resource and its schema, scope and its schema.
type Home = (String, String, String, String);

/// Items by home, as they went in and as they came out.
type Homes<T> = BTreeMap<Home, Vec<T>>;

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn resource(name: &str) -> Resource {
    Resource { attributes: vec![attribute("service.name", name)], ..Resource::default() }
}

fn resource_name(resource: Option<&Resource>) -> String {
    let value = resource.and_then(|r| r.attributes.first()).and_then(|a| a.value.clone());
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(name)) => name,
        _ => String::new(),
    }
}

fn random_span(random: &mut fastrand::Rng, number: u64) -> Span {
    let event = span::Event { name: "event".repeat(random.usize(0..4)), ..span::Event::default() };
    Span {
        trace_id: number.to_be_bytes().repeat(2),
        span_id: number.to_be_bytes().to_vec(),
        name: "x".repeat(random.usize(0..300)),
        start_time_unix_nano: random.u64(..),
        attributes: (0..random.usize(0..5)).map(|n| attribute(&format!("k{n}"), "v")).collect(),
        events: (0..random.usize(0..3)).map(|_| event.clone()).collect(),
        ..Span::default()
    }
}

/// One link with its names as the test knows them.
#[derive(Default)]
struct Peer {
    resource: (String, String),
    scopes: BTreeMap<u32, (String, String)>,
    seq: u64,
}

struct Source {
    driver: Driver,
    random: fastrand::Rng,
    peers: Vec<Peer>,
    spans: Homes<Span>,
    logs: Homes<LogRecord>,
    number: u64,
}

impl Source {
    fn new(seed: u64) -> Self {
        let config = FlushConfig { strategy: Strategy::Shutdown, ..config() };
        let mut driver = Driver::new(config);
        driver.handle(Event::Registered);
        driver.seen.ours = false;
        let random = fastrand::Rng::with_seed(seed);
        Self { driver, random, peers: Vec::new(), spans: Homes::new(), logs: Homes::new(), number: 0 }
    }

    fn send(&mut self, peer: usize, message: Received) {
        self.driver.handle(Event::LinkReceived(LinkId(peer as u64), vec![message]));
    }

    /// A link opens, or an open one gets a new resource.
    fn hello(&mut self, peer: usize) {
        if peer == self.peers.len() {
            self.peers.push(Peer::default());
            self.driver.handle(Event::LinkOpened(LinkId(peer as u64)));
        }
        self.number += 1;
        let name = format!("service {}", self.number);
        let schema_url =
            if self.random.bool() { String::new() } else { format!("https://r/{}", self.number) };
        let hello = Hello {
            process: peer as u64 + 1,
            resource: resource(&name).encode_to_vec().into(),
            resource_schema_url: schema_url.clone(),
            ..Hello::default()
        };
        self.peers[peer].resource = (name, schema_url);
        self.send(peer, Received::Hello(hello));
    }

    fn scope(&mut self, peer: usize) {
        let id = self.random.u32(1..6);
        self.number += 1;
        let name = format!("scope {}", self.number);
        let schema_url =
            if self.random.bool() { String::new() } else { format!("https://s/{}", self.number) };
        let encoded = InstrumentationScope { name: name.clone(), ..InstrumentationScope::default() };
        self.peers[peer].scopes.insert(id, (name, schema_url.clone()));
        let scope = Scope { id, scope: encoded.encode_to_vec().into(), schema_url };
        self.send(peer, Received::Scope(scope));
    }

    fn item(&mut self, peer: usize) {
        let scope_id = self.random.u32(0..6);
        self.number += 1;
        let of = &mut self.peers[peer];
        of.seq += 1;
        let (scope, scope_schema) = of.scopes.get(&scope_id).cloned().unwrap_or_default();
        let home = (of.resource.0.clone(), of.resource.1.clone(), scope, scope_schema);
        let seq = of.seq;
        let (signal, bytes) = if self.random.bool() {
            let span = random_span(&mut self.random, self.number);
            let bytes = span.encode_to_vec();
            self.spans.entry(home).or_default().push(span);
            (Signal::Traces, bytes)
        } else {
            let record = LogRecord { time_unix_nano: self.number, ..LogRecord::default() };
            let bytes = record.encode_to_vec();
            self.logs.entry(home).or_default().push(record);
            (Signal::Logs, bytes)
        };
        let credit_bytes = bytes.len() as u64 + 20;
        let content = Content::Item { scope_id };
        let item = ReceivedItem { seq, signal, content, bytes: bytes.into(), items: 1, credit_bytes };
        self.send(peer, Received::Item(item));
    }

    /// SHUTDOWN with a healthy backend: all bodies of a signal.
    fn bodies(&mut self, signal: CoreSignal) -> Vec<Bytes> {
        let export = |(_, action): &(u64, Action)| match action {
            Action::Export { signal: of, body, .. } if *of == signal => Some(body.clone()),
            _ => None,
        };
        self.driver.log.iter().filter_map(export).collect()
    }
}

fn random_source(seed: u64, steps: u32) -> Source {
    let mut source = Source::new(seed);
    source.hello(0);
    for _ in 0..steps {
        let peer = source.random.usize(0..source.peers.len());
        match source.random.u8(0..60) {
            0 if source.peers.len() < 4 => source.hello(source.peers.len()),
            1 => source.hello(peer),
            2..=5 => source.scope(peer),
            _ => source.item(peer),
        }
    }
    source.driver.shutdown(2_000);
    source.driver.run(2_000);
    assert!(source.driver.rules.exited);
    source
}

/// The scopes of one resource: name, schema and items.
type Scopes<T> = Vec<(String, String, Vec<T>)>;

/// Puts the resources of one request into `out`. A home stands once in it, unless batches were merged to it.
fn gather<T>(out: &mut Homes<T>, resources: Vec<(String, String, Scopes<T>)>, merged: bool) {
    let mut seen = Vec::new();
    for (resource, schema, scopes) in resources {
        assert!(merged || !seen.contains(&resource), "{resource} stands twice in one request");
        seen.push(resource.clone());
        let mut names = Vec::new();
        for (scope, scope_schema, items) in scopes {
            let key = (scope.clone(), scope_schema.clone());
            assert!(!names.contains(&key), "{scope} stands twice in {resource}");
            names.push(key);
            let home = (resource.clone(), schema.clone(), scope, scope_schema);
            out.entry(home).or_default().extend(items);
        }
    }
}

fn spans_of(body: &Bytes) -> Vec<(String, String, Scopes<Span>)> {
    let request = ExportTraceServiceRequest::decode(body.clone()).expect("a trace request");
    let scopes = |scopes: Vec<ScopeSpans>| {
        scopes.into_iter().map(|s| (s.scope.unwrap_or_default().name, s.schema_url, s.spans)).collect()
    };
    let resources = request.resource_spans.into_iter();
    resources.map(|r| (resource_name(r.resource.as_ref()), r.schema_url, scopes(r.scope_spans))).collect()
}

fn logs_of(body: &Bytes) -> Vec<(String, String, Scopes<LogRecord>)> {
    let request = ExportLogsServiceRequest::decode(body.clone()).expect("a logs request");
    let mut out = Vec::new();
    for r in request.resource_logs {
        let name = resource_name(r.resource.as_ref());
        let scopes = r.scope_logs.into_iter();
        let scopes =
            scopes.map(|s| (s.scope.unwrap_or_default().name, s.schema_url, s.log_records)).collect();
        out.push((name, r.schema_url, scopes));
    }
    out
}

#[test]
fn every_item_comes_out_where_it_belongs() {
    for seed in 0..20 {
        let mut source = random_source(seed, 400);
        let (mut spans, mut logs) = (Homes::new(), Homes::new());
        for body in source.bodies(CoreSignal::Traces) {
            gather(&mut spans, spans_of(&body), false);
        }
        for body in source.bodies(CoreSignal::Logs) {
            gather(&mut logs, logs_of(&body), false);
        }
        assert!(spans == source.spans, "seed {seed}: spans differ");
        assert!(logs == source.logs, "seed {seed}: log records differ");
    }
}

#[test]
fn large_batches_are_split_and_lose_nothing() {
    let mut source = random_source(77, 9_000);
    let bodies = source.bodies(CoreSignal::Traces);
    assert!(bodies.len() > 1, "one body only: {}", bodies[0].len());
    let mut spans = Homes::new();
    for body in bodies {
        // Batches that were closed for their many resources are small, and small ones are merged at SHUTDOWN.
        gather(&mut spans, spans_of(&body), true);
    }
    assert!(spans == source.spans);
}

#[test]
fn whole_requests_concatenate_and_mix_with_items() {
    let mut source = Source::new(5);
    source.hello(0);
    let metric = |n: u64| Metric { name: format!("m{n}"), ..Metric::default() };
    for n in 1..=10 {
        let scope_metrics =
            vec![ScopeMetrics { metrics: vec![metric(n), metric(n)], ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
        let request = ExportMetricsServiceRequest { resource_metrics };
        request_of(&mut source, Signal::Metrics, request.encode_to_vec(), 2);
    }
    source.item(0);
    let span = Span { name: "whole".to_owned(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let whole = ResourceSpans { resource: Some(resource("other")), scope_spans, ..ResourceSpans::default() };
    let request = ExportTraceServiceRequest { resource_spans: vec![whole] };
    request_of(&mut source, Signal::Traces, request.encode_to_vec(), 1);
    for _ in 0..20 {
        source.item(0);
    }
    source.driver.shutdown(2_000);
    source.driver.run(2_000);
    let metrics = source.bodies(CoreSignal::Metrics);
    assert_eq!(metrics.len(), 1);
    let decoded = ExportMetricsServiceRequest::decode(metrics[0].clone()).expect("a metrics request");
    let names = decoded.resource_metrics.iter().map(|r| r.scope_metrics[0].metrics[0].name.clone());
    assert!(names.eq((1..=10).map(|n| format!("m{n}"))));
    let traces = spans_of(&source.bodies(CoreSignal::Traces)[0]);
    assert_eq!(traces.last().map(|(name, ..)| name.as_str()), Some("other"));
    let spans: usize = traces.iter().flat_map(|(_, _, scopes)| scopes).map(|(_, _, spans)| spans.len()).sum();
    assert_eq!(spans, 1 + source.spans.values().map(Vec::len).sum::<usize>());
    assert_eq!(source.driver.core.ledger().exported, 20 + 21 + 1);
}

fn request_of(source: &mut Source, signal: Signal, bytes: Vec<u8>, items: u64) {
    source.peers[0].seq += 1;
    let (seq, credit_bytes) = (source.peers[0].seq, bytes.len() as u64 + 20);
    let item =
        ReceivedItem { seq, signal, content: Content::Request, bytes: bytes.into(), items, credit_bytes };
    source.send(0, Received::Item(item));
}

#[test]
fn a_request_that_claims_no_items_still_goes_out() {
    let mut source = Source::new(6);
    source.hello(0);
    let request = ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics::default()] };
    request_of(&mut source, Signal::Metrics, request.encode_to_vec(), 0);
    source.driver.shutdown(2_000);
    source.driver.run(2_000);
    assert_eq!(source.bodies(CoreSignal::Metrics).len(), 1);
    assert!(source.driver.rules.exited);
}
