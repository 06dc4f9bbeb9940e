//! The backend's scripts, seen from a client, and what it remembers of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lambda_testkit::backend::OtlpSignal;
use lambda_testkit::{Backend, Script, SpanId};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

pub(crate) fn request(ids: &[u8]) -> ExportTraceServiceRequest {
    let span = |id: &u8| Span { span_id: vec![*id; 8], trace_id: vec![1; 16], ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: ids.iter().map(span).collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }],
    }
}

/// Posts a body, in pieces if told so; the answer's head and body, or why there is none.
pub(crate) fn post(
    backend: &Backend,
    path: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(backend.address())?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end =
        answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end + 4..].to_vec()))
}

fn post_spans(backend: &Backend, ids: &[u8]) -> std::io::Result<(String, Vec<u8>)> {
    post(backend, "/v1/traces", "", &request(ids).encode_to_vec())
}

fn times(counts: &std::collections::HashMap<SpanId, u32>, id: u8) -> u32 {
    counts.get(&SpanId([id; 8])).copied().unwrap_or(0)
}

#[test]
fn a_healthy_backend_counts_what_it_answered() {
    let backend = Backend::start().unwrap();
    backend.keep_bodies(true);
    assert!(post_spans(&backend, &[1, 2]).unwrap().0.starts_with("HTTP/1.1 200"));
    assert!(post_spans(&backend, &[2]).unwrap().0.starts_with("HTTP/1.1 200"));
    let answered = backend.answered_ok();
    assert_eq!((times(&answered, 1), times(&answered, 2), times(&answered, 3)), (1, 2, 0));
    let requests = backend.requests();
    assert_eq!((requests[0].items, requests[0].signal), (2, Some(OtlpSignal::Traces)));
    assert_eq!(requests[0].traces().unwrap(), request(&[1, 2]));
}

#[test]
fn compressed_bodies_are_read() {
    let backend = Backend::start().unwrap();
    let plain = request(&[1]).encode_to_vec();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::stream::encode_all(plain.as_slice(), 1).unwrap();
    for (encoding, body) in [("gzip", gzip.finish().unwrap()), ("zstd", zstd)] {
        let headers = format!("Content-Encoding: {encoding}\r\n");
        assert!(post(&backend, "/v1/traces", &headers, &body).unwrap().0.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(times(&backend.answered_ok(), 1), 2);
}

#[test]
fn what_is_no_otlp_is_refused_and_noted() {
    let backend = Backend::start().unwrap();
    assert!(post(&backend, "/v1/traces", "", b"garbage").unwrap().0.starts_with("HTTP/1.1 400"));
    assert!(post(&backend, "/elsewhere", "", b"").unwrap().0.starts_with("HTTP/1.1 404"));
    assert!(backend.requests().iter().all(|request| request.malformed.is_some() && !request.is_ok()));
}

#[test]
fn statuses_come_as_often_as_queued_and_with_their_headers() {
    let backend = Backend::start().unwrap();
    backend.queue(&Script::retry_after(429, 7), 2);
    for _ in 0..2 {
        let (head, _) = post_spans(&backend, &[1]).unwrap();
        assert!(head.starts_with("HTTP/1.1 429"));
        assert!(head.to_ascii_lowercase().contains("retry-after: 7"));
    }
    assert!(post_spans(&backend, &[1]).unwrap().0.starts_with("HTTP/1.1 200"));
    backend.set(Script::status(503));
    assert!(post_spans(&backend, &[1]).unwrap().0.starts_with("HTTP/1.1 503"));
    assert_eq!((times(&backend.received(), 1), times(&backend.answered_ok(), 1)), (4, 1));
}

#[test]
fn a_body_that_was_received_but_not_answered_is_told_apart() {
    let backend = Backend::start().unwrap();
    backend.queue(&Script::Hang, 1);
    assert!(post_spans(&backend, &[1]).is_err());
    backend.queue(&Script::ResetAfterBody, 1);
    assert_eq!(post_spans(&backend, &[2]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    backend.queue(&Script::ResetMidBody, 1);
    assert!(post_spans(&backend, &[3]).is_err());
    let (received, answered) = (backend.received(), backend.answered_ok());
    assert_eq!((times(&received, 1), times(&received, 2), times(&received, 3)), (1, 1, 0));
    assert!(answered.is_empty());
    assert!(post_spans(&backend, &[1, 2, 3]).unwrap().0.starts_with("HTTP/1.1 200"));
}

#[test]
fn a_delay_delays_the_answer_and_a_client_that_leaves_gets_none() {
    let backend = Backend::start().unwrap();
    backend.queue(&Script::Delay(Duration::from_millis(200)), 1);
    let begun = Instant::now();
    assert!(post_spans(&backend, &[1]).unwrap().0.starts_with("HTTP/1.1 200"));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    backend.queue(&Script::Delay(Duration::from_secs(1)), 1);
    assert!(post_spans(&backend, &[2]).is_err());
    assert!(backend.requests()[1].received_at.is_some() && backend.requests()[1].answered.is_none());
}

#[tokio::test]
async fn a_partial_success_refuses_the_last_items() {
    let backend = Backend::start().unwrap();
    backend.set(Script::PartialSuccess { rejected: 1, message: "no".to_owned() });
    let (head, body) = post_spans(&backend, &[1, 2, 3]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"));
    let partial = ExportTraceServiceResponse::decode(body.as_slice()).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, partial.error_message.as_str()), (1, "no"));
    let deliveries = backend.deliveries();
    assert_eq!((times(&deliveries.answered_ok, 2), times(&deliveries.answered_ok, 3)), (1, 0));
    assert!(deliveries.rejected.contains(&SpanId([3; 8])));
    assert!(backend.until(Duration::from_secs(1), |requests| requests.len() == 1).await);
    assert!(!backend.until(Duration::from_millis(10), |requests| requests.len() > 1).await);
}
