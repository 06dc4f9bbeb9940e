//! A span of a common shape takes no allocation from its end to the extension, once the ring is in use.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../benches/span_end/reader.rs"]
#[allow(dead_code, reason = "its process is the bench's")]
mod reader;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use lambda_flush::Telemetry;
use lambda_flush::opentelemetry::trace::{
    Span as _, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
};
use lambda_flush::opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};

/// What the SDK itself takes, and nothing more.
#[derive(Debug)]
struct Nothing;

impl SpanProcessor for Nothing {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}
    fn on_end(&self, span: SpanData) {
        black_box(&span);
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Four attributes, one of each type; so many events, so many links; a status.
fn end_span(tracer: &impl Tracer, events: usize, links: usize) {
    let mut span = tracer.start("GET /orders/{id}");
    span.set_attribute(KeyValue::new("http.request.method", "GET"));
    span.set_attribute(KeyValue::new("http.response.status_code", 200));
    span.set_attribute(KeyValue::new("http.request.resent", false));
    span.set_attribute(KeyValue::new("order.total", 17.5));
    for _ in 0..events {
        span.add_event("priced", vec![KeyValue::new("items", 3), KeyValue::new("currency", "EUR")]);
    }
    for _ in 0..links {
        let (trace_id, span_id) = (TraceId::from(1_u128), SpanId::from(2_u64));
        let cause = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::NONE);
        span.add_link(cause, vec![KeyValue::new("messaging.operation.name", "receive")]);
    }
    span.set_status(if events == 0 { Status::Ok } else { Status::error("sold out") });
    span.end();
}

fn counted(provider: &impl TracerProvider<Tracer: Tracer>, events: usize, links: usize) -> AllocationInfo {
    let tracer = provider.tracer("orders");
    let spans = || (0..SPANS).for_each(|_| end_span(&tracer, events, links));
    // The first ones allocate: the scope's name, the thread's buffer.
    spans();
    measure(spans)
}

const SPANS: u64 = 100;

/// How many more allocations of this thread our processor takes than one that does nothing.
fn added(carrier: &str, telemetry: &Telemetry, (events, links): (usize, usize)) -> u64 {
    let sdk = SdkTracerProvider::builder().with_span_processor(Nothing).build();
    let theirs = counted(&sdk, events, links).count_total;
    let ours = counted(telemetry.tracer_provider(), events, links).count_total;
    assert!(theirs >= SPANS, "the SDK allocates, and {theirs} allocations of it were counted");
    println!("{carrier}, {events} events, {links} links: {theirs} and {ours} for {SPANS} spans");
    ours - theirs
}

fn telemetry(carrier: &str) -> Telemetry {
    let address = format!("@lambda-flush-test/{}/{carrier}", std::process::id());
    let listener = reader::listen(&address);
    // Ends with the process.
    std::thread::spawn(move || reader::serve(&listener));
    let variables = [("LAMBDA_FLUSH_SOCKET", address.as_str()), ("LAMBDA_FLUSH_CARRIER", carrier)];
    let source: HashMap<_, _> =
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    Telemetry::builder().source(source).install_global(false).init().unwrap()
}

const SHAPES: [(usize, usize); 4] = [(0, 0), (1, 0), (0, 1), (1, 1)];

#[test]
fn by_the_ring_a_span_takes_none() {
    let telemetry = telemetry("ring");
    assert!(telemetry.stats().ring_bytes > 0, "there is no ring");
    for shape in SHAPES {
        assert_eq!(added("ring", &telemetry, shape), 0, "{shape:?}");
    }
    assert_eq!(telemetry.stats().written, 2 * SPANS * SHAPES.len() as u64);
}

/// The frame, which may have to wait, and now and then what the extension answers.
#[test]
fn by_the_socket_it_takes_one() {
    let telemetry = telemetry("socket");
    for shape in SHAPES {
        let added = added("socket", &telemetry, shape);
        assert!((SPANS..2 * SPANS).contains(&added), "{shape:?}: {added}");
    }
}
