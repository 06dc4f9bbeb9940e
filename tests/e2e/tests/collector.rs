//! A real OpenTelemetry Collector as the backend. `cargo verify --lane collector` builds it.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use lambda_flush_e2e::Rig;
use lambda_testkit::sandbox::free_address;
use lambda_testkit::{ShutdownReason, Status};
use serde_json::Value;

const START_MAX: Duration = Duration::from_secs(30);
const SPANS: usize = 2_000;

/// A collector that writes what it takes to a file.
struct Collector {
    process: Child,
    endpoint: SocketAddr,
    dir: tempfile::TempDir,
}

impl Collector {
    fn start(binary: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let endpoint = free_address().expect("a port");
        let config = dir.path().join("config.yaml");
        let file = dir.path().join("out.json");
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{endpoint}\"}}}}}}}}\n\
             exporters: {{file: {{path: {}, flush_interval: 100ms}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [file]}}\n    metrics: {{receivers: [otlp], exporters: [file]}}\n    \
             logs: {{receivers: [otlp], exporters: [file]}}\n",
            file.display()
        );
        std::fs::write(&config, text).expect("a configuration");
        let process = Command::new(binary)
            .arg("--config")
            .arg(format!("file:{}", config.display()))
            .spawn()
            .expect("the collector starts");
        let begun = Instant::now();
        while TcpStream::connect(endpoint).is_err() {
            assert!(begun.elapsed() < START_MAX, "the collector does not listen");
            #[expect(clippy::disallowed_methods, reason = "another program's start is waited for")]
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process, endpoint, dir }
    }

    /// Ends it in good order and returns the lines of its file.
    fn end(mut self) -> Vec<Value> {
        Command::new("kill").arg(self.process.id().to_string()).status().expect("kill");
        self.process.wait().expect("an end");
        let text = std::fs::read_to_string(self.dir.path().join("out.json")).expect("the collector's file");
        text.lines().map(|line| serde_json::from_str(line).expect("OTLP JSON")).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // After `end` there is nobody left to kill.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Everything under `resource*`, `scope*`, `items` with its resource.
fn items<'a>(
    lines: &'a [Value],
    outer: &'a str,
    middle: &'a str,
    inner: &'a str,
) -> Vec<(&'a Value, &'a Value)> {
    let list = |value: &'a Value, key: &str| value[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut found = Vec::new();
    for resource in lines.iter().flat_map(|line| list(line, outer)) {
        for scope in list(resource, middle) {
            found.extend(list(scope, inner).iter().map(|item| (&resource["resource"], item)));
        }
    }
    found
}

#[tokio::test]
async fn the_collector_wrote_what_the_witness_saw() {
    let Some(binary) = std::env::var_os("LAMBDA_FLUSH_COLLECTOR") else {
        println!("lambda-flush: skipped: LAMBDA_FLUSH_COLLECTOR is not set");
        return;
    };
    let collector = Collector::start(Path::new(&binary));
    let endpoint = format!("http://{}", collector.endpoint);
    let rig = Rig::start(|builder| builder.env("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint))
        .await
        .expect("an environment");
    for then in ["ok", "error"] {
        let outcome = rig.sandbox.invoke(format!(r#"{{"spans":{SPANS},"then":"{then}"}}"#)).await;
        assert_eq!(outcome.status, if then == "ok" { Status::Ok } else { Status::FunctionError });
    }
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    let lines = collector.end();
    let spans = items(&lines, "resourceSpans", "scopeSpans", "spans");
    let mut written: HashMap<String, u32> = HashMap::new();
    for (_, span) in &spans {
        *written.entry(span["spanId"].as_str().expect("an id").to_owned()).or_default() += 1;
    }
    assert_eq!(ended.evidence.witness.len(), 2 * SPANS);
    for record in &ended.evidence.witness {
        assert_eq!(written.get(&record.span_id.to_string()), Some(&1), "{}", record.span_id);
    }
    let summary = ended.summary().expect("a summary");
    let exported: u64 = summary.destinations.iter().map(|destination| destination.exported).sum();
    assert_eq!(exported, count(&lines));
    println!("the collector wrote {} spans, {exported} items in all", spans.len());
}

/// All items in the collector's file, whatever their signal.
fn count(lines: &[Value]) -> u64 {
    let spans = items(lines, "resourceSpans", "scopeSpans", "spans").len();
    let logs = items(lines, "resourceLogs", "scopeLogs", "logRecords").len();
    let points: usize = items(lines, "resourceMetrics", "scopeMetrics", "metrics")
        .iter()
        .flat_map(|(_, metric)| {
            ["sum", "gauge", "histogram", "exponentialHistogram"].map(|kind| &metric[kind])
        })
        .filter_map(|data| data["dataPoints"].as_array())
        .map(Vec::len)
        .sum();
    (spans + logs + points) as u64
}
