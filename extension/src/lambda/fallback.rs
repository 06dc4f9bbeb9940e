//! Our own loop on `/event/next`, for when `lambda-extension`'s has ended. It survives anything but SHUTDOWN.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use serde::Deserialize;

use super::connection::connect;
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
    let mut backoff = NEXT_BACKOFF_MIN;
    loop {
        let Some(event) = next(runtime_api, extension_id).await else {
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

/// Each call has its own connection: after whatever ended the crate's loop, an old one is not to be trusted.
async fn next(api: &str, id: &str) -> Option<NextEvent> {
    let request = Request::get("/2020-01-01/extension/event/next")
        .header(header::HOST, api)
        .header("Lambda-Extension-Identifier", id)
        .body(Full::<Bytes>::default())
        .ok()?;
    let (mut sender, connection) = connect(api).await.ok()?;
    let exchange = async {
        let response = sender.send_request(request).await.ok()?;
        let body = response.into_body().collect().await.ok()?.to_bytes();
        serde_json::from_slice(&body).ok()
    };
    // Ends with the exchange at the latest, whose answer may come with the connection's last bytes.
    let driven = async {
        drop(connection.await);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        event = exchange => event,
        () = driven => None,
    }
}
