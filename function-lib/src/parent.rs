//! The parent of an invocation and its baggage, from the raw event, without knowing the event's type.
//!
//! Looked for in an HTTP event's `multiValueHeaders` and `headers` (API Gateway v1 and v2, ALB, function URLs), and if
//! neither has a field that counts, in the client context's `custom` map. Lambda's own trace header is there for
//! `xray-lambda`.

use std::sync::Arc;

use lambda_runtime::LambdaInvocation;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapCompositePropagator, TextMapPropagator};
use serde_json::{Map, Value};

use crate::propagation::{Propagation, RUNTIME_HEADER};

/// Fields that are lists: further headers of the name go on where the first ends. Of others the first counts.
const LISTS: [&str; 2] = ["tracestate", "baggage"];

/// Means nothing without a `traceparent`, so that it need not be looked for.
const DEPENDENT: &str = "tracestate";

/// Finds parents. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Parents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    propagator: TextMapCompositePropagator,
    words: Vec<Word>,
}

impl Parents {
    pub(crate) fn new(propagation: &Propagation) -> Self {
        let propagator = propagation.propagator();
        let words = propagator.fields().map(Word::new).collect();
        Self(Arc::new(Inner { propagator, words }))
    }

    /// `cx` with what the event carries.
    pub(crate) fn extract(&self, invocation: &LambdaInvocation, cx: &Context) -> Context {
        let mut fields = self.of_body(&invocation.body);
        if fields.is_empty() {
            let custom = invocation.context.client_context.iter().flat_map(|client| &client.custom);
            fields = custom
                .filter(|(name, _)| self.counts(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
        }
        let runtime = invocation.context.xray_trace_id.as_deref();
        self.0.propagator.extract_with_context(cx, &Carrier { fields, runtime })
    }

    fn of_body(&self, body: &[u8]) -> Vec<(String, String)> {
        // Most events carry nothing, and then the event is not parsed a second time.
        if !self.0.words.iter().filter(|word| word.text != DEPENDENT).any(|word| word.is_in(body)) {
            return Vec::new();
        }
        #[derive(serde::Deserialize)]
        struct Event {
            #[serde(default)]
            headers: Value,
            #[serde(default, rename = "multiValueHeaders")]
            multi_value_headers: Value,
        }
        let Ok(event) = serde_json::from_slice::<Event>(body) else { return Vec::new() };
        // Where there are both, `headers` has only one value of each name.
        let mut fields = self.of_headers(event.multi_value_headers.as_object());
        if fields.is_empty() {
            fields = self.of_headers(event.headers.as_object());
        }
        fields
    }

    fn of_headers(&self, headers: Option<&Map<String, Value>>) -> Vec<(String, String)> {
        let counting = headers.into_iter().flatten().filter(|(name, _)| self.counts(name));
        counting.filter_map(|(name, value)| Some((name.clone(), text(name, value)?))).collect()
    }

    /// Names of headers are case-insensitive.
    fn counts(&self, name: &str) -> bool {
        self.0.words.iter().any(|word| word.text.eq_ignore_ascii_case(name))
    }
}

/// A header's value, or its values.
fn text(name: &str, value: &Value) -> Option<String> {
    let Some(values) = value.as_array() else { return value.as_str().map(str::to_owned) };
    let mut values = values.iter().filter_map(Value::as_str);
    if LISTS.iter().any(|list| list.eq_ignore_ascii_case(name)) {
        Some(values.collect::<Vec<_>>().join(",")).filter(|joined| !joined.is_empty())
    } else {
        values.next().map(str::to_owned)
    }
}

/// What propagators read from.
#[derive(Debug)]
struct Carrier<'a> {
    fields: Vec<(String, String)>,
    runtime: Option<&'a str>,
}

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        if key == RUNTIME_HEADER {
            return self.runtime;
        }
        let field = self.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        Some(&field.1)
    }

    fn keys(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// A word to look for in any case, by Horspool's search, because events may have megabytes: it looks at about every
/// tenth byte.
#[derive(Debug)]
struct Word {
    text: String,
    /// How far the word may move when its end is over this byte.
    steps: Vec<usize>,
}

impl Word {
    fn new(text: &str) -> Self {
        let word = text.as_bytes();
        let before_last = word.len().saturating_sub(1);
        let step = |byte: u8| {
            let place = word.iter().take(before_last).rposition(|letter| letter.eq_ignore_ascii_case(&byte));
            place.map_or(word.len(), |place| before_last - place)
        };
        Self { text: text.to_owned(), steps: (0..=u8::MAX).map(step).collect() }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        let word = self.text.as_bytes();
        let mut rest = text;
        while let Some(window) = rest.get(..word.len()) {
            if window.eq_ignore_ascii_case(word) {
                return true;
            }
            let step = window.last().and_then(|last| self.steps.get(usize::from(*last)));
            let Some(step) = step else { return false };
            rest = rest.get(*step..).unwrap_or_default();
        }
        false
    }
}

#[cfg(test)]
#[path = "parent_tests.rs"]
mod tests;
