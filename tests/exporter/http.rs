//! OTLP/HTTP: bodies, headers, answers.

use std::time::Duration;

use lambda_flush_extension::clock::Clock;
use lambda_flush_extension::core::{Outcome, Signal};
use lambda_testkit::{Backend, Script};

use crate::{exporter, file, refusal, send, spans};

#[tokio::test]
async fn bodies_are_compressed_as_asked_and_small_ones_are_not() {
    let backend = Backend::start().unwrap();
    let large = spans(100);
    for (compression, encoding) in [("gzip", Some("gzip")), ("zstd", Some("zstd")), ("none", None)] {
        let exporter = exporter(&[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint()),
            ("LAMBDA_FLUSH_OTLP_COMPRESSION", compression),
        ]);
        assert_eq!(send(&exporter, &large).await, Outcome::Exported);
        let request = backend.requests().pop().unwrap();
        assert_eq!((request.items, request.malformed), (100, None));
        let said = request.headers.get("content-encoding").map(|value| value.to_str().unwrap());
        assert_eq!(said, encoding);
        match encoding {
            Some(_) => assert!(request.wire_bytes * 4 < large.len(), "{} bytes", request.wire_bytes),
            None => assert_eq!(request.wire_bytes, large.len()),
        }
    }
    let exporter = exporter(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    assert_eq!(send(&exporter, &spans(0)).await, Outcome::Exported);
    assert_eq!(backend.requests().pop().unwrap().headers.get("content-encoding"), None);
}

#[tokio::test]
async fn what_the_backend_says_is_told() {
    let backend = Backend::start().unwrap();
    let exporter = exporter(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    backend.queue(&Script::PartialSuccess { rejected: 2, message: "too old".into() }, 1);
    backend.queue(&Script::retry_after(429, 7), 1);
    backend.queue(&Script::status(400), 1);
    backend.queue(&Script::status(413), 1);
    let body = spans(3);
    assert_eq!(send(&exporter, &body).await, Outcome::Partial { rejected: 2, message: "too old".into() });
    let outcome = send(&exporter, &body).await;
    let seven = Some(Duration::from_secs(7));
    assert!(
        matches!(&outcome, Outcome::Retry { after, maybe_sent: false, .. } if *after == seven),
        "{outcome:?}"
    );
    assert!(matches!(send(&exporter, &body).await, Outcome::Rejected { .. }));
    assert_eq!(refusal(&send(&exporter, &body).await), "HTTP 413");
    for (code, doubt) in [(429, false), (502, true), (503, false), (504, true)] {
        backend.queue(&Script::status(code), 1);
        let outcome = send(&exporter, &body).await;
        assert!(
            matches!(&outcome, Outcome::Retry { maybe_sent, .. } if *maybe_sent == doubt),
            "{code}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn our_own_receivers_know_our_requests_whatever_is_configured() {
    let backend = Backend::start().unwrap();
    for (configured, begins) in
        [("x=y", "lambda-flush-extension/"), ("User-Agent=mine/1", "mine/1 lambda-flush-extension/")]
    {
        let exporter = exporter(&[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint()),
            ("LAMBDA_FLUSH_OTLP_HEADERS", configured),
        ]);
        assert_eq!(send(&exporter, &spans(1)).await, Outcome::Exported);
        let request = backend.requests().pop().unwrap();
        assert!(request.headers["user-agent"].to_str().unwrap().starts_with(begins), "{:?}", request.headers);
    }
}

#[tokio::test]
async fn a_headers_file_that_is_too_long_is_not_cut() {
    let backend = Backend::start().unwrap();
    let outcome = async |comment: usize| {
        let (_kept, path) = file(&format!("#{}\nkey=whole-value", "x".repeat(comment)));
        let exporter = exporter(&[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint()),
            ("LAMBDA_FLUSH_OTLP_HEADERS_FROM", &format!("file:{path}")),
        ]);
        send(&exporter, &spans(1)).await
    };
    // All but the value's last word are within the limit.
    let told = outcome((64 << 10) - 10).await;
    assert!(refusal(&told).contains("larger than 65536 bytes"), "{told:?}");
    assert_eq!(outcome((64 << 10) - 30).await, Outcome::Exported);
    assert_eq!(backend.requests()[0].headers["key"], "whole-value");
}

#[tokio::test]
async fn what_may_have_arrived_is_told_from_what_can_not_have() {
    let backend = Backend::start().unwrap();
    let exporter = exporter(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint())]);
    backend.queue(&Script::ResetAfterBody, 1);
    backend.queue(&Script::Hang, 1);
    let outcome = send(&exporter, &spans(3)).await;
    assert!(matches!(outcome, Outcome::Retry { maybe_sent: true, .. }), "{outcome:?}");
    let timeout = Duration::from_millis(200);
    let outcome = exporter.send(Signal::Traces, spans(3), timeout, Clock::start()).await;
    assert!(
        matches!(&outcome, Outcome::Retry { maybe_sent: true, message, .. } if message == "no answer within 200 ms"),
        "{outcome:?}"
    );
    drop(backend);
    let outcome = send(&exporter, &spans(3)).await;
    assert!(matches!(outcome, Outcome::Retry { maybe_sent: false, .. }), "{outcome:?}");
}

#[tokio::test]
async fn rotated_headers_are_read_again_when_they_are_refused_and_only_then() {
    let backend = Backend::start().unwrap();
    let (rotated, path) = file("authorization=Bearer%20old\n");
    let exporter = exporter(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint()),
        ("LAMBDA_FLUSH_OTLP_HEADERS", "authorization=none,x-team=blue"),
        ("LAMBDA_FLUSH_OTLP_HEADERS_FROM", &format!("file:{path}")),
    ]);
    let body = spans(1);
    let seen = || -> Vec<String> {
        let requests = backend.requests();
        requests.iter().map(|one| one.headers["authorization"].to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(send(&exporter, &body).await, Outcome::Exported);
    // Not looked at again while it does.
    std::fs::write(rotated.path(), "authorization=Bearer%20new").unwrap();
    assert_eq!(send(&exporter, &body).await, Outcome::Exported);
    for code in [401, 403] {
        backend.queue(&Script::status(code), 1);
        assert_eq!(send(&exporter, &body).await, Outcome::Exported);
        std::fs::write(rotated.path(), format!("authorization=Bearer%20after-{code}")).unwrap();
    }
    let expected = ["Bearer old", "Bearer old", "Bearer old", "Bearer new", "Bearer new", "Bearer after-401"];
    assert_eq!(seen(), expected);
    // Twice the same is sent once.
    std::fs::write(rotated.path(), "authorization=Bearer%20after-401").unwrap();
    backend.set(Script::status(401));
    assert_eq!(refusal(&send(&exporter, &body).await), "HTTP 401");
    assert_eq!(seen().len(), expected.len() + 1);
    assert_eq!(backend.requests()[0].headers["x-team"], "blue");
}

#[tokio::test]
async fn a_headers_file_that_is_none_is_told_without_its_contents() {
    let backend = Backend::start().unwrap();
    let (_kept, path) = file("s3cret");
    for (path, expected) in [(path.as_str(), "entry 1: expected key=value"), ("/dev/zero", "no regular file")]
    {
        let exporter = exporter(&[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint()),
            ("LAMBDA_FLUSH_OTLP_HEADERS_FROM", &format!("file:{path}")),
        ]);
        let outcome = send(&exporter, &spans(1)).await;
        let message = refusal(&outcome);
        assert!(
            message.contains("LAMBDA_FLUSH_OTLP_HEADERS_FROM") && message.contains(expected),
            "{message}"
        );
        assert!(!message.contains("s3cret"));
    }
    assert!(backend.requests().is_empty());
}
