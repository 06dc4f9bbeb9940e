//! The same backend over gRPC: HTTP/2, one message a request, the status in the trailers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::decode::BODY_BYTES_MAX;
use super::record::{OtlpSignal, Records};
use super::script::Script;
use super::server::{note, partial_success};
use crate::http1::{Abort, read_body};

const PREFIX_BYTES: usize = 5;
const INVALID_ARGUMENT: u32 = 3;
const UNIMPLEMENTED: u32 = 12;

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

pub(crate) async fn run(listener: std::net::TcpListener, tls: Option<TlsAcceptor>, records: Arc<Records>) {
    // Only a process without file descriptors fails here, and its test fails with the first request.
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).ok();
        let (tls, records) = (tls.clone(), Arc::clone(&records));
        tokio::spawn(async move {
            match tls {
                None => serve(stream, records).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, records).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, records: Arc<Records>) {
    let service = service_fn(move |request| answer(Arc::clone(&records), request));
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    // An error is the peer's or the script's doing; the records tell what happened.
    server.serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn answer(records: Arc<Records>, request: Request<Incoming>) -> Result<Reply, Abort> {
    let signal = match request.uri().path() {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(OtlpSignal::Traces),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(OtlpSignal::Metrics),
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(OtlpSignal::Logs),
        _ => None,
    };
    let (index, script) = records.open(signal, request.headers());
    let encoding = request.headers().get("grpc-encoding").and_then(|value| value.to_str().ok());
    let encoding = encoding.unwrap_or_default().to_owned();
    if script == Script::ResetMidBody {
        return Err(Abort);
    }
    let framed = read_body(request.into_body(), BODY_BYTES_MAX).await.ok_or(Abort)?;
    let (encoding, body) = match message(&framed) {
        Some((false, body)) => (String::new(), body),
        Some((true, body)) => (encoding, body),
        None => ("no gRPC frame".to_owned(), Bytes::new()),
    };
    let (status, reply) = match note(&records, index, signal, &encoding, &body) {
        None => follow(&records, index, script).await?,
        Some(http::StatusCode::NOT_FOUND) => failure(UNIMPLEMENTED, "", &[]),
        Some(_) => failure(INVALID_ARGUMENT, "no OTLP", &[]),
    };
    records.amend(index, |request| request.answered = Some((status, Instant::now())));
    Ok(reply)
}

/// The one message of a request, and whether it is compressed.
fn message(framed: &Bytes) -> Option<(bool, Bytes)> {
    let prefix: [u8; PREFIX_BYTES] = framed.get(..PREFIX_BYTES)?.try_into().ok()?;
    let [flag, a, b, c, d] = prefix;
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    (framed.len() == PREFIX_BYTES + len).then(|| (flag == 1, framed.slice(PREFIX_BYTES..)))
}

async fn follow(records: &Records, index: usize, script: Script) -> Result<(u16, Reply), Abort> {
    match script {
        Script::Healthy => Ok(success(&[])),
        Script::Delay(delay) => {
            tokio::time::sleep(delay).await;
            Ok(success(&[]))
        }
        Script::Status { code, headers } => {
            let mut reply = head(Empty::new().boxed_unsync());
            *reply.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
            for (name, value) in &headers {
                let name = http::HeaderName::from_bytes(name.as_bytes()).ok();
                if let (Some(name), Ok(value)) = (name, value.parse()) {
                    reply.headers_mut().insert(name, value);
                }
            }
            Ok((code, reply))
        }
        Script::Grpc { code, message, details } => Ok(failure(code, &message, &details)),
        Script::Hang => std::future::pending().await,
        Script::ResetMidBody | Script::ResetAfterBody => Err(Abort),
        Script::PartialSuccess { rejected, message } => {
            Ok(success(&partial_success(records, index, rejected, message)))
        }
    }
}

/// A message, and the status behind it.
fn success(message: &[u8]) -> (u16, Reply) {
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or_default().to_be_bytes());
    framed.extend_from_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::from(framed).with_trailers(std::future::ready(Some(Ok(trailers))));
    (200, head(body.boxed_unsync()))
}

/// "Trailers-only": the status in the head, and nothing else. Told to the test as 900 and the code.
fn failure(code: u32, message: &str, details: &[u8]) -> (u16, Reply) {
    let mut reply = head(Empty::new().boxed_unsync());
    let headers = reply.headers_mut();
    headers.insert("grpc-status", code.into());
    let encoded = message.replace('%', "%25").replace(' ', "%20");
    headers.insert("grpc-message", encoded.parse().unwrap_or_else(|_| HeaderValue::from_static("")));
    if !details.is_empty() {
        let details = STANDARD_NO_PAD.encode(details);
        headers.extend(
            details
                .parse()
                .ok()
                .map(|value: HeaderValue| (http::HeaderName::from_static("grpc-status-details-bin"), value)),
        );
    }
    (900 + u16::try_from(code).unwrap_or(99), reply)
}

fn head(body: UnsyncBoxBody<Bytes, Infallible>) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    reply
}
