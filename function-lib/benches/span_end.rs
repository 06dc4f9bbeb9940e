//! What the library adds to a span and to an invocation, beside the same with a processor and a metric reader that do
//! nothing.
//!
//! `cargo bench -p lambda-flush`; medians, in nanoseconds, of rounds that alternate within one run. The reader is a
//! thread of this process that grants credit as it reads. Without `--bench` a few rounds show that it works.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a benchmark")]

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::pin::pin;
use std::sync::Weak;
use std::task::{Context as Task, Waker};
use std::time::{Duration, Instant};

use lambda_flush::opentelemetry::metrics::{Counter, MeterProvider};
use lambda_flush::opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use lambda_flush::opentelemetry::{Context, KeyValue};
use lambda_flush::{Error, KernelIdGenerator, LambdaEvent, Telemetry, service_fn};
use lambda_flush_proto::{ExtensionLink, Received};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, Pipeline, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
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
    let rounds = if std::env::args().any(|arg| arg == "--bench") { 2_000 } else { 20 };
    let address = format!("@lambda-flush-bench/{}", std::process::id());
    let name = SocketAddr::from_abstract_name(&address[1..]).unwrap();
    let listener = UnixListener::bind_addr(&name).unwrap();
    std::thread::spawn(move || serve(&listener));

    let sdk = SdkTracerProvider::builder().with_span_processor(Nothing).build();
    let ids = SdkTracerProvider::builder()
        .with_span_processor(Nothing)
        .with_id_generator(KernelIdGenerator)
        .build();
    let ours = telemetry(&address, &[]);
    let providers = [&sdk, &ids, ours.tracer_provider()].map(|provider| provider.tracer("bench"));
    let spans = medians(
        rounds,
        || drained(&ours),
        [0, 1, 2].map(|index| {
            let tracer = &providers[index];
            move || (0..SPANS_PER_ROUND).for_each(|_| span(tracer))
        }),
    );
    let [noop, noop_ids, with_us] = spans.map(|nanos| nanos / f64::from(SPANS_PER_ROUND));
    println!(
        "span of 4 attributes, ns:  no-op {noop:.0}   no-op with our ids {noop_ids:.0}   ours {with_us:.0}"
    );
    println!("  added {:.0} ns, ratio {:.2}", with_us - noop, with_us / noop);

    let off = telemetry(&address, &[("OTEL_SDK_DISABLED", "true")]);
    let unmeasured = telemetry(&address, &[("OTEL_METRICS_EXPORTER", "none")]);
    let unread = counters(&SdkMeterProvider::builder().with_reader(Unread).build());
    let (nowhere, read) = (counters(unmeasured.meter_provider()), counters(ours.meter_provider()));
    let invocations = medians(
        rounds / 4,
        || [&ours, &unmeasured].map(drained),
        [(&off, &unread), (&unmeasured, &nowhere), (&ours, &read)]
            .map(|(telemetry, counters)| move || invocation(telemetry, counters)),
    );
    let [noop, without_metrics, with_us] = invocations.map(|nanos| nanos / 1_000.0);
    println!(
        "invocation of {} spans and {COUNTERS} counters, us:  no-op {noop:.1}   ours without metrics \
         {without_metrics:.1}   ours {with_us:.1}",
        CHILDREN + 1
    );
    println!("  added {:.1} us, ratio {:.2}", with_us - noop, with_us / noop);
    let stats = ours.stats();
    println!(
        "ended {}, written {}, buffered {}, dropped {:?}",
        stats.ended, stats.written, stats.buffered, stats.dropped
    );
}

fn telemetry(address: &str, variables: &[(&str, &str)]) -> Telemetry {
    let all = [("LAMBDA_FLUSH_SOCKET", address)].into_iter().chain(variables.iter().copied());
    let source: HashMap<_, _> = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let disabled = source.contains_key("OTEL_SDK_DISABLED");
    let builder = Telemetry::builder().source(source).install_global(false);
    let builder = if disabled { builder.with_span_processor(Nothing) } else { builder };
    builder.init().unwrap()
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

fn serve(listener: &UnixListener) {
    for stream in listener.incoming() {
        std::thread::spawn(move || read(stream.unwrap()));
    }
}

fn read(mut stream: UnixStream) {
    let mut link = ExtensionLink::default();
    let mut buffer = vec![0; 256 << 10];
    while let Ok(len) = stream.read(&mut buffer) {
        if len == 0 {
            return;
        }
        link.receive(&buffer[..len]);
        let mut taken = 0;
        while let Ok(Some(message)) = link.poll() {
            match message {
                Received::Hello(_) => stream.write_all(&link.welcome(4 << 20)).unwrap(),
                Received::Item(item) => taken += item.credit_bytes,
                _ => {}
            }
        }
        if taken > 0 {
            stream.write_all(&link.grant(taken)).unwrap();
        }
    }
}
