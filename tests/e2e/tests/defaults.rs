//! The addresses that nobody sets: a stock SDK without any setting finds the extension without any setting. They are
//! one environment's, so it takes a network of its own, or a machine on which nobody has them.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::io;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use lambda_flush_e2e::{Rig, rig, stock};
use lambda_testkit::{ShutdownReason, SpanId, Status};
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;

/// Where the extension listens.
const DEFAULTS: [(&str, &str); 3] = [
    ("LAMBDA_FLUSH_OTLP_HTTP_ADDR", "127.0.0.1:4318"),
    ("LAMBDA_FLUSH_OTLP_GRPC_ADDR", "127.0.0.1:4317"),
    ("LAMBDA_FLUSH_TELEMETRY_ADDR", "0.0.0.0:4319"),
];
/// The SDKs' variables that would make a difference.
const SETTINGS: [&str; 4] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
];
/// Set in the process that has a network for itself.
const INSIDE: &str = "LAMBDA_FLUSH_DEFAULTS_OWN_NETWORK";
/// Runs its arguments with loopback, which a new network has, but down.
const WITH_LOOPBACK: &str = r#"ip link set lo up && exec "$@""#;
const TEST: &str = "a_stock_sdk_finds_the_extension_without_a_setting";
const SPANS: usize = 50;

fn own_network() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--map-root-user", "--", "sh", "-c", WITH_LOOPBACK, "sh"]);
    unshare
}

fn has_own_network() -> bool {
    let quiet = own_network().arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// This test again, in a network of its own. Everything is built before, for there is no registry in it.
fn again() -> io::Result<String> {
    let mut command = own_network();
    command.arg(std::env::current_exe()?).args(["--exact", TEST, "--nocapture"]);
    SETTINGS.iter().for_each(|name| _ = command.env_remove(name));
    let output = command.env(INSIDE, "1").env("CARGO_NET_OFFLINE", "true").output()?;
    Ok([output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_sdk_finds_the_extension_without_a_setting() {
    stock::function().expect("the function");
    rig::extension().expect("the extension");
    if std::env::var_os(INSIDE).is_some() {
        return deliver().await;
    }
    if has_own_network() {
        let said = again().expect("the test can be started");
        return assert!(said.contains("1 passed"), "in a network of its own: {said}");
    }
    let taken = DEFAULTS.iter().find(|(_, address)| TcpListener::bind(address).is_err());
    let set = SETTINGS.iter().find(|name| std::env::var_os(name).is_some());
    match (taken, set) {
        (None, None) => deliver().await,
        (taken, set) => {
            println!(
                "lambda-flush: skipped: no network of its own, and here {taken:?} is taken, {set:?} set"
            );
        }
    }
}

async fn deliver() {
    let rig = Rig::start(|builder| {
        // Empty is unset, and the testkit chooses no other address then.
        let unset = DEFAULTS.iter().fold(builder, |builder, (name, _)| builder.extension_env(*name, ""));
        unset.function(stock::function().expect("the function")).timeout(stock::TIMEOUT)
    });
    let rig = rig.await.expect("an environment");
    let outcome = rig.sandbox.invoke(format!(r#"{{"spans":{SPANS}}}"#)).await;
    assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    // The other door, which a gRPC exporter takes by itself.
    let grpc = tokio::task::spawn_blocking(grpc_span).await.expect("no panic");
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!(ended.witnessed_at_backend(), SPANS);
    assert!(ended.evidence.deliveries.answered_ok.contains_key(&grpc), "what came to the gRPC door");
    let refused: Vec<&str> =
        ended.report.extension_stdout().filter(|line| line.contains("can't be")).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

fn grpc_span() -> SpanId {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _inside = runtime.enter();
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build().expect("an exporter");
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    let mut span = provider.tracer("grpc").start("work");
    span.end();
    provider.force_flush().expect("it was accepted");
    SpanId(span.span_context().span_id().to_bytes())
}
