//! Wrong answers of the Extensions API, and traces that can be compared.

use lambda_testkit::{Fault, ShutdownReason, Status, Trace};

use crate::support::{EXTENSION, Probes};

#[tokio::test]
async fn each_fault_comes_once_and_takes_no_event_away() {
    for fault in [Fault::Status500, Fault::GarbageJson, Fault::UnknownEvent, Fault::CloseConnection] {
        let probes = Probes::with_extension().change(|builder| builder.fault(2, fault));
        let sandbox = probes.start().await;
        for _ in 0..3 {
            assert_eq!(sandbox.invoke("{}").await.status, Status::Ok, "{fault:?}");
        }
        let report = sandbox.shutdown(ShutdownReason::Spindown).await;
        assert_eq!(report.trace.count("platform", "fault"), 1);
        let trace = probes.trace();
        assert_eq!(trace.count(EXTENSION, "next_failed"), 1, "{fault:?}");
        assert_eq!(
            (trace.count(EXTENSION, "invoke"), trace.count(EXTENSION, "shutdown")),
            (3, 1),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_fault_can_be_injected_at_any_time() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    sandbox.invoke("{}").await;
    assert_eq!(probes.trace().count(EXTENSION, "next_failed"), 0);
    sandbox.inject(Fault::Status500);
    assert_eq!(sandbox.invoke("{}").await.status, Status::Ok);
    assert_eq!(probes.trace().find(EXTENSION, "next_failed").unwrap().detail["status"], 500);
}

async fn two_invocations() -> Trace {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    sandbox.invoke("{}").await;
    sandbox.invoke(r#"{"fail":true}"#).await;
    sandbox.shutdown(ShutdownReason::Spindown).await;
    probes.trace()
}

#[tokio::test]
async fn two_runs_are_equal_when_normalised_and_only_then() {
    let (first, second) = (two_invocations().await, two_invocations().await);
    assert_ne!(first, second);
    assert_eq!(first.normalised(), second.normalised());
    let names: Vec<_> = first.normalised().iter().map(|it| format!("{} {}", it.who, it.event)).collect();
    let expected = [
        "extension:probe_extension register",
        "function started",
        "extension:probe_extension invoke",
        "extension:probe_extension invoke",
        "function invoke",
        "function respond",
        "function invoke",
        "function fail",
        "function sigterm",
        "extension:probe_extension shutdown",
        "extension:probe_extension exit",
    ];
    assert_eq!(names, expected);
    assert_eq!(Trace::parse(&first.to_json_lines()).unwrap(), first);
    let mut changed = second;
    changed.events.retain(|event| event.event != "sigterm");
    assert_ne!(first.normalised(), changed.normalised());
}
