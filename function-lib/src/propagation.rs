//! Which forms of a trace context are read and written: `OTEL_PROPAGATORS`.
//!
//! The same list serves the invocation's parent ([`crate::parent`]) and the process's global propagator.

#[path = "propagation/xray.rs"]
mod xray;

use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

pub(crate) use xray::RUNTIME_HEADER;
use xray::{XrayLambdaPropagator, XrayPropagator};

/// One form of a trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// W3C `traceparent` and `tracestate`.
    TraceContext,
    /// W3C `baggage`.
    Baggage,
    /// X-Ray's header.
    Xray,
    /// X-Ray's header, else the trace header of Lambda's own runtime interface.
    XrayLambda,
}

/// What the variables say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Propagation {
    formats: Vec<Format>,
    /// Whether X-Ray's `Sampled=0` counts.
    honours_unsampled: bool,
}

impl Propagation {
    /// `OTEL_PROPAGATORS` and `OTEL_TRACES_SAMPLER`, and the names in the first that are not known here.
    ///
    /// Lambda sends `Sampled=0` with nearly every invocation of a function without active tracing, and the SDK's
    /// default sampler would obey it and drop every span. So it counts only where the sampler is said to be parent
    /// based.
    pub(crate) fn read(list: Option<&str>, sampler: Option<&str>) -> (Self, Vec<String>) {
        let mut formats = Vec::new();
        let mut unknown = Vec::new();
        for name in list.unwrap_or("tracecontext,baggage").split(',').map(str::trim) {
            match name {
                "tracecontext" => formats.push(Format::TraceContext),
                "baggage" => formats.push(Format::Baggage),
                "xray" => formats.push(Format::Xray),
                "xray-lambda" => formats.push(Format::XrayLambda),
                "none" | "" => {}
                other => unknown.push(other.to_owned()),
            }
        }
        formats.dedup();
        let honours_unsampled = sampler.is_some_and(|sampler| sampler.starts_with("parentbased"));
        (Self { formats, honours_unsampled }, unknown)
    }

    /// All of them in their order: of those that find a parent, the last one listed wins. `xray-lambda` takes
    /// Lambda's own header only where none before it has found one.
    pub(crate) fn propagator(&self) -> TextMapCompositePropagator {
        let honours_unsampled = self.honours_unsampled;
        let boxed = |format: &Format| -> Box<dyn TextMapPropagator + Send + Sync> {
            match format {
                Format::TraceContext => Box::new(TraceContextPropagator::new()),
                Format::Baggage => Box::new(BaggagePropagator::new()),
                Format::Xray => Box::new(XrayPropagator::new(honours_unsampled)),
                Format::XrayLambda => {
                    Box::new(XrayLambdaPropagator::new(XrayPropagator::new(honours_unsampled)))
                }
            }
        };
        TextMapCompositePropagator::new(self.formats.iter().map(boxed).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn fields(list: Option<&str>) -> BTreeSet<String> {
        Propagation::read(list, None).0.propagator().fields().map(str::to_owned).collect()
    }

    #[test]
    fn the_list_says_which_headers_count() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let w3c = set(&["traceparent", "tracestate", "baggage"]);
        assert_eq!(fields(None), w3c);
        assert_eq!(fields(Some(" baggage , tracecontext")), w3c);
        assert_eq!(fields(Some("xray")), set(&["x-amzn-trace-id"]));
        assert_eq!(fields(Some("xray-lambda,baggage")), set(&["x-amzn-trace-id", "baggage"]));
        assert_eq!(fields(Some("none")), set(&[]));
    }

    #[test]
    fn what_is_unknown_is_left_out_and_told() {
        let (propagation, unknown) = Propagation::read(Some("b3,tracecontext,ottrace"), None);
        assert_eq!(propagation.formats, [Format::TraceContext]);
        assert_eq!(unknown, ["b3", "ottrace"]);
    }

    #[test]
    fn only_a_parent_based_sampler_makes_an_unsampled_bit_count() {
        let honours = |sampler| Propagation::read(None, sampler).0.honours_unsampled;
        assert!(honours(Some("parentbased_always_on")) && honours(Some("parentbased_traceidratio")));
        assert!(!honours(None) && !honours(Some("always_on")) && !honours(Some("traceidratio")));
    }
}
