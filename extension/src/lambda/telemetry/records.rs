//! Telemetry records, read leniently: what is not known is nothing, what is known but wrong is a fault.
//!
//! Anyone in the sandbox can reach the listener, so every text is bounded and nothing is trusted to be true.

use std::time::Duration;

use serde::Deserialize;

use crate::core::{Platform, RequestId};
use crate::limits::TELEMETRY_TEXT_BYTES_MAX;

/// What the platform speaks (<https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// 2022-12-13, where an invocation ends with `platform.runtimeDone`.
    OnDemand,
    /// 2025-01-29, which managed instances insist on; there an invocation ends with `platform.report`.
    Managed,
}

impl Schema {
    /// As it is subscribed to.
    #[must_use]
    pub fn version(self) -> &'static str {
        match self {
            Self::OnDemand => "2022-12-13",
            Self::Managed => "2025-01-29",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::OnDemand => "platform.runtimeDone",
            Self::Managed => "platform.report",
        }
    }
}

/// Of a type that counts, but not what that type should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Only the type, and whatever `record` may be.
#[derive(Debug, Deserialize)]
struct Record {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    record: serde_json::Value,
}

/// What one record says, if it is one that counts.
///
/// # Errors
/// [`Malformed`].
pub fn read(record: &[u8], schema: Schema) -> Result<Option<Platform>, Malformed> {
    let Record { kind, record } = serde_json::from_slice(record).map_err(|_| Malformed)?;
    if kind == "platform.start" {
        return Ok(Some(Platform::InvocationStarted { request_id: request_id(&record)? }));
    }
    if kind != schema.done() {
        return Ok(None);
    }
    let status = text(&record, "status")?.ok_or(Malformed)?;
    // A new shape of an optional field must not cost the end of an invocation.
    let error_type = text(&record, "errorType").unwrap_or_default();
    let took = took(&record);
    Ok(Some(Platform::InvocationDone { request_id: request_id(&record)?, status, error_type, took }))
}

fn request_id(record: &serde_json::Value) -> Result<RequestId, Malformed> {
    text(record, "requestId")?.filter(|id| !id.is_empty()).map(RequestId).ok_or(Malformed)
}

fn took(record: &serde_json::Value) -> Option<Duration> {
    let millis = record.get("metrics")?.get("durationMs")?.as_f64()?;
    Duration::try_from_secs_f64(millis / 1_000.0).ok()
}

fn text(record: &serde_json::Value, name: &str) -> Result<Option<String>, Malformed> {
    match record.get(name) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) if text.len() <= TELEMETRY_TEXT_BYTES_MAX => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(id: &str, status: &str, error_type: Option<&str>) -> Platform {
        Platform::InvocationDone {
            request_id: RequestId(id.to_owned()),
            status: status.to_owned(),
            error_type: error_type.map(str::to_owned),
            took: None,
        }
    }

    #[test]
    fn start_and_end_are_read_as_the_schema_has_them() {
        let start = br#"{"time":"2026-11-23T00:00:00.000Z","type":"platform.start","record":{"requestId":"r1","version":"7","new":[1]}}"#;
        let runtime_done =
            br#"{"type":"platform.runtimeDone","record":{"requestId":"r1","status":"timeout"}}"#;
        let report =
            br#"{"type":"platform.report","record":{"requestId":"r1","status":"error","errorType":"Runtime.ExitError"}}"#;
        let started = Platform::InvocationStarted { request_id: RequestId("r1".to_owned()) };
        for schema in [Schema::OnDemand, Schema::Managed] {
            assert_eq!(read(start, schema), Ok(Some(started.clone())));
        }
        assert_eq!(read(runtime_done, Schema::OnDemand), Ok(Some(done("r1", "timeout", None))));
        assert_eq!(read(report, Schema::OnDemand), Ok(None));
        assert_eq!(read(report, Schema::Managed), Ok(Some(done("r1", "error", Some("Runtime.ExitError")))));
        assert_eq!(read(runtime_done, Schema::Managed), Ok(None));
    }

    #[test]
    fn the_unknown_is_nothing_and_the_wrong_is_malformed() {
        let long = format!(r#"{{"type":"platform.start","record":{{"requestId":"{}"}}}}"#, "x".repeat(4096));
        for unknown in [
            r#"{"type":"platform.fault"}"#,
            r#"{"type":"function","record":"text"}"#,
            r#"{"type":"","record":7}"#,
        ] {
            assert_eq!(read(unknown.as_bytes(), Schema::OnDemand), Ok(None), "{unknown}");
        }
        for wrong in [
            "7",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"platform.start"}"#,
            r#"{"type":"platform.start","record":{"requestId":""}}"#,
            r#"{"type":"platform.start","record":{"requestId":7}}"#,
            r#"{"type":"platform.runtimeDone","record":{"requestId":"r1"}}"#,
            r#"{"type":"platform.runtimeDone","record":{"requestId":"r1","status":{}}}"#,
            long.as_str(),
        ] {
            assert_eq!(read(wrong.as_bytes(), Schema::OnDemand), Err(Malformed), "{wrong}");
        }
        let odd =
            br#"{"type":"platform.runtimeDone","record":{"requestId":"r1","status":"error","errorType":{}}}"#;
        assert_eq!(read(odd, Schema::OnDemand), Ok(Some(done("r1", "error", None))));
    }

    #[test]
    fn how_long_it_took_is_read_where_it_is_a_time() {
        for (millis, wanted) in [
            ("12.5", Some(12_500)),
            ("0", Some(0)),
            ("-1", None),
            ("1e300", None),
            ("\"7\"", None),
            ("{}", None),
        ] {
            let record = format!(
                r#"{{"type":"platform.runtimeDone","record":{{"requestId":"r1","status":"success","metrics":{{"durationMs":{millis}}}}}}}"#
            );
            let Ok(Some(Platform::InvocationDone { took, .. })) = read(record.as_bytes(), Schema::OnDemand)
            else {
                panic!("{millis} is no reason to lose the record");
            };
            assert_eq!(took, wanted.map(Duration::from_micros), "{millis}");
        }
    }
}
