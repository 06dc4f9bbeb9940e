//! The listener: every delivery is confirmed, what counts comes out, and nobody can hold it up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lambda_flush_extension::core::{Platform, RequestId};
use lambda_flush_extension::lambda::telemetry::listener::{Sink, serve};
use lambda_flush_extension::lambda::telemetry::records::Schema;
use lambda_flush_extension::limits::{
    TELEMETRY_BODY_BYTES_MAX, TELEMETRY_CONNECTION_MAX, TELEMETRY_CONNECTIONS_MAX,
};
use lambda_flush_extension::output::Output;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

struct Rig {
    address: SocketAddr,
    sink: Sink,
    events: mpsc::Receiver<Platform>,
}

fn rig(room: usize) -> Rig {
    let (sender, events) = mpsc::channel(room);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let address = listener.local_addr().unwrap();
    let sink = Sink::new(sender, Schema::OnDemand, Output::default());
    tokio::spawn(serve(listener, sink.clone()));
    Rig { address, sink, events }
}

impl Rig {
    async fn next(&mut self) -> Platform {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("in time").unwrap()
    }
}

/// The status line of the answer to `body`; an empty text if the connection just ends.
async fn post(address: SocketAddr, body: &[u8]) -> String {
    tokio::time::timeout(PATIENCE, exchange(address, body)).await.expect("in time")
}

async fn exchange(address: SocketAddr, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: sandbox\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    // An answer may come before all is written.
    stream.write_all(body).await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

fn start(id: &str) -> String {
    format!(
        r#"{{"time":"2026-11-23T00:00:00.000Z","type":"platform.start","record":{{"requestId":"{id}"}}}}"#
    )
}

fn started(id: &str) -> Platform {
    Platform::InvocationStarted { request_id: RequestId(id.to_owned()) }
}

const OK: &str = "HTTP/1.1 200 OK";

#[tokio::test]
async fn one_bad_record_costs_none_of_its_neighbours() {
    let mut rig = rig(8);
    let done = r#"{"type":"platform.runtimeDone","record":{"requestId":"a","status":"timeout"}}"#;
    let batch = format!(
        r#"[{}, {{"type":"platform.start","record":{{nonsense}}}}, {{"type":"platform.new","record":[]}}, 7, {done}]"#,
        start("a"),
    );
    assert_eq!(post(rig.address, batch.as_bytes()).await, OK);
    assert_eq!(rig.next().await, started("a"));
    let status = "timeout".to_owned();
    let ended = Platform::InvocationDone {
        request_id: RequestId("a".to_owned()),
        status,
        error_type: None,
        took: None,
    };
    assert_eq!(rig.next().await, ended);
    assert_eq!((rig.sink.malformed(), rig.sink.dropped()), (2, 0));
}

#[tokio::test]
async fn what_is_no_batch_is_confirmed_and_counted() {
    let mut rig = rig(8);
    for body in [&b"{}"[..], b"\xff\xfe\x00", b"[{\"type\":\"platform.start\"", b"null"] {
        assert_eq!(post(rig.address, body).await, OK, "{body:?}");
    }
    assert_eq!(rig.sink.malformed(), 4);
    assert_eq!(post(rig.address, format!("[{}]", start("b")).as_bytes()).await, OK);
    assert_eq!(rig.next().await, started("b"));
}

#[tokio::test]
async fn of_a_huge_body_what_came_before_the_limit_counts() {
    let mut rig = rig(8);
    let padding = format!("{},", start("x").replace("start", "what")).repeat(TELEMETRY_BODY_BYTES_MAX / 64);
    let body = format!("[{},{padding}{}]", start("first"), start("last"));
    assert!(body.len() > TELEMETRY_BODY_BYTES_MAX);
    let answer = post(rig.address, body.as_bytes()).await;
    // Whether the answer or the reset of the unread rest is seen first is up to the kernel.
    assert!(answer == OK || answer.is_empty(), "{answer}");
    assert_eq!(rig.next().await, started("first"));
    assert_eq!(post(rig.address, format!("[{}]", start("next")).as_bytes()).await, OK);
    assert_eq!(rig.next().await, started("next"));
}

#[tokio::test]
async fn whoever_is_slow_is_cut_off() {
    let rig = rig(8);
    for sent in ["", "POST / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n["] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let begun = Instant::now();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("cut off").ok();
        assert!(begun.elapsed() >= TELEMETRY_CONNECTION_MAX - Duration::from_millis(100), "{sent:?}");
    }
}

#[tokio::test]
async fn a_hundred_connections_at_once_are_served_or_cut_off_in_time() {
    let mut rig = rig(128);
    let mut idle = Vec::new();
    for _ in 0..TELEMETRY_CONNECTIONS_MAX {
        idle.push(TcpStream::connect(rig.address).await.unwrap());
    }
    let mut posts = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (address, body) = (rig.address, format!("[{}]", start(&number.to_string())));
        posts.spawn(async move { post(address, body.as_bytes()).await });
    }
    while let Some(answer) = posts.join_next().await {
        assert_eq!(answer.unwrap(), OK);
    }
    for _ in 0..100 {
        rig.next().await;
    }
    drop(idle);
}

#[tokio::test]
async fn a_batch_larger_than_the_queue_arrives_and_a_full_queue_blocks_nobody() {
    let mut small = rig(1);
    let batch: Vec<String> = (0..200).map(|number| start(&number.to_string())).collect();
    let body = format!("[{}]", batch.join(","));
    let answer = tokio::spawn({
        let (address, body) = (small.address, body.clone());
        async move { post(address, body.as_bytes()).await }
    });
    for number in 0..200 {
        assert_eq!(small.next().await, started(&number.to_string()));
    }
    assert_eq!((answer.await.unwrap().as_str(), small.sink.dropped()), (OK, 0));
    // Nobody takes anything out any more.
    assert_eq!(post(small.address, body.as_bytes()).await, OK);
    assert_eq!(small.sink.dropped(), 199);
}

#[tokio::test]
async fn what_is_no_delivery_is_not_confirmed() {
    let mut rig = rig(8);
    for (line, kind, status) in [
        ("POST /v1/traces", "application/x-protobuf", "404 Not Found"),
        ("POST /v1/logs", "application/json", "404 Not Found"),
        ("GET /", "application/json", "405 Method Not Allowed"),
        ("POST /", "application/x-protobuf", "415 Unsupported Media Type"),
        ("POST /", "Application/JSON; charset=utf-8", "200 OK"),
    ] {
        let mut stream = TcpStream::connect(rig.address).await.unwrap();
        let body = format!("[{}]", start("a"));
        let head =
            format!("{line} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {}", body.len());
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{line} {kind}: {answer}");
    }
    assert_eq!(rig.next().await, started("a"));
    assert_eq!(rig.sink.malformed(), 0);
    assert!(rig.events.try_recv().is_err(), "only the delivery counts");
}
