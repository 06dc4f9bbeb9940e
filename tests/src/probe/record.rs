//! What a probe notes: JSON lines in the file that `LAMBDA_TESTKIT_TRACE` names, and its knobs.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Appends one line per event, with one write each, so that several processes may share the file.
#[derive(Clone)]
pub(crate) struct Recorder {
    who: String,
    file: Option<std::sync::Arc<File>>,
}

impl Recorder {
    /// Without the variable nothing is noted; with one that can't be opened, one line on standard error says so.
    pub(crate) fn new(who: &str) -> Self {
        let open = |path| match OpenOptions::new().append(true).create(true).open(path) {
            Ok(file) => Some(std::sync::Arc::new(file)),
            Err(error) => {
                eprintln!("the trace file can't be opened: {error}");
                None
            }
        };
        Self { who: who.to_owned(), file: std::env::var_os("LAMBDA_TESTKIT_TRACE").and_then(open) }
    }

    /// Notes an event; `detail` is a JSON value.
    pub(crate) fn record(&self, event: &str, detail: &str) {
        let Some(mut file) = self.file.as_deref() else { return };
        let (who, at_ms) = (&self.who, unix_ms());
        let line =
            format!("{{\"at_ms\":{at_ms},\"who\":\"{who}\",\"event\":\"{event}\",\"detail\":{detail}}}\n");
        // A full disk must not change what the probe does.
        file.write_all(line.as_bytes()).ok();
    }
}

/// A numeric knob from the environment; zero if it is not set.
pub(crate) fn knob(name: &str) -> u64 {
    std::env::var(format!("LAMBDA_TESTKIT_PROBE_{name}"))
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

/// Sleeps, if there is anything to sleep.
#[expect(clippy::disallowed_methods, reason = "to be slow is what a probe is told to do here")]
pub(crate) fn sleep_ms(milliseconds: u64) {
    if milliseconds > 0 {
        std::thread::sleep(Duration::from_millis(milliseconds));
    }
}

pub(crate) fn unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// The text after `"key":` up to the next comma or brace, without quotes: enough for the flat JSON of the platform.
pub(crate) fn json_field<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{key}\""))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let quoted = rest.strip_prefix('"').and_then(|text| text.split('"').next());
    quoted.or_else(|| rest.split([',', '}', ']']).next().map(str::trim))
}
