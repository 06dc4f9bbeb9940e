//! The library's own words: one JSON line on stderr each, and nothing else.

use std::io::Write;

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Telemetry works, but not as the reader may expect.
    Warn,
    /// Telemetry does not work.
    Error,
}

/// Prints one line. A closed stderr is no reason to disturb the function.
pub(crate) fn print(level: Level, message: &str) {
    let mut text = line(level, message);
    text.push('\n');
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

fn line(level: Level, message: &str) -> String {
    let level = match level {
        Level::Warn => "warn",
        Level::Error => "error",
    };
    serde_json::json!({ "lambda_flush": "notice", "version": 1, "level": level, "message": message })
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_json_line_whatever_it_says() {
        let text = line(Level::Warn, "two\nlines and \"quotes\"");
        assert!(!text.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["level"], "warn");
        assert_eq!(value["message"], "two\nlines and \"quotes\"");
    }
}
