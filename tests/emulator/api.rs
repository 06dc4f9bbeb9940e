//! The APIs' answers, seen by a client that does what the probes do not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use lambda_testkit::{Sandbox, Status, TelemetryScript};

use crate::support::{Probes, eventually};

/// Sends one request; the status, the head and the body.
fn call(sandbox: &Sandbox, request: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(sandbox.runtime_api()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
}

const REGISTER: &str = "POST /2020-01-01/extension/register";
const NEXT: &str = "GET /2020-01-01/extension/event/next";

#[tokio::test]
async fn registration_is_refused_as_by_lambda() {
    let sandbox = Probes::with_extension().start().await;
    let refusals = [
        ("", "{}", "Extension.InvalidExtensionName"),
        ("Lambda-Extension-Name: late\r\n", r#"{"events":["INVOKE"]}"#, "Extension.RegistrationClosed"),
        ("Lambda-Extension-Name: inner\r\n", r#"{"events":["SHUTDOWN"]}"#, "Extension.InvalidEventType"),
        ("Lambda-Extension-Name: inner\r\n", r#"{"events":["RESTORE"]}"#, "Extension.InvalidEventType"),
        ("Lambda-Extension-Name: probe_extension\r\n", r#"{"events":[]}"#, "Extension.InvalidExtensionState"),
        ("Lambda-Extension-Name: inner\r\n", "no json", "InvalidRequestFormat"),
    ];
    for (headers, body, error_type) in refusals {
        let (status, _, answer) = call(&sandbox, REGISTER, headers, body);
        assert_eq!(status, 403, "{error_type}");
        assert!(answer.contains(error_type), "{answer}");
    }
    assert_eq!(call(&sandbox, NEXT, "", "").0, 403);
    assert!(
        call(&sandbox, NEXT, "Lambda-Extension-Identifier: x\r\n", "")
            .2
            .contains("UnknownExtensionIdentifier")
    );
    assert_eq!(call(&sandbox, "GET /elsewhere", "", "").0, 404);
    assert_eq!(sandbox.invoke("{}").await.status, Status::Ok);
}

#[tokio::test]
async fn a_late_or_unknown_response_has_an_invalid_id() {
    let sandbox = Probes::with_extension().start().await;
    let outcome = sandbox.invoke("{}").await;
    for id in [outcome.request_id.as_str(), "unknown"] {
        for kind in ["response", "error"] {
            let path = format!("POST /2018-06-01/runtime/invocation/{id}/{kind}");
            let (status, _, body) = call(&sandbox, &path, "", "late");
            assert_eq!(status, 400);
            assert!(body.contains("InvalidRequestID"));
        }
    }
}

#[tokio::test]
async fn a_response_beyond_the_limit_is_refused_and_the_client_told() {
    let probes = Probes::with_extension().change(|builder| builder.timeout(Duration::from_secs(20)));
    let sandbox = probes.start().await;
    let invocation = sandbox.begin(r#"{"sleep_ms":60000}"#);
    eventually(|| probes.trace().count("function", "invoke") == 1).await;
    let id =
        sandbox.trace().find("platform", "invoke").unwrap().detail["request_id"].as_str().unwrap().to_owned();
    let path = format!("POST /2018-06-01/runtime/invocation/{id}/response");
    assert_eq!(call(&sandbox, &path, "", &"x".repeat(6 * 1024 * 1024 + 101)).0, 413);
    let mut invocation = invocation;
    assert!(invocation.response().await.unwrap().windows(20).any(|bytes| bytes == b"ResponseSizeTooLarge"));
}

#[tokio::test]
async fn telemetry_subscriptions_are_answered_as_configured() {
    // None of the three reads the body: subscriptions in order are the business of `telemetry.rs`.
    let replies = [
        (TelemetryScript::NotSupported, 202),
        (TelemetryScript::Forbidden, 403),
        (TelemetryScript::Good, 403),
    ];
    for (reply, expected) in replies {
        let sandbox = Probes::alone().change(|builder| builder.telemetry(reply)).start().await;
        let (status, _, body) = call(&sandbox, "PUT /2022-07-01/telemetry", "", "{}");
        assert_eq!(status, expected);
        if reply == TelemetryScript::NotSupported {
            assert_eq!(
                body,
                r#"{"errorMessage":"Telemetry API is not supported","errorType":"Telemetry.NotSupported"}"#
            );
        }
    }
}
