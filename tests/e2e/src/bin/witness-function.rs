//! A function that ends spans as its event asks, and notes each one in the witness file after `end()` has returned.
//! With each span it measures something with every kind of instrument, and keeps its own tally of that.

use std::sync::Arc;
use std::time::Duration;

use lambda_flush::{Error, LambdaEvent, Telemetry, service_fn};
use lambda_flush_e2e::measured::Instruments;
use lambda_flush_e2e::pinch;
use lambda_testkit::SpanId;
use lambda_testkit::witness::Witness;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(default)]
struct Event {
    /// Witnessed spans to end.
    spans: u32,
    pace: Option<Pace>,
    then: Then,
    /// Milliseconds of waiting before the end.
    work_ms: u64,
    /// Milliseconds for which the thread sleeps before the end, and with it a current_thread runtime.
    block_ms: u64,
    attributes: u32,
    /// Whether to wait for the extension's confirmation before the end.
    flush: bool,
}

impl Default for Event {
    fn default() -> Self {
        Self { spans: 0, pace: None, then: Then::Ok, work_ms: 0, block_ms: 0, attributes: 4, flush: false }
    }
}

/// A sleep of `sleep_ms` after each `every` spans.
#[derive(Debug, Deserialize)]
struct Pace {
    every: u32,
    sleep_ms: u64,
}

#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Then {
    #[default]
    Ok,
    Error,
    Panic,
    Hang,
    Exit,
}

fn main() -> Result<(), Error> {
    let mut runtime = match std::env::var("LAMBDA_TESTKIT_FLAVOR").as_deref() {
        Ok("multi_thread") => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(function())
}

async fn function() -> Result<(), Error> {
    let telemetry = pinch::from_env(lambda_flush::init)??;
    let witness = Witness::from_env()?;
    let instruments = Instruments::from_env(telemetry.meter_provider())?;
    let function = Arc::new(Function { instruments, telemetry: telemetry.clone(), witness });
    let handler = service_fn(move |event: LambdaEvent<Value>| {
        let function = function.clone();
        async move { function.handle(event.payload).await }
    });
    match std::env::var_os("AWS_LAMBDA_MAX_CONCURRENCY") {
        Some(_) => telemetry.run_concurrent(handler).await,
        None => telemetry.run(handler).await,
    }
}

struct Function {
    telemetry: Telemetry,
    witness: Option<Witness>,
    instruments: Instruments,
}

impl Function {
    async fn handle(&self, payload: Value) -> Result<Value, Error> {
        let event: Event = serde_json::from_value(payload)?;
        let order = load_order(17).await;
        let tracer = self.telemetry.tracer_provider().tracer("witness-function");
        for number in 1..=event.spans {
            let mut span = tracer.start("work");
            for attribute in 0..event.attributes {
                span.set_attribute(KeyValue::new(format!("work.attribute{attribute}"), i64::from(number)));
            }
            let id = SpanId(span.span_context().span_id().to_bytes());
            span.end();
            if let Some(witness) = &self.witness {
                witness.note(id, u32::try_from(lambda_flush::buffered()).unwrap_or(u32::MAX));
            }
            self.instruments.measure(number);
            if let Some(pace) = event.pace.as_ref().filter(|pace| number.is_multiple_of(pace.every.max(1))) {
                tokio::time::sleep(Duration::from_millis(pace.sleep_ms)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(event.work_ms)).await;
        block(Duration::from_millis(event.block_ms));
        if event.flush {
            self.telemetry.flush().await?;
        }
        finish(event.then, order, &self.telemetry).await
    }
}

#[expect(clippy::disallowed_methods, reason = "the function is asked to block its runtime")]
fn block(time: Duration) {
    std::thread::sleep(time);
}

#[tracing::instrument]
async fn load_order(id: u32) -> u32 {
    query("SELECT * FROM orders").await;
    render().await;
    id
}

#[tracing::instrument]
async fn query(statement: &str) {
    tokio::time::sleep(Duration::from_millis(2)).await;
    tracing::info!(rows = 3, "rows fetched");
}

#[tracing::instrument]
async fn render() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[expect(clippy::panic, clippy::exit, reason = "the function is asked to fail in these ways")]
async fn finish(then: Then, order: u32, telemetry: &Telemetry) -> Result<Value, Error> {
    match then {
        Then::Ok => {
            let stats = telemetry.stats();
            let dropped: u64 = stats.dropped.values().sum();
            Ok(json!({ "order": order, "ended": stats.ended, "written": stats.written, "dropped": dropped }))
        }
        Then::Error => Err("the order is out of stock".into()),
        Then::Panic => panic!("the order is haunted"),
        Then::Hang => std::future::pending().await,
        Then::Exit => std::process::exit(9),
    }
}
