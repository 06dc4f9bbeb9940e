//! OTLP/gRPC: frames, statuses, TLS.

use std::time::Duration;

use lambda_flush_extension::clock::Clock;
use lambda_flush_extension::core::{Outcome, Signal};
use lambda_flush_extension::export::Exporter;
use lambda_testkit::backend::OtlpSignal;
use lambda_testkit::{Backend, Script, TlsSetup};

use crate::{PATIENCE, exporter, file, refusal, send, spans};

fn grpc(backend: &Backend, more: &[(&str, &str)]) -> Exporter {
    let endpoint = backend.endpoint();
    let vars = [("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint.as_str()), ("LAMBDA_FLUSH_OTLP_PROTOCOL", "grpc")];
    exporter(&[&vars[..], more].concat())
}

fn status(code: u32, details: &[u8]) -> Script {
    Script::Grpc { code, message: "slow down 100%".into(), details: details.to_vec() }
}

#[tokio::test]
async fn each_signal_goes_to_its_service_in_one_frame() {
    let backend = Backend::start_grpc(None).unwrap();
    for compression in ["gzip", "zstd", "none"] {
        let exporter = grpc(&backend, &[("LAMBDA_FLUSH_OTLP_COMPRESSION", compression)]);
        assert_eq!(send(&exporter, &spans(100)).await, Outcome::Exported);
        let request = backend.requests().pop().unwrap();
        assert_eq!((request.items, request.malformed, request.signal), (100, None, Some(OtlpSignal::Traces)));
        let small = request.wire_bytes * 4 < spans(100).len();
        assert_eq!(small, compression != "none", "{} bytes", request.wire_bytes);
        assert_eq!(request.headers["te"], "trailers");
        let timeout = request.headers["grpc-timeout"].to_str().unwrap().trim_end_matches('m').to_owned();
        assert!((1..=20_000).contains(&timeout.parse::<u32>().unwrap()), "{timeout}");
    }
    let exporter = grpc(&backend, &[]);
    for (signal, seen) in [(Signal::Metrics, OtlpSignal::Metrics), (Signal::Logs, OtlpSignal::Logs)] {
        let outcome = exporter.send(signal, bytes::Bytes::new(), PATIENCE, Clock::start()).await;
        assert_eq!((outcome, backend.requests().pop().unwrap().signal), (Outcome::Exported, Some(seen)));
    }
}

#[tokio::test]
async fn statuses_are_read_from_trailers_and_from_the_head() {
    let backend = Backend::start_grpc(None).unwrap();
    let exporter = grpc(&backend, &[]);
    let body = spans(3);
    backend.queue(&Script::PartialSuccess { rejected: 2, message: "too old".into() }, 1);
    assert_eq!(send(&exporter, &body).await, Outcome::Partial { rejected: 2, message: "too old".into() });
    // `google.rpc.Status{details: [Any{RetryInfo{retry_delay: 7 s}}]}`.
    let kind = b"type.googleapis.com/google.rpc.RetryInfo";
    let any = [&[0x0a, 40][..], kind, &[0x12, 4, 0x0a, 2, 0x08, 7]].concat();
    let details = [&[0x1a, u8::try_from(any.len()).unwrap()][..], &any].concat();
    backend.queue(&status(8, &details), 1);
    let expected = Outcome::Retry {
        after: Some(Duration::from_secs(7)),
        maybe_sent: false,
        message: "gRPC status 8 RESOURCE_EXHAUSTED: slow down 100%".into(),
    };
    assert_eq!(send(&exporter, &body).await, expected);
    backend.queue(&status(8, b""), 1);
    assert!(refusal(&send(&exporter, &body).await).contains("RESOURCE_EXHAUSTED"));
    // A gateway's word for a backend that went away, which may have it; whoever asks to come back has not.
    for (details, doubt) in [(&b""[..], true), (&details, false)] {
        backend.queue(&status(14, details), 1);
        let outcome = send(&exporter, &body).await;
        assert!(matches!(&outcome, Outcome::Retry { maybe_sent, .. } if *maybe_sent == doubt), "{outcome:?}");
    }
    backend.queue(&status(3, b""), 1);
    assert!(matches!(send(&exporter, &body).await, Outcome::Rejected { .. }));
    backend.queue(&Script::status(503), 1);
    assert!(matches!(send(&exporter, &body).await, Outcome::Retry { maybe_sent: false, .. }));
    assert_eq!(send(&exporter, &body).await, Outcome::Exported);
}

#[tokio::test]
async fn a_connection_that_hangs_is_not_used_again() {
    let backend = Backend::start_grpc(None).unwrap();
    let exporter = grpc(&backend, &[]);
    backend.queue(&Script::Hang, 1);
    let timeout = Duration::from_millis(200);
    let outcome = exporter.send(Signal::Traces, spans(1), timeout, Clock::start()).await;
    assert!(matches!(outcome, Outcome::Retry { maybe_sent: true, .. }), "{outcome:?}");
    assert_eq!(send(&exporter, &spans(1)).await, Outcome::Exported);
}

#[tokio::test]
async fn several_requests_at_once_share_a_connection_and_its_tls() {
    let backend = Backend::start_grpc(Some(&TlsSetup::default())).unwrap();
    let (_kept, ca) = file(backend.ca_pem().unwrap());
    let exporter = grpc(&backend, &[("LAMBDA_FLUSH_OTLP_CERTIFICATE", &ca)]);
    let (first, second) = (spans(50), spans(60));
    let both = tokio::join!(send(&exporter, &first), send(&exporter, &second));
    assert_eq!(both, (Outcome::Exported, Outcome::Exported));
}

#[tokio::test]
async fn refused_credentials_are_read_again() {
    let backend = Backend::start_grpc(None).unwrap();
    let (rotated, path) = file("authorization=old");
    let exporter = grpc(&backend, &[("LAMBDA_FLUSH_OTLP_HEADERS_FROM", &format!("file:{path}"))]);
    assert_eq!(send(&exporter, &spans(1)).await, Outcome::Exported);
    std::fs::write(rotated.path(), "authorization=new").unwrap();
    backend.queue(&status(16, b""), 1);
    assert_eq!(send(&exporter, &spans(1)).await, Outcome::Exported);
    let seen = backend.requests();
    let seen: Vec<_> =
        seen.iter().map(|request| request.headers["authorization"].to_str().unwrap()).collect();
    assert_eq!(seen, ["old", "old", "new"]);
}

#[tokio::test]
async fn protocols_taken_for_each_other_are_told() {
    let http = Backend::start_https().unwrap();
    let (_kept, ca) = file(http.ca_pem().unwrap());
    let told = send(&grpc(&http, &[("LAMBDA_FLUSH_OTLP_CERTIFICATE", &ca)]), &spans(1)).await;
    // Rustls' server says nothing to a client whose protocols it does not have.
    assert!(matches!(&told, Outcome::Retry { message, .. } if message.contains("HTTP/2")), "{told:?}");
    let backend = Backend::start_grpc(None).unwrap();
    let exporter = exporter(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    let mut told = send(&exporter, &spans(1)).await;
    // Such a server speaks first. If that comes before the request, it is an unexpected message rather than an answer
    // of the wrong kind: the request stays here, and is tried again.
    while matches!(&told, Outcome::Retry { maybe_sent: false, message, .. } if message.contains("unexpected message"))
    {
        told = send(&exporter, &spans(1)).await;
    }
    assert!(refusal(&told).contains("LAMBDA_FLUSH_OTLP_PROTOCOL"), "{told:?}");
}
