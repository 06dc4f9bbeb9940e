//! Subscribing: before the first `/next`, without keeping it, and without a word more than needed.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use lambda_flush_extension::lambda::telemetry::records::Schema;
use lambda_flush_extension::lambda::telemetry::subscription::Subscription;
use lambda_flush_extension::limits::SUBSCRIPTION_ANSWER_WAIT;
use lambda_flush_extension::output::Output;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::platform::{Life, Script, live};

const SETTLE: Duration = Duration::from_millis(200);

fn paths(life: &Life) -> Vec<&str> {
    life.seen.iter().map(|seen| seen.path.as_str()).collect()
}

/// Level and text of each notice that is about the telemetry.
fn notices(life: &Life) -> Vec<(String, String)> {
    let parsed = life.notices.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pairs = parsed.map(|notice| (text(&notice["level"]), text(&notice["message"])));
    pairs.filter(|(_, message)| message.to_ascii_lowercase().contains("telemetry")).collect()
}

#[tokio::test]
async fn it_subscribes_between_register_and_the_first_next() {
    let life = live(Script::Answer(200, "\"OK\""), SETTLE, &[]).await;
    assert!(life.success);
    let expected =
        ["/2020-01-01/extension/register", "/2022-07-01/telemetry", "/2020-01-01/extension/event/next"];
    assert_eq!(paths(&life), expected);
    assert_eq!(notices(&life), []);
    let (register, request) = (&life.seen[0], &life.seen[1]);
    assert_eq!(register.body, r#"{"events":["INVOKE","SHUTDOWN"]}"#);
    assert_eq!(request.extension.as_deref(), Some("the-id"));
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(body["schemaVersion"], "2022-12-13");
    assert_eq!(body["types"], serde_json::json!(["platform"]));
    let buffering = serde_json::json!({"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 25});
    assert_eq!(body["buffering"], buffering);
    assert_eq!(body["destination"]["protocol"], "HTTP");
    let uri = body["destination"]["URI"].as_str().unwrap();
    let port: u16 = uri.strip_prefix("http://sandbox.localdomain:").unwrap().parse().unwrap();
    assert_ne!(port, 0);
}

#[tokio::test]
async fn on_managed_instances_it_registers_for_shutdown_only_and_with_their_schema() {
    let managed = [("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances")];
    let life = live(Script::Answer(200, "\"OK\""), SETTLE, &managed).await;
    assert!(life.success);
    assert_eq!(life.seen[0].body, r#"{"events":["SHUTDOWN"]}"#);
    let body: Value = serde_json::from_str(&life.seen[1].body).unwrap();
    assert_eq!(body["schemaVersion"], "2025-01-29");
}

#[tokio::test]
async fn what_is_refused_is_said_once_and_not_asked_again() {
    for (script, level, said) in [
        (Script::Answer(202, r#"{"errorType":"Telemetry.NotSupported"}"#), "info", "202"),
        (Script::Answer(403, r#"{"errorType":"Telemetry.SubscriptionClosed"}"#), "info", "403"),
        (
            Script::Answer(400, "{\"errorMessage\":\"schema\u{7}\"}"),
            "warn",
            r#"400 Bad Request: {"errorMessage":"schema"}"#,
        ),
        (Script::Answer(500, ""), "warn", "500"),
        (Script::HangUp, "warn", "telemetry"),
        (Script::Garbage, "warn", "telemetry"),
    ] {
        let life = live(script, SETTLE, &[]).await;
        assert!(life.success, "{script:?}");
        assert_eq!(paths(&life).len(), 3, "{script:?}: {:?}", life.seen);
        let notices = notices(&life);
        assert_eq!(notices.len(), 1, "{script:?}: {notices:?}");
        assert!(notices[0].0 == level && notices[0].1.contains(said), "{script:?}: {notices:?}");
    }
}

#[tokio::test]
async fn a_subscription_without_an_answer_holds_nothing_up() {
    let begun = Instant::now();
    let life = live(Script::Hang, SETTLE, &[]).await;
    assert!(life.success && paths(&life).len() == 3, "{life:?}");
    assert!(begun.elapsed() < SUBSCRIPTION_ANSWER_WAIT, "the end waited for the answer");
    assert_eq!(notices(&life), [], "the end comes before the patience does");
}

#[tokio::test]
async fn a_port_that_is_taken_or_off_means_no_subscription_and_one_line() {
    let theirs = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = theirs.local_addr().unwrap().to_string();
    for (address, level) in [(taken.as_str(), "warn"), ("off", "info")] {
        let life =
            live(Script::Answer(200, "\"OK\""), SETTLE, &[("LAMBDA_FLUSH_TELEMETRY_ADDR", address)]).await;
        assert!(life.success);
        assert_eq!(paths(&life).len(), 2, "{:?}", life.seen);
        let notices = notices(&life);
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].0 == level && notices[0].1.contains("LAMBDA_FLUSH_TELEMETRY_ADDR"), "{notices:?}");
    }
    drop(theirs);
}

#[tokio::test]
async fn a_refused_connection_is_no_obstacle() {
    // Nobody may listen there but an old service that is not installed.
    let closed = "127.0.0.1:9";
    let (events, mut received) = mpsc::channel(1);
    let subscription = Subscription { port: 1, schema: Schema::OnDemand, events, output: Output::default() };
    let begin = subscription.begin(closed, "id");
    tokio::time::timeout(Duration::from_secs(10), begin).await.expect("it comes back");
    assert!(received.recv().await.is_none(), "not subscribed");
}
