//! Hooks at SIGTERM: the function's runtime polls them, and whatever they do the process is gone in time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;
#[path = "common/child.rs"]
mod process;

use std::time::{Duration, Instant};

use common::{FakeExtension, Manners, PATIENCE};
use lambda_flush::Telemetry;
use lambda_flush_proto::Received;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use process::{Child, Ended, init, ready};

/// The library's 260 ms, and what a busy machine may add.
const GONE_MAX: Duration = Duration::from_millis(260 + 400);
const AMPLE: Duration = Duration::from_secs(60);

/// Not a test by itself: what the other tests start as a process of its own.
#[test]
fn child() {
    let Some(role) = process::role() else { return };
    let current_thread = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let multi_thread = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match role.as_str() {
        "mixed" => current_thread.block_on(mixed()),
        "mixed_multi_thread" => multi_thread.block_on(mixed()),
        "blocked" => current_thread.block_on(blocked()),
        "no_runtime" => no_runtime(),
        "runtime_ended" => runtime_ended(current_thread),
        "late" => current_thread.block_on(late()),
        "disabled" => current_thread.block_on(disabled()),
        "many" => current_thread.block_on(many()),
        _ => panic!("{role} is no role"),
    }
}

async fn mixed() {
    let telemetry = init();
    register(&telemetry);
    ready();
    tokio::time::sleep(PATIENCE).await;
}

fn register(telemetry: &Telemetry) {
    telemetry.on_shutdown("quick", AMPLE, async {
        tracing::info_span!("close the pool").in_scope(|| ());
        tokio::time::sleep(Duration::from_millis(50)).await;
    });
    telemetry.on_shutdown("hangs", Duration::from_millis(80), std::future::pending());
    telemetry.on_shutdown("hangs for ever", AMPLE, std::future::pending());
    telemetry.on_shutdown("panics", AMPLE, async {
        tokio::task::yield_now().await;
        panic!("no connection");
    });
    telemetry.on_shutdown("panics in drop", AMPLE, {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("no way out");
            }
        }
        let bomb = Bomb;
        async move { drop(bomb) }
    });
}

#[expect(clippy::disallowed_methods, reason = "that is what the test is about")]
async fn blocked() {
    let telemetry = init();
    register(&telemetry);
    ready();
    std::thread::sleep(PATIENCE);
}

#[expect(clippy::disallowed_methods, reason = "it waits for a signal that ends it")]
fn no_runtime() {
    let telemetry = init();
    telemetry.on_shutdown("nowhere", AMPLE, async {});
    ready();
    std::thread::sleep(PATIENCE);
}

#[expect(clippy::disallowed_methods, reason = "it waits for a signal that ends it")]
fn runtime_ended(runtime: tokio::runtime::Runtime) {
    let telemetry = init();
    runtime.block_on(async { telemetry.on_shutdown("orphan", AMPLE, async {}) });
    drop(runtime);
    ready();
    std::thread::sleep(PATIENCE);
}

async fn late() {
    let telemetry = init();
    let theirs = telemetry.clone();
    telemetry.on_shutdown("first", AMPLE, async move {
        theirs.on_shutdown("second", AMPLE, async { tokio::task::yield_now().await });
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    ready();
    tokio::time::sleep(PATIENCE).await;
}

async fn disabled() {
    let telemetry = process::init_with(&[("OTEL_SDK_DISABLED", "true")]);
    telemetry.on_shutdown("all the same", AMPLE, async {});
    ready();
    tokio::time::sleep(PATIENCE).await;
}

async fn many() {
    let telemetry = init();
    for number in 0..300 {
        telemetry.on_shutdown(format!("hook {number}"), AMPLE, async {});
    }
    ready();
    tokio::time::sleep(PATIENCE).await;
}

fn spans(extension: &FakeExtension) -> Vec<Span> {
    extension.spans().into_iter().map(|(.., span)| span).collect()
}

fn named(spans: &[Span], name: &str) -> Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name:?}")).clone()
}

fn attribute(span: &Span, key: &str) -> Option<AnyValue> {
    span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value
}

/// Plays `role` to its end; the link said goodbye as its very last word.
fn play(role: &str) -> (Ended, Vec<Span>) {
    let extension = FakeExtension::start(Manners::default());
    let ended = Child::start(role, &extension).terminate();
    ended.demand_exit();
    assert!(ended.after < GONE_MAX, "{:?}\n{}", ended.after, ended.stderr);
    println!("{role}: gone after {:?}", ended.after);
    extension.wait_for("Goodbye", |received| {
        received.last().and_then(|last| matches!(last, Received::Goodbye(_)).then_some(()))
    });
    let spans = spans(&extension);
    (ended, spans)
}

#[test]
fn hooks_run_at_the_same_time_and_each_is_told_of() {
    for role in ["mixed", "mixed_multi_thread"] {
        let (ended, spans) = play(role);
        assert!(ended.after > Duration::from_millis(200), "one hook hangs until its time is up");
        let hooks = ended.hooks();
        let outcomes = [
            ("quick", "done"),
            ("hangs", "timed_out"),
            ("hangs for ever", "timed_out"),
            ("panics", "panicked"),
            ("panics in drop", "panicked"),
        ];
        assert_eq!(hooks.len(), outcomes.len(), "{hooks:?}");
        for (name, outcome) in outcomes {
            assert_eq!(hooks[name].0, outcome, "{name}: {hooks:?}");
            let span = named(&spans, &format!("on_shutdown {name}"));
            assert!(span.parent_span_id.is_empty());
            let told = attribute(&span, "lambda_flush.hook.outcome");
            assert_eq!(told, Some(AnyValue::StringValue(outcome.to_owned())));
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        }
        assert!(hooks["panics"].1.ends_with("panicked: no connection"), "{hooks:?}");
        assert!(hooks["panics in drop"].1.ends_with("panicked: no way out"), "{hooks:?}");
        let (parent, inner) = (named(&spans, "on_shutdown quick"), named(&spans, "close the pool"));
        assert_eq!((inner.trace_id, inner.parent_span_id), (parent.trace_id, parent.span_id));
        let (short, long) = (named(&spans, "on_shutdown hangs"), named(&spans, "on_shutdown hangs for ever"));
        let took = |span: &Span| Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano);
        let (short, long) = (took(&short), took(&long));
        assert!(
            short >= Duration::from_millis(80) && long < Duration::from_millis(400),
            "{short:?} {long:?}"
        );
        assert!(long - short > Duration::from_millis(60), "each has its own budget: {short:?} {long:?}");
    }
}

#[test]
fn a_runtime_that_is_blocked_costs_its_hooks_and_no_more() {
    let (ended, spans) = play("blocked");
    let hooks = ended.hooks();
    assert_eq!(hooks.len(), 5);
    for (name, (outcome, message)) in &hooks {
        assert_eq!(outcome, "not_polled", "{name}");
        assert!(message.ends_with("because the runtime was blocked"), "{message}");
    }
    assert_eq!(spans.len(), 5);
}

#[test]
fn a_hook_without_a_runtime_is_told_of_and_holds_nobody_up() {
    for (role, name) in [("no_runtime", "nowhere"), ("runtime_ended", "orphan")] {
        let (ended, spans) = play(role);
        assert_eq!(ended.hooks()[name].0, "no_runtime", "{}", ended.stderr);
        assert_eq!(spans.len(), 1);
        assert!(ended.after < Duration::from_millis(200), "{:?}", ended.after);
    }
}

#[test]
fn a_hook_that_is_registered_by_a_hook_runs_at_once() {
    let (ended, spans) = play("late");
    let hooks = ended.hooks();
    assert_eq!((hooks["first"].0.as_str(), hooks["second"].0.as_str()), ("done", "done"));
    assert_eq!(spans.len(), 2);
}

#[test]
fn there_is_a_limit_and_who_is_over_it_is_told() {
    let (ended, spans) = play("many");
    assert_eq!(spans.len(), 256);
    assert_eq!(ended.stderr.matches("is left out: there are too many hooks").count(), 44);
    assert!(ended.stderr.contains(r#"on_shutdown \"hook 256\" is left out"#), "{}", ended.stderr);
}

#[test]
fn hooks_run_without_telemetry_too() {
    let extension = FakeExtension::start(Manners::default());
    let ended = Child::start("disabled", &extension).terminate();
    ended.demand_exit();
    assert_eq!(ended.hooks()["all the same"].0, "done");
    assert!(extension.received().is_empty());
}

#[test]
fn a_process_with_hooks_waits_for_no_signal_in_a_test_of_its_own() {
    let started = Instant::now();
    let telemetry = common::builder(&common::address()).init().unwrap();
    telemetry.on_shutdown("never", AMPLE, std::future::pending());
    drop(telemetry);
    assert!(started.elapsed() < PATIENCE);
}
