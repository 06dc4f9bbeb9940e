//! Where parents and baggage are found, and where not.

use super::*;
use lambda_runtime::Context as LambdaContext;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::trace::TraceContextExt;
use serde_json::json;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";

fn invocation(body: &Value, custom: &Value, runtime: Option<&str>) -> LambdaInvocation {
    let mut context = LambdaContext::default();
    context.client_context = serde_json::from_value(json!({ "custom": custom })).unwrap();
    context.xray_trace_id = runtime.map(str::to_owned);
    let (parts, ()) = http::Response::new(()).into_parts();
    LambdaInvocation { parts, body: body.to_string().into(), context }
}

fn parents(list: Option<&str>) -> Parents {
    Parents::new(&Propagation::read(list, None).0)
}

fn span_id(cx: &Context) -> Option<String> {
    let span = cx.span().span_context().clone();
    (span.is_valid() && span.is_remote() && span.is_sampled()).then(|| span.span_id().to_string())
}

fn parent(body: &Value, custom: &Value) -> Option<(String, String)> {
    let cx = parents(None).extract(&invocation(body, custom, Some(XRAY)), &Context::new());
    Some((span_id(&cx)?, cx.span().span_context().trace_state().header()))
}

#[test]
fn http_events_carry_it_in_their_headers() {
    let expected = Some(("b7ad6b7169203331".to_owned(), "a=b".to_owned()));
    let none = json!({});
    for (name, state) in [("traceparent", "tracestate"), ("Traceparent", "TraceState")] {
        let headers = json!({ "accept": "*/*", name: PARENT, state: "a=b" });
        assert_eq!(parent(&json!({ "version": "2.0", "headers": headers }), &none), expected);
        let many = json!({ name: [PARENT], state: ["a=b"] });
        assert_eq!(parent(&json!({ "headers": null, "multiValueHeaders": many }), &none), expected);
    }
}

#[test]
fn all_values_of_a_list_count_and_the_first_of_others() {
    let many = json!({ "traceparent": [PARENT, PARENT.replace('b', "c")], "tracestate": ["a=b", "c=d"] });
    let single = json!({ "traceparent": PARENT.replace('b', "c"), "tracestate": "c=d" });
    let body = json!({ "headers": single, "multiValueHeaders": many });
    assert_eq!(parent(&body, &json!({})), Some(("b7ad6b7169203331".to_owned(), "a=b,c=d".to_owned())));
}

#[test]
fn the_client_context_carries_it_too_but_headers_win() {
    let custom = json!({ "traceparent": PARENT });
    assert_eq!(parent(&json!({}), &custom).unwrap().0, "b7ad6b7169203331");
    let other = PARENT.replace('b', "c");
    let body = json!({ "headers": { "traceparent": other } });
    assert_eq!(parent(&body, &custom).unwrap().0, "c7ad6c7169203331");
}

#[test]
fn baggage_comes_along_with_a_parent_or_without() {
    let baggage = |headers: Value| {
        let body = json!({ "headers": headers });
        let cx = parents(None).extract(&invocation(&body, &json!({}), None), &Context::new());
        (span_id(&cx).is_some(), cx.baggage().get("tenant").map(ToString::to_string))
    };
    let some = Some("acme".to_owned());
    assert_eq!(baggage(json!({ "traceparent": PARENT, "Baggage": "tenant=acme" })), (true, some.clone()));
    assert_eq!(baggage(json!({ "baggage": "tenant=acme" })), (false, some));
}

#[test]
fn xray_counts_only_where_it_is_listed() {
    let header = json!({ "headers": { "X-Amzn-Trace-Id": XRAY } });
    let found = |list, body: &Value, runtime| {
        span_id(&parents(Some(list)).extract(&invocation(body, &json!({}), runtime), &Context::new()))
    };
    let (xray, none) = (Some("53995c3f42cd8ad8".to_owned()), json!({}));
    assert_eq!(found("tracecontext,baggage", &header, Some(XRAY)), None);
    assert_eq!(found("xray", &header, None), xray);
    assert_eq!(found("xray", &none, Some(XRAY)), None);
    assert_eq!(found("xray-lambda", &none, Some(XRAY)), xray);
    assert_eq!(found("none", &header, Some(XRAY)), None);
}

#[test]
fn lambdas_own_header_is_the_last_resort() {
    let w3c = json!({ "headers": { "traceparent": PARENT } });
    let list = parents(Some("tracecontext,baggage,xray-lambda"));
    let found =
        |body: &Value| span_id(&list.extract(&invocation(body, &json!({}), Some(XRAY)), &Context::new()));
    assert_eq!(found(&w3c).as_deref(), Some("b7ad6b7169203331"));
    assert_eq!(found(&json!({})).as_deref(), Some("53995c3f42cd8ad8"));
}

#[test]
fn anything_else_is_no_parent_and_no_error() {
    let none = json!({});
    for body in [
        json!({ "headers": { "traceparent": "nonsense" } }),
        json!({ "headers": { "traceparent": 7 } }),
        json!({ "headers": { "traceparent": [] } }),
        json!({ "headers": "traceparent" }),
        json!(["traceparent", PARENT]),
        json!({ "detail": { "headers": { "traceparent": PARENT } } }),
        json!("traceparent"),
    ] {
        assert_eq!(parent(&body, &none), None, "{body}");
    }
    let mut broken = invocation(&none, &none, None);
    broken.body = bytes::Bytes::from_static(b"{\"traceparent\": \xFF");
    assert!(!parents(None).extract(&broken, &Context::new()).span().span_context().is_valid());
}

#[test]
fn the_search_finds_the_word_wherever_it_is() {
    let word = Word::new("traceparent");
    for pad in 0..40 {
        let text = format!("{}tRaCeParent{}", "traceparen ".repeat(pad), "t".repeat(pad % 7));
        assert!(word.is_in(text.as_bytes()), "{text}");
        let without = text.replace("tRaCe", "tRaC-");
        assert!(!word.is_in(without.as_bytes()), "{without}");
    }
    assert!(!word.is_in(b""));
}
