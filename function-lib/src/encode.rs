//! From the SDK's types to OTLP bytes, once. Nothing decodes them again on this machine.

use opentelemetry::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope as OtlpScope;
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;

/// An `opentelemetry.proto.trace.v1.Span`.
pub(crate) fn span(span: SpanData) -> Vec<u8> {
    OtlpSpan::from(span).encode_to_vec()
}

/// An `opentelemetry.proto.common.v1.InstrumentationScope`, without its schema URL.
pub(crate) fn scope(scope: &InstrumentationScope) -> Vec<u8> {
    OtlpScope::from((scope, None)).encode_to_vec()
}

/// An `opentelemetry.proto.resource.v1.Resource`, without its schema URL.
pub(crate) fn resource(resource: &Resource) -> Vec<u8> {
    let attributes = ResourceAttributesWithSchema::from(resource).attributes.0;
    OtlpResource { attributes, dropped_attributes_count: 0, entity_refs: Vec::new() }.encode_to_vec()
}
