//! Invocations: who gets what, when the client is answered, when the environment is done.

use std::time::Duration;

use lambda_testkit::{ShutdownReason, Status};

use crate::support::{EXTENSION, NOISE, Probes};

#[tokio::test]
async fn the_payload_comes_back_and_both_sides_see_the_same_invocation() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    for number in 0..3 {
        let payload = format!("{{\"n\":{number}}}");
        let outcome = sandbox.invoke(payload.clone()).await;
        assert_eq!((outcome.status, outcome.error_type.as_deref()), (Status::Ok, None));
        assert_eq!(outcome.payload, payload.as_bytes());
        assert!(outcome.response_time.unwrap() <= outcome.duration);
        assert!(outcome.init_included.is_none() && outcome.reset.is_none());
    }
    let trace = probes.trace();
    let ids = |who| trace.of(who).filter(|it| it.event == "invoke").map(|it| it.detail["request_id"].clone());
    let of_function: Vec<_> = ids("function").collect();
    assert_eq!(of_function.len(), 3);
    assert_eq!(of_function, ids(EXTENSION).collect::<Vec<_>>());
    // The runtime's deadline header says what is left of the timeout, 3 s by default.
    let left_ms = trace.find("function", "invoke").unwrap().detail["left_ms"].as_u64().unwrap();
    assert!((1_500..=3_000).contains(&left_ms), "{left_ms}");
}

#[tokio::test]
async fn a_function_error_is_an_answer() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    let outcome = sandbox.invoke(r#"{"fail":true}"#).await;
    assert_eq!(outcome.status, Status::FunctionError);
    assert_eq!(outcome.error_type.as_deref(), Some("Probe.Fail"));
    assert!(outcome.reset.is_none());
    assert_eq!(sandbox.invoke("{}").await.status, Status::Ok);
}

#[tokio::test]
async fn the_client_does_not_wait_for_the_extension_but_the_bill_does() {
    let probes = Probes::with_extension().knob("INVOKE_SLEEP_MS", 700);
    let sandbox = probes.start().await;
    let outcome = sandbox.invoke("{}").await;
    assert!(outcome.duration >= Duration::from_millis(700), "{:?}", outcome.duration);
    assert!(outcome.response_time.unwrap() < Duration::from_millis(700), "{:?}", outcome.response_time);
    let mut invocation = sandbox.begin("{}");
    let begun = std::time::Instant::now();
    assert_eq!(invocation.response().await.unwrap(), "{}");
    let answered = begun.elapsed();
    assert_eq!(invocation.response().await, None);
    assert!(invocation.outcome().await.duration > answered);
}

#[tokio::test]
async fn an_extension_for_shutdown_only_is_not_waited_for() {
    let probes = Probes::with_extension().knob("EVENTS", "SHUTDOWN").knob("INVOKE_SLEEP_MS", 2_000);
    let sandbox = probes.start().await;
    assert!(sandbox.invoke("{}").await.duration < Duration::from_millis(2_000));
    sandbox.shutdown(ShutdownReason::Spindown).await;
    let trace = probes.trace();
    assert_eq!((trace.count(EXTENSION, "invoke"), trace.count(EXTENSION, "shutdown")), (0, 1));
}

#[tokio::test]
async fn invocations_take_turns() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    let invocations: Vec<_> = (0..4).map(|_| sandbox.begin(r#"{"sleep_ms":20}"#)).collect();
    for invocation in invocations {
        assert_eq!(invocation.outcome().await.status, Status::Ok);
    }
    let trace = probes.trace();
    let of_function = trace.of("function").filter(|it| ["invoke", "respond"].contains(&it.event.as_str()));
    let names: Vec<_> = of_function.map(|it| it.event.as_str()).collect();
    assert_eq!(names, ["invoke", "respond"].repeat(4));
}

#[tokio::test]
async fn a_stopped_extension_holds_the_environment_until_it_goes_on() {
    let probes = Probes::with_extension();
    let sandbox = probes.start().await;
    assert!(sandbox.stop_extension());
    let mut invocation = sandbox.begin("{}");
    assert!(invocation.response().await.is_some());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(sandbox.continue_extension());
    let outcome = invocation.outcome().await;
    assert_eq!(outcome.status, Status::Ok);
    assert!(
        outcome.duration >= Duration::from_millis(200) && outcome.duration < Duration::from_secs(2) + NOISE
    );
}
