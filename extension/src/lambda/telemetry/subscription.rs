//! Asking the platform for its telemetry, once, and without keeping `/next` waiting for the answer.
//!
//! The platform takes subscriptions until the last extension has called `/next`, so the request has to be written
//! before ours; its answer is read while `/next` is outstanding. There is no second attempt: what is refused now is
//! refused until the environment ends, and a library that tells when an invocation ends is the better source anyway.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::records::Schema;
use crate::core::{Level, Notice, Platform};
use crate::lambda::connection::connect;
use crate::limits::{
    MESSAGE_BYTES_MAX, RESPONSE_BYTES_MAX, SUBSCRIPTION_ANSWER_WAIT, SUBSCRIPTION_CONNECT_WAIT,
    TELEMETRY_BATCH_BYTES_MAX, TELEMETRY_BATCH_ITEMS_MAX, TELEMETRY_BATCH_WAIT,
};
use crate::output::Output;

/// What is to be subscribed to.
#[derive(Debug)]
pub struct Subscription {
    /// Where we listen already.
    pub port: u16,
    /// What we ask for.
    pub schema: Schema,
    /// Learns of a subscription that was taken.
    pub events: mpsc::Sender<Platform>,
    /// Learns of others.
    pub output: Output,
}

/// How it ended.
enum Answer {
    Status(StatusCode, Bytes),
    Failed(String),
}

impl Subscription {
    /// Writes the request of the extension `id` and comes back; a task reads the answer.
    pub async fn begin(self, runtime_api: &str, id: &str) {
        let request = match self.request(runtime_api, id) {
            Ok(request) => request,
            Err(error) => return self.tell(&Answer::Failed(error.to_string())),
        };
        let connected = timeout(SUBSCRIPTION_CONNECT_WAIT, connect(runtime_api)).await;
        let (mut sender, connection) = match connected {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return self.tell(&Answer::Failed(error.to_string())),
            Err(_) => return self.tell(&Answer::Failed("no connection in time".to_owned())),
        };
        let mut connection = Box::pin(connection);
        let answer = sender.send_request(request);
        // One poll writes all of it: the socket's buffer is empty and the request small.
        let ended = std::future::poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx).is_ready())).await;
        tokio::spawn(async move {
            let exchange = async {
                let mut answer = pin!(async { whole(answer.await?).await });
                tokio::select! {
                    answer = &mut answer => answer,
                    _ = connection, if !ended => answer.await,
                }
            };
            let answer = match timeout(SUBSCRIPTION_ANSWER_WAIT, exchange).await {
                Ok(Ok((status, body))) => Answer::Status(status, body),
                Ok(Err(error)) => Answer::Failed(error.to_string()),
                Err(_) => Answer::Failed("no answer in time".to_owned()),
            };
            self.settle(&answer).await;
        });
    }

    fn request(&self, runtime_api: &str, id: &str) -> http::Result<Request<Full<Bytes>>> {
        let body = json!({
            "schemaVersion": self.schema.version(),
            "types": ["platform"],
            "buffering": {
                "maxItems": TELEMETRY_BATCH_ITEMS_MAX,
                "maxBytes": TELEMETRY_BATCH_BYTES_MAX,
                "timeoutMs": u64::try_from(TELEMETRY_BATCH_WAIT.as_millis()).unwrap_or(u64::MAX),
            },
            "destination": {
                "protocol": "HTTP",
                "URI": format!("http://sandbox.localdomain:{}", self.port),
            },
        });
        Request::builder()
            .method(Method::PUT)
            .uri("/2022-07-01/telemetry")
            .header(header::HOST, runtime_api)
            .header(header::CONTENT_TYPE, "application/json")
            .header("Lambda-Extension-Identifier", id)
            .body(Full::new(Bytes::from(body.to_string())))
    }

    async fn settle(&self, answer: &Answer) {
        if let Answer::Status(StatusCode::OK, _) = answer {
            // The driver ends only with the process.
            let _ended = self.events.send(Platform::Subscribed).await;
        } else {
            self.tell(answer);
        }
    }

    fn tell(&self, answer: &Answer) {
        let (level, why) = match answer {
            // Emulators and a registration that came late: nothing that anybody could change.
            Answer::Status(status @ (StatusCode::ACCEPTED | StatusCode::FORBIDDEN), _) => {
                (Level::Info, status.to_string())
            }
            Answer::Status(status, body) => (Level::Warn, format!("{status}: {}", excerpt(body))),
            Answer::Failed(error) => (Level::Warn, error.clone()),
        };
        let message =
            format!("the platform's telemetry is not to be had ({why}); the extension does without");
        self.output.notice(&Notice { level, message });
    }
}

async fn whole(response: Response<Incoming>) -> Result<(StatusCode, Bytes), hyper::Error> {
    let status = response.status();
    // The status says all; the body is for people.
    let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX).collect().await;
    Ok((status, body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..MESSAGE_BYTES_MAX).unwrap_or(body));
    text.chars().filter(|letter| !letter.is_control()).collect()
}
