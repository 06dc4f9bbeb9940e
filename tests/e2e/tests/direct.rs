//! Life without the extension: nothing is lost with a healthy backend, and with any other the responses are as fast
//! and the end is in time, with one line that says how many items were not exported.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use lambda_testkit::sandbox::Report;
use lambda_testkit::witness::{self, WITNESS_ENV};
use lambda_testkit::{
    Backend, Outcome, Party, Sandbox, SandboxBuilder, Script, ShutdownReason, SpanId, Status, artifacts,
};

/// The default of `LAMBDA_FLUSH_MAX_BILLED_MS`.
const CAP: Duration = Duration::from_millis(100);
/// What a busy machine may add to an invocation. A rule that is broken holds it for seconds.
const NOISE: Duration = Duration::from_millis(400);
/// Of a function with an internal extension only, and beside an external one.
const ALONE_SHARE: Duration = Duration::from_millis(500);
const SHARE: Duration = Duration::from_millis(300);

/// An environment without our extension.
struct Alone {
    sandbox: Sandbox,
    witness: PathBuf,
    dir: tempfile::TempDir,
}

/// What is left of it.
struct Ended {
    report: Report,
    witnessed: Vec<SpanId>,
}

impl Alone {
    async fn start(endpoint: &str, setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let witness = dir.path().join("witness");
        let builder = Sandbox::builder()
            .function(artifacts::bin("lambda-flush-e2e", "witness-function").expect("a function"))
            .function_env(WITNESS_ENV, witness.to_string_lossy())
            .function_env("LAMBDA_FLUSH_EXTENSIONS_DIR", dir.path().join("extensions").to_string_lossy())
            .timeout(Duration::from_secs(10))
            .env("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint);
        Self { sandbox: setup(builder).start().await.expect("an environment"), witness, dir }
    }

    /// Beside an extension that is not ours, which stands for Lambda Insights.
    async fn start_beside_foreign(
        endpoint: &str,
        setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder,
    ) -> Self {
        let stub = artifacts::bin("lambda-testkit", "probe_extension").expect("an extension");
        let folder = stub.parent().expect("a folder").to_string_lossy().into_owned();
        Self::start(endpoint, |builder| {
            let builder = builder.extension(&stub).runtime_share(SHARE);
            setup(builder.function_env("LAMBDA_FLUSH_EXTENSIONS_DIR", folder))
        })
        .await
    }

    /// Invokes it and demands that all is well. How long the response took.
    async fn invoke(&self, spans: usize) -> Duration {
        let outcome = self.sandbox.invoke(format!(r#"{{"spans":{spans},"work_ms":5}}"#)).await;
        assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
        assert!(held(&outcome) < CAP + NOISE, "held for {:?}", held(&outcome));
        outcome.response_time.expect("a response")
    }

    async fn end(self) -> Ended {
        let report = self.sandbox.shutdown(ShutdownReason::Spindown).await;
        let witnessed = witness::read(&self.witness).expect("a witness").records;
        drop(self.dir);
        Ended { report, witnessed: witnessed.into_iter().map(|record| record.span_id).collect() }
    }
}

fn held(outcome: &Outcome) -> Duration {
    outcome.duration - outcome.response_time.expect("a response")
}

impl Ended {
    /// Notices of the function with these words in them.
    fn notices(&self, words: &str) -> Vec<&str> {
        let told = self.report.lines.iter().filter(|line| line.stderr && line.party == Party::Function);
        let notices = told.filter(|line| line.text.contains("\"notice\"") && line.text.contains(words));
        notices.map(|line| line.text.as_str()).collect()
    }

    /// Demands that the function went by itself within `share`. How long it took.
    #[track_caller]
    fn demand_gone(&self, share: Duration) -> Duration {
        let function = self.report.function.expect("a function");
        let after = function.after_sigterm.expect("a SIGTERM");
        assert!(!function.killed && function.exit.code == Some(0), "{function:?}");
        assert!(after < share, "{after:?}");
        after
    }

    /// Demands that the backend has each span once.
    #[track_caller]
    fn demand_all_at(&self, backend: &Backend, spans: usize) {
        let taken = backend.answered_ok();
        let missing = self.witnessed.iter().filter(|span| !taken.contains_key(span)).count();
        assert_eq!((self.witnessed.len(), missing), (spans, 0));
        assert!(taken.values().all(|times| *times == 1), "something came twice");
        assert_eq!(self.notices("not exported"), [""; 0]);
    }

    /// Demands the one line that says how many items were not exported, which is at least `items`.
    #[track_caller]
    fn demand_account(&self, items: usize) {
        let lines = self.notices("not exported");
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        let notice: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let message = notice["message"].as_str().expect("a message");
        let count: usize = message.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
        assert!(count >= items, "{message}");
        // None if SIGTERM came before the first failure.
        assert!(self.notices("fails").len() <= 1, "{:?}", self.notices("fails"));
    }
}

#[tokio::test]
async fn with_a_healthy_backend_nothing_is_lost_and_sigterm_comes() {
    for flavor in ["current_thread", "multi_thread"] {
        let backend = Backend::start().expect("a backend");
        let alone = Alone::start(&backend.endpoint(), |builder| {
            builder.function_env("LAMBDA_TESTKIT_FLAVOR", flavor)
        })
        .await;
        for number in 1..=5 {
            alone.invoke(50).await;
            let here = backend.answered_ok().into_keys().collect::<HashSet<_>>().len();
            assert!(
                here >= number * 50,
                "{here} spans after invocation {number}: exported after each response"
            );
        }
        let mut invocation = alone.sandbox.begin(r#"{"spans":2000}"#);
        invocation.response().await.expect("a response");
        let ended = alone.end().await;
        let after = ended.demand_gone(ALONE_SHARE);
        ended.demand_all_at(&backend, 2_250);
        let signals: HashSet<_> =
            backend.requests().into_iter().filter_map(|request| request.signal).collect();
        assert_eq!(signals.len(), 3, "{signals:?}");
        assert_eq!(ended.report.budget, ALONE_SHARE, "an internal extension is registered");
        println!("{flavor}: 2250 spans, gone {after:?} after SIGTERM");
    }
}

#[tokio::test]
async fn an_https_backend_with_its_own_authority_gets_everything() {
    let backend = Backend::start_https().expect("a backend");
    let dir = tempfile::tempdir().expect("a directory");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, backend.ca_pem().expect("an authority")).expect("a file");
    let alone = Alone::start(&backend.endpoint(), |builder| {
        builder.env("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.to_string_lossy())
    })
    .await;
    for _ in 0..3 {
        alone.invoke(50).await;
    }
    let mut invocation = alone.sandbox.begin(r#"{"spans":2000}"#);
    invocation.response().await.expect("a response");
    let ended = alone.end().await;
    ended.demand_gone(ALONE_SHARE);
    ended.demand_all_at(&backend, 2_150);
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_told_and_costs_nothing() {
    let backend = Backend::start_https().expect("a backend");
    let alone = Alone::start(&backend.endpoint(), |builder| builder).await;
    alone.invoke(50).await;
    // The first attempt may outlast the cap of its invocation. It is known to have failed before SIGTERM comes.
    let told = async {
        while !alone.sandbox.lines().iter().any(|line| line.text.contains("UnknownIssuer")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("the failure is told");
    let ended = alone.end().await;
    ended.demand_gone(ALONE_SHARE);
    ended.demand_account(50);
    assert_eq!((ended.notices("UnknownIssuer").len(), backend.requests().len()), (2, 0));
}

/// The middle one.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Ten invocations and an end against a backend that takes nothing, beside a control whose backend takes everything.
async fn demand_harmless(what: &str, endpoint: &str, setup: impl Fn(SandboxBuilder) -> SandboxBuilder) {
    let healthy = Backend::start().expect("a backend");
    let control = Alone::start(&healthy.endpoint(), |builder| builder).await;
    let alone = Alone::start(endpoint, setup).await;
    let (mut control_times, mut times) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        control_times.push(control.invoke(50).await);
        times.push(alone.invoke(50).await);
    }
    let (control_time, time) = (median(control_times), median(times));
    assert!(time < control_time * 2 + Duration::from_millis(20), "{what}: {time:?} beside {control_time:?}");
    let ended = alone.end().await;
    let after = ended.demand_gone(ALONE_SHARE);
    ended.demand_account(500);
    assert_eq!(ended.notices("fails").len(), 1);
    control.end().await.demand_all_at(&healthy, 500);
    println!("{what}: response in {time:?} beside {control_time:?}, gone {after:?} after SIGTERM");
    println!("  {}", ended.notices("not exported")[0]);
}

#[tokio::test]
async fn a_backend_that_refuses_connections_is_harmless() {
    demand_harmless("nobody listens", "http://127.0.0.1:9", |builder| builder).await;
}

#[tokio::test]
async fn a_backend_that_hangs_is_harmless() {
    let backend = Backend::start().expect("a backend");
    backend.set(Script::Hang);
    demand_harmless("hang", &backend.endpoint(), |builder| builder).await;
}

#[tokio::test]
async fn a_wrong_path_is_harmless() {
    let backend = Backend::start().expect("a backend");
    demand_harmless("404", &format!("{}/wrong", backend.endpoint()), |builder| builder).await;
}

#[tokio::test]
async fn a_dead_name_server_is_harmless() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let server = silent.local_addr().expect("an address").to_string();
    demand_harmless("dead DNS", "https://backend.example", |builder| {
        builder.env("LAMBDA_FLUSH_NAME_SERVER", server.as_str())
    })
    .await;
}

#[tokio::test]
async fn a_connect_that_hangs_is_harmless() {
    let (listener, _taken) = full_backlog();
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    demand_harmless("connect hangs", &endpoint, |builder| builder).await;
}

/// A listener whose queue is full: the kernel drops further SYNs.
fn full_backlog() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    rustix::net::listen(&listener, 0).expect("a queue");
    let address = listener.local_addr().expect("an address");
    let mut taken = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        taken.push(stream);
        assert!(taken.len() < 100, "the queue does not fill");
    }
    (listener, taken)
}

/// SIGTERM right after the first response, while the first export hangs: alone and beside a foreign extension.
async fn demand_in_time_while_hanging(
    what: &str,
    endpoint: &str,
    setup: impl Fn(SandboxBuilder) -> SandboxBuilder,
) {
    for share in [ALONE_SHARE, SHARE] {
        let alone = if share == SHARE {
            Alone::start_beside_foreign(endpoint, &setup).await
        } else {
            Alone::start(endpoint, &setup).await
        };
        let mut invocation = alone.sandbox.begin(r#"{"spans":100}"#);
        invocation.response().await.expect("a response");
        let ended = alone.end().await;
        let after = ended.demand_gone(share);
        ended.demand_account(100);
        println!("{what}, a share of {share:?}: gone {after:?} after SIGTERM");
    }
}

#[tokio::test]
async fn sigterm_while_an_export_hangs_in_the_name_server() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let server = silent.local_addr().expect("an address").to_string();
    demand_in_time_while_hanging("DNS hangs", "https://backend.example", |builder| {
        builder.env("LAMBDA_FLUSH_NAME_SERVER", server.as_str())
    })
    .await;
}

#[tokio::test]
async fn sigterm_while_an_export_hangs_in_connect() {
    let (listener, _taken) = full_backlog();
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    demand_in_time_while_hanging("connect hangs", &endpoint, |builder| builder).await;
}

#[tokio::test]
async fn hooks_run_while_an_export_hangs() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let server = silent.local_addr().expect("an address").to_string();
    let function = artifacts::bin("lambda-flush-e2e", "hooks-function").expect("a function");
    let alone = Alone::start("https://backend.example", |builder| {
        builder
            .function(function)
            .env("LAMBDA_FLUSH_NAME_SERVER", server.as_str())
            .function_env("HOOKS", "quick,hangs")
    })
    .await;
    let mut invocation = alone.sandbox.begin(r#"{"spans":100}"#);
    invocation.response().await.expect("a response");
    let ended = alone.end().await;
    ended.demand_gone(ALONE_SHARE);
    ended.demand_account(102);
    let told = |outcome: &str| ended.report.lines.iter().any(|line| line.text.contains(outcome));
    assert!(told(r#""outcome":"done""#) && told(r#""outcome":"timed_out""#), "{:?}", ended.report.lines);
}

#[tokio::test]
async fn sigterm_while_a_backend_hangs_that_then_heals_loses_nothing() {
    let backend = Backend::start().expect("a backend");
    backend.queue(&Script::Hang, 1);
    let alone = Alone::start(&backend.endpoint(), |builder| builder).await;
    let mut invocation = alone.sandbox.begin(r#"{"spans":100}"#);
    invocation.response().await.expect("a response");
    let ended = alone.end().await;
    ended.demand_gone(ALONE_SHARE);
    let taken = backend.answered_ok();
    assert!(ended.witnessed.len() == 100 && ended.witnessed.iter().all(|span| taken.contains_key(span)));
    assert_eq!(ended.notices("not exported"), [""; 0]);
}

#[tokio::test]
async fn beside_a_foreign_extension_nothing_is_lost_and_its_share_holds() {
    let backend = Backend::start().expect("a backend");
    let alone = Alone::start_beside_foreign(&backend.endpoint(), |builder| builder).await;
    alone.invoke(50).await;
    let mut invocation = alone.sandbox.begin(r#"{"spans":500}"#);
    invocation.response().await.expect("a response");
    let ended = alone.end().await;
    let after = ended.demand_gone(SHARE);
    ended.demand_all_at(&backend, 550);
    let internal = format!("{:?}", ended.report.trace).contains("lambda-flush-internal");
    assert!(!internal, "the foreign extension is enough for SIGTERM");
    println!("foreign extension: gone {after:?} after SIGTERM");
}

#[tokio::test]
async fn an_outage_costs_one_cap_and_heals_by_itself() {
    let backend = Backend::start().expect("a backend");
    let alone = Alone::start(&backend.endpoint(), |builder| builder).await;
    alone.invoke(10).await;
    backend.set(Script::status(503));
    let mut waits = Vec::new();
    for _ in 0..5 {
        let outcome = alone.sandbox.invoke(r#"{"spans":10,"work_ms":5}"#).await;
        waits.push(held(&outcome));
    }
    backend.set(Script::Healthy);
    for _ in 0..3 {
        let outcome = alone.sandbox.invoke(r#"{"spans":10,"work_ms":50}"#).await;
        assert_eq!(outcome.status, Status::Ok);
    }
    let here = backend.answered_ok().len();
    let ended = alone.end().await;
    ended.demand_all_at(&backend, 90);
    assert!(here >= 90, "{here} before the end");
    assert!(median(waits[1..].to_vec()) < CAP / 2, "held {waits:?}");
}

#[tokio::test]
async fn an_extension_that_is_there_but_broken_is_told_and_replaced() {
    let backend = Backend::start().expect("a backend");
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("lambda-flush-extension"), "").expect("a file");
    let alone = Alone::start_beside_foreign(&backend.endpoint(), |builder| {
        builder.function_env("LAMBDA_FLUSH_EXTENSIONS_DIR", dir.path().to_string_lossy())
    })
    .await;
    alone.invoke(50).await;
    let ended = alone.end().await;
    ended.demand_gone(SHARE);
    ended.demand_all_at(&backend, 50);
    assert_eq!(ended.notices("it is broken").len(), 1);
}
