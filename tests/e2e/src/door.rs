//! A client of the OTLP doors, by hand: OTLP/HTTP over one connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// For one exchange with the extension.
const WAIT: Duration = Duration::from_secs(20);

/// Connects to a door.
///
/// # Errors
/// Nobody listens there.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WAIT))?;
    Ok(stream)
}

/// Posts a body of spans over a kept connection. Returns the status, and the answer's body as text.
///
/// # Errors
/// The connection ended, or there was no answer for too long.
pub fn post(stream: &mut TcpStream, kind: &str, body: &[u8]) -> io::Result<(u16, String)> {
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: door\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(piece.get(..read).unwrap_or_default());
        let text = String::from_utf8_lossy(&answer);
        let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if rest.len() >= length.unwrap_or(0) {
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            return Ok((status, rest.to_owned()));
        }
    }
}

/// A span with this id.
#[must_use]
pub fn span(id: u64) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: id.to_be_bytes().to_vec(),
        name: "work".to_owned(),
        ..Span::default()
    }
}

/// A request with these spans, as protobuf.
#[must_use]
pub fn request(spans: &[Span]) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans: spans.to_vec(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A request with one span, as JSON; `kind` is put in as it is.
#[must_use]
pub fn json(id: u64, kind: &str) -> String {
    let trace = "07".repeat(16);
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{trace}","spanId":"{id:016x}","name":"work","kind":{kind}}}]}}]}}]}}"#
    )
}
