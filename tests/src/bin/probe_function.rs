//! A function that does what its payload says and notes what the platform does to it.
//!
//! Payload: `{"sleep_ms":N}`, `{"crash":true}` (exit code 9 in mid-invocation), `{"fail":true}` (an error answer); else
//! the payload is echoed. It writes its trace to the file in `LAMBDA_TESTKIT_TRACE`. Knobs, all
//! `LAMBDA_TESTKIT_PROBE_…`: `SIGTERM_IGNORE` (1), `SIGTERM_SLEEP_MS` (before it exits), `INTERNAL` (1: registers an
//! internal extension without events), `INIT_EXIT` (1: exits with code 7 before its first `next`).

#[path = "../probe/http.rs"]
mod http;
#[path = "../probe/record.rs"]
mod record;

use std::io;

use http::Client;
use record::{Recorder, json_field, knob, sleep_ms, unix_ms};
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

const RUNTIME: &str = "/2018-06-01/runtime";
const EXTENSION: &str = "/2020-01-01/extension";

fn main() -> io::Result<()> {
    let recorder = Recorder::new("function");
    let signals = Signals::new([SIGTERM])?;
    let on_signal = recorder.clone();
    std::thread::spawn(move || follow_signals(signals, &on_signal));
    recorder.record("started", "{}");
    let api = std::env::var("AWS_LAMBDA_RUNTIME_API").map_err(io::Error::other)?;
    if knob("INIT_EXIT") == 1 {
        exit(7);
    }
    if knob("INTERNAL") == 1 {
        register_internal(&api)?;
    }
    let mut client = Client::new(&api);
    loop {
        recorder.record("next", "null");
        let event = client.call("GET", &format!("{RUNTIME}/invocation/next"), &[], b"")?;
        let request_id = event.header("Lambda-Runtime-Aws-Request-Id").to_owned();
        let deadline_ms = event.header("Lambda-Runtime-Deadline-Ms").parse::<u64>().unwrap_or(0);
        let left_ms = deadline_ms.saturating_sub(unix_ms());
        recorder.record("invoke", &format!("{{\"request_id\":\"{request_id}\",\"left_ms\":{left_ms}}}"));
        answer(&mut client, &request_id, &event.body, &recorder)?;
    }
}

fn answer(client: &mut Client, request_id: &str, payload: &[u8], recorder: &Recorder) -> io::Result<()> {
    let text = String::from_utf8_lossy(payload);
    sleep_ms(json_field(&text, "sleep_ms").and_then(|value| value.parse().ok()).unwrap_or(0));
    if json_field(&text, "crash") == Some("true") {
        recorder.record("crash", "{}");
        exit(9);
    }
    if json_field(&text, "fail") == Some("true") {
        recorder.record("fail", "{}");
        let headers = [("Lambda-Runtime-Function-Error-Type", "Probe.Fail")];
        let body = br#"{"errorMessage":"told to fail","errorType":"Probe.Fail"}"#;
        client.call("POST", &format!("{RUNTIME}/invocation/{request_id}/error"), &headers, body)?;
    } else {
        recorder.record("respond", "{}");
        client.call("POST", &format!("{RUNTIME}/invocation/{request_id}/response"), &[], payload)?;
    }
    Ok(())
}

fn follow_signals(mut signals: Signals, recorder: &Recorder) {
    for _ in signals.forever() {
        recorder.record("sigterm", "{}");
        if knob("SIGTERM_IGNORE") != 1 {
            sleep_ms(knob("SIGTERM_SLEEP_MS"));
            exit(0);
        }
    }
}

/// Registers an internal extension; its `next` call stays open for the life of the process.
fn register_internal(api: &str) -> io::Result<()> {
    let mut client = Client::new(api);
    let name = [("Lambda-Extension-Name", "probe-internal")];
    let response = client.call("POST", &format!("{EXTENSION}/register"), &name, br#"{"events":[]}"#)?;
    if response.status != 200 {
        return Err(io::Error::other(String::from_utf8_lossy(&response.body).into_owned()));
    }
    let id = response.header("Lambda-Extension-Identifier").to_owned();
    std::thread::spawn(move || {
        let id = [("Lambda-Extension-Identifier", id.as_str())];
        client.call("GET", &format!("{EXTENSION}/event/next"), &id, b"")
    });
    Ok(())
}

#[expect(clippy::exit, reason = "a sudden end is what the payload or the signal asks for")]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}
