//! What the library adds to a span and to an invocation, beside the same with a processor and a metric reader that do
//! nothing.
//!
//! `cargo bench -p lambda-flush`: medians of rounds that alternate within one run. The reader is a process of its own.
//! Without `--bench` a few rounds show that it works. `--spans N --with WHAT` ends N spans and tells no time: for
//! whoever counts instructions.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "a benchmark")]

mod reader;

use std::collections::HashMap;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Weak;
use std::task::{Context as Task, Waker};
use std::time::{Duration, Instant};

use lambda_flush::opentelemetry::metrics::{Counter, MeterProvider};
use lambda_flush::opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use lambda_flush::opentelemetry::{Context, KeyValue};
use lambda_flush::{Error, KernelIdGenerator, LambdaEvent, Telemetry, service_fn};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, Pipeline, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use reader::Reader;
use tower::{Layer, Service};
use tracing_subscriber::layer::SubscriberExt;

const SPANS_PER_ROUND: u32 = 100;
const CHILDREN: u32 = 20;
const COUNTERS: u32 = 10;

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

/// A reader that never reads.
#[derive(Debug)]
struct Unread;

impl MetricReader for Unread {
    fn register_pipeline(&self, _pipeline: Weak<Pipeline>) {}
    fn collect(&self, _metrics: &mut ResourceMetrics) -> OTelSdkResult {
        Ok(())
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
    fn temporality(&self, _kind: InstrumentKind) -> Temporality {
        Temporality::Delta
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    if let Some(address) = value(reader::ARGUMENT) {
        return reader::run(address);
    }
    let reader = Reader::start();
    if let (Some(spans), Some(with)) = (value("--spans"), value("--with")) {
        return end_spans(spans.parse().unwrap(), with, &reader);
    }
    let rounds = if arguments.iter().any(|argument| argument == "--bench") { 2_000 } else { 20 };
    let [socket, ring] = ["socket", "ring"].map(|carrier| telemetry(&reader, carrier, &[]));
    spans(rounds, &socket, &ring);
    invocations(rounds / 4, &socket, &ring, &reader);
    for (carrier, telemetry) in [("socket", socket), ("ring", ring)] {
        let stats = telemetry.stats();
        println!(
            "{carrier}: ended {}, written {}, buffered {}, dropped {:?}",
            stats.ended, stats.written, stats.buffered, stats.dropped
        );
    }
}

/// With a processor that does nothing, with the library's ids too, or with the library on one of its carriers.
fn end_spans(spans: u32, with: &str, reader: &Reader) {
    let telemetry = ["socket", "ring"].contains(&with).then(|| telemetry(reader, with, &[]));
    let provider = match (&telemetry, with) {
        (Some(telemetry), _) => telemetry.tracer_provider(),
        (None, "no-op") => &plain(),
        (None, "no-op-ids") => &plain_with_ids(),
        _ => panic!("--with no-op, no-op-ids, socket or ring"),
    };
    let tracer = provider.tracer("bench");
    (0..spans).for_each(|_| span(&tracer));
    if let Some(telemetry) = telemetry {
        drained(&telemetry);
        let stats = telemetry.stats();
        assert_eq!((stats.ended, stats.written), (spans.into(), spans.into()), "{stats:?}");
    }
}

fn plain() -> SdkTracerProvider {
    SdkTracerProvider::builder().with_span_processor(Nothing).build()
}

fn plain_with_ids() -> SdkTracerProvider {
    SdkTracerProvider::builder().with_span_processor(Nothing).with_id_generator(KernelIdGenerator).build()
}

fn spans(rounds: usize, socket: &Telemetry, ring: &Telemetry) {
    let (sdk, ids) = (plain(), plain_with_ids());
    let providers = [&sdk, &ids, socket.tracer_provider(), ring.tracer_provider()];
    let tracers = providers.map(|provider| provider.tracer("bench"));
    let nanos = medians(
        rounds,
        || [socket, ring].map(drained),
        [0, 1, 2, 3].map(|index| {
            let tracer = &tracers[index];
            move || (0..SPANS_PER_ROUND).for_each(|_| span(tracer))
        }),
    );
    let [noop, noop_ids, socket, ring] = nanos.map(|nanos| nanos / f64::from(SPANS_PER_ROUND));
    println!(
        "span of 4 attributes, ns:  no-op {noop:.0}   no-op with our ids {noop_ids:.0}   socket {socket:.0}   \
         ring {ring:.0}"
    );
    println!("  added: socket {:.0} ns, ring {:.0} ns", socket - noop, ring - noop);
}

fn invocations(rounds: usize, socket: &Telemetry, ring: &Telemetry, reader: &Reader) {
    let off =
        Telemetry::builder().source(HashMap::from([("OTEL_SDK_DISABLED".to_owned(), "true".to_owned())]));
    let off = off.install_global(false).with_span_processor(Nothing).init().unwrap();
    let unmeasured = telemetry(reader, "ring", &[("OTEL_METRICS_EXPORTER", "none")]);
    let unread = counters(&SdkMeterProvider::builder().with_reader(Unread).build());
    let [nowhere, by_socket, by_ring] =
        [&unmeasured, socket, ring].map(|telemetry| counters(telemetry.meter_provider()));
    let nanos = medians(
        rounds,
        || [&unmeasured, socket, ring].map(drained),
        [(&off, &unread), (&unmeasured, &nowhere), (socket, &by_socket), (ring, &by_ring)]
            .map(|(telemetry, counters)| move || invocation(telemetry, counters)),
    );
    let [noop, unmeasured, socket, ring] = nanos.map(|nanos| nanos / 1_000.0);
    println!(
        "invocation of {} spans and {COUNTERS} counters, us:  no-op {noop:.1}   ring without metrics \
         {unmeasured:.1}   socket {socket:.1}   ring {ring:.1}",
        CHILDREN + 1
    );
    println!("  added: socket {:.1} us, ring {:.1} us", socket - noop, ring - noop);
}

/// On this carrier and no other.
fn telemetry(reader: &Reader, carrier: &str, variables: &[(&str, &str)]) -> Telemetry {
    let fixed = [("LAMBDA_FLUSH_SOCKET", reader.address.as_str()), ("LAMBDA_FLUSH_CARRIER", carrier)];
    let all = fixed.iter().chain(variables);
    let source: HashMap<_, _> = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let telemetry = Telemetry::builder().source(source).install_global(false).init().unwrap();
    assert_eq!(telemetry.stats().ring_bytes > 0, carrier == "ring", "another carrier than {carrier}");
    telemetry
}

/// Waits, outside of what is timed, until the reader has caught up.
fn drained(telemetry: &Telemetry) {
    let until = Instant::now() + Duration::from_secs(1);
    while telemetry.buffered() > 0 && Instant::now() < until {
        std::thread::yield_now();
    }
}

fn span(tracer: &SdkTracer) {
    let mut span = tracer.start("GET /orders/{id}");
    span.set_attribute(KeyValue::new("http.request.method", "GET"));
    span.set_attribute(KeyValue::new("url.path", "/orders/4711"));
    span.set_attribute(KeyValue::new("http.response.status_code", 200));
    span.set_attribute(KeyValue::new("server.address", "orders.example.com"));
    span.end();
}

fn counters(provider: &impl MeterProvider) -> Vec<Counter<u64>> {
    let meter = provider.meter("bench");
    (0..COUNTERS).map(|number| meter.u64_counter(format!("orders.{number}")).build()).collect()
}

/// Layer, handler wrapper, children by the OpenTelemetry API, and counters, all of it ready at once.
fn invocation(telemetry: &Telemetry, counters: &[Counter<u64>]) {
    let subscriber = tracing_subscriber::registry().with(telemetry.tracing_layer());
    let tracer = telemetry.tracer_provider().tracer("bench");
    tracing::subscriber::with_default(subscriber, || {
        let tracer = &tracer;
        let handler = service_fn(move |_: LambdaEvent<()>| async move {
            (0..CHILDREN).for_each(|_| span(tracer));
            let route = [KeyValue::new("http.route", "/orders/{id}"), KeyValue::new("status", 200)];
            counters.iter().for_each(|counter| counter.add(1, &route));
            Ok::<(), Error>(())
        });
        let mut traced = telemetry.handler(handler);
        let runtime = service_fn(|event: lambda_runtime::LambdaInvocation| {
            let called = traced.call(LambdaEvent::new((), event.context));
            async move { called.await.map_err(|_| Error::from("the handler failed")) }
        });
        let (parts, ()) = http::Response::new(()).into_parts();
        let context = lambda_flush::Context::default();
        let event =
            lambda_runtime::LambdaInvocation { parts, body: bytes::Bytes::from_static(b"{}"), context };
        let mut future = pin!(telemetry.layer().layer(runtime).call(event));
        while future.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending() {
            std::thread::yield_now();
        }
    });
}

/// The median time of each, in nanoseconds, after `settle`.
fn medians<const N: usize, S>(
    rounds: usize,
    settle: impl Fn() -> S,
    mut work: [impl FnMut(); N],
) -> [f64; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..rounds + rounds / 10 {
        for (work, times) in work.iter_mut().zip(&mut times) {
            settle();
            let start = Instant::now();
            work();
            if round >= rounds / 10 {
                times.push(start.elapsed());
            }
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e9
    })
}
