//! The OTLP doors of a real extension: every way in at once, bad requests among good ones, more than it can hold.
#![expect(clippy::expect_used, reason = "a test")]

use std::net::SocketAddr;
use std::time::Duration;

use lambda_flush_e2e::Rig;
use lambda_flush_e2e::door::{connect, json, post, request, span};
use lambda_flush_e2e::push::{ABOVE_BYTES, BUFFER_BYTES, memory_bytes, push};
use lambda_testkit::sandbox::free_address;
use lambda_testkit::{Party, SandboxBuilder, Script, ShutdownReason, SpanId, Status};
use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
use opentelemetry_otlp::{Compression, WithExportConfig, WithTonicConfig};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_sdk::trace::SdkTracerProvider;

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
    let mut stream = connect(doors.http).expect("the door is open");
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
    let (status, _) = post(
        &mut connect(doors.grpc).expect("the door is open"),
        "application/json",
        json(5, "1").as_bytes(),
    )
    .expect("an answer");
    assert_eq!(status, 200, "both doors speak both protocols");
    assert_eq!(rig.sandbox.invoke(r#"{"spans":5}"#).await.status, Status::Ok);
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert!(ended.evidence.deliveries.answered_ok.contains_key(&SpanId(5_u64.to_be_bytes())));
    let advice =
        |line: &&str| line.contains("LAMBDA_FLUSH_OTLP_HTTP_ADDR") && line.contains("set it to another");
    assert_eq!(ended.report.extension_stdout().filter(advice).count(), 1);
}

const PUSHED_BYTES: u64 = 512 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn half_a_gigabyte_against_a_backend_that_hangs() {
    let doors = Doors::choose();
    let limited = |builder: SandboxBuilder| {
        let builder =
            doors.set(builder).extension_env("LAMBDA_FLUSH_BUFFER_BYTES_MAX", BUFFER_BYTES.to_string());
        // The layer's allocator has no heap for each thread either.
        builder.extension_env("MALLOC_ARENA_MAX", "1")
    };
    let rig = Rig::start(limited).await.expect("an environment");
    rig.backend.set(Script::Hang);
    let pid = rig.sandbox.pid(&Party::Extension("lambda-flush-extension".to_owned())).expect("it runs");
    let idle = memory_bytes(pid, "VmRSS:").expect("it runs");
    let pushed = push(doors.http, PUSHED_BYTES).await.expect("every request is answered");
    let peak = memory_bytes(pid, "VmHWM:").expect("it runs");
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    println!("idle {} KiB, peak {} KiB, {pushed:?}", idle >> 10, peak >> 10);
    assert!(pushed.accepted > 0 && pushed.refused > 0);
    assert!(peak <= idle + BUFFER_BYTES + ABOVE_BYTES, "{peak} bytes at most, {idle} idle");
    let summary = &ended.summary().expect("a summary").destinations[0];
    assert_eq!(summary.accepted, pushed.accepted_items, "{summary:?}");
    assert_eq!(summary.fault(), None, "{summary:?}");
    // An unoptimised compressor on a busy machine may run out of time: then the rest is told to be lost. The layer's
    // own test demands all of it.
    let failed = summary.dropped.get("dead_letter_failed").copied().unwrap_or(0);
    assert_eq!(summary.accepted, summary.dead_lettered + failed, "{summary:?}");
    assert!(summary.dead_lettered > 0, "{summary:?}");
    assert!(ended.verdict.faults.is_empty(), "{:?}", ended.verdict.faults);
}
