//! The Runtime API: `next`, `response`, `error`, `init/error`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::router::{accepted, error as error_reply, header};
use super::shared::Shared;
use super::state::{Answer, State};
use crate::http1::{Abort, Reply, read_body, reply, set_header};
use crate::party::Party;

/// Largest response of a synchronous invocation, as in AWS's source: 6 MiB and 100 bytes.
const RESPONSE_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;
/// Largest body that is read at all.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
const ERROR_TYPE_HEADER: &str = "Lambda-Runtime-Function-Error-Type";

/// `GET /invocation/next`: blocks until there is an invocation.
pub(crate) async fn next(shared: &Shared) -> Result<Reply, Abort> {
    let receiver = shared.update(|state| {
        let (sender, receiver) = oneshot::channel();
        state.runtime.ready = true;
        state.runtime.waiter = Some(sender);
        state.trace.push(&Party::Function, "next", Value::Null);
        if let Some(answer) = state.invoke.as_ref().and_then(|invoke| invoke.answer.clone()) {
            let status = if answer.error_type.is_some() { "error" } else { "success" };
            state.runtime_done(status, answer.error_type.as_deref());
        }
        receiver
    });
    // The sender goes with a reset, or with a newer call: then there is no answer to this one.
    let event = receiver.await.map_err(|_| Abort)?;
    let mut answer = reply(StatusCode::OK, "application/json", event.payload);
    for (name, value) in &event.headers {
        set_header(&mut answer, name, value);
    }
    Ok(answer)
}

/// `POST /invocation/<id>/response`
pub(crate) async fn response(shared: &Shared, id: &str, request: Request<Incoming>) -> Reply {
    let Some(payload) = read_body(request.into_body(), BODY_BYTES_MAX).await else {
        return error_reply(
            StatusCode::BAD_REQUEST,
            "TruncatedHTTPRequest",
            "HTTP request detected as truncated",
        );
    };
    if payload.len() > RESPONSE_BYTES_MAX {
        let message = format!("Exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes).");
        let body =
            json!({ "errorMessage": message, "errorType": "Function.ResponseSizeTooLarge" }).to_string();
        settle(shared, id, body.into(), Some("Function.ResponseSizeTooLarge".to_owned()));
        return error_reply(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message);
    }
    settle(shared, id, payload, None)
}

/// `POST /invocation/<id>/error`
pub(crate) async fn error(shared: &Shared, id: &str, request: Request<Incoming>) -> Reply {
    let declared = header(&request, ERROR_TYPE_HEADER).map(str::to_owned);
    let payload = read_body(request.into_body(), BODY_BYTES_MAX).await.unwrap_or_default();
    let in_body =
        || Some(serde_json::from_slice::<Value>(&payload).ok()?.get("errorType")?.as_str()?.to_owned());
    let error_type = declared.or_else(in_body).unwrap_or_else(|| "Function.Unknown".to_owned());
    settle(shared, id, payload.clone(), Some(error_type))
}

/// `POST /init/error`
pub(crate) async fn init_error(shared: &Arc<Shared>, request: Request<Incoming>) -> Reply {
    let error_type = header(&request, ERROR_TYPE_HEADER).unwrap_or("Runtime.Unknown").to_owned();
    read_body(request.into_body(), BODY_BYTES_MAX).await;
    shared.update(|state| {
        state.trace.push(&Party::Function, "init_error", json!({ "error_type": error_type }));
        state.fail(&error_type);
    });
    accepted()
}

/// Takes the answer for the current invocation; a late or second one has an invalid id.
fn settle(shared: &Shared, id: &str, payload: Bytes, error_type: Option<String>) -> Reply {
    let taken = shared.update(|state: &mut State| {
        let current =
            state.invoke.as_mut().filter(|invoke| invoke.request_id == id && invoke.answer.is_none());
        let taken = current.is_some();
        let event = if taken { "responded" } else { "response_refused" };
        state.trace.push(&Party::Function, event, json!({ "request_id": id, "error_type": error_type }));
        if let Some(invoke) = state.invoke.as_mut().filter(|_| taken) {
            invoke.answer = Some(Answer { at: Instant::now(), payload, error_type });
        }
        taken
    });
    if taken {
        accepted()
    } else {
        error_reply(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
    }
}
