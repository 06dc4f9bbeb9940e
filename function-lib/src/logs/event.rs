//! What a line on stdout and a log record both take from a `tracing` event.

use std::error::Error;
use std::fmt::{self, Write};
use std::sync::{Arc, OnceLock};

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId};
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event};

use crate::invocation::Invocation;

/// The field that is an event's text.
const MESSAGE: &str = "message";

/// A field's value. What has no type of its own here is its text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Bool(bool),
    I64(i64),
    U64(u64),
    F64(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// Where an event happened.
#[derive(Debug, Default)]
pub(super) struct Origin {
    pub(super) span: Option<Ids>,
    pub(super) invocation: Option<Arc<Invocation>>,
}

/// The identity of a span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ids {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    #[cfg_attr(not(feature = "logs"), expect(dead_code, reason = "stdout has no flags"))]
    pub(super) flags: TraceFlags,
}

impl Ids {
    fn of(span: &SpanContext) -> Option<Self> {
        let ids = Self { trace_id: span.trace_id(), span_id: span.span_id(), flags: span.trace_flags() };
        span.is_valid().then_some(ids)
    }
}

/// Finds an event's [`Origin`]; one for each layer.
#[derive(Debug, Default)]
pub(super) struct Origins {
    dispatch: OnceLock<WeakDispatch>,
}

impl Origins {
    /// The layer belongs to `dispatch` now.
    pub(super) fn register(&self, dispatch: &Dispatch) {
        // A layer is registered once.
        drop(self.dispatch.set(dispatch.downgrade()));
    }

    /// `None` where telemetry is suppressed: the event is that of an exporter.
    pub(super) fn of(&self, event: &Event<'_>) -> Option<Origin> {
        let current = opentelemetry::Context::map_current(|cx| {
            let invocation = cx.get::<Arc<Invocation>>().cloned();
            let span = Ids::of(cx.span().span_context());
            (!cx.is_telemetry_suppressed()).then_some(Origin { span, invocation })
        })?;
        if event.is_contextual() {
            Some(current)
        } else {
            Some(Origin { span: self.parent(event), ..current })
        }
    }

    /// The span that was named in the event's macro.
    fn parent(&self, event: &Event<'_>) -> Option<Ids> {
        let dispatch = self.dispatch.get()?.upgrade()?;
        let cx = tracing_opentelemetry::get_otel_context(event.parent()?, &dispatch)?;
        Ids::of(cx.span().span_context())
    }
}

/// Gives the text of an event to `take`, if it has one.
pub(super) fn message(event: &Event<'_>, mut take: impl FnMut(&str)) {
    let mut of_value = |_: &'static str, value: Value<'_>| match value {
        Value::Text(text) => take(text),
        Value::Bool(value) => take(&value.to_string()),
        Value::I64(value) => take(&value.to_string()),
        Value::U64(value) => take(&value.to_string()),
        Value::F64(value) => take(&value.to_string()),
        Value::Bytes(bytes) => take(&String::from_utf8_lossy(bytes)),
    };
    event.record(&mut Visitor { message: true, take: &mut of_value, text: String::new() });
}

/// Gives every other field of an event to `take`, in their order.
pub(super) fn fields(event: &Event<'_>, mut take: impl FnMut(&'static str, Value<'_>)) {
    event.record(&mut Visitor { message: false, take: &mut take, text: String::new() });
}

struct Visitor<'a> {
    /// Whether the message is wanted, or everything else.
    message: bool,
    take: &'a mut dyn FnMut(&'static str, Value<'_>),
    /// The text at hand, to allocate once for all fields.
    text: String,
}

impl Visitor<'_> {
    fn wants(&self, field: &Field) -> bool {
        (field.name() == MESSAGE) == self.message
    }

    fn value(&mut self, field: &Field, value: Value<'_>) {
        if self.wants(field) {
            (self.take)(name(field), value);
        }
    }
}

/// `r#type` is the field `type`.
fn name(field: &Field) -> &'static str {
    let name = field.name();
    name.strip_prefix("r#").unwrap_or(name)
}

impl Visit for Visitor<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, Value::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, Value::U64(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, Value::F64(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.value(field, Value::Text(value));
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.value(field, Value::Bytes(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &Chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.wants(field) {
            self.text.clear();
            // A `Debug` that fails leaves what it has written so far.
            write!(self.text, "{value:?}").ok();
            (self.take)(name(field), Value::Text(&self.text));
        }
    }
}

/// An error with its causes: `a: b: c`.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_causes() {
        #[derive(Debug)]
        struct Outer(fmt::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("no price")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let outer = Outer(fmt::Error);
        assert_eq!(format!("{:?}", Chain(&outer)), format!("no price: {}", fmt::Error));
    }
}
