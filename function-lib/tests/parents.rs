//! The parent of an invocation's span, from every kind of event that carries one, as `OTEL_PROPAGATORS` says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::time::{Duration, SystemTime};

use common::{FakeExtension, Manners, builder_with};
use lambda_flush::{Error, LambdaEvent, Telemetry, service_fn};
use lambda_runtime::LambdaInvocation;
use opentelemetry::baggage::BaggageExt;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use tower::{Layer, Service};
use tracing::instrument::WithSubscriber;
use tracing_subscriber::layer::SubscriberExt;

const W3C: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const W3C_IDS: (&str, &str) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
const W3C_UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:0";
const XRAY_UNSAMPLED: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
const XRAY_IDS: (&str, &str) = ("5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8");

fn invocation(body: &Value, runtime: Option<&str>) -> LambdaInvocation {
    let (parts, ()) = http::Response::new(()).into_parts();
    let mut context = lambda_flush::Context::default();
    "r-1".clone_into(&mut context.request_id);
    let deadline = SystemTime::now() + Duration::from_secs(30);
    context.deadline =
        u64::try_from(deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    context.xray_trace_id = runtime.map(str::to_owned);
    LambdaInvocation { parts, body: body.to_string().into(), context }
}

/// Invokes a function of these variables; returns its span, if there is one, and the tenant of its baggage.
fn invoked(
    variables: &[(&str, &str)],
    body: &Value,
    runtime: Option<&str>,
) -> (Option<Span>, Option<String>) {
    let extension = FakeExtension::start(Manners::default());
    let variables = [variables, &[("OTEL_METRICS_EXPORTER", "none")]].concat();
    let telemetry: Telemetry = builder_with(&extension.address, &variables).init().unwrap();
    let tenant = std::sync::Mutex::new(None);
    let handler = service_fn(async |_: LambdaEvent<()>| {
        let cx = opentelemetry::Context::current();
        *tenant.lock().unwrap() = cx.baggage().get("tenant").map(ToString::to_string);
        Ok::<(), Error>(())
    });
    let mut traced = telemetry.handler(handler);
    let runtime_service = service_fn(|event: LambdaInvocation| {
        let called = traced.call(LambdaEvent::new((), event.context));
        async move { called.await.map_err(|error| format!("{error:?}")) }
    });
    let subscriber = tracing_subscriber::registry().with(telemetry.tracing_layer());
    // `call` opens the span, so it has to run inside, too.
    let call = async { telemetry.layer().layer(runtime_service).call(invocation(body, runtime)).await };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    tokio.block_on(call.with_subscriber(subscriber)).unwrap();
    extension.wait_for_done();
    let span = extension.spans().into_iter().map(|(.., span)| span).next();
    (span, tenant.into_inner().unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Trace id and parent id.
fn ids(span: &Span) -> (String, String) {
    (hex(&span.trace_id), hex(&span.parent_span_id))
}

fn owned((trace_id, parent): (&str, &str)) -> (String, String) {
    (trace_id.to_owned(), parent.to_owned())
}

/// The four HTTP events, shaped as in AWS's documentation, with these headers.
fn http_events(headers: &[(&str, &str)]) -> [(&'static str, Value); 4] {
    let single: Value = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let many: Value = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!([value])))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let v1 = json!({
        "resource": "/orders", "path": "/orders", "httpMethod": "POST", "headers": single, "multiValueHeaders": many,
        "queryStringParameters": null, "requestContext": { "accountId": "123456789012", "stage": "prod" },
        "body": "{\"traceparent\": \"in the body\"}", "isBase64Encoded": false
    });
    let v2 = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/orders", "headers": single,
        "requestContext": { "http": { "method": "POST", "path": "/orders" } }, "body": "{}"
    });
    let alb = json!({
        "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/a/b" } },
        "httpMethod": "GET", "path": "/", "multiValueHeaders": many, "body": "", "isBase64Encoded": false
    });
    let url = json!({
        "version": "2.0", "routeKey": "$default", "headers": single,
        "requestContext": { "domainName": "abc.lambda-url.eu-west-1.on.aws" }, "isBase64Encoded": false
    });
    [("API Gateway v1", v1), ("API Gateway v2", v2), ("ALB", alb), ("function URL", url)]
}

#[test]
fn every_http_event_brings_a_w3c_parent_and_baggage() {
    for names in [["traceparent", "tracestate", "baggage"], ["Traceparent", "TraceState", "Baggage"]] {
        let headers =
            [(names[0], W3C), (names[1], "vendor=1"), (names[2], "tenant=acme"), ("X-Amzn-Trace-Id", XRAY)];
        for (kind, event) in http_events(&headers) {
            let (span, tenant) = invoked(&[], &event, Some(XRAY));
            let span = span.unwrap();
            assert_eq!(ids(&span), owned(W3C_IDS), "{kind}");
            assert_eq!(span.trace_state, "vendor=1", "{kind}");
            assert_eq!(tenant.as_deref(), Some("acme"), "{kind}");
        }
    }
}

#[test]
fn every_http_event_brings_an_xray_parent_if_that_is_listed() {
    for (kind, event) in http_events(&[("X-Amzn-Trace-Id", XRAY)]) {
        let (span, _) = invoked(&[("OTEL_PROPAGATORS", "xray")], &event, None);
        assert_eq!(ids(&span.unwrap()), owned(XRAY_IDS), "{kind}");
        let (span, _) = invoked(&[], &event, None);
        assert!(span.unwrap().parent_span_id.is_empty(), "{kind}: it is not listed by default");
    }
}

#[test]
fn lambdas_own_header_is_a_parent_only_for_xray_lambda() {
    let list = |list| [("OTEL_PROPAGATORS", list)];
    for propagators in ["tracecontext,baggage", "xray", "none"] {
        let (span, _) = invoked(&list(propagators), &json!({}), Some(XRAY));
        assert!(span.unwrap().parent_span_id.is_empty(), "{propagators}");
    }
    let (span, _) = invoked(&list("xray-lambda"), &json!({}), Some(XRAY));
    assert_eq!(ids(&span.unwrap()), owned(XRAY_IDS));
    let [_, (_, event), ..] = http_events(&[("traceparent", W3C)]);
    let (span, _) = invoked(&list("tracecontext,baggage,xray-lambda"), &event, Some(XRAY));
    assert_eq!(ids(&span.unwrap()), owned(W3C_IDS));
}

#[test]
fn an_unsampled_xray_parent_drops_nothing_unless_the_sampler_is_said_to_obey_parents() {
    let propagators = ("OTEL_PROPAGATORS", "tracecontext,xray-lambda");
    let (span, _) = invoked(&[propagators], &json!({}), Some(XRAY_UNSAMPLED));
    assert_eq!(ids(&span.unwrap()), owned(XRAY_IDS));
    let obeying = ("OTEL_TRACES_SAMPLER", "parentbased_always_on");
    assert!(invoked(&[propagators, obeying], &json!({}), Some(XRAY_UNSAMPLED)).0.is_none());
    assert!(invoked(&[propagators, obeying], &json!({}), Some(XRAY)).0.is_some());
    // A W3C caller has decided; that is never overruled.
    let [_, (_, event), ..] = http_events(&[("traceparent", W3C_UNSAMPLED)]);
    assert!(invoked(&[propagators], &event, Some(XRAY)).0.is_none());
}
