//! The Telemetry API: what a listener gets, and when, under each script.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lambda_testkit::{Sandbox, ShutdownReason, Status, TelemetryScript};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{EXTENSION, NOISE, Probes, eventually};

/// A body, and when it came.
type Body = (Instant, Vec<u8>);

/// What a listener got.
#[derive(Clone, Default)]
struct Bodies(Arc<Mutex<Vec<Body>>>);

/// A listener in the test's own process. It refuses the first `refusals` bodies with 500. It ends with the runtime.
async fn listen(refusals: usize) -> (u16, Bodies) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, bodies) = (listener.local_addr().unwrap().port(), Bodies::default());
    let taken = bodies.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, taken.clone(), refusals));
        }
    });
    (port, bodies)
}

async fn serve(mut stream: TcpStream, bodies: Bodies, refusals: usize) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            (stream.read_buf(&mut read).await.ok()? > 0).then_some(())?;
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        assert!(
            head.starts_with("post / http/1.1\r\n") && head.contains("host: sandbox.localdomain:"),
            "{head}"
        );
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
        let length: usize = length.parse().unwrap();
        while read.len() < end + length {
            (stream.read_buf(&mut read).await.ok()? > 0).then_some(())?;
        }
        let count = {
            let mut bodies = bodies.0.lock().unwrap();
            bodies.push((Instant::now(), read[end..end + length].to_vec()));
            bodies.len()
        };
        read.drain(..end + length);
        let status = if count <= refusals { "500 Internal Server Error" } else { "200 OK" };
        stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.ok()?;
    }
}

impl Bodies {
    fn all(&self) -> Vec<Body> {
        self.0.lock().unwrap().clone()
    }

    /// Every element of every body that is a list.
    fn elements(&self) -> Vec<(Instant, Value)> {
        let lists =
            self.all().into_iter().filter_map(|(at, body)| Some((at, serde_json::from_slice(&body).ok()?)));
        lists.flat_map(|(at, list): (_, Vec<Value>)| list.into_iter().map(move |it| (at, it))).collect()
    }

    /// The records of this kind about an invocation: when they came, and their contents.
    fn of(&self, kind: &str, request_id: &str) -> Vec<(Instant, Value)> {
        let is_it = |it: &(Instant, Value)| it.1["type"] == kind && it.1["record"]["requestId"] == request_id;
        self.elements().into_iter().filter(is_it).map(|(at, it)| (at, it["record"].clone())).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.elements().iter().filter_map(|(_, it)| it["type"].as_str().map(str::to_owned)).collect()
    }
}

async fn start(script: TelemetryScript, freeze: bool, port: u16) -> (Probes, Sandbox) {
    let probes = Probes::with_extension().knob("TELEMETRY_PORT", u64::from(port));
    let probes = probes.change(|builder| {
        builder.telemetry(script).freeze(freeze).timeout(Duration::from_secs(2)).echo(false)
    });
    let sandbox = probes.start().await;
    (probes, sandbox)
}

#[tokio::test]
async fn everything_comes_in_its_order_and_init_is_replayed() {
    let (port, bodies) = listen(0).await;
    let (probes, sandbox) = start(TelemetryScript::Good, false, port).await;
    assert_eq!(probes.trace().find(EXTENSION, "subscribe").unwrap().detail["status"], 200);
    let subscribed = sandbox.trace();
    let detail = &subscribed.find(EXTENSION, "telemetry_subscribed").unwrap().detail;
    assert_eq!((detail["port"].as_u64(), &detail["types"][0]), (Some(port.into()), &Value::from("platform")));
    let id = sandbox.invoke(r#"{"sleep_ms":200}"#).await.request_id;
    eventually(|| !bodies.of("platform.report", &id).is_empty()).await;
    let expected = [
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.initRuntimeDone",
        "platform.initReport",
        "platform.start",
        "platform.runtimeDone",
        "platform.report",
    ];
    assert_eq!(bodies.kinds(), expected);
    let (done_at, done) = bodies.of("platform.runtimeDone", &id).remove(0);
    assert_eq!(done["status"], "success");
    assert!(done["metrics"]["durationMs"].as_f64().unwrap() >= 200.0);
    let (start_at, _) = bodies.of("platform.start", &id).remove(0);
    assert!(start_at < done_at, "they are 200 ms apart, and the buffer holds for 25");
    let failed = sandbox.invoke(r#"{"fail":true}"#).await.request_id;
    eventually(|| !bodies.of("platform.runtimeDone", &failed).is_empty()).await;
    let (_, done) = bodies.of("platform.runtimeDone", &failed).remove(0);
    assert_eq!((&done["status"], &done["errorType"]), (&"error".into(), &"Probe.Fail".into()));
}

#[tokio::test]
async fn a_timeout_and_a_crash_are_told_before_shutdown() {
    let (port, bodies) = listen(0).await;
    let (_probes, sandbox) = start(TelemetryScript::Good, false, port).await;
    let timeout = sandbox.invoke(r#"{"sleep_ms":60000}"#).await;
    assert_eq!(timeout.status, Status::Timeout);
    let crash = sandbox.invoke(r#"{"crash":true}"#).await;
    assert_eq!(crash.status, Status::Crash);
    eventually(|| !bodies.of("platform.runtimeDone", &crash.request_id).is_empty()).await;
    let done = |id| bodies.of("platform.runtimeDone", id).remove(0).1;
    assert_eq!(done(&timeout.request_id)["status"], "timeout");
    let crashed = done(&crash.request_id);
    assert_eq!((&crashed["status"], &crashed["errorType"]), (&"error".into(), &"Runtime.ExitError".into()));
    // The second init subscribed anew, as a part of the invocation.
    let phases: Vec<_> = bodies.elements().into_iter().map(|(_, it)| it["record"]["phase"].clone()).collect();
    assert!(phases.contains(&"init".into()) && phases.contains(&"invoke".into()));
}

#[tokio::test]
async fn a_late_record_is_late_by_that_much() {
    let late = Duration::from_millis(300);
    let (port, bodies) = listen(0).await;
    let (_probes, sandbox) = start(TelemetryScript::Late(late), false, port).await;
    let begun = Instant::now();
    let id = sandbox.invoke("{}").await.request_id;
    eventually(|| !bodies.of("platform.runtimeDone", &id).is_empty()).await;
    let (start_at, _) = bodies.of("platform.start", &id).remove(0);
    assert!((late..late + NOISE).contains(&(start_at - begun)), "{:?}", start_at - begun);
}

#[tokio::test]
async fn what_a_script_withholds_never_comes() {
    let (port, bodies) = listen(0).await;
    let (_probes, sandbox) = start(TelemetryScript::Silent, false, port).await;
    sandbox.invoke("{}").await;
    sandbox.telemetry(TelemetryScript::LostDone);
    let id = sandbox.invoke("{}").await.request_id;
    eventually(|| !bodies.of("platform.report", &id).is_empty()).await;
    assert_eq!(bodies.kinds(), ["platform.start", "platform.report"]);
    sandbox.shutdown(ShutdownReason::Spindown).await;
    assert_eq!(bodies.kinds().len(), 2);
}

#[tokio::test]
async fn the_good_ones_come_through_between_the_malformed() {
    let (port, bodies) = listen(0).await;
    let (_probes, sandbox) = start(TelemetryScript::Malformed, false, port).await;
    for _ in 0..4 {
        let id = sandbox.invoke("{}").await.request_id;
        eventually(|| !bodies.of("platform.report", &id).is_empty()).await;
        for kind in ["platform.start", "platform.runtimeDone"] {
            assert_eq!(bodies.of(kind, &id).len(), 1);
        }
    }
    let no_lists =
        bodies.all().iter().filter(|(_, body)| serde_json::from_slice::<Vec<Value>>(body).is_err()).count();
    let wrong = bodies.elements().iter().filter(|(_, it)| !it["record"].is_object()).count();
    assert!(no_lists >= 4 && wrong >= 4, "{no_lists} bodies, {wrong} records");
}

#[tokio::test]
async fn a_refused_body_is_sent_again() {
    let (port, bodies) = listen(2).await;
    let (_probes, sandbox) = start(TelemetryScript::Good, false, port).await;
    eventually(|| bodies.all().len() >= 3).await;
    let all = bodies.all();
    assert!(all[0].1 == all[1].1 && all[1].1 == all[2].1, "the same three times");
    drop(sandbox);
}

#[tokio::test]
async fn nothing_comes_to_a_frozen_environment_before_its_thaw() {
    let (port, bodies) = listen(0).await;
    let (_probes, sandbox) = start(TelemetryScript::Good, true, port).await;
    let mut last = sandbox.invoke("{}").await.request_id;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Everyone was in `next` within the 25 ms that the buffer holds.
        assert_eq!(bodies.of("platform.report", &last).len(), 0, "delivered in the freeze");
        let thawed = Instant::now();
        let id = sandbox.invoke(r#"{"sleep_ms":60}"#).await.request_id;
        eventually(|| !bodies.of("platform.report", &last).is_empty()).await;
        assert!(bodies.of("platform.report", &last)[0].0 >= thawed);
        last = id;
    }
    let trace = sandbox.shutdown(ShutdownReason::Spindown).await.trace;
    assert_eq!(trace.count("platform", "telemetry_dropped"), 0);
}
