//! The OTLP doors of a real extension: every way in at once, bad requests among good ones, more than it can hold.
#![expect(clippy::expect_used, reason = "a test")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lambda_flush_e2e::Rig;
use lambda_testkit::sandbox::free_address;
use lambda_testkit::{Party, SandboxBuilder, Script, ShutdownReason, SpanId, Status};
use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use opentelemetry_otlp::{Compression, WithExportConfig, WithTonicConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prost::Message;

/// For one exchange with the extension.
const WAIT: Duration = Duration::from_secs(20);

struct Doors {
    http: SocketAddr,
    grpc: SocketAddr,
}

impl Doors {
    fn choose() -> Self {
        Self { http: free_address().expect("a port"), grpc: free_address().expect("a port") }
    }

    fn set(&self, builder: SandboxBuilder) -> SandboxBuilder {
        builder
            .extension_env("LAMBDA_FLUSH_OTLP_HTTP_ADDR", self.http.to_string())
            .extension_env("LAMBDA_FLUSH_OTLP_GRPC_ADDR", self.grpc.to_string())
    }
}

/// Over a kept connection: the status, and the body as text.
fn post(stream: &mut TcpStream, kind: &str, body: &[u8]) -> io::Result<(u16, String)> {
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

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the door is open");
    stream.set_read_timeout(Some(WAIT)).expect("a deadline");
    stream
}

fn request(spans: &[Span]) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans: spans.to_vec(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn span(id: u64) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: id.to_be_bytes().to_vec(),
        name: "work".to_owned(),
        ..Span::default()
    }
}

fn json(id: u64, kind: &str) -> String {
    let trace = "07".repeat(16);
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{trace}","spanId":"{id:016x}","name":"work","kind":{kind}}}]}}]}}]}}"#
    )
}

/// A stock exporter over gRPC, on threads of its own.
fn grpc_spans(endpoint: SocketAddr, count: usize) -> Vec<SpanId> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{endpoint}"))
        .with_compression(Compression::Gzip)
        .build()
        .expect("an exporter");
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let tracer = provider.tracer("grpc");
    let ids = (0..count)
        .map(|_| {
            let mut span = tracer.start("work");
            span.end();
            SpanId(span.span_context().span_id().to_bytes())
        })
        .collect();
    provider.force_flush().expect("everything was accepted");
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_between_good_requests_of_every_kind() {
    const EACH: u64 = 20;
    let doors = Doors::choose();
    let rig = Rig::start(|builder| doors.set(builder).timeout(WAIT)).await.expect("an environment");
    let invoked = rig.sandbox.invoke(r#"{"spans":50}"#).await;
    assert_eq!(invoked.status, Status::Ok);
    let mut stream = connect(doors.http);
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for number in 0..EACH {
        let [protobuf, text, poison] = [1_000 + number, 2_000 + number, 3_000 + number];
        let sent =
            post(&mut stream, "application/x-protobuf", &request(&[span(protobuf)])).expect("an answer");
        assert_eq!(sent.0, 200);
        let sent = post(&mut stream, "application/json", json(text, "2").as_bytes()).expect("an answer");
        assert_eq!((sent.0, sent.1.as_str()), (200, "{}"));
        good.extend([protobuf, text].map(|id| SpanId(id.to_be_bytes())));
        // A good span, and behind it one whose name is not UTF-8: a decoder refuses all of it.
        let mut broken = request(&[span(poison), Span { name: "broken!".into(), ..span(poison) }]);
        let last = broken.iter().rposition(|byte| *byte == b'!').expect("the name");
        broken.splice(last..=last, [0xff]);
        assert_eq!(post(&mut stream, "application/x-protobuf", &broken).expect("an answer").0, 400);
        let (status, message) =
            post(&mut stream, "application/json", json(poison, r#""?""#).as_bytes()).expect("an answer");
        assert_eq!(status, 400);
        assert!(message.contains("resourceSpans[0].scopeSpans[0].spans[0].kind"), "{message}");
        bad.push(SpanId(poison.to_be_bytes()));
    }
    let grpc = doors.grpc;
    good.extend(tokio::task::spawn_blocking(move || grpc_spans(grpc, 100)).await.expect("no panic"));
    assert_eq!(rig.sandbox.invoke(r#"{"spans":50}"#).await.status, Status::Ok);
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!(ended.witnessed_at_backend(), 100);
    let delivered = &ended.evidence.deliveries.answered_ok;
    let missing: Vec<_> = good.iter().filter(|id| delivered.get(id) != Some(&1)).collect();
    assert!(missing.is_empty(), "{} of {} not exactly once: {missing:?}", missing.len(), good.len());
    assert!(bad.iter().all(|id| !delivered.contains_key(id)));
    assert!(ended.backend.requests().iter().all(|request| request.malformed.is_none()));
    let told = |line: &&str| line.contains("an OTLP request was refused");
    let told = ended.report.extension_stdout().filter(told).count();
    assert!((1..=5).contains(&told), "{told} lines about {} bad requests", 2 * EACH);
}

#[tokio::test]
async fn a_taken_port_is_told_and_costs_only_its_door() {
    let doors = Doors::choose();
    let _taken = std::net::TcpListener::bind(doors.http).expect("a free port");
    let rig = Rig::start(|builder| doors.set(builder)).await.expect("an environment");
    let (status, _) =
        post(&mut connect(doors.grpc), "application/json", json(5, "1").as_bytes()).expect("an answer");
    assert_eq!(status, 200, "both doors speak both protocols");
    assert_eq!(rig.sandbox.invoke(r#"{"spans":5}"#).await.status, Status::Ok);
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert!(ended.evidence.deliveries.answered_ok.contains_key(&SpanId(5_u64.to_be_bytes())));
    let advice =
        |line: &&str| line.contains("LAMBDA_FLUSH_OTLP_HTTP_ADDR") && line.contains("set it to another");
    assert_eq!(ended.report.extension_stdout().filter(advice).count(), 1);
}

/// In bytes, from `/proc`.
fn memory(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|of| of.strip_prefix(line)).expect("the line");
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).expect("a number") << 10
}

/// What one of many senders saw.
#[derive(Debug, Default)]
struct Pushed {
    accepted: AtomicU64,
    accepted_items: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
}

const PUSHED_BYTES: u64 = 512 << 20;
const SENDERS: u64 = 16;
const BUFFER_BYTES: u64 = 16 << 20;
/// P5 of the promises.
const ABOVE_BYTES: u64 = 12 << 20;

/// Requests of different sizes and formats until this sender's share is pushed.
fn push(address: SocketAddr, sender: u64, pushed: &Pushed) {
    let spans = |count: u64| -> Vec<Span> {
        let id = |number: u64| (sender << 32) + number;
        (0..count).map(|number| Span { name: "n".repeat(300), ..span(id(number)) }).collect()
    };
    let sizes = [100, 1_000, 10_000];
    let bodies = sizes.map(|count| ("application/x-protobuf", count, request(&spans(count))));
    let json = format!(r#"{{"pad":"{}",{}"#, "p".repeat(1 << 20), json(sender, "1").trim_start_matches('{'));
    let bodies = [bodies.as_slice(), &[("application/json", 1, json.into_bytes())]].concat();
    let mut stream = connect(address);
    let mut sent = 0;
    for (kind, items, body) in bodies.iter().cycle() {
        let (status, _) = post(&mut stream, kind, body).expect("every request is answered");
        match status {
            200 => {
                pushed.accepted.fetch_add(1, Ordering::Relaxed);
                pushed.accepted_items.fetch_add(*items, Ordering::Relaxed);
            }
            429 => _ = pushed.refused.fetch_add(1, Ordering::Relaxed),
            other => assert_eq!(other, 200, "neither taken nor refused properly"),
        }
        sent += body.len() as u64;
        pushed.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        if sent >= PUSHED_BYTES / SENDERS {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_gigabyte_against_a_backend_that_hangs() {
    let doors = Doors::choose();
    let limited = |builder: SandboxBuilder| {
        doors.set(builder).extension_env("LAMBDA_FLUSH_BUFFER_BYTES_MAX", BUFFER_BYTES.to_string())
    };
    let rig = Rig::start(limited).await.expect("an environment");
    rig.backend.set(Script::Hang);
    let pid = rig.sandbox.pid(&Party::Extension("lambda-flush-extension".to_owned())).expect("it runs");
    let idle = memory(pid, "VmRSS:");
    let pushed = Arc::new(Pushed::default());
    let senders = (0..SENDERS).map(|sender| {
        let (address, pushed) = (doors.http, Arc::clone(&pushed));
        tokio::task::spawn_blocking(move || push(address, sender, &pushed))
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("no sender fails");
    }
    let peak = memory(pid, "VmHWM:");
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    println!("idle {} KiB, peak {} KiB, {pushed:?}", idle >> 10, peak >> 10);
    assert!(pushed.accepted.load(Ordering::Relaxed) > 0 && pushed.refused.load(Ordering::Relaxed) > 0);
    assert!(peak <= idle + BUFFER_BYTES + ABOVE_BYTES, "{peak} bytes at most, {idle} idle");
    let summary = &ended.summary().expect("a summary").destinations[0];
    assert_eq!(summary.accepted, pushed.accepted_items.load(Ordering::Relaxed), "{summary:?}");
    assert_eq!(summary.fault(), None, "{summary:?}");
    assert_eq!(summary.accepted, summary.dead_lettered, "{summary:?}");
    assert!(ended.verdict.faults.is_empty(), "{:?}", ended.verdict.faults);
}
