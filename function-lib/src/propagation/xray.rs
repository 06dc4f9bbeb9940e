//! X-Ray's trace header: `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`.
//!
//! Written here because `opentelemetry-aws` obeys `Sampled=0` and would be one more crate for these lines.

use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

/// The header of HTTP requests.
const HEADER: &str = "x-amzn-trace-id";

/// The header of Lambda's runtime interface, which is no field of a request.
pub(crate) const RUNTIME_HEADER: &str = "lambda-runtime-trace-id";

/// See the module's description.
#[derive(Debug)]
pub(super) struct XrayPropagator {
    fields: [String; 1],
    honours_unsampled: bool,
}

impl XrayPropagator {
    /// Unless it `honours_unsampled`, a parent that was not sampled is as good as one that was.
    pub(super) fn new(honours_unsampled: bool) -> Self {
        Self { fields: [HEADER.to_owned()], honours_unsampled }
    }

    /// `cx` with the parent that `header` names, if it does.
    fn extracted(&self, cx: &Context, header: Option<&str>) -> Context {
        let parent = header.and_then(|header| self.parse(header));
        parent.map_or_else(|| cx.clone(), |parent| cx.with_remote_span_context(parent))
    }

    /// Order does not matter, and what is not known (`Self`, `Lineage`) is passed over. Without a decision (`Sampled=?`
    /// or none) the decision is ours.
    fn parse(&self, header: &str) -> Option<SpanContext> {
        let (mut root, mut parent, mut flags) = (None, None, TraceFlags::SAMPLED);
        for (key, value) in header.split(';').filter_map(|part| part.trim().split_once('=')) {
            match key {
                "Root" => root = trace_id(value),
                "Parent" => parent = Some(value).filter(|value| is_hex(value, 16)),
                "Sampled" if value == "0" && self.honours_unsampled => flags = TraceFlags::NOT_SAMPLED,
                _ => {}
            }
        }
        let span_id = SpanId::from_hex(parent?).ok()?;
        let context = SpanContext::new(root?, span_id, flags, true, TraceState::NONE);
        context.is_valid().then_some(context)
    }
}

/// `1-` and 8 digits for the epoch and 24 more: together what others write as 32.
fn trace_id(root: &str) -> Option<TraceId> {
    let (epoch, unique) = root.strip_prefix("1-")?.split_once('-')?;
    if !is_hex(epoch, 8) || !is_hex(unique, 24) {
        return None;
    }
    TraceId::from_hex(&format!("{epoch}{unique}")).ok()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl TextMapPropagator for XrayPropagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let span = cx.span();
        let context = span.span_context();
        if !context.is_valid() {
            return;
        }
        let trace_id = context.trace_id().to_string();
        let Some((epoch, unique)) = trace_id.split_at_checked(8) else { return };
        let sampled = u8::from(context.is_sampled());
        injector
            .set(HEADER, format!("Root=1-{epoch}-{unique};Parent={};Sampled={sampled}", context.span_id()));
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        self.extracted(cx, extractor.get(HEADER))
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

/// OpenTelemetry's `xray-lambda`: as `xray`, and where no span is active yet the header of Lambda's own runtime
/// interface, which an extractor has under [`RUNTIME_HEADER`].
#[derive(Debug)]
pub(super) struct XrayLambdaPropagator(XrayPropagator);

impl XrayLambdaPropagator {
    pub(super) fn new(inner: XrayPropagator) -> Self {
        Self(inner)
    }
}

impl TextMapPropagator for XrayLambdaPropagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        self.0.inject_context(cx, injector);
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let found = self.0.extract_with_context(cx, extractor);
        if cx.span().span_context().is_valid() {
            return found;
        }
        self.0.extracted(&found, extractor.get(RUNTIME_HEADER))
    }

    fn fields(&self) -> FieldIter<'_> {
        self.0.fields()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";
    const PARENT: &str = "Parent=53995c3f42cd8ad8";

    fn parse(header: &str, honours_unsampled: bool) -> Option<(String, String, bool)> {
        let found = XrayPropagator::new(honours_unsampled).parse(header)?;
        assert!(found.is_remote());
        Some((found.trace_id().to_string(), found.span_id().to_string(), found.is_sampled()))
    }

    #[test]
    fn a_header_is_read_in_any_order() {
        let expected = |sampled| {
            Some(("5759e988bd862e3fe1be46a994272793".to_owned(), "53995c3f42cd8ad8".to_owned(), sampled))
        };
        for header in [
            format!("{ROOT};{PARENT};Sampled=1"),
            format!("Sampled=1; {PARENT} ; {ROOT}"),
            format!("Self=1-67891234-12456789abcdef012345678;{ROOT};{PARENT};Lineage=a:1|b:2"),
            format!("{ROOT};{PARENT};Sampled=?"),
            format!("{ROOT};{PARENT};;="),
        ] {
            assert_eq!(parse(&header, true), expected(true), "{header}");
        }
        let unsampled = format!("{ROOT};{PARENT};Sampled=0");
        assert_eq!(parse(&unsampled, false), expected(true));
        assert_eq!(parse(&unsampled, true), expected(false));
    }

    #[test]
    fn what_names_no_parent_is_none() {
        for header in [
            "",
            "nonsense",
            ROOT,
            PARENT,
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad",
            "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=0000000000000000",
            "Root=1-00000000-000000000000000000000000;Parent=53995c3f42cd8ad8",
            "Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
            "Root=1-5759e9-88bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
            "Root=1-+759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
            "Root=1-äääa-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
        ] {
            assert_eq!(parse(header, true), None, "{header}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let xray = XrayPropagator::new(true);
        for sampled in ["0", "1"] {
            let written = format!("{ROOT};{PARENT};Sampled={sampled}");
            let cx = xray.extracted(&Context::new(), Some(&written));
            let mut carrier = HashMap::new();
            xray.inject_context(&cx, &mut carrier);
            assert_eq!(carrier, HashMap::from([(HEADER.to_owned(), written)]));
        }
        let mut carrier = HashMap::new();
        xray.inject_context(&Context::new(), &mut carrier);
        assert!(carrier.is_empty());
    }

    #[test]
    fn lambdas_own_header_fills_in_where_no_span_is_active() {
        let xray = XrayLambdaPropagator::new(XrayPropagator::new(false));
        let of_runtime = format!("{ROOT};Parent=1111111111111111;Sampled=0");
        let carrier = HashMap::from([(RUNTIME_HEADER.to_owned(), of_runtime)]);
        let parent = |cx: &Context| xray.extract_with_context(cx, &carrier).span().span_context().span_id();
        assert_eq!(parent(&Context::new()).to_string(), "1111111111111111");
        let active = xray.0.extracted(&Context::new(), Some(&format!("{ROOT};{PARENT}")));
        assert_eq!(parent(&active).to_string(), "53995c3f42cd8ad8");
    }
}
