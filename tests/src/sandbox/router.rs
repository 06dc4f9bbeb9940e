//! Which handler answers which path.

use std::io;
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::net::TcpListener;

use super::shared::Shared;
use super::{extensions_api, runtime_api, telemetry};
use crate::http1::{self, Abort, Connection, Reply, reply};

const RUNTIME_API: &str = "/2018-06-01/runtime/";
const EXTENSIONS_API: &str = "/2020-01-01/extension/";

/// Serves the environment's APIs on a bound socket. Must be called on the engine's thread.
///
/// # Errors
/// The socket can't be watched.
pub(crate) fn start(shared: &Arc<Shared>, listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let shared = Arc::clone(shared);
    tokio::spawn(http1::serve(listener, move |request, _: Connection| route(Arc::clone(&shared), request)));
    Ok(())
}

async fn route(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Reply, Abort> {
    let path = request.uri().path().to_owned();
    if let Some(rest) = path.strip_prefix(RUNTIME_API) {
        let parts: Vec<&str> = rest.split('/').collect();
        return match (request.method(), parts.as_slice()) {
            (&Method::GET, ["invocation", "next"]) => runtime_api::next(&shared).await,
            (&Method::POST, ["invocation", id, "response"]) => {
                Ok(runtime_api::response(&shared, id, request).await)
            }
            (&Method::POST, ["invocation", id, "error"]) => {
                Ok(runtime_api::error(&shared, id, request).await)
            }
            (&Method::POST, ["init", "error"]) => Ok(runtime_api::init_error(&shared, request).await),
            _ => Ok(not_found()),
        };
    }
    if let Some(rest) = path.strip_prefix(EXTENSIONS_API) {
        return match (request.method(), rest) {
            (&Method::POST, "register") => Ok(extensions_api::register(&shared, request).await),
            (&Method::GET, "event/next") => extensions_api::next(&shared, &request).await,
            (&Method::POST, "init/error") => Ok(extensions_api::failed(&shared, &request, "init_error")),
            (&Method::POST, "exit/error") => Ok(extensions_api::failed(&shared, &request, "exit_error")),
            _ => Ok(not_found()),
        };
    }
    match (request.method(), path.as_str()) {
        (&Method::PUT, "/2022-07-01/telemetry") => Ok(telemetry::subscribe(&shared, request).await),
        (&Method::PUT, "/2020-08-15/logs") => {
            Ok(error(StatusCode::ACCEPTED, "Logs.NotSupported", "Logs API is not supported"))
        }
        _ => Ok(not_found()),
    }
}

fn not_found() -> Reply {
    reply(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n")
}

/// An error in the form that all the APIs share.
pub(crate) fn error(status: StatusCode, error_type: &str, message: &str) -> Reply {
    json_reply(status, &json!({ "errorMessage": message, "errorType": error_type }))
}

/// 202, as for everything that the runtime or an extension reports.
pub(crate) fn accepted() -> Reply {
    json_reply(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
}

pub(crate) fn json_reply(status: StatusCode, body: &serde_json::Value) -> Reply {
    reply(status, "application/json", body.to_string())
}

pub(crate) fn header<'a, B>(request: &'a Request<B>, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
}
