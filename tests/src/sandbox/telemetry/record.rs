//! The platform's records, as AWS's "Lambda Telemetry API Event schema reference" has them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::super::builder::Config;
use super::super::environment::FUNCTION_VERSION;
use super::super::lifecycle::ms as whole_ms;
use super::record;

/// One record, with the time of its making.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// When it was made.
    pub(super) at: Instant,
    kind: &'static str,
    /// `{"time":…,"type":…,"record":…}`
    pub(super) json: Value,
}

impl Record {
    pub(super) fn new(kind: &'static str, content: &Value) -> Self {
        let json = json!({ "time": rfc3339(SystemTime::now()), "type": kind, "record": content });
        Self { at: Instant::now(), kind, json }
    }

    /// Its `type`.
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }
}

/// `phase` is `init`, or `invoke` if a reset made the init a part of an invocation.
pub(crate) fn init_start(config: &Config, log_stream: &str, phase: &str) -> Record {
    let content = json!({
        "initializationType": "on-demand", "phase": phase, "functionName": config.function_name,
        "functionVersion": FUNCTION_VERSION, "instanceId": log_stream, "instanceMaxMemory": config.memory_mb,
        "runtimeVersion": "provided:al2023.v100", "runtimeVersionArn": "arn:aws:lambda:eu-central-1::runtime:0",
    });
    record("platform.initStart", &content)
}

pub(crate) fn init_runtime_done(phase: &str) -> Record {
    let content = json!({ "initializationType": "on-demand", "phase": phase, "status": "success" });
    record("platform.initRuntimeDone", &content)
}

pub(crate) fn init_report(phase: &str, duration: Duration) -> Record {
    let content = json!({
        "initializationType": "on-demand", "phase": phase, "status": "success",
        "metrics": { "durationMs": ms(duration) },
    });
    record("platform.initReport", &content)
}

pub(super) fn telemetry_subscription(extension: &str, types: &[String]) -> Record {
    let content = json!({ "name": extension, "state": "Subscribed", "types": types });
    record("platform.telemetrySubscription", &content)
}

pub(crate) fn start(request_id: &str, trace_header: &str) -> Record {
    let content = json!({
        "requestId": request_id, "version": FUNCTION_VERSION,
        "tracing": { "type": "X-Amzn-Trace-Id", "value": trace_header, "spanId": "54565fb41ac79632" },
    });
    record("platform.start", &content)
}

/// The end of an invocation as far as the runtime is concerned.
pub(crate) struct RuntimeDone<'a> {
    pub(crate) request_id: &'a str,
    /// `success`, `error`, `failure` or `timeout`.
    pub(crate) status: &'static str,
    pub(crate) error_type: Option<&'a str>,
    pub(crate) duration: Duration,
    pub(crate) produced_bytes: usize,
}

impl RuntimeDone<'_> {
    pub(super) const KIND: &'static str = "platform.runtimeDone";

    /// The status of an invocation that a process's exit ended: rapid's `handlers.go` tells them apart so.
    pub(crate) fn status_of_failure(error_type: &str) -> &'static str {
        if error_type.starts_with("Sandbox.") { "failure" } else { "error" }
    }

    pub(crate) fn record(&self) -> Record {
        let duration_ms = ms(self.duration);
        let mut content = json!({
            "requestId": self.request_id, "status": self.status,
            "metrics": { "durationMs": duration_ms, "producedBytes": self.produced_bytes },
        });
        if let (Some(error_type), Some(fields)) = (self.error_type, content.as_object_mut()) {
            fields.insert("errorType".to_owned(), error_type.into());
        }
        record(Self::KIND, &content)
    }
}

/// What the client is billed. It is made when the extensions too are done.
pub(crate) fn report(config: &Config, request_id: &str, status: &str, duration: Duration) -> Record {
    let content = json!({
        "requestId": request_id, "status": status,
        "metrics": {
            "durationMs": ms(duration), "billedDurationMs": whole_ms(duration) + 1,
            "memorySizeMB": config.memory_mb, "maxMemoryUsedMB": config.memory_mb / 2,
        },
    });
    record("platform.report", &content)
}

/// Milliseconds with three decimals, as the platform gives them.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// `2026-11-23T16:30:37.123Z`
fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second, ms) = (second / 3_600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant's `civil_from_days`, without the time before Christ).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        let at = |seconds: u64, ms: u64| rfc3339(UNIX_EPOCH + Duration::from_millis(seconds * 1_000 + ms));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400, 7), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_795_368_632, 856), "2026-11-22T17:30:32.856Z");
        assert_eq!(at(4_107_542_399, 999), "2100-02-28T23:59:59.999Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    }
}
