//! Invocations at the same time in one process, as on managed instances: each is told, traced and ended by itself.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;
#[path = "common/child.rs"]
mod process;
#[path = "common/runtime_api.rs"]
mod runtime_api;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{FakeExtension, Manners};
use lambda_flush::{Error, LambdaEvent, service_fn};
use lambda_flush_proto::Received;
use lambda_flush_proto::extension_link::Content;
use lambda_flush_proto::wire::invocation_done::Status;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::trace::v1::Span;
use process::{Child, init_with, ready};
use prost::Message;
use runtime_api::{Event, RuntimeApi};
use serde_json::Value;

const AT_ONCE: usize = 8;

/// The library's 260 ms, and what a machine may add whose cores are all busy with a runtime that asks in vain.
const GONE_MAX: Duration = Duration::from_millis(260 + 1_000);

/// Not a test by itself: what the other tests start as a process of its own.
#[test]
fn child() {
    match process::role().as_deref() {
        Some("together") => function(true, false),
        Some("in_turn") => function(true, true),
        Some("alone") => function(false, false),
        _ => {}
    }
}

/// Each invocation works until [`AT_ONCE`] of them do, if they are to be `together`; then they end `in_turn`, well apart.
fn function(together: bool, in_turn: bool) {
    static AT_WORK: AtomicUsize = AtomicUsize::new(0);
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    let handler = move |event: LambdaEvent<Value>| async move {
        let id = event.payload["id"].as_str().unwrap_or_default().to_owned();
        AT_WORK.fetch_add(1, Ordering::SeqCst);
        while together && AT_WORK.load(Ordering::SeqCst) < AT_ONCE {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while in_turn && ENDED.load(Ordering::SeqCst).to_string() != id {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if in_turn {
            // The one before has been answered, and has had its end told, long since.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tracing::info_span!("child", id).in_scope(|| ());
        ENDED.fetch_add(1, Ordering::SeqCst);
        match id.as_str() {
            "3" => Err(Error::from("no stock")),
            _ => Ok(event.payload),
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let telemetry = init_with(&[("OTEL_PROPAGATORS", "xray-lambda")]);
        ready();
        telemetry.run_concurrent(service_fn(handler)).await.unwrap();
    });
}

fn start(role: &str, extension: &FakeExtension, api: &RuntimeApi, more: &[(&str, &str)]) -> Child {
    let address = api.address.to_string();
    let mut variables = vec![
        ("AWS_LAMBDA_RUNTIME_API", address.as_str()),
        ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "7"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048"),
        // Of nobody's invocation: what the environment says is no parent.
        ("_X_AMZN_TRACE_ID", "Root=1-00000000-ffffffffffffffffffffffff;Parent=ffffffffffffffff;Sampled=1"),
    ];
    variables.extend_from_slice(more);
    Child::start_with(role, extension, &variables)
}

fn event(number: usize) -> Event {
    Event {
        request_id: format!("r-{number}"),
        trace: format!(
            "Root=1-5759e988-bd862e3fe1be46a99427279{number};Parent=53995c3f42cd8ad{number};Sampled=1"
        ),
        body: format!(r#"{{"id":"{number}"}}"#),
    }
}

fn id(span: &Span, key: &str) -> String {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key).unwrap();
    match attribute.value.clone().unwrap().value.unwrap() {
        AnyValue::StringValue(text) => text,
        other => format!("{other:?}"),
    }
}

/// Sums by name over all metrics received, and in how many requests they came.
fn sums(received: &[Received]) -> (BTreeMap<String, i64>, usize) {
    let (mut sums, mut requests) = (BTreeMap::new(), 0);
    for message in received {
        let Received::Item(item) = message else { continue };
        let Content::Request = item.content else { continue };
        requests += 1;
        let request = ExportMetricsServiceRequest::decode(item.bytes.clone()).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let Some(Data::Sum(sum)) = metric.data else { continue };
            let values = sum.data_points.iter().map(|point| match point.value {
                Some(Number::AsInt(value)) => value,
                _ => 0,
            });
            *sums.entry(metric.name).or_default() += values.sum::<i64>();
        }
    }
    (sums, requests)
}

fn done(received: &[Received]) -> BTreeMap<(String, String), Status> {
    let done = |message: &Received| match message {
        Received::InvocationDone(done) => {
            Some(((done.request_id.clone(), done.attempt.clone()), done.status()))
        }
        _ => None,
    };
    received.iter().filter_map(done).collect()
}

#[test]
fn invocations_at_the_same_time_are_told_and_traced_apart() {
    let (extension, api) = (FakeExtension::start(Manners::default()), RuntimeApi::start());
    let at_once = AT_ONCE.to_string();
    let child = start("together", &extension, &api, &[("AWS_LAMBDA_MAX_CONCURRENCY", at_once.as_str())]);
    api.wait_for_asking(AT_ONCE);
    (0..AT_ONCE).for_each(|number| api.invoke(event(number)));
    let answers: BTreeSet<_> = api.wait_for_answers(AT_ONCE).into_iter().collect();
    let kind = |number| if number == 3 { "error" } else { "response" };
    let expected = (0..AT_ONCE).map(|number| (format!("r-{number}"), kind(number).to_owned()));
    assert_eq!(answers, expected.collect());
    let received = extension
        .wait_for("the ends", |received| (done(received).len() == AT_ONCE).then(|| received.to_vec()));
    let status = |number| if number == 3 { Status::Error } else { Status::Ok };
    let expected =
        (0..AT_ONCE).map(|number| ((format!("r-{number}"), format!("of-r-{number}")), status(number)));
    assert_eq!(done(&received), expected.collect());
    let spans: Vec<_> = extension.wait_for_spans(2 * AT_ONCE).into_iter().map(|(.., span)| span).collect();
    let mut cold = 0;
    for number in 0..AT_ONCE {
        let request_id = format!("r-{number}");
        let invocation =
            spans.iter().find(|span| span.name == "orders" && id(span, "faas.invocation_id") == request_id);
        let child = spans.iter().find(|span| span.name == "child" && id(span, "id") == number.to_string());
        let (invocation, child) = (invocation.unwrap(), child.unwrap());
        assert_eq!((&child.parent_span_id, &child.trace_id), (&invocation.span_id, &invocation.trace_id));
        let trace_id = 0x5759_e988_bd86_2e3f_e1be_46a9_9427_2790_u128 + number as u128;
        assert_eq!(invocation.trace_id, trace_id.to_be_bytes(), "its own event's");
        cold += usize::from(id(invocation, "faas.coldstart").contains("true"));
    }
    assert_eq!(cold, 1, "one cold start in a process");
    let ended = child.terminate();
    ended.demand_exit();
    assert_eq!(ended.stderr, "");
    let sums = sums(&extension.received()).0;
    let at_once = i64::try_from(AT_ONCE).unwrap();
    assert_eq!((sums["faas.invocations"], sums["faas.errors"], sums["faas.coldstarts"]), (at_once - 1, 1, 1));
}

/// The last of several that end has what all of them measured, without waiting for a checkpoint.
#[test]
fn measurements_are_collected_when_the_last_one_ends() {
    let (extension, api) = (FakeExtension::start(Manners::default()), RuntimeApi::start());
    let at_once = AT_ONCE.to_string();
    let child = start("in_turn", &extension, &api, &[("AWS_LAMBDA_MAX_CONCURRENCY", at_once.as_str())]);
    api.wait_for_asking(AT_ONCE);
    (0..AT_ONCE).for_each(|number| api.invoke(event(number)));
    let requests = extension.wait_for("all that was measured", |received| {
        let (sums, requests) = sums(received);
        let count = |name| sums.get(name).copied().unwrap_or_default();
        let ended = usize::try_from(count("faas.invocations") + count("faas.errors")).unwrap();
        (ended == AT_ONCE).then_some(requests)
    });
    assert!(requests < AT_ONCE, "{requests} collections: one at each end is one too many");
    drop(child);
}

#[test]
fn without_a_limit_invocations_come_one_after_the_other() {
    for more in [&[][..], &[("AWS_LAMBDA_MAX_CONCURRENCY", "1")]] {
        let (extension, api) = (FakeExtension::start(Manners::default()), RuntimeApi::start());
        let child = start("alone", &extension, &api, more);
        (0..AT_ONCE).for_each(|number| api.invoke(event(number)));
        let answers = api.wait_for_answers(AT_ONCE);
        let order: Vec<_> = answers.into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, (0..AT_ONCE).map(|number| format!("r-{number}")).collect::<Vec<_>>());
        extension.wait_for("the ends", |received| (done(received).len() == AT_ONCE).then_some(()));
        assert_eq!(api.asked_at_once(), 1);
        child.terminate().demand_exit();
    }
}

/// `lambda_runtime` asks again at once, without a pause, when the Runtime API is gone.
#[test]
#[expect(clippy::disallowed_methods, reason = "the runtime is given time to ask in vain")]
fn a_runtime_that_asks_in_vain_neither_floods_the_logs_nor_keeps_sigterm() {
    let (extension, api) = (FakeExtension::start(Manners::default()), RuntimeApi::start());
    let more = [("AWS_LAMBDA_MAX_CONCURRENCY", "8"), ("RUST_LOG", "info")];
    let child = start("together", &extension, &api, &more);
    api.wait_for_asking(AT_ONCE);
    (0..AT_ONCE).for_each(|number| api.invoke(event(number)));
    api.wait_for_answers(AT_ONCE);
    extension.wait_for("the ends", |received| (done(received).len() == AT_ONCE).then_some(()));
    api.wait_for_asking(AT_ONCE);
    api.go_away();
    std::thread::sleep(Duration::from_millis(300));
    let ended = child.terminate();
    ended.demand_exit();
    assert!(ended.after < GONE_MAX, "{:?}", ended.after);
    println!("gone after {:?}", ended.after);
    assert_eq!(ended.stderr, "");
    assert!(ended.stdout.len() < 4 << 10, "{} bytes of output", ended.stdout.len());
    let goodbye = extension.wait_for("Goodbye", |received| {
        received.iter().find_map(|message| match message {
            Received::Goodbye(counters) => Some(counters.clone()),
            _ => None,
        })
    });
    assert_eq!((goodbye.buffered, goodbye.ended), (0, goodbye.written));
}
