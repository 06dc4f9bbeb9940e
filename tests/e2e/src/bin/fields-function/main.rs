//! A function whose spans use every field OpenTelemetry has, and which notes what the SDK recorded of each.

mod capture;
mod spans;

use lambda_flush::{Error, KeyValue, LambdaEvent, Telemetry, service_fn};
use opentelemetry::{Array, StringValue, Value as AttributeValue};
use serde_json::{Value, json};

use crate::capture::Capture;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let zones = ["a", "b"].map(StringValue::from).to_vec();
    let telemetry = Telemetry::builder()
        .with_resource_attributes([
            KeyValue::new("fields.zones", AttributeValue::Array(Array::String(zones))),
            KeyValue::new("fields.ratio", 0.1),
            KeyValue::new("fields.canary", true),
        ])
        .with_span_processor(Capture::from_env()?)
        .init()?;
    let handler = async |event: LambdaEvent<Value>| handle(event.payload, &telemetry).await;
    telemetry.clone().run(service_fn(handler)).await
}

/// `{"then": "error"}` ends in an error, anything else well.
async fn handle(payload: Value, telemetry: &Telemetry) -> Result<Value, Error> {
    spans::from_tracing().await;
    spans::from_the_api(telemetry)?;
    match payload.get("then").and_then(Value::as_str) {
        Some("error") => Err("the order is out of stock: «ausverkauft»".into()),
        _ => Ok(json!({ "ok": true })),
    }
}
