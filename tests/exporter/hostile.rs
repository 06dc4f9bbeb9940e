//! Backends that do not read, repeat credentials, or say too much.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lambda_flush_extension::clock::Clock;
use lambda_flush_extension::core::{Outcome, Signal};
use lambda_testkit::{Backend, TlsSetup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::{PATIENCE, exporter, file, send, spans};

/// Enough for a handshake, and much less than the request.
const PASSED_BYTES: usize = 64 << 10;

/// Passes one connection on to the backend until it is clear that a request comes in, reads on when it is told to, and
/// returns how much came until the other side ended.
async fn stalled(listener: TcpListener, backend: SocketAddr, resume: oneshot::Receiver<()>) -> usize {
    let (mut client, _) = listener.accept().await.unwrap();
    let mut server = TcpStream::connect(backend).await.unwrap();
    let (mut passed, mut up, mut down) = (0, vec![0; 8 << 10], vec![0; 8 << 10]);
    while passed < PASSED_BYTES {
        tokio::select! {
            read = client.read(&mut up) => {
                let read = read.unwrap();
                passed += read;
                server.write_all(&up[..read]).await.unwrap();
            }
            read = server.read(&mut down) => client.write_all(&down[..read.unwrap()]).await.unwrap(),
        }
    }
    resume.await.unwrap();
    // The end may be a reset.
    while let Ok(read @ 1..) = client.read(&mut up).await {
        passed += read;
    }
    passed
}

#[tokio::test]
async fn a_backend_that_does_not_read_keeps_no_connection_beyond_the_deadline() {
    let body = spans(60_000);
    for (protocol, backend) in [
        ("http/protobuf", Backend::start()),
        ("http/protobuf", Backend::start_tls(&TlsSetup::default())),
        ("grpc", Backend::start_grpc(None)),
        ("grpc", Backend::start_grpc(Some(&TlsSetup::default()))),
    ] {
        let backend = backend.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_kept, ca) = file(backend.ca_pem().unwrap_or_default());
        let scheme = if backend.ca_pem().is_some() { "https" } else { "http" };
        let exporter = exporter(&[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", &format!("{scheme}://{address}")),
            ("LAMBDA_FLUSH_OTLP_PROTOCOL", protocol),
            ("LAMBDA_FLUSH_OTLP_CERTIFICATE", &ca),
            ("LAMBDA_FLUSH_OTLP_COMPRESSION", "none"),
        ]);
        let (go_on, resume) = oneshot::channel();
        let wire = tokio::spawn(stalled(listener, backend.address(), resume));
        let timeout = Duration::from_secs(1);
        let outcome = exporter.send(Signal::Traces, body.clone(), timeout, Clock::start()).await;
        assert!(matches!(outcome, Outcome::Retry { maybe_sent: true, .. }), "{outcome:?}");
        drop(exporter);
        go_on.send(()).unwrap();
        let ended = tokio::time::timeout(PATIENCE, wire).await;
        let sent = ended.unwrap_or_else(|_| panic!("{scheme} {protocol}: the connection stayed")).unwrap();
        assert!(sent >= PASSED_BYTES && sent < body.len(), "{scheme} {protocol}: {sent} bytes");
    }
}

/// Answers each request so.
async fn answering(
    answer: impl Fn(&HeaderMap) -> Response<Bytes> + Copy + Send + 'static,
    h2: bool,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request: Request<Incoming>| async move {
                let (head, body) = request.into_parts();
                body.collect().await?;
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                let trailers = async move { Some(Ok(trailers)) };
                Ok::<_, hyper::Error>(
                    answer(&head.headers).map(|body| Full::new(body).with_trailers(trailers)),
                )
            });
            let io = TokioIo::new(stream);
            tokio::spawn(async move {
                if h2 {
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(io, service)
                        .await
                } else {
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_backend_that_repeats_credentials_does_not_get_them_printed() {
    for status in [400, 401, 503] {
        // The key is where the words are cut.
        let url = answering(
            move |headers| {
                let said = headers["authorization"].to_str().unwrap();
                let key = said.strip_prefix("Bearer ").unwrap();
                let body = format!("{said} {key} {}{key}", "x".repeat(460));
                Response::builder().status(status).body(body.into()).unwrap()
            },
            false,
        );
        let (_kept, path) = file("authorization=Bearer%20tops3cret-tops3cret-tops3cret");
        let exporter = exporter(&[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", &url.await),
            ("LAMBDA_FLUSH_OTLP_HEADERS_FROM", &format!("file:{path}")),
        ]);
        let told = format!("{:?}", send(&exporter, &spans(1)).await);
        assert!(told.contains("[hidden] [hidden] xxx") && !told.contains("tops3"), "{told}");
    }
}

#[tokio::test]
async fn a_grpc_status_is_read_behind_whatever_comes_before_it() {
    let url = answering(
        |_| {
            let length = 200 << 10;
            let message = [&[0][..], &u32::to_be_bytes(length), &vec![0; length as usize]].concat();
            Response::builder().header("content-type", "application/grpc").body(message.into()).unwrap()
        },
        true,
    );
    let endpoint = url.await;
    let exporter =
        exporter(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &endpoint), ("LAMBDA_FLUSH_OTLP_PROTOCOL", "grpc")]);
    for _ in 0..2 {
        assert_eq!(send(&exporter, &spans(1)).await, Outcome::Exported);
    }
}
