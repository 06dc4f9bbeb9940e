//! The W3C parent of an invocation, from the raw event, without knowing the event's type.
//!
//! Looked for in an HTTP event's `headers` (API Gateway v1 and v2, ALB, function URLs) and
//! `multiValueHeaders`, then in the client context's `custom` map. X-Ray's header is no parent here: Lambda
//! commonly sends `Sampled=0`, which would drop every span.

use std::collections::HashMap;

use lambda_runtime::LambdaInvocation;
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde_json::{Map, Value};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// `cx` with the remote parent the event names, if it does.
pub(crate) fn extract(invocation: &LambdaInvocation, cx: &Context) -> Context {
    let fields = from_body(&invocation.body).or_else(|| {
        let custom = &invocation.context.client_context.as_ref()?.custom;
        fields(custom.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    });
    let Some(fields) = fields else { return cx.clone() };
    let found = TraceContextPropagator::new().extract_with_context(cx, &fields);
    if found.span().span_context().is_valid() { found } else { cx.clone() }
}

fn from_body(body: &[u8]) -> Option<HashMap<String, String>> {
    // Most events carry none, and then the event is not parsed a second time.
    if !contains_ignoring_case(body, TRACEPARENT.as_bytes()) {
        return None;
    }
    #[derive(serde::Deserialize)]
    struct Event {
        #[serde(default)]
        headers: Value,
        #[serde(default, rename = "multiValueHeaders")]
        multi_value_headers: Value,
    }
    let event: Event = serde_json::from_slice(body).ok()?;
    let single = event.headers.as_object().and_then(|headers| fields(texts(headers)));
    single.or_else(|| event.multi_value_headers.as_object().and_then(|headers| fields(texts(headers))))
}

fn texts(headers: &Map<String, Value>) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().filter_map(|(name, value)| {
        let value = value.as_array().and_then(|values| values.first()).unwrap_or(value);
        Some((name.as_str(), value.as_str()?))
    })
}

/// The two trace headers, if the first is there. Header names are case-insensitive.
fn fields<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Option<HashMap<String, String>> {
    let fields: HashMap<String, String> = headers
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .filter(|(name, _)| name == TRACEPARENT || name == TRACESTATE)
        .collect();
    fields.contains_key(TRACEPARENT).then_some(fields)
}

/// Horspool's search, because events may have megabytes: it looks at about every eighth byte.
fn contains_ignoring_case(text: &[u8], lower_case_word: &[u8]) -> bool {
    let word = lower_case_word;
    let skip = |byte: u8| {
        let before_last = word.len().saturating_sub(1);
        let place = word.iter().take(before_last).rposition(|letter| *letter == byte.to_ascii_lowercase());
        place.map_or(word.len(), |place| before_last - place)
    };
    let skips: [usize; 256] = std::array::from_fn(|byte| u8::try_from(byte).map_or(word.len(), skip));
    let mut rest = text;
    while let Some(window) = rest.get(..word.len()) {
        if window.eq_ignore_ascii_case(word) {
            return true;
        }
        let Some(step) = window.last().and_then(|last| skips.get(usize::from(*last))) else { return false };
        rest = rest.get(*step..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use lambda_runtime::Context as LambdaContext;
    use serde_json::json;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn invocation(body: &Value, custom: &Value) -> LambdaInvocation {
        let mut context = LambdaContext::default();
        context.client_context = serde_json::from_value(json!({ "custom": custom })).unwrap();
        let (parts, ()) = http::Response::new(()).into_parts();
        LambdaInvocation { parts, body: body.to_string().into(), context }
    }

    fn parent(body: &Value, custom: &Value) -> Option<(String, String)> {
        let cx = extract(&invocation(body, custom), &Context::new());
        let span = cx.span().span_context().clone();
        (span.is_valid() && span.is_remote())
            .then(|| (span.span_id().to_string(), span.trace_state().header()))
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
    fn the_client_context_carries_it_too_but_headers_win() {
        let custom = json!({ "traceparent": PARENT });
        assert_eq!(parent(&json!({}), &custom).unwrap().0, "b7ad6b7169203331");
        let other = PARENT.replace('b', "c");
        let body = json!({ "headers": { "traceparent": other } });
        assert_eq!(parent(&body, &custom).unwrap().0, "c7ad6c7169203331");
    }

    #[test]
    fn anything_else_is_no_parent_and_no_error() {
        let none = json!({});
        for body in [
            json!({ "headers": { "traceparent": "nonsense" } }),
            json!({ "headers": { "traceparent": 7 } }),
            json!({ "headers": "traceparent" }),
            json!(["traceparent", PARENT]),
            json!({ "detail": { "headers": { "traceparent": PARENT } } }),
            json!("traceparent"),
        ] {
            assert_eq!(parent(&body, &none), None, "{body}");
        }
        let mut broken = invocation(&none, &none);
        broken.body = bytes::Bytes::from_static(b"{\"traceparent\": \xFF");
        assert!(!extract(&broken, &Context::new()).span().span_context().is_valid());
    }

    #[test]
    fn the_search_finds_the_word_wherever_it_is() {
        for pad in 0..40 {
            let text = format!("{}tRaCeParent{}", "traceparen ".repeat(pad), "t".repeat(pad % 7));
            assert!(contains_ignoring_case(text.as_bytes(), TRACEPARENT.as_bytes()), "{text}");
            let without = text.replace("tRaCe", "tRaC-");
            assert!(!contains_ignoring_case(without.as_bytes(), TRACEPARENT.as_bytes()), "{without}");
        }
        assert!(!contains_ignoring_case(b"", TRACEPARENT.as_bytes()));
    }
}
