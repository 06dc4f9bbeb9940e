//! Who emits: the function's OpenTelemetry resource, built and encoded once at `init`.

use bytes::Bytes;
use lambda_flush_proto::limits::RESOURCE_BYTES_MAX;
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;

use crate::config::{Config, Function};
use crate::encode;

/// A resource and its OTLP encoding.
#[derive(Debug, Clone)]
pub(crate) struct EncodedResource {
    pub(crate) resource: Resource,
    pub(crate) bytes: Bytes,
    pub(crate) schema_url: String,
    /// The extra attributes were left out: the encoding would be over [`RESOURCE_BYTES_MAX`].
    pub(crate) cut: bool,
}

/// What Lambda says, then `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`, then `extra` from the code: the
/// later wins, as in the SDK.
pub(crate) fn build(config: &Config, extra: Vec<KeyValue>) -> EncodedResource {
    let whole = assemble(config, extra);
    let bytes = encode::resource(&whole);
    let cut = bytes.len() > RESOURCE_BYTES_MAX;
    let (resource, bytes) = if cut {
        let detected = assemble(&Config { resource_attributes: Vec::new(), ..config.clone() }, Vec::new());
        let bytes = encode::resource(&detected);
        (detected, bytes)
    } else {
        (whole, bytes)
    };
    let schema_url = resource.schema_url().unwrap_or_default().to_owned();
    EncodedResource { resource, bytes: bytes.into(), schema_url, cut }
}

fn assemble(config: &Config, extra: Vec<KeyValue>) -> Resource {
    let from_environment =
        config.resource_attributes.iter().cloned().map(|(key, value)| KeyValue::new(key, value));
    let service_name = config.service_name.iter().cloned().map(|name| KeyValue::new("service.name", name));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(function(&config.function))
        .with_attributes(from_environment)
        .with_attributes(service_name)
        .with_attributes(extra)
        .build()
}

/// OpenTelemetry's semantic conventions for a Lambda function's resource: `cloud.*`, `faas.*` and `aws.log.*`, which say
/// that `faas.instance` is the log stream's name and `faas.max_memory` is in bytes.
///
/// What they have too and is not here: `cloud.account.id` and `cloud.resource_id` come with an invocation and are on its
/// span. `service.instance.id` would have to be drawn after a snapshot is restored, at the first invocation, and the
/// resource goes to the extension before; `faas.instance` tells environments apart.
fn function(function: &Function) -> Vec<KeyValue> {
    let name = function.name.clone();
    let mut attributes = vec![
        KeyValue::new("telemetry.distro.name", env!("CARGO_PKG_NAME")),
        KeyValue::new("telemetry.distro.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.name", name.clone().unwrap_or_else(|| "unknown_service:rust".to_owned())),
    ];
    let Some(name) = name else { return attributes };
    attributes.extend([
        KeyValue::new("cloud.provider", "aws"),
        KeyValue::new("cloud.platform", "aws_lambda"),
        KeyValue::new("faas.name", name),
    ]);
    let mut text = |key: &'static str, value: &Option<String>| {
        attributes.extend(value.clone().map(|value| KeyValue::new(key, value)));
    };
    text("cloud.region", &function.region);
    text("faas.version", &function.version);
    text("faas.instance", &function.log_stream);
    let mut list = |key: &'static str, value: &Option<String>| {
        let list = |value| Value::Array(Array::String(vec![StringValue::from(value)]));
        attributes.extend(value.clone().map(|value| KeyValue::new(key, list(value))));
    };
    list("aws.log.group.names", &function.log_group);
    list("aws.log.stream.names", &function.log_stream);
    if let Some(megabytes) = function.memory_mb {
        attributes.push(KeyValue::new("faas.max_memory", i64::from(megabytes) * 1024 * 1024));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::Key;
    use opentelemetry_proto::tonic::resource::v1::Resource as Decoded;
    use prost::Message;
    use std::collections::HashMap;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let source: HashMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::read(&source).0
    }

    fn value(resource: &Resource, key: &'static str) -> Option<String> {
        resource.get(&Key::new(key)).map(|value| value.to_string())
    }

    #[test]
    fn lambda_is_described_by_the_semantic_conventions() {
        let built = build(
            &config(&[
                ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "7"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
                ("AWS_REGION", "eu-west-1"),
                ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/orders"),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/22/[7]abc"),
            ]),
            Vec::new(),
        );
        let expected = [
            ("service.name", "orders"),
            ("faas.name", "orders"),
            ("faas.version", "7"),
            ("faas.max_memory", "134217728"),
            ("faas.instance", "2026/11/22/[7]abc"),
            ("cloud.region", "eu-west-1"),
            ("cloud.provider", "aws"),
            ("cloud.platform", "aws_lambda"),
            ("aws.log.group.names", "[\"/aws/lambda/orders\"]"),
            ("aws.log.stream.names", "[\"2026/11/22/[7]abc\"]"),
            ("telemetry.sdk.name", "opentelemetry"),
            ("telemetry.distro.name", "lambda-flush"),
            ("telemetry.sdk.language", "rust"),
        ];
        for (key, text) in expected {
            assert_eq!(value(&built.resource, key).as_deref(), Some(text), "{key}");
        }
        let decoded = Decoded::decode(built.bytes).unwrap();
        assert_eq!(decoded.attributes.len(), built.resource.len());
    }

    #[test]
    fn code_wins_over_environment_wins_over_lambda() {
        let config = config(&[
            ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=from-list,faas.version=from-list,team=a"),
            ("OTEL_SERVICE_NAME", "from-name"),
        ]);
        let resource = build(&config, vec![KeyValue::new("team", "b")]).resource;
        assert_eq!(value(&resource, "service.name").as_deref(), Some("from-name"));
        assert_eq!(value(&resource, "faas.version").as_deref(), Some("from-list"));
        assert_eq!(value(&resource, "team").as_deref(), Some("b"));
    }

    #[test]
    fn too_large_a_resource_costs_only_the_extra_attributes() {
        let config = config(&[("AWS_LAMBDA_FUNCTION_NAME", "orders")]);
        let built = build(&config, vec![KeyValue::new("blob", "x".repeat(RESOURCE_BYTES_MAX))]);
        assert!(built.cut && built.bytes.len() < RESOURCE_BYTES_MAX);
        assert_eq!(value(&built.resource, "faas.name").as_deref(), Some("orders"));
    }
}
