//! A whole function: two lines in `main`, and spans from `tracing`.

use std::time::Duration;

use lambda_flush::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let telemetry = lambda_flush::init()?;
    telemetry.run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let order = event.payload.get("order").and_then(Value::as_u64).unwrap_or(1);
    let order = load(order).await;
    Ok(json!({ "total": price(order).await? }))
}

#[tracing::instrument]
async fn load(order: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(2)).await;
    order
}

#[tracing::instrument]
async fn price(order: u64) -> Result<u64, Error> {
    tracing::info!(items = 3, "priced");
    if order == 0 { Err("there is no order 0".into()) } else { Ok(order * 42) }
}
