//! The doors as their clients see them: real connections, the core played by the test.

mod pressure;

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lambda_flush_proto::otlp::messages::{RetryInfo, RpcStatus};
use lambda_flush_proto::splice;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Door;
use crate::core::{Admission, Signal};
use crate::limits::{DOOR_BODY_BYTES_MAX, DOOR_CONNECTIONS_MAX};
use crate::output::Output;
use crate::receive::door::DoorInput;

const JSON_SPAN: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a"}]}]}]}"#;
/// Long enough for a busy machine, short enough to be waited for.
const BODY_WAIT: Duration = Duration::from_secs(5);
const GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// `count` spans, each with a name of `bytes` bytes.
fn spans(count: usize, bytes: usize) -> Vec<u8> {
    let mut span = Vec::new();
    splice::field(5, &vec![b'n'; bytes], &mut span);
    let mut all = Vec::new();
    (0..count).for_each(|_| splice::field(2, &span, &mut all));
    [2, 1].into_iter().fold(all, |inner, number| {
        let mut outer = Vec::new();
        splice::field(number, &inner, &mut outer);
        outer
    })
}

struct Stand {
    address: SocketAddr,
    door: Door,
    requests: mpsc::Receiver<DoorInput>,
}

/// Doors whose requests wait in the channel.
async fn stand() -> Stand {
    let (input, requests) = mpsc::channel(64);
    let door = Door { body_wait: BODY_WAIT, ..Door::new(input, Output::default()) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(door.clone().serve(listener));
    Stand { address, door, requests }
}

/// Doors whose requests all get one answer; the last one is kept.
async fn answering(
    admission: Admission,
) -> (SocketAddr, Door, mpsc::UnboundedReceiver<(Signal, u64, Bytes)>) {
    let mut stand = stand().await;
    let (seen, all) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(input) = stand.requests.recv().await {
            seen.send((input.signal, input.items, input.body)).ok();
            input.answer.send(admission).ok();
        }
    });
    (stand.address, stand.door, all)
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

async fn send(address: SocketAddr, version: Version, request: Request<Full<Bytes>>) -> Reply {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let response = if version == Version::HTTP_2 {
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    Reply { status: head.status, headers: head.headers, body: body.to_bytes(), trailers }
}

fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::post(format!("http://door{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag][..], &length, message].concat()
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
const OURS: (&str, &str) = ("user-agent", "mine/1 lambda-flush-extension/0.0.0");
const GRPC_TYPE: (&str, &str) = ("content-type", "application/grpc");

#[tokio::test]
async fn every_signal_in_every_format_and_version_of_http() {
    let (address, door, mut seen) = answering(Admission::Accepted).await;
    let request = spans(3, 10);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for (path, signal) in
            [("/v1/traces", Signal::Traces), ("/v1/metrics", Signal::Metrics), ("/v1/logs", Signal::Logs)]
        {
            // The shapes are alike; a log record's field 5 is its body, a metric's its gauge.
            let body =
                if signal == Signal::Traces { request.clone() } else { vec![0x0a, 4, 0x12, 2, 0x12, 0] };
            let reply = send(address, version, post(path, &[PROTOBUF], body.clone())).await;
            assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0), "{path}");
            assert_eq!(reply.headers["content-type"], "application/x-protobuf");
            let zipped = post(path, &[PROTOBUF, ("content-encoding", "gzip")], gzip(&body));
            assert_eq!(send(address, version, zipped).await.status, StatusCode::OK);
            let expected = match signal {
                Signal::Traces => 3,
                Signal::Logs => 1,
                // A metric without data points, or of a kind that is not known yet, is no item, and is passed on.
                Signal::Metrics => 0,
            };
            for _ in 0..2 {
                let (of, items, got) = seen.recv().await.unwrap();
                assert_eq!((of, items, &got[..]), (signal, expected, &body[..]));
            }
        }
        let reply = send(address, version, post("/v1/traces", &[JSON], JSON_SPAN)).await;
        assert_eq!((reply.status, &reply.body[..]), (StatusCode::OK, &b"{}"[..]));
        assert_eq!(reply.headers["content-type"], "application/json");
        assert_eq!(seen.recv().await.unwrap().1, 1);
    }
    assert!(seen.try_recv().is_err());
    assert_eq!(door.room.taken(), 0);
}

#[tokio::test]
async fn grpc_plain_and_compressed() {
    let (address, door, mut seen) = answering(Admission::Accepted).await;
    let request = spans(2, 10);
    let plain = post(GRPC, &[GRPC_TYPE, ("te", "trailers")], framed(0, &request));
    let zipped = post(GRPC, &[GRPC_TYPE, ("grpc-encoding", "gzip")], framed(1, &gzip(&request)));
    let announced = post(GRPC, &[GRPC_TYPE, ("grpc-encoding", "gzip")], framed(0, &request));
    for sent in [plain, zipped, announced] {
        let reply = send(address, Version::HTTP_2, sent).await;
        assert_eq!((reply.status, &reply.body[..]), (StatusCode::OK, &[0; 5][..]));
        assert_eq!(reply.trailers["grpc-status"], "0");
        let (signal, items, got) = seen.recv().await.unwrap();
        assert_eq!((signal, items, &got[..]), (Signal::Traces, 2, &request[..]));
    }
    assert_eq!(door.room.taken(), 0);
}

#[tokio::test]
async fn refusals_over_http_in_the_requests_own_format() {
    let (address, door, mut seen) = answering(Admission::Accepted).await;
    let large = vec![0; DOOR_BODY_BYTES_MAX + 1];
    let bomb = gzip(&vec![0; 8 << 20]);
    assert!(bomb.len() < 10_000);
    let gzipped = ("content-encoding", "gzip");
    for (request, status, code, words) in [
        (post("/v1/spans", &[PROTOBUF], spans(1, 1)), 404, 12, "/v1/traces"),
        (Request::get("http://door/v1/traces").body(Full::default()).unwrap(), 405, 12, "POST"),
        (post("/v1/traces", &[("content-type", "text/plain")], "x"), 415, 12, "content type"),
        (post("/v1/traces", &[], spans(1, 1)), 415, 12, "content type"),
        (post("/v1/traces", &[PROTOBUF, ("content-encoding", "br")], "x"), 415, 12, "gzip"),
        (post("/v1/traces", &[PROTOBUF, OURS], spans(1, 1)), 508, 9, "own receiver"),
        (post("/v1/traces", &[PROTOBUF], &b"\x0a\x05abc"[..]), 400, 3, "byte"),
        (post("/v1/traces", &[PROTOBUF, gzipped], spans(1, 1)), 400, 3, "gzip"),
        (post("/v1/traces", &[PROTOBUF, gzipped], gzip(&spans(9, 9))[..20].to_vec()), 400, 3, "gzip"),
        (post("/v1/traces", &[JSON], r#"{"resourceMetrics":[{}]}"#), 400, 3, "another signal"),
        (
            post("/v1/traces", &[JSON], r#"{"resourceSpans":[{"scopeSpans":3}]}"#),
            400,
            3,
            "resourceSpans[0].scopeSpans",
        ),
        (post("/v1/traces", &[PROTOBUF], large), 413, 8, "4 MiB"),
        (post("/v1/traces", &[PROTOBUF, gzipped], bomb), 413, 8, "4 MiB"),
    ] {
        let json = request.headers().get("content-type").is_none_or(|kind| kind != PROTOBUF.1);
        let reply = send(address, Version::HTTP_11, request).await;
        assert_eq!(reply.status.as_u16(), status, "{words}");
        let (found, message) = if json {
            assert_eq!(reply.headers["content-type"], "application/json");
            let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            (body["code"].as_i64().unwrap(), body["message"].as_str().unwrap().to_owned())
        } else {
            assert_eq!(reply.headers["content-type"], "application/x-protobuf");
            let body = RpcStatus::decode(reply.body).unwrap();
            (body.code.into(), body.message)
        };
        assert_eq!(found, code, "{message}");
        assert!(message.contains(words), "{message}");
        assert_eq!(reply.headers.get("allow").is_some(), status == 405);
        assert_eq!(reply.headers.get("accept-encoding").is_some(), status == 415 && words == "gzip");
        assert!(reply.headers.get("retry-after").is_none());
    }
    assert!(seen.try_recv().is_err(), "nothing of it came to the core");
    assert_eq!(door.room.taken(), 0);
}

#[tokio::test]
async fn refusals_over_grpc() {
    let (address, door, mut seen) = answering(Admission::Accepted).await;
    let zipped = ("grpc-encoding", "gzip");
    let large = framed(0, &vec![0; DOOR_BODY_BYTES_MAX + 1]);
    let liar = [&framed(0, &[])[..1], &u32::MAX.to_be_bytes()].concat();
    for (request, status) in [
        (post("/other.Service/Export", &[GRPC_TYPE], framed(0, &[])), 12),
        (post(GRPC, &[("content-type", "application/grpc+json")], framed(0, b"{}")), 12),
        (post(GRPC, &[("content-type", "application/grpc-web+proto")], framed(0, b"")), 12),
        (post(GRPC, &[GRPC_TYPE, ("grpc-encoding", "zstd")], framed(1, &[])), 12),
        (post(GRPC, &[GRPC_TYPE, OURS], framed(0, &spans(1, 1))), 9),
        (post(GRPC, &[GRPC_TYPE], framed(0, b"\x0a\x05abc")), 3),
        (post(GRPC, &[GRPC_TYPE], framed(1, &gzip(&spans(1, 1)))), 13),
        (post(GRPC, &[GRPC_TYPE, zipped], framed(1, &spans(1, 1))), 3),
        (post(GRPC, &[GRPC_TYPE, zipped], framed(2, &[])), 3),
        (post(GRPC, &[GRPC_TYPE], [framed(0, &[]), framed(0, &[])].concat()), 3),
        (post(GRPC, &[GRPC_TYPE], framed(0, &spans(1, 1))[..7].to_vec()), 3),
        (post(GRPC, &[GRPC_TYPE], ""), 3),
        (post(GRPC, &[GRPC_TYPE], large), 8),
        (post(GRPC, &[GRPC_TYPE], liar), 8),
        (post(GRPC, &[GRPC_TYPE, zipped], framed(1, &gzip(&vec![0; 8 << 20]))), 8),
    ] {
        let shown = format!("{:?}", request.headers());
        let media = request.headers()["content-type"] != "application/grpc";
        let reply = send(address, Version::HTTP_2, request).await;
        let expected = if media { StatusCode::UNSUPPORTED_MEDIA_TYPE } else { StatusCode::OK };
        assert_eq!(reply.status, expected, "{shown}");
        assert_eq!(reply.headers["grpc-status"], status.to_string(), "{shown}");
        let details = details(&reply);
        assert!(details.details.is_empty(), "without RetryInfo nobody tries again: {details:?}");
    }
    let old = send(address, Version::HTTP_11, post(GRPC, &[GRPC_TYPE], framed(0, &[]))).await;
    assert_eq!(old.status, StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    assert!(seen.try_recv().is_err());
    assert_eq!(door.room.taken(), 0);
}

fn details(reply: &Reply) -> RpcStatus {
    let details = STANDARD_NO_PAD.decode(&reply.headers["grpc-status-details-bin"]).unwrap();
    RpcStatus::decode(details.as_slice()).unwrap()
}

#[tokio::test]
async fn what_the_core_refuses_comes_back_with_a_time() {
    let retry_after = Duration::from_millis(1_500);
    let (address, door, _seen) = answering(Admission::Refused { retry_after }).await;
    let reply = send(address, Version::HTTP_11, post("/v1/traces", &[PROTOBUF], spans(1, 1))).await;
    assert_eq!(
        (reply.status, &reply.headers["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"2".parse().unwrap())
    );
    let reply = send(address, Version::HTTP_2, post(GRPC, &[GRPC_TYPE], framed(0, &spans(1, 1)))).await;
    let status = details(&reply);
    assert_eq!((status.code, status.details.len()), (8, 1));
    let info = RetryInfo::decode(status.details[0].value.as_slice()).unwrap();
    assert_eq!(info.retry_delay.map(|delay| (delay.seconds, delay.nanos)), Some((1, 500_000_000)));
    for headers in [&[PROTOBUF][..], &[PROTOBUF, ("content-encoding", "gzip")]] {
        let empty = send(address, Version::HTTP_11, post("/v1/traces", headers, "")).await;
        assert_eq!(empty.status, StatusCode::OK, "nothing in it needs no room");
    }
    let zipped = [GRPC_TYPE, ("grpc-encoding", "gzip")];
    let empty = send(address, Version::HTTP_2, post(GRPC, &zipped, framed(1, b""))).await;
    assert_eq!(empty.trailers["grpc-status"], "0");
    assert_eq!(door.room.taken(), 0);
}

#[tokio::test]
async fn the_end_is_unavailable() {
    let mut stand = stand().await;
    let asked =
        tokio::spawn(send(stand.address, Version::HTTP_11, post("/v1/traces", &[PROTOBUF], spans(1, 1))));
    drop(stand.requests.recv().await.unwrap().answer);
    assert_eq!(asked.await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    drop(stand.requests);
    let reply = send(stand.address, Version::HTTP_2, post(GRPC, &[GRPC_TYPE], framed(0, &spans(1, 1)))).await;
    assert_eq!(reply.headers["grpc-status"], "14");
}

#[tokio::test]
async fn a_full_room_refuses_at_once_and_takes_again_when_it_is_empty() {
    let mut stand = stand().await;
    let large = spans(3, 1 << 20);
    let ask = |body: &[u8]| {
        let request = post("/v1/traces", &[PROTOBUF], body.to_vec());
        tokio::spawn(send(stand.address, Version::HTTP_11, request))
    };
    let first = ask(&large);
    let taken = stand.requests.recv().await.unwrap();
    assert!(stand.door.room.taken() >= large.len());
    let second = ask(&large).await.unwrap();
    assert_eq!(second.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(second.headers.contains_key("retry-after"));
    let small = ask(&spans(1, 1));
    stand.requests.recv().await.unwrap().answer.send(Admission::Accepted).unwrap();
    assert_eq!(small.await.unwrap().status, StatusCode::OK, "a small one finds room beside it");
    taken.answer.send(Admission::Accepted).unwrap();
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
    assert_eq!(stand.door.room.taken(), 0, "though the core may keep the body");
    drop(taken.body);
    let third = ask(&large);
    stand.requests.recv().await.unwrap().answer.send(Admission::Accepted).unwrap();
    assert_eq!(third.await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn idle_and_half_connections_keep_nobody_out() {
    let (address, door, _seen) = answering(Admission::Accepted).await;
    let mut half = Vec::new();
    for _ in 0..DOOR_CONNECTIONS_MAX + 5 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /v1/traces HTTP/1.1\r\nhost: door\r\ncontent-").await.unwrap();
        half.push(stream);
    }
    let reply = send(address, Version::HTTP_11, post("/v1/traces", &[PROTOBUF], spans(1, 1))).await;
    assert_eq!(reply.status, StatusCode::OK);
    let mut closed = 0;
    for mut stream in half {
        let end = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut [0; 64])).await;
        closed += usize::from(end.is_ok());
    }
    assert!((6..=DOOR_CONNECTIONS_MAX + 5).contains(&closed), "{closed}");
    assert_eq!(door.room.taken(), 0);
}

#[tokio::test]
async fn a_body_that_does_not_come_costs_its_sender_only() {
    let (address, door, _seen) = answering(Admission::Accepted).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: door\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\nabc",
        DOOR_BODY_BYTES_MAX
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let reply = send(address, Version::HTTP_11, post("/v1/traces", &[PROTOBUF], spans(1, 1))).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(door.room.taken() < 100 << 10, "announcing 4 MiB takes {} bytes", door.room.taken());
    let mut answer = vec![0; 100];
    let read = slow.read(&mut answer).await.unwrap();
    assert!(
        answer[..read].starts_with(b"HTTP/1.1 503")
            && String::from_utf8_lossy(&answer).contains("retry-after: 1"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(door.room.taken(), 0);
}
