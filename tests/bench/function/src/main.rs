//! A function that does as its standard input says and tells how long that took: the load of `bench --carriers`.
//!
//! Its telemetry is the library's, by the environment; with `OTEL_SDK_DISABLED` it is a processor and a metric reader
//! that do nothing. A line `<request id> <bursts>` is an invocation: 21 spans and 10 counters with no bursts, else so
//! many bursts of 100 spans. The answer is a line of JSON, in nanoseconds.

mod nothing;

use std::cell::Cell;
use std::io::{self, BufRead, Write};
use std::pin::pin;
use std::task::{Context as Task, Waker};
use std::time::{Duration, Instant, SystemTime};

use lambda_flush::opentelemetry::KeyValue;
use lambda_flush::opentelemetry::metrics::{Counter, MeterProvider};
use lambda_flush::opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use lambda_flush::{Error, LambdaEvent, Telemetry, service_fn};
use nothing::{Nothing, Unread};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracer;
use serde_json::json;
use tower::{Layer, Service};
use tracing_subscriber::layer::SubscriberExt;

const BURST_SPANS: u32 = 100;
/// Beside the invocation's own.
const CHILDREN: u32 = 20;
const COUNTERS: u32 = 10;
/// Until an invocation's deadline, which is never reached.
const INVOCATION: Duration = Duration::from_secs(600);

fn main() -> Result<(), Error> {
    let disabled = std::env::var_os("OTEL_SDK_DISABLED").is_some();
    let builder = Telemetry::builder().install_global(false);
    let builder = if disabled { builder.with_span_processor(Nothing) } else { builder };
    let telemetry = builder.init()?;
    let unread = SdkMeterProvider::builder().with_reader(Unread).build();
    let counters = if disabled { counters(&unread) } else { counters(telemetry.meter_provider()) };
    let function = Function { tracer: telemetry.tracer_provider().tracer("bench"), telemetry, counters };
    let mut out = io::stdout();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (request_id, bursts) = line.split_once(' ').ok_or("a line without a space")?;
        let bursts: u32 = bursts.parse()?;
        let started = Instant::now();
        let Took { spans, responded } = function.invocation(request_id, bursts)?;
        let took = started.elapsed().as_nanos();
        let response = responded.duration_since(started).as_nanos();
        let stats = function.telemetry.stats();
        let dropped: u64 = stats.dropped.values().sum();
        let spans = spans.as_nanos();
        let answer = json!({ "invocation": took, "response": response, "spans": spans, "dropped": dropped });
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

/// How long the spans took, and when the response was on its way.
#[derive(Clone, Copy)]
struct Took {
    spans: Duration,
    responded: Instant,
}

struct Function {
    telemetry: Telemetry,
    tracer: SdkTracer,
    counters: Vec<Counter<u64>>,
}

impl Function {
    /// Layer, handler wrapper, spans by the OpenTelemetry API, and counters, all of it ready at once.
    fn invocation(&self, request_id: &str, bursts: u32) -> Result<Took, Error> {
        let spans = if bursts == 0 { CHILDREN } else { bursts * BURST_SPANS };
        let subscriber = tracing_subscriber::registry().with(self.telemetry.tracing_layer());
        tracing::subscriber::with_default(subscriber, || {
            let handler = service_fn(move |_: LambdaEvent<()>| async move {
                let started = Instant::now();
                (0..spans).for_each(|_| span(&self.tracer));
                let took = started.elapsed();
                if bursts == 0 {
                    let route = [KeyValue::new("http.route", "/orders/{id}"), KeyValue::new("status", 200)];
                    self.counters.iter().for_each(|counter| counter.add(1, &route));
                }
                Ok::<_, Error>(took)
            });
            let mut traced = self.telemetry.handler(handler);
            let took = Cell::new(None);
            let runtime = service_fn(|event: lambda_runtime::LambdaInvocation| {
                let called = traced.call(LambdaEvent::new((), event.context));
                let took = &took;
                async move {
                    let spans = called.await.map_err(|_| Error::from("the handler failed"))?;
                    took.set(Some(Took { spans, responded: Instant::now() }));
                    Ok::<(), Error>(())
                }
            });
            let mut future = pin!(self.telemetry.layer().layer(runtime).call(event(request_id)));
            while future.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending() {
                std::thread::yield_now();
            }
            took.get().ok_or_else(|| Error::from("there was no response"))
        })
    }
}

fn event(request_id: &str) -> lambda_runtime::LambdaInvocation {
    let deadline = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + INVOCATION;
    let mut context = lambda_flush::Context::default();
    request_id.clone_into(&mut context.request_id);
    context.deadline = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    let (parts, ()) = http::Response::new(()).into_parts();
    lambda_runtime::LambdaInvocation { parts, body: bytes::Bytes::from_static(b"{}"), context }
}

/// Four attributes, as the promise says.
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
