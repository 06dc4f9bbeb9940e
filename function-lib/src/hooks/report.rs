//! What became of a hook, as a span and as one line.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use serde_json::{Value, json};

use crate::notice::Level;

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It was polled and not ready in time.
    TimedOut,
    Panicked(String),
    /// Its runtime came to no poll: something blocked it all the time.
    NotPolled,
    /// There was no runtime to poll it, or not any more.
    NoRuntime,
    /// The runtime ended while it ran.
    Dropped,
}

impl Outcome {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::TimedOut => "timed_out",
            Self::Panicked(_) => "panicked",
            Self::NotPolled => "not_polled",
            Self::NoRuntime => "no_runtime",
            Self::Dropped => "dropped",
        }
    }
}

/// Why a hook was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    TooMany,
    TooLate,
}

impl Refused {
    /// What to tell about the hook `name`.
    pub(super) fn describe(self, name: &str) -> String {
        let why = match self {
            Self::TooMany => "there are too many hooks",
            Self::TooLate => "SIGTERM has come and the time for hooks is over",
        };
        format!("on_shutdown {name:?} is left out: {why}")
    }
}

/// See the module's description.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(super) name: String,
    pub(super) budget: Duration,
    pub(super) outcome: Outcome,
    pub(super) started: SystemTime,
    pub(super) took: Duration,
    pub(super) span_context: SpanContext,
}

impl Report {
    /// The line on stdout.
    pub(crate) fn line(&self) -> Value {
        let level = if self.outcome == Outcome::Done { Level::Info } else { Level::Warn };
        json!({
            "lambda_flush": "hook",
            "version": 1,
            "level": level.as_str(),
            "hook": self.name,
            "outcome": self.outcome.as_str(),
            "duration_ms": self.took_ms(),
            "message": format!("on_shutdown {:?}: {}", self.name, self.description()),
        })
    }

    /// The span, which the SDK has no part in: neither its sampler nor other processors can hold up the end.
    pub(crate) fn span(self) -> SpanData {
        let status = match self.outcome {
            Outcome::Done => Status::Unset,
            _ => Status::error(self.description()),
        };
        let mut attributes = vec![
            KeyValue::new("lambda_flush.hook.name", self.name.clone()),
            KeyValue::new("lambda_flush.hook.outcome", self.outcome.as_str()),
            KeyValue::new(
                "lambda_flush.hook.budget_ms",
                i64::try_from(self.budget.as_millis()).unwrap_or(i64::MAX),
            ),
        ];
        if self.outcome != Outcome::Done {
            attributes.push(KeyValue::new("error.type", self.outcome.as_str()));
        }
        SpanData {
            span_context: self.span_context,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: format!("on_shutdown {}", self.name).into(),
            start_time: self.started,
            end_time: self.started + self.took,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: scope(),
        }
    }

    fn description(&self) -> String {
        let took_ms = self.took_ms();
        match &self.outcome {
            Outcome::Done => format!("done in {took_ms} ms"),
            Outcome::TimedOut => format!("timed out after {took_ms} ms"),
            Outcome::Panicked(message) => format!("panicked: {message}"),
            Outcome::NotPolled => {
                format!("not polled in {took_ms} ms because the runtime was blocked")
            }
            Outcome::NoRuntime => "not polled because there was no tokio runtime".to_owned(),
            Outcome::Dropped => "ended with its runtime".to_owned(),
        }
    }

    fn took_ms(&self) -> u64 {
        u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The scope of the library's own spans.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME")).with_version(env!("CARGO_PKG_VERSION")).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome) -> Report {
        Report {
            name: "post\"gres".to_owned(),
            budget: Duration::MAX,
            outcome,
            started: SystemTime::UNIX_EPOCH,
            took: Duration::from_millis(12),
            span_context: SpanContext::empty_context(),
        }
    }

    #[test]
    fn every_outcome_has_its_own_words_and_only_done_is_no_error() {
        let outcomes = [
            Outcome::Done,
            Outcome::TimedOut,
            Outcome::Panicked("oops\nline 2".to_owned()),
            Outcome::NotPolled,
            Outcome::NoRuntime,
            Outcome::Dropped,
        ];
        let mut seen = std::collections::BTreeSet::new();
        for outcome in outcomes {
            let report = report(outcome.clone());
            let line = report.line();
            assert!(!line.to_string().contains('\n'));
            assert!(seen.insert(line["message"].as_str().unwrap().to_owned()));
            let ok = outcome == Outcome::Done;
            assert_eq!(line["level"], if ok { "info" } else { "warn" });
            assert_eq!(report.span().status == Status::Unset, ok);
        }
        let line = report(Outcome::Done).line();
        assert_eq!(line["message"], "on_shutdown \"post\\\"gres\": done in 12 ms");
        assert_eq!((line["duration_ms"].as_u64(), line["outcome"].as_str()), (Some(12), Some("done")));
    }
}
