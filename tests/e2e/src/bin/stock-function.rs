//! A function with the stock OpenTelemetry SDK and its stock OTLP exporter, and nothing of ours: what most functions
//! are that an extension meets.
//!
//! It ends spans as its event asks, flushes, and notes each span in the witness file after a flush that succeeded.
//! The exporter's own variables hold, `OTEL_EXPORTER_OTLP_ENDPOINT` for instance.

use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use lambda_testkit::SpanId;
use lambda_testkit::witness::Witness;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    /// Witnessed spans to end.
    spans: u32,
    /// Milliseconds of waiting before the spans.
    work_ms: u64,
    then: Then,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Then {
    #[default]
    Ok,
    Hang,
    Exit,
}

fn main() -> Result<(), Error> {
    // The blocking client makes a runtime of its own, which is not allowed within another one.
    let exporter = SpanExporter::builder().with_http().build()?;
    let resource = Resource::builder().with_service_name("stock-function").build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let function = Function { provider, witness: Witness::from_env()? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handler = async |event: LambdaEvent<Value>| function.handle(event.payload).await;
    runtime.block_on(lambda_runtime::run(service_fn(handler)))
}

struct Function {
    provider: SdkTracerProvider,
    witness: Option<Witness>,
}

impl Function {
    async fn handle(&self, payload: Value) -> Result<Value, Error> {
        let event: Event = serde_json::from_value(payload)?;
        tokio::time::sleep(Duration::from_millis(event.work_ms)).await;
        let tracer = self.provider.tracer("stock-function");
        let end = |number: u32| {
            let mut span = tracer.start("work");
            (0..4).for_each(|it| {
                span.set_attribute(KeyValue::new(format!("work.attribute{it}"), i64::from(number)));
            });
            let id = SpanId(span.span_context().span_id().to_bytes());
            span.end();
            id
        };
        let ids: Vec<SpanId> = (1..=event.spans).map(end).collect();
        // Synchronous in every SDK: the exporter's thread needs none of this runtime, which goes on meanwhile.
        let provider = self.provider.clone();
        let flushed = tokio::task::spawn_blocking(move || provider.force_flush()).await?;
        if let (Ok(()), Some(witness)) = (&flushed, &self.witness) {
            ids.iter().for_each(|id| _ = witness.note(*id, 0));
        }
        finish(&event.then).await;
        Ok(
            json!({ "ended": ids.len(), "flushed": flushed.is_ok(), "fault": flushed.err().map(|it| it.to_string()) }),
        )
    }
}

#[expect(clippy::exit, reason = "the function is asked to fail in this way")]
async fn finish(then: &Then) {
    match then {
        Then::Ok => {}
        Then::Hang => std::future::pending().await,
        Then::Exit => std::process::exit(9),
    }
}
