//! A function with hooks: how they, and its handler, behave is what its environment and its events say.
//!
//! `HOOKS` lists the hooks: `quick` takes 50 ms and ends a witnessed span, `hangs`, `panics`. It prints a line each time
//! its metrics are observed, and whether a handler was running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lambda_flush::{Error, LambdaEvent, Telemetry, service_fn};
use lambda_testkit::SpanId;
use lambda_testkit::witness::Witness;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use serde::Deserialize;
use serde_json::Value;

/// More than any hook is given.
const AMPLE: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    /// Witnessed spans to end at once.
    spans: u32,
    /// Milliseconds of waiting, with a witnessed span each.
    paced_ms: u64,
    /// Milliseconds in which the handler blocks its thread.
    block_ms: u64,
    /// Milliseconds of waiting before the end.
    work_ms: u64,
}

static RUNNING: AtomicBool = AtomicBool::new(false);

fn main() -> Result<(), Error> {
    let mut runtime = match std::env::var("LAMBDA_TESTKIT_FLAVOR").as_deref() {
        Ok("multi_thread") => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(function())
}

async fn function() -> Result<(), Error> {
    let telemetry = lambda_flush::init()?;
    let witness = Witness::from_env()?.map(Arc::new);
    let hooks = std::env::var("HOOKS").unwrap_or_default();
    for hook in hooks.split(',').filter(|hook| !hook.is_empty()) {
        register(hook, &telemetry, witness.clone());
    }
    let meter = telemetry.meter_provider().meter("hooks-function");
    let _observed = meter
        .u64_observable_counter("observations")
        .with_callback(|observer| {
            println!("observed, handler running: {}", RUNNING.load(Ordering::Acquire));
            observer.observe(1, &[]);
        })
        .build();
    let handler =
        async |event: LambdaEvent<Value>| handle(event.payload, &telemetry, witness.as_deref()).await;
    telemetry.clone().run(service_fn(handler)).await
}

#[expect(clippy::panic, reason = "a hook is asked to")]
fn register(hook: &str, telemetry: &Telemetry, witness: Option<Arc<Witness>>) {
    match hook {
        "quick" => telemetry.on_shutdown(hook, AMPLE, {
            let telemetry = telemetry.clone();
            async move {
                println!("hook begins");
                end_span(&telemetry, witness.as_deref());
                tokio::time::sleep(Duration::from_millis(50)).await;
                end_span(&telemetry, witness.as_deref());
                println!("hook ends");
            }
        }),
        "hangs" => telemetry.on_shutdown(hook, AMPLE, std::future::pending()),
        _ => telemetry.on_shutdown(hook, AMPLE, async { panic!("no connection") }),
    }
}

#[expect(clippy::disallowed_methods, reason = "a handler that blocks its runtime is what is tested")]
async fn handle(payload: Value, telemetry: &Telemetry, witness: Option<&Witness>) -> Result<Value, Error> {
    let event: Event = serde_json::from_value(payload)?;
    RUNNING.store(true, Ordering::Release);
    for _ in 0..event.spans {
        end_span(telemetry, witness);
    }
    for _ in 0..event.paced_ms {
        end_span(telemetry, witness);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    std::thread::sleep(Duration::from_millis(event.block_ms));
    tokio::time::sleep(Duration::from_millis(event.work_ms)).await;
    RUNNING.store(false, Ordering::Release);
    Ok(Value::Null)
}

fn end_span(telemetry: &Telemetry, witness: Option<&Witness>) {
    let mut span = telemetry.tracer_provider().tracer("hooks-function").start("work");
    let id = SpanId(span.span_context().span_id().to_bytes());
    span.end();
    if let Some(witness) = witness {
        witness.note(id, u32::try_from(lambda_flush::buffered()).unwrap_or(u32::MAX));
    }
}
