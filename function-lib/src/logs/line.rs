//! One event as one line of JSON, with the names of CloudWatch's JSON log format where that has them.

use std::fmt::Write as _;
use std::time::SystemTime;

use tracing::Event;

use super::event::{self, Origin, Value};

const LINE_BYTES_TYPICAL: usize = 256;

/// The line, with its end.
pub(super) fn line(event: &Event<'_>, at: SystemTime, origin: &Origin) -> Vec<u8> {
    let mut out = Vec::with_capacity(LINE_BYTES_TYPICAL);
    let mut text = |name, text: &str| member(&mut out, name, Value::Text(text));
    text("timestamp", &timestamp(at));
    text("level", event.metadata().level().as_str());
    event::message(event, |message| text("message", message));
    text("target", event.metadata().target());
    if let Some(invocation) = &origin.invocation {
        text("requestId", &invocation.request_id);
    }
    if let Some(ids) = origin.span {
        text("trace_id", &ids.trace_id.to_string());
        text("span_id", &ids.span_id.to_string());
    }
    let mut fields = Vec::new();
    event::fields(event, |name, value| member(&mut fields, name, value));
    if !fields.is_empty() {
        out.extend_from_slice(b",\"fields\":{");
        out.append(&mut fields);
        out.push(b'}');
    }
    out.insert(0, b'{');
    out.extend_from_slice(b"}\n");
    out
}

/// One more `"name":value` of an object whose braces come later.
fn member(out: &mut Vec<u8>, name: &str, value: Value<'_>) {
    if !out.is_empty() {
        out.push(b',');
    }
    string(out, name);
    out.push(b':');
    match value {
        Value::Text(text) => string(out, text),
        Value::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Value::I64(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::U64(value) => out.extend_from_slice(value.to_string().as_bytes()),
        // JSON has no infinity and no NaN.
        Value::F64(value) if !value.is_finite() => string(out, &value.to_string()),
        Value::F64(value) => out.extend_from_slice(format!("{value:?}").as_bytes()),
        Value::Bytes(bytes) => string(out, &hex(bytes)),
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    // Neither a text nor a `Vec` can fail.
    serde_json::to_writer(out, text).ok();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        write!(hex, "{byte:02x}").ok();
        hex
    })
}

/// RFC 3339 in UTC, with milliseconds.
fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day of a day since 1970-01-01, in years that begin with March, so that the leap day is the last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value as Json;
    use std::time::Duration;

    #[test]
    fn timestamps_are_rfc_3339() {
        // `date -u -d @N +%FT%T.000Z`
        for (second, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (1_795_443_936, "2026-11-23T14:25:36.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(second)), text);
        }
        let odd = SystemTime::UNIX_EPOCH + Duration::from_micros(1_999_999);
        assert_eq!(timestamp(odd), "1970-01-01T00:00:01.999Z");
        assert_eq!(timestamp(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn members_keep_their_types_and_what_json_lacks_becomes_text() {
        let values = [
            Value::Bool(true),
            Value::I64(i64::MIN),
            Value::U64(u64::MAX),
            Value::F64(0.1),
            Value::F64(1e300),
            Value::F64(f64::NAN),
            Value::F64(f64::NEG_INFINITY),
            Value::Text("\"\n\u{0}\u{7f}ä\u{2028}"),
            Value::Bytes(&[0, 255]),
        ];
        let mut out = Vec::new();
        for (place, value) in values.into_iter().enumerate() {
            member(&mut out, &place.to_string(), value);
        }
        let text = format!("{{{}}}", String::from_utf8(out).unwrap());
        assert!(!text.contains('\n'));
        let json: Json = serde_json::from_str(&text).unwrap();
        let read: Vec<&Json> = (0..9).map(|place| &json[place.to_string()]).collect();
        let expected = serde_json::json!([
            true,
            i64::MIN,
            u64::MAX,
            0.1,
            1e300,
            "NaN",
            "-inf",
            "\"\n\u{0}\u{7f}ä\u{2028}",
            "00ff"
        ]);
        assert_eq!(read, expected.as_array().unwrap().iter().collect::<Vec<_>>());
    }
}
