//! The probes as a sandbox, and what they noted.

use std::path::PathBuf;
use std::time::Duration;

use lambda_testkit::{Sandbox, SandboxBuilder, Trace};
use tempfile::TempDir;

pub(crate) const EXTENSION: &str = "extension:probe_extension";

/// A scheduling delay that two busy cores may cause.
pub(crate) const NOISE: Duration = Duration::from_millis(400);

/// The value of a knob.
pub(crate) struct Knob(String);

impl From<u64> for Knob {
    fn from(value: u64) -> Self {
        Self(value.to_string())
    }
}

impl From<&str> for Knob {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

/// A sandbox to be, and the file that its probes write to.
pub(crate) struct Probes {
    pub(crate) builder: SandboxBuilder,
    trace: PathBuf,
    _directory: TempDir,
}

impl Probes {
    /// The probe function alone.
    pub(crate) fn alone() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let trace = directory.path().join("trace");
        std::fs::write(&trace, "").unwrap();
        let builder = Sandbox::builder()
            .function(env!("CARGO_BIN_EXE_probe_function"))
            .env("LAMBDA_TESTKIT_TRACE", trace.to_str().unwrap());
        Self { builder, trace, _directory: directory }
    }

    /// The probe function and the probe extension.
    pub(crate) fn with_extension() -> Self {
        Self::alone().change(|builder| builder.extension(env!("CARGO_BIN_EXE_probe_extension")))
    }

    pub(crate) fn change(mut self, change: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// A knob for both probes.
    pub(crate) fn knob(self, name: &str, value: impl Into<Knob>) -> Self {
        let Knob(value) = value.into();
        self.change(|builder| builder.env(format!("LAMBDA_TESTKIT_PROBE_{name}"), value))
    }

    pub(crate) async fn start(&self) -> Sandbox {
        self.builder.clone().start().await.unwrap()
    }

    /// What the probes noted so far.
    pub(crate) fn trace(&self) -> Trace {
        Trace::read(&self.trace).unwrap()
    }
}

/// Waits for a condition that other processes bring about.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the condition did not come true within 5 s");
}
