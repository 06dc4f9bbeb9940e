//! An external extension that does nothing but note what the platform tells it; std only, so that it is also the
//! floor beside which the start of a real extension is measured.
//!
//! It writes its trace to the file in `LAMBDA_TESTKIT_TRACE`. Knobs, all `LAMBDA_TESTKIT_PROBE_…`:
//! `EVENTS` (comma-separated, default `INVOKE,SHUTDOWN`), `INIT_SLEEP_MS` (before it registers), `INVOKE_SLEEP_MS`
//! (before it calls `next` again), `SHUTDOWN_SLEEP_MS`, `SHUTDOWN_IGNORE` (1: never exits), `EXIT_ON_INVOKE` (exits on
//! the nth INVOKE), `EXIT_CODE`, `TELEMETRY_PORT` (subscribes to the platform's telemetry for a listener there).

#[path = "../probe/http.rs"]
mod http;
#[path = "../probe/record.rs"]
mod record;

use std::io;
use std::process::ExitCode;

use http::Client;
use record::{Recorder, json_field, knob, sleep_ms, unix_ms};

/// Pause after a `next` call that failed.
const RETRY_MS: u64 = 5;
/// `next` calls that may fail in a row before the probe gives up.
const FAILURES_MAX: u32 = 100;

fn main() -> io::Result<ExitCode> {
    let executable = std::env::args_os().next().unwrap_or_default();
    let name =
        std::path::Path::new(&executable).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let recorder = Recorder::new(&format!("extension:{name}"));
    sleep_ms(knob("INIT_SLEEP_MS"));
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(io::Error::other)?;
    let mut client = Client::new(&api);
    let id = register(&mut client, &name, &recorder)?;
    if knob("TELEMETRY_PORT") > 0 {
        subscribe(&mut client, &id, &recorder)?;
    }
    follow(&mut client, &id, &recorder)
}

fn register(client: &mut Client, name: &str, recorder: &Recorder) -> io::Result<String> {
    let events =
        std::env::var("LAMBDA_TESTKIT_PROBE_EVENTS").unwrap_or_else(|_| "INVOKE,SHUTDOWN".to_owned());
    let events: Vec<_> =
        events.split(',').filter(|it| !it.is_empty()).map(|it| format!("\"{it}\"")).collect();
    let body = format!("{{\"events\":[{}]}}", events.join(","));
    // Noted before the call: afterwards the platform may have started the function already.
    recorder.record("register", &body);
    let headers = [("Lambda-Extension-Name", name)];
    let response = client.call("POST", "/2020-01-01/extension/register", &headers, body.as_bytes())?;
    if response.status != 200 {
        recorder.record("register_refused", &format!("{{\"status\":{}}}", response.status));
        return Err(io::Error::other(String::from_utf8_lossy(&response.body).into_owned()));
    }
    Ok(response.header("Lambda-Extension-Identifier").to_owned())
}

fn subscribe(client: &mut Client, id: &str, recorder: &Recorder) -> io::Result<()> {
    let body = format!(
        "{{\"schemaVersion\":\"2022-12-13\",\"types\":[\"platform\"],\
         \"buffering\":{{\"maxItems\":1000,\"maxBytes\":262144,\"timeoutMs\":25}},\
         \"destination\":{{\"protocol\":\"HTTP\",\"URI\":\"http://sandbox.localdomain:{}\"}}}}",
        knob("TELEMETRY_PORT")
    );
    let headers = [("Lambda-Extension-Identifier", id)];
    let answer = client.call("PUT", "/2022-07-01/telemetry", &headers, body.as_bytes())?;
    recorder.record("subscribe", &format!("{{\"status\":{}}}", answer.status));
    Ok(())
}

fn follow(client: &mut Client, id: &str, recorder: &Recorder) -> io::Result<ExitCode> {
    let mut invokes = 0;
    let mut failures = 0;
    let exit_code = ExitCode::from(u8::try_from(knob("EXIT_CODE")).unwrap_or(1));
    while failures < FAILURES_MAX {
        recorder.record("next", "null");
        let answer = client.call(
            "GET",
            "/2020-01-01/extension/event/next",
            &[("Lambda-Extension-Identifier", id)],
            b"",
        );
        let answer =
            answer.map(|response| (response.status, String::from_utf8_lossy(&response.body).into_owned()));
        let event = match &answer {
            Ok((200, body)) if body.ends_with('}') => body.as_str(),
            _ => "",
        };
        match json_field(event, "eventType") {
            Some("INVOKE") => {
                invokes += 1;
                record_invoke(event, recorder);
                if knob("EXIT_ON_INVOKE") == invokes {
                    recorder.record("exit", "{}");
                    return Ok(exit_code);
                }
                sleep_ms(knob("INVOKE_SLEEP_MS"));
                failures = 0;
            }
            Some("SHUTDOWN") => {
                shut_down(event, recorder);
                return Ok(exit_code);
            }
            _ => {
                failures += 1;
                let status = answer.map_or(0, |(status, _)| status);
                recorder.record("next_failed", &format!("{{\"status\":{status}}}"));
                sleep_ms(RETRY_MS);
            }
        }
    }
    Err(io::Error::other("the platform answers no more"))
}

fn record_invoke(event: &str, recorder: &Recorder) {
    let request_id = json_field(event, "requestId").unwrap_or_default();
    let deadline_ms = json_field(event, "deadlineMs").unwrap_or("0");
    let detail = format!("{{\"request_id\":\"{request_id}\",\"deadline_ms\":{deadline_ms}}}");
    recorder.record("invoke", &detail);
}

fn shut_down(event: &str, recorder: &Recorder) {
    let reason = json_field(event, "shutdownReason").unwrap_or_default();
    let deadline_ms =
        json_field(event, "deadlineMs").and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    let left_ms = deadline_ms.saturating_sub(unix_ms());
    recorder.record("shutdown", &format!("{{\"reason\":\"{reason}\",\"left_ms\":{left_ms}}}"));
    println!("probe_extension: SHUTDOWN {reason}, {left_ms} ms left");
    while knob("SHUTDOWN_IGNORE") == 1 {
        sleep_ms(1_000);
    }
    sleep_ms(knob("SHUTDOWN_SLEEP_MS"));
    recorder.record("exit", "{}");
}
