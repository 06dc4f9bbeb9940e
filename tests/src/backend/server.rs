//! Follows the scripts.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::decode::{BODY_BYTES_MAX, decompress, items};
use super::record::{OtlpSignal, Records};
use super::script::Script;
use crate::http1::{self, Abort, Connection, Reply, read_body, reply, set_header};

const PROTOBUF: &str = "application/x-protobuf";

pub(crate) async fn run(listener: std::net::TcpListener, tls: Option<TlsAcceptor>, records: Arc<Records>) {
    // Only a process without file descriptors fails here, and its test fails with the first request.
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let closer = records.closer.clone();
    let handler = move |request, connection| answer(Arc::clone(&records), request, connection);
    http1::serve_with(listener, tls, &closer, handler).await;
}

async fn answer(
    records: Arc<Records>,
    request: Request<Incoming>,
    connection: Connection,
) -> Result<Reply, Abort> {
    let signal = match request.uri().path() {
        "/v1/traces" => Some(OtlpSignal::Traces),
        "/v1/metrics" => Some(OtlpSignal::Metrics),
        "/v1/logs" => Some(OtlpSignal::Logs),
        _ => None,
    };
    let (index, script) = records.open(signal, request.headers());
    let encoding = request.headers().get(http::header::CONTENT_ENCODING);
    let encoding = encoding.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if script == Script::ResetMidBody {
        request.into_body().frame().await;
        connection.reset_on_close();
        return Err(Abort);
    }
    let body = read_body(request.into_body(), BODY_BYTES_MAX).await.ok_or(Abort)?;
    let fault = note(&records, index, signal, &encoding, &body);
    let answer = match fault {
        Some(status) => reply(status, PROTOBUF, Bytes::new()),
        None => follow(&records, index, script, &connection).await?,
    };
    let status = answer.status().as_u16();
    records.amend(index, |request| request.answered = Some((status, Instant::now())));
    Ok(answer)
}

/// Enters what the body holds. A status if that is no OTLP.
pub(crate) fn note(
    records: &Records,
    index: usize,
    signal: Option<OtlpSignal>,
    encoding: &str,
    body: &Bytes,
) -> Option<StatusCode> {
    let Some(signal) = signal else {
        records.amend(index, |request| request.malformed = Some("no such path".to_owned()));
        return Some(StatusCode::NOT_FOUND);
    };
    let decoded = decompress(encoding, body).and_then(|plain| Ok((items(signal, &plain)?, plain)));
    let keep = records.update(|log| log.keep_bodies);
    let mut status = None;
    records.amend(index, |request| {
        request.received_at = Some(Instant::now());
        request.wire_bytes = body.len();
        match decoded {
            Ok((items, plain)) => {
                request.items = items.count;
                request.spans = items.spans;
                request.body = keep.then_some(plain);
            }
            Err(reason) => {
                request.malformed = Some(reason);
                status = Some(StatusCode::BAD_REQUEST);
            }
        }
    });
    status
}

async fn follow(
    records: &Records,
    index: usize,
    script: Script,
    connection: &Connection,
) -> Result<Reply, Abort> {
    match script {
        Script::Healthy => Ok(reply(StatusCode::OK, PROTOBUF, Bytes::new())),
        Script::Delay(delay) => {
            tokio::time::sleep(delay).await;
            Ok(reply(StatusCode::OK, PROTOBUF, Bytes::new()))
        }
        Script::Status { code, headers } => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut answer = reply(status, PROTOBUF, Bytes::new());
            for (name, value) in &headers {
                set_header(&mut answer, name, value);
            }
            Ok(answer)
        }
        Script::Grpc { .. } => Ok(reply(StatusCode::INTERNAL_SERVER_ERROR, PROTOBUF, Bytes::new())),
        Script::Hang => std::future::pending().await,
        Script::ResetMidBody | Script::ResetAfterBody => {
            connection.reset_on_close();
            Err(Abort)
        }
        Script::PartialSuccess { rejected, message } => {
            Ok(reply(StatusCode::OK, PROTOBUF, partial_success(records, index, rejected, message)))
        }
    }
}

/// The response to a request of which so many items are refused.
pub(crate) fn partial_success(records: &Records, index: usize, rejected: usize, message: String) -> Vec<u8> {
    records.amend(index, |request| request.rejected = rejected.min(request.items));
    // The responses for metrics and logs have the same fields under other names.
    let partial_success = ExportTracePartialSuccess {
        rejected_spans: i64::try_from(rejected).unwrap_or(i64::MAX),
        error_message: message,
    };
    ExportTraceServiceResponse { partial_success: Some(partial_success) }.encode_to_vec()
}
