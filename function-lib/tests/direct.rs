//! Direct mode outside Lambda: backends that take, refuse, hang and can't be found, on every tokio flavour.
#![cfg(feature = "direct")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use lambda_flush::{FlushError, Telemetry};
use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

/// Nothing here takes this long unless it never happens.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a flush outside an invocation waits for at the most, and the end of a local run.
const FLUSH_MAX: Duration = Duration::from_secs(1);
const END_MAX: Duration = Duration::from_secs(2);
/// What a busy machine may add.
const NOISE: Duration = Duration::from_secs(2);

/// What a backend does with a request.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Status(u16),
    Hang,
    /// One byte of the head every 50 ms.
    Drip,
}

#[derive(Debug, Clone)]
struct Received {
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
    status: u16,
}

#[derive(Debug, Default)]
struct Log {
    received: Mutex<Vec<Received>>,
    news: Condvar,
}

/// A backend on loopback. Its threads end with the test process; they hold nothing.
struct Backend {
    address: SocketAddr,
    log: Arc<Log>,
}

impl Backend {
    /// `script` says what happens to the n-th request, from 0 on.
    fn start(script: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (log, script) = (Arc::new(Log::default()), Arc::new(script));
        let theirs = log.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, script) = (theirs.clone(), script.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &log, &*script));
            }
        });
        Self { address, log }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn received(&self) -> Vec<Received> {
        self.log.received.lock().unwrap().clone()
    }

    fn wait_for(&self, count: usize) -> Vec<Received> {
        let received = self.log.received.lock().unwrap();
        let (received, timeout) =
            self.log.news.wait_timeout_while(received, PATIENCE, |received| received.len() < count).unwrap();
        assert!(!timeout.timed_out(), "{} of {count} requests came", received.len());
        received.clone()
    }

    /// Names of spans in requests that were answered with success, in order.
    fn spans(&self) -> Vec<String> {
        let good = self
            .received()
            .into_iter()
            .filter(|request| request.status == 200 && request.path == "/v1/traces");
        good.flat_map(|request| names(&request.body)).collect()
    }
}

fn names(body: &[u8]) -> Vec<String> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
}

fn serve(stream: TcpStream, log: &Log, script: &(dyn Fn(usize) -> Answer + Send + Sync)) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        let header = |line: &String| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let headers: HashMap<_, _> = lines[1..].iter().map(header).collect();
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let mut received = log.received.lock().unwrap();
        let answer = script(received.len());
        let status = if let Answer::Status(status) = answer { status } else { 0 };
        received.push(Received { path, headers, body, status });
        drop(received);
        log.news.notify_all();
        match answer {
            Answer::Status(status) => {
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
            Answer::Hang => {}
            Answer::Drip => {
                for byte in b"HTTP/1.1 200 OK\r\nX: ".iter().chain(std::iter::repeat_n(&b'x', 10_000)) {
                    std::thread::sleep(Duration::from_millis(50));
                    if reader.get_mut().write_all(&[*byte]).is_err() {
                        return;
                    }
                }
            }
        }
    }
}

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
