//! Our own loop on `/event/next`, for when `lambda-extension`'s has ended. It survives anything but SHUTDOWN.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use super::lifecycle::Gate;
use crate::limits::{NEXT_BACKOFF_MAX, NEXT_BACKOFF_MIN};

/// The fields we need; everything else, and every other event, is tolerated.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NextEvent {
    event_type: String,
    #[serde(default)]
    deadline_ms: u64,
    #[serde(default)]
    request_id: String,
    #[serde(default)]
    shutdown_reason: String,
}

/// Asks for events for ever.
pub async fn run(runtime_api: &str, extension_id: &str, gate: Gate) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut backoff = NEXT_BACKOFF_MIN;
    loop {
        let Some(event) = next(&client, runtime_api, extension_id).await else {
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(NEXT_BACKOFF_MAX);
            continue;
        };
        backoff = NEXT_BACKOFF_MIN;
        match event.event_type.as_str() {
            "INVOKE" => gate.invoke(event.request_id, event.deadline_ms).await,
            "SHUTDOWN" => gate.shutdown(event.shutdown_reason, event.deadline_ms).await,
            _ => {} // From a newer platform: there is nothing to do but to ask again.
        }
    }
}

async fn next(client: &Client<HttpConnector, Empty<Bytes>>, api: &str, id: &str) -> Option<NextEvent> {
    let request = Request::get(format!("http://{api}/2020-01-01/extension/event/next"))
        .header("Lambda-Extension-Identifier", id)
        .body(Empty::new())
        .ok()?;
    let response = client.request(request).await.ok()?;
    let body = response.into_body().collect().await.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}
