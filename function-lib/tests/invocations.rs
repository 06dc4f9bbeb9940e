//! The runtime layer and the handler wrapper around fake inner services: how an invocation is told and traced.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use common::{Command, FakeExtension, Manners, builder};
use lambda_flush::{Error, LambdaEvent, Telemetry, service_fn};
use lambda_flush_proto::Received;
use lambda_flush_proto::wire::invocation_done::Status as Done;
use lambda_flush_proto::wire::{InvocationDone, InvocationStarted};
use lambda_runtime::{Diagnostic, LambdaInvocation};
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tower::{Layer, Service};
use tracing::Instrument;
use tracing::instrument::WithSubscriber;
use tracing_subscriber::layer::SubscriberExt;

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:orders:live";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn invocation(request_id: &str, body: &str) -> LambdaInvocation {
    let (parts, ()) = http::Response::new(()).into_parts();
    let mut context = lambda_flush::Context::default();
    request_id.clone_into(&mut context.request_id);
    ARN.clone_into(&mut context.invoked_function_arn);
    let deadline = SystemTime::now() + Duration::from_secs(30);
    context.deadline =
        u64::try_from(deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    context.tenant_id = Some("blue".to_owned());
    context.env_config = Arc::new(lambda_runtime::Config {
        function_name: "orders".to_owned(),
        version: "7".to_owned(),
        ..Default::default()
    });
    LambdaInvocation { parts, body: Bytes::copy_from_slice(body.as_bytes()), context }
}

fn subscriber(telemetry: &Telemetry) -> impl tracing::Subscriber + Send + Sync + use<> {
    tracing_subscriber::registry().with(telemetry.tracing_layer())
}

/// How the handler of [`invoke`] ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Ok,
    Error,
    Panic,
    PanicInCall,
}

/// What `lambda_runtime` does around a handler, with `post` in place of the Runtime API.
async fn invoke(telemetry: &Telemetry, event: LambdaInvocation, then: Then, post: impl Fn() + Clone) {
    let handler = service_fn(move |event: LambdaEvent<()>| {
        assert!(then != Then::PanicInCall, "oops {}", event.context.request_id);
        async move {
            tracing::info_span!("child").in_scope(|| ());
            tokio::task::yield_now().await;
            match then {
                Then::Ok => Ok(()),
                Then::Error => Err::<(), Error>("no stock".into()),
                _ => panic!("oops {}", event.context.request_id),
            }
        }
    });
    let mut traced = telemetry.handler(handler);
    let runtime = service_fn(|event: LambdaInvocation| {
        let post = post.clone();
        let called = catch_unwind(AssertUnwindSafe(|| traced.call(LambdaEvent::new((), event.context))));
        async move {
            if let Ok(called) = called {
                let mut called = pin!(called);
                let result = poll_fn(|task| {
                    let polled = catch_unwind(AssertUnwindSafe(|| called.as_mut().poll(task)));
                    polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
                });
                if let Some(Err(error)) = result.await {
                    assert_eq!(format!("{error:?}"), "\"no stock\"", "the handler's own Debug");
                    assert_eq!(Diagnostic::from(error).error_message, "no stock");
                }
            }
            post();
            Ok::<(), Error>(())
        }
    });
    telemetry.layer().layer(runtime).call(event).await.unwrap();
}

fn run(flavour: &mut tokio::runtime::Builder, future: impl Future<Output = ()>) {
    flavour.enable_time().build().unwrap().block_on(future);
}

fn current_thread() -> tokio::runtime::Builder {
    tokio::runtime::Builder::new_current_thread()
}

fn attribute(span: &Span, key: &str) -> Option<AnyValue> {
    span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value
}

fn text(text: &str) -> Option<AnyValue> {
    Some(AnyValue::StringValue(text.to_owned()))
}

fn named(extension: &FakeExtension, name: &str) -> Span {
    extension.spans().into_iter().map(|(.., span)| span).find(|span| span.name == name).unwrap()
}

fn started(received: &[Received]) -> Vec<InvocationStarted> {
    let started = |message: &Received| match message {
        Received::InvocationStarted(started) => Some(started.clone()),
        _ => None,
    };
    received.iter().filter_map(started).collect()
}

fn done(received: &[Received]) -> Vec<InvocationDone> {
    let done = |message: &Received| match message {
        Received::InvocationDone(done) => Some(done.clone()),
        _ => None,
    };
    received.iter().filter_map(done).collect()
}

#[test]
fn an_invocation_is_a_span_with_faas_attributes_children_and_parent() {
    for mut flavour in [current_thread(), tokio::runtime::Builder::new_multi_thread()] {
        let extension = FakeExtension::start(Manners::default());
        let telemetry = builder(&extension.address).init().unwrap();
        let body = format!(r#"{{"headers":{{"TraceParent":"{PARENT}"}}}}"#);
        let inside = invoke(&telemetry, invocation("r-1", &body), Then::Ok, || ());
        run(&mut flavour, inside.with_subscriber(subscriber(&telemetry)));
        let completion = extension.wait_for_done();
        let (span, child) = (named(&extension, "orders"), named(&extension, "child"));
        assert_eq!(
            (span.kind, span.status.clone().unwrap().code),
            (SpanKind::Server as i32, StatusCode::Unset as i32)
        );
        for (key, value) in [
            ("faas.invocation_id", "r-1"),
            ("cloud.resource_id", "arn:aws:lambda:eu-west-1:123456789012:function:orders:7"),
            ("cloud.account.id", "123456789012"),
            ("aws.lambda.tenant_id", "blue"),
        ] {
            assert_eq!(attribute(&span, key), text(value), "{key}");
        }
        assert!(matches!(attribute(&span, "faas.coldstart"), Some(AnyValue::BoolValue(_))));
        assert_eq!(span.attributes.len(), 5, "{:?}", span.attributes);
        assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
        assert_eq!(child.parent_span_id, span.span_id);
        assert_eq!((&child.trace_id, child.attributes.len()), (&span.trace_id, 0));
        assert!(child.end_time_unix_nano <= span.end_time_unix_nano);
        let counters = completion.counters.clone().unwrap();
        assert_eq!((completion.status(), completion.last_seq), (Done::Ok, 2));
        assert_eq!((counters.ended, counters.written, counters.buffered), (2, 2, 0));
    }
}

#[test]
fn errors_and_panics_are_statuses_and_events() {
    for (then, done, kind, message) in [
        (Then::Error, Done::Error, None, "no stock"),
        (Then::Panic, Done::Panic, Some("panic"), "oops r-2"),
        (Then::PanicInCall, Done::Panic, Some("panic"), "oops r-2"),
    ] {
        let extension = FakeExtension::start(Manners::default());
        let telemetry = builder(&extension.address).init().unwrap();
        let inside = invoke(&telemetry, invocation("r-2", "{}"), then, || ());
        run(&mut current_thread(), inside.with_subscriber(subscriber(&telemetry)));
        assert_eq!(extension.wait_for_done().status(), done);
        let span = named(&extension, "orders");
        let status = span.status.clone().unwrap();
        assert_eq!((status.code, status.message.as_str()), (StatusCode::Error as i32, message));
        assert_eq!((span.events.len(), span.events[0].name.as_str()), (1, "exception"));
        let event = Span { attributes: span.events[0].attributes.clone(), ..Span::default() };
        assert_eq!(attribute(&event, "exception.message"), text(message));
        assert_eq!(attribute(&event, "exception.type"), attribute(&span, "error.type"));
        if let Some(kind) = kind {
            assert_eq!(attribute(&span, "error.type"), text(kind));
        }
    }
}

#[test]
fn a_cancelled_handler_ends_its_span_and_its_invocation() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder(&extension.address).init().unwrap();
    tracing::subscriber::with_default(subscriber(&telemetry), || {
        let mut handler = telemetry.handler(service_fn(|_: LambdaEvent<()>| async {
            let _child = tracing::info_span!("child").entered();
            std::future::pending::<Result<(), Error>>().await
        }));
        let runtime = service_fn(|event: LambdaInvocation| {
            let called = handler.call(LambdaEvent::new((), event.context));
            async move { called.await.map_err(|_| Error::from("unreachable")) }
        });
        let mut future = Box::pin(telemetry.layer().layer(runtime).call(invocation("r-3", "{}")));
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(extension.spans().is_empty());
        drop(future);
    });
    assert_eq!(extension.wait_for_done().status(), Done::Cancelled);
    let span = named(&extension, "orders");
    assert_eq!(span.status.unwrap().message, "cancelled");
    assert_eq!(named(&extension, "child").parent_span_id, span.span_id);
}

#[test]
fn the_span_ends_after_those_its_handler_holds_and_before_those_it_leaves_behind() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder(&extension.address).init().unwrap();
    let left_behind = Arc::new(Mutex::new(None));
    let holder = left_behind.clone();
    let mut handler = telemetry.handler(service_fn(move |_: LambdaEvent<()>| {
        // As a task that the handler has spawned would. `tracing` keeps a span open as long as its children are.
        *holder.lock().unwrap() = Some(tracing::info_span!("left behind"));
        async { Ok::<(), Error>(()) }.instrument(tracing::info_span!("held"))
    }));
    let event = LambdaEvent::new((), invocation("r-9", "{}").context);
    let inside = async { handler.call(event).await.unwrap() };
    run(&mut current_thread(), inside.with_subscriber(subscriber(&telemetry)));
    let names = || extension.spans().into_iter().map(|(.., span)| span.name).collect::<Vec<_>>();
    extension.wait_for_spans(2);
    assert_eq!(names(), ["held", "orders"]);
    drop(left_behind.lock().unwrap().take());
    extension.wait_for_spans(3);
    assert_eq!(names(), ["held", "orders", "left behind"]);
}

#[test]
fn the_extension_hears_of_the_end_after_the_response_and_of_the_start_before() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder(&extension.address).init().unwrap();
    let posted = AtomicBool::new(false);
    let post = || {
        // The spans are there, so what was written before the response has arrived.
        let received = extension.wait_for("the spans", |received| {
            let items = received.iter().filter(|message| matches!(message, Received::Item(_))).count();
            (items == 2).then(|| received.to_vec())
        });
        let start = received.iter().position(|message| matches!(message, Received::InvocationStarted(_)));
        let item = received.iter().position(|message| matches!(message, Received::Item(_)));
        assert!(start.unwrap() < item.unwrap() && done(&received).is_empty());
        posted.store(true, Ordering::SeqCst);
    };
    let inside = invoke(&telemetry, invocation("r-4", "{}"), Then::Ok, &post);
    run(&mut current_thread(), inside.with_subscriber(subscriber(&telemetry)));
    assert!(posted.load(Ordering::SeqCst));
    extension.wait_for_done();
}

#[test]
fn attempts_tell_invocations_of_one_request_apart() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder(&extension.address).init().unwrap();
    run(&mut current_thread(), async {
        let mut with_id = invocation("r-5", "{}");
        with_id.parts.headers.insert("Lambda-Runtime-Invocation-Id", "i-1".parse().unwrap());
        for event in [with_id, invocation("r-5", "{}"), invocation("r-5", "{}")] {
            invoke(&telemetry, event, Then::Ok, || ()).await;
        }
    });
    let received =
        extension.wait_for("three ends", |received| (done(received).len() == 3).then(|| received.to_vec()));
    let (started, done) = (started(&received), done(&received));
    assert_eq!(started[0].attempt, "i-1");
    assert!(started[0].deadline_unix_ms > 0 && started[1].attempt != started[2].attempt);
    for (started, done) in started.iter().zip(done) {
        assert_eq!((&started.attempt, &started.request_id), (&done.attempt, &done.request_id));
    }
}

#[test]
fn the_end_passes_spans_that_have_no_room_and_counts_them() {
    let extension = FakeExtension::start(Manners { credit_bytes: 0, regrants: false, ..Manners::default() });
    let telemetry = builder(&extension.address).init().unwrap();
    for mut flavour in [current_thread(), tokio::runtime::Builder::new_multi_thread()] {
        let inside = invoke(&telemetry, invocation("r-6", "{}"), Then::Ok, || ());
        run(&mut flavour, inside.with_subscriber(subscriber(&telemetry)));
    }
    let completions =
        extension.wait_for("two ends", |received| Some(done(received)).filter(|done| done.len() == 2));
    let counts = completions.into_iter().map(|done| done.counters.unwrap());
    let counts: Vec<_> =
        counts.map(|counters| (counters.ended, counters.written, counters.buffered)).collect();
    assert_eq!(counts, [(2, 0, 2), (4, 0, 4)]);
    extension.command(Command::Grant(1 << 20));
    extension.wait_for_spans(4);
}

#[test]
fn a_restarted_extension_gets_scopes_anew_and_no_span_twice() {
    let first = FakeExtension::start(Manners { credit_bytes: 500, regrants: false, ..Manners::default() });
    let address = first.address.clone();
    let telemetry = builder(&address).init().unwrap();
    let turn = |then| {
        let inside = invoke(&telemetry, invocation("r-7", "{}"), then, || ());
        run(&mut current_thread(), inside.with_subscriber(subscriber(&telemetry)));
    };
    turn(Then::Ok);
    turn(Then::Ok);
    let before =
        first.wait_for("two ends", |received| (done(received).len() == 2).then(|| received.to_vec()));
    let before: Vec<_> = before.iter().filter_map(seq).collect();
    assert!(!before.is_empty() && before.len() < 4, "the credit is for some of the four spans: {before:?}");
    drop(first);
    turn(Then::Ok); // Finds nobody: buffered.
    let second = FakeExtension::start_at(address, Manners::default());
    turn(Then::Error);
    let received = second.wait_for("the rest", |received| {
        (received.iter().filter_map(seq).count() + before.len() == 8).then(|| received.to_vec())
    });
    let after: Vec<_> = received.iter().filter_map(seq).collect();
    assert_eq!([before, after].concat(), (1..=8).collect::<Vec<_>>(), "each once, in order");
    let hello = received.iter().position(|message| matches!(message, Received::Hello(_)));
    let scope = received.iter().position(|message| matches!(message, Received::Scope(_)));
    let item = received.iter().position(|message| matches!(message, Received::Item(_)));
    assert!(hello == Some(0) && scope.is_some() && scope < item, "{hello:?} {scope:?} {item:?}");
    assert_eq!(telemetry.stats().dropped.len(), 0);
}

fn seq(message: &Received) -> Option<u64> {
    match message {
        Received::Item(item) => Some(item.seq),
        _ => None,
    }
}

#[test]
fn flush_can_be_awaited_in_a_handler() {
    let extension = FakeExtension::start(Manners::default());
    let telemetry = builder(&extension.address).init().unwrap();
    let flushing = telemetry.clone();
    let mut handler = telemetry.handler(service_fn(move |_: LambdaEvent<()>| {
        let telemetry = flushing.clone();
        async move {
            tracing::info_span!("child").in_scope(|| ());
            telemetry.flush().await?;
            Ok::<(), Error>(())
        }
    }));
    let runtime = service_fn(|event: LambdaInvocation| {
        let called = handler.call(LambdaEvent::new((), event.context));
        async move { called.await.map_err(|error| Error::from(format!("{error:?}"))) }
    });
    let mut layered = telemetry.layer().layer(runtime);
    let inside = layered.call(invocation("r-8", "{}"));
    run(&mut current_thread(), async { inside.await.unwrap() }.with_subscriber(subscriber(&telemetry)));
    assert_eq!(extension.wait_for_done().status(), Done::Ok);
}
