//! Direct mode outside Lambda: backends that take, refuse, hang and can't be found, on every tokio flavour.
#![cfg(feature = "direct")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

#[path = "common/backend.rs"]
mod backend;

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use backend::{Answer, Backend, PATIENCE, names};
use lambda_flush::{FlushError, Telemetry};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

/// What a flush outside an invocation waits for at the most, and the end of a local run.
const FLUSH_MAX: Duration = Duration::from_secs(1);
const END_MAX: Duration = Duration::from_secs(2);
/// What a busy machine may add.
const NOISE: Duration = Duration::from_secs(2);

fn telemetry(variables: &[(&str, &str)]) -> Telemetry {
    let source: HashMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Telemetry::builder().source(source).install_global(false).init().unwrap()
}

fn span(telemetry: &Telemetry, name: &'static str) {
    telemetry.tracer_provider().tracer("test").start(name).end();
}

/// No reactor, no timer: whatever waits must not need them.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// `flush` and the end of the run against a backend that never takes anything: both end in time.
#[track_caller]
fn demand_no_more_than_their_time(telemetry: Telemetry) {
    for name in ["a", "b", "c"] {
        span(&telemetry, name);
    }
    let began = Instant::now();
    let flushed = block_on(telemetry.flush());
    assert!(matches!(flushed, Err(FlushError::NotExported | FlushError::Timeout)), "{flushed:?}");
    assert!(began.elapsed() < FLUSH_MAX + NOISE, "{:?}", began.elapsed());
    let stats = telemetry.stats();
    assert_eq!((stats.ended, stats.buffered, telemetry.buffered()), (3, 3, 3));
    let began = Instant::now();
    drop(telemetry);
    assert!(began.elapsed() < END_MAX + NOISE, "{:?}", began.elapsed());
}

#[test]
fn what_is_held_is_exported_when_the_telemetry_goes() {
    let backend = Backend::start(|_| Answer::Status(200));
    let endpoint = format!("{}/base/", backend.endpoint());
    let telemetry = telemetry(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=blue,authorization=Bearer%20abc"),
        ("OTEL_SERVICE_NAME", "shop"),
    ]);
    for name in ["first", "second"] {
        span(&telemetry, name);
    }
    let other = telemetry.clone();
    drop(telemetry);
    assert_eq!(backend.received().len(), 0, "one handle is left");
    drop(other);
    let received = backend.received();
    assert_eq!(received.len(), 1, "{received:?}");
    let request = &received[0];
    assert_eq!(request.path, "/base/v1/traces");
    assert_eq!(names(&request.body), ["first", "second"]);
    let header = |name: &str| request.headers[name].as_str();
    assert_eq!((header("x-team"), header("authorization")), ("blue", "Bearer abc"));
    assert_eq!(header("content-type"), "application/x-protobuf");
    assert!(header("user-agent").starts_with("lambda-flush/") && header("user-agent").contains("OTLP"));
    let decoded = ExportTraceServiceRequest::decode(request.body.as_slice()).unwrap();
    let resource = decoded.resource_spans[0].resource.as_ref().unwrap();
    assert!(resource.attributes.iter().any(|attribute| attribute.key == "service.name"));
}

#[test]
fn a_run_that_goes_on_exports_every_few_seconds() {
    let backend = Backend::start(|_| Answer::Status(200));
    let telemetry = telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    span(&telemetry, "long before the end");
    backend.wait_for(1);
    assert_eq!(backend.spans(), ["long before the end"]);
}

#[test]
fn flush_waits_for_the_backend_on_every_flavour() {
    let backend = Backend::start(|_| Answer::Status(200));
    let telemetry = telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    let flavours = [
        tokio::runtime::Builder::new_current_thread().build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap(),
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ];
    for (number, flavour) in (1..).zip(flavours) {
        span(&telemetry, "flushed");
        flavour
            .block_on(async {
                tokio::spawn({
                    let telemetry = telemetry.clone();
                    async move { telemetry.flush().await }
                })
                .await
                .unwrap()
            })
            .unwrap();
        assert_eq!(backend.spans().len(), number);
        // Also synchronously, on an async thread: this is what deadlocks elsewhere.
        flavour.block_on(async { telemetry.tracer_provider().force_flush().unwrap() });
    }
    let stats = telemetry.stats();
    assert_eq!((stats.ended, stats.written, stats.buffered), (3, 3, 0));
    block_on(telemetry.flush()).unwrap();
}

#[test]
fn what_is_retryable_is_tried_again_and_arrives_once() {
    let backend = Backend::start(|number| Answer::Status(if number < 3 { 503 } else { 200 }));
    let telemetry = telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    span(&telemetry, "patient");
    block_on(telemetry.flush()).unwrap();
    assert_eq!((backend.received().len(), backend.spans()), (4, vec!["patient".to_owned()]));
}

#[test]
fn what_is_refused_for_good_is_dropped_and_counted() {
    for status in [400, 401, 404, 413, 500] {
        let backend = Backend::start(move |_| Answer::Status(status));
        let telemetry = telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
        span(&telemetry, "unwanted");
        block_on(telemetry.flush()).unwrap();
        let stats = telemetry.stats();
        assert_eq!((stats.buffered, stats.written, stats.dropped["rejected"]), (0, 0, 1), "{status}");
        assert_eq!(backend.received().len(), 1, "{status} is not tried again");
    }
}

#[test]
fn a_backend_that_hangs_or_drips_costs_no_more_than_the_time_given() {
    for answer in [Answer::Hang, Answer::Drip] {
        let backend = Backend::start(move |_| answer);
        demand_no_more_than_their_time(telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]));
    }
}

#[test]
fn a_backend_that_hangs_once_gets_everything_at_the_end() {
    let backend = Backend::start(|number| if number == 0 { Answer::Hang } else { Answer::Status(200) });
    let telemetry = telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    span(&telemetry, "stubborn");
    block_on(telemetry.flush()).unwrap_err();
    drop(telemetry);
    assert_eq!(backend.spans(), ["stubborn"]);
}

#[test]
fn a_port_where_nobody_listens_costs_no_more_than_the_time_given() {
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    demand_no_more_than_their_time(telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &format!("http://{nobody}"))]));
}

#[test]
fn a_handshake_that_hangs_costs_no_more_than_the_time_given() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("https://{}", silent.local_addr().unwrap());
    demand_no_more_than_their_time(telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &endpoint)]));
}

#[test]
fn a_name_server_that_is_silent_costs_no_more_than_the_time_given() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = silent.local_addr().unwrap().to_string();
    demand_no_more_than_their_time(telemetry(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://backend.example"),
        ("LAMBDA_FLUSH_NAME_SERVER", &server),
    ]));
    assert!(silent.recv(&mut [0; 512]).unwrap() > 12, "it was asked");
}

#[test]
fn a_connect_that_hangs_costs_no_more_than_the_time_given() {
    let (listener, _taken) = full_backlog();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    demand_no_more_than_their_time(telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &endpoint)]));
}

/// A listener whose queue is full: the kernel drops further SYNs.
fn full_backlog() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut taken = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        taken.push(stream);
        assert!(taken.len() < 100, "the queue does not fill");
    }
    (listener, taken)
}

#[test]
fn held_telemetry_is_bounded_and_what_does_not_fit_is_counted() {
    let backend = Backend::start(|_| Answer::Hang);
    let telemetry = telemetry(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint()),
        ("LAMBDA_FLUSH_BUFFER_BYTES_MAX", "1048576"),
    ]);
    for _ in 0..20_000 {
        span(&telemetry, "one of many, with a name that takes its room in the buffer");
    }
    let stats = telemetry.stats();
    assert!(stats.dropped["buffer_full"] > 0, "{stats:?}");
    assert_eq!(stats.ended, stats.written + stats.buffered + stats.dropped.values().sum::<u64>());
}

/// What exporting makes is exported by a later round: this one ends.
#[test]
fn a_round_is_not_kept_going_by_what_it_causes() {
    let emitter: Arc<OnceLock<Telemetry>> = Arc::default();
    let theirs = emitter.clone();
    // As an exporter that is traced: each request makes a span.
    let backend = Backend::start(move |_| {
        theirs.get().iter().for_each(|telemetry| span(telemetry, "of a request"));
        Answer::Status(200)
    });
    let telemetry = telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    emitter.set(telemetry.clone()).unwrap();
    span(&telemetry, "first");
    for round in 1..=2 {
        block_on(telemetry.flush()).unwrap();
        assert_eq!(backend.received().len(), round);
    }
    assert_eq!(
        (backend.spans(), telemetry.buffered()),
        (vec!["first".to_owned(), "of a request".to_owned()], 1)
    );
}

/// A waker is what runs on the export thread and is ours.
#[derive(Default)]
struct OnExportThread {
    /// The thread's name, and whether its telemetry is suppressed.
    seen: Mutex<Option<(String, bool)>>,
    telemetry: OnceLock<Telemetry>,
}

impl Wake for OnExportThread {
    fn wake(self: Arc<Self>) {
        self.telemetry.get().iter().for_each(|telemetry| span(telemetry, "of the exporter"));
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        let suppressed = opentelemetry::Context::is_current_telemetry_suppressed();
        *self.seen.lock().unwrap() = Some((thread, suppressed));
    }
}

#[test]
fn nothing_on_the_export_thread_is_telemetry() {
    let polled = Arc::new(AtomicBool::new(false));
    let theirs = polled.clone();
    // It answers once there is somebody to wake.
    let backend = Backend::start(move |_| {
        while !theirs.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Answer::Status(200)
    });
    let telemetry = telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    span(&telemetry, "the only one");
    let there = Arc::new(OnExportThread::default());
    there.telemetry.set(telemetry.clone()).unwrap();
    let waker = Waker::from(there.clone());
    let mut flush = Box::pin(telemetry.flush());
    assert_eq!(flush.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
    polled.store(true, Ordering::Release);
    let until = Instant::now() + PATIENCE;
    while there.seen.lock().unwrap().is_none() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(*there.seen.lock().unwrap(), Some(("lambda-flush-export".to_owned(), true)));
    assert_eq!(telemetry.stats().ended, 1);
}

#[test]
fn a_backend_that_never_wants_to_be_asked_again_is_asked_at_the_next_need() {
    let backend = Backend::start(|number| if number == 0 { Answer::RetryNever } else { Answer::Status(200) });
    let telemetry = telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    span(&telemetry, "patient");
    block_on(telemetry.flush()).unwrap_err();
    block_on(telemetry.flush()).unwrap();
    assert_eq!(backend.spans(), ["patient"]);
}

#[test]
fn neither_a_password_nor_a_body_is_in_what_debug_prints() {
    let backend = Backend::start(|_| Answer::Status(200));
    let endpoint = format!("http://user:hunter2@{}", backend.address);
    let telemetry = telemetry(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &endpoint)]);
    span(&telemetry, "secret name");
    // A body is printed as `b"…"` or as a list of numbers.
    let numbers = format!("{:?}", b"secret name");
    let shown = format!("{telemetry:?} {:?}", telemetry.tracer_provider());
    for secret in ["hunter2", "secret name", numbers.trim_matches(['[', ']'])] {
        assert!(!shown.contains(secret), "{secret:?} in {shown}");
    }
}

#[cfg(feature = "metrics")]
#[test]
fn a_delta_stays_where_it_is_while_what_is_held_takes_half_of_the_room() {
    use opentelemetry::metrics::MeterProvider as _;
    let up = Arc::new(AtomicBool::new(false));
    let theirs = up.clone();
    let backend =
        Backend::start(move |_| Answer::Status(if theirs.load(Ordering::Acquire) { 200 } else { 503 }));
    let telemetry = telemetry(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint()),
        ("LAMBDA_FLUSH_BUFFER_BYTES_MAX", "1048576"),
    ]);
    // About two thirds of it: there is room for the flush, which collects in any case.
    for _ in 0..6_000 {
        span(&telemetry, "one of many, with a name that takes its room in the buffer");
    }
    let counter = telemetry.meter_provider().meter("shop").u64_counter("orders").build();
    let before = telemetry.stats().ended;
    for number in 1..=3 {
        counter.add(1, &[]);
        block_on(invoke(&telemetry, &number.to_string()));
    }
    assert_eq!(telemetry.stats().ended, before, "nothing was collected");
    up.store(true, Ordering::Release);
    block_on(telemetry.flush()).unwrap();
    assert!(telemetry.stats().dropped.is_empty());
    assert!(backend.received().iter().any(|request| request.path == "/v1/metrics" && request.status == 200));
}

/// One invocation by the layer alone.
#[cfg(feature = "metrics")]
async fn invoke(telemetry: &Telemetry, request_id: &str) {
    use lambda_runtime::LambdaInvocation;
    use tower::{Layer as _, Service as _};
    let (parts, ()) = http::Response::new(()).into_parts();
    let mut context = lambda_flush::Context::default();
    request_id.clone_into(&mut context.request_id);
    let invocation = LambdaInvocation { parts, body: Default::default(), context };
    let runtime = lambda_flush::service_fn(async |_: LambdaInvocation| Ok::<(), lambda_flush::Error>(()));
    telemetry.layer().layer(runtime).call(invocation).await.unwrap();
}
