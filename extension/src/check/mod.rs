//! `--check`, the doctor: reads the configuration that the extension would read, then goes the way of an export to each
//! backend step by step, and says what to change. Works outside Lambda; every step has a deadline.

mod certificate;
mod destination;
mod items;
mod network;
mod report;
mod tls;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};

use crate::clock::Clock;
use crate::config::{self, Config, ExportConfig, Fault, Source};
use crate::core::Strategy;
use crate::export::pem;
use crate::limits::CHECK_STEP_MAX;

pub use report::{Configuration, Destination, FaultLine, Report, Settings, Status, Step};

/// Everything is as it should be.
pub const EXIT_OK: u8 = 0;
/// A step failed.
pub const EXIT_FAILED: u8 = 1;
/// The configuration has faults: `EX_CONFIG` of `sysexits.h`. They come first: a step may fail because of them.
pub const EXIT_CONFIG: u8 = 78;

/// Checks everything; takes at most about three export timeouts.
#[must_use]
pub fn run(source: &dyn Source) -> Report {
    let (config, mut faults) = config::read(source);
    let settings = settings(&config);
    let destinations = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => {
            faults.extend(runtime.block_on(pem_faults(&config.export)));
            let destinations = runtime.block_on(destination::all(&config.export, Clock::start()));
            // A name that is still being resolved must not keep the process.
            runtime.shutdown_background();
            destinations
        }
        // Without sockets or memory nothing can be tried, which is no success.
        Err(error) => vec![destination::untried(&error)],
    };
    let configuration = Configuration {
        ok: faults.is_empty(),
        faults: faults
            .into_iter()
            .map(|fault| FaultLine { variable: fault.variable, message: fault.message })
            .collect(),
    };
    let mut report = Report {
        lambda_flush: "check",
        version: env!("CARGO_PKG_VERSION"),
        ok: configuration.ok,
        configuration,
        settings,
        destinations,
    };
    report.ok &= report.counts().1 == 0;
    report
}

/// The extension reads these files at its first connection.
async fn pem_faults(export: &ExportConfig) -> Vec<Fault> {
    let mut faults = Vec::new();
    for files in export.files() {
        let reading = Arc::clone(files);
        let read = tokio::task::spawn_blocking(move || pem::faults(&reading));
        let found = match tokio::time::timeout(CHECK_STEP_MAX, read).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) | Err(_) => vec![Fault {
                variable: "LAMBDA_FLUSH_OTLP_CERTIFICATE".to_owned(),
                message: format!(
                    "or _CLIENT_CERTIFICATE or _CLIENT_KEY names a file that can't be read within {} ms",
                    CHECK_STEP_MAX.as_millis()
                ),
            }],
        };
        faults.extend(found.into_iter().filter(|fault| !faults.contains(fault)).collect::<Vec<_>>());
    }
    faults
}

impl Report {
    /// How the process should end.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (self.configuration.ok, self.ok) {
            (false, _) => EXIT_CONFIG,
            (true, false) => EXIT_FAILED,
            (true, true) => EXIT_OK,
        }
    }
}

fn settings(config: &Config) -> Settings {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Settings {
        dead_letter: if config.flush.dead_letter { "stdout" } else { "none" },
        buffer_bytes_max: config.flush.buffer_bytes_max,
        strategy: match config.flush.strategy {
            Strategy::End => "end",
            Strategy::Shutdown => "shutdown",
        },
        max_billed_ms: millis(config.flush.billed_max),
        otlp_timeout_ms: millis(config.flush.export_timeout),
    }
}
