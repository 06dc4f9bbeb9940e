//! What is set up where there is no extension of ours: SIGTERM has to come at all, and telemetry has to go somewhere.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Source;
use crate::direct::{self, Emitter};
use crate::handoff::Handoff;
use crate::internal_extension::{any_external, register};
use crate::notice::{self, Level};
use crate::resource::EncodedResource;
use crate::sigterm;

/// From SIGTERM to the exit in direct mode when no external extension cuts the function's share of 500 ms to 300.
const ALONE_EXIT_AFTER: Duration = Duration::from_millis(450);

/// The end of a run outside Lambda: what is held is exported when the last handle on the telemetry goes. In Lambda
/// SIGTERM is the end.
#[derive(Debug)]
pub(crate) struct LocalEnd(Handoff);

impl LocalEnd {
    pub(crate) fn new(handoff: &Handoff) -> Self {
        Self(handoff.clone())
    }
}

impl Drop for LocalEnd {
    fn drop(&mut self) {
        if self.0.direct().is_some_and(|direct| !direct.local_finish_max().is_zero()) {
            self.0.finish(Duration::ZERO);
        }
    }
}

/// Where Lambda puts external extensions.
const EXTENSIONS: &str = "/opt/extensions";

/// The folder with external extensions: `LAMBDA_FLUSH_EXTENSIONS_DIR`, else Lambda's.
pub(crate) fn extensions(source: &dyn Source) -> PathBuf {
    source
        .var("LAMBDA_FLUSH_EXTENSIONS_DIR")
        .filter(|dir| !dir.is_empty())
        .unwrap_or_else(|| EXTENSIONS.into())
        .into()
}

/// Sees to it that SIGTERM comes: Lambda sends it only to a function beside an extension of some kind.
pub(crate) fn ask_for_sigterm(source: &dyn Source) {
    let Some(api) = source.var("AWS_LAMBDA_RUNTIME_API") else { return };
    if any_external(&extensions(source)) {
        return;
    }
    if let Err(error) = register(&api) {
        let message = format!(
            "no internal extension could be registered ({error}): Lambda ends this function without SIGTERM, hooks \
             will not run, and the last items may be lost"
        );
        notice::print(Level::Warn, &message);
    }
}

/// Starts direct mode, if a backend is named. Returns where telemetry goes from now on, for people.
pub(crate) fn export_directly(
    source: &dyn Source,
    resource: &EncodedResource,
    handoff: &Handoff,
) -> Option<String> {
    let emitter = Emitter {
        resource: resource.bytes.clone(),
        resource_schema_url: resource.schema_url.clone(),
        buffered: handoff.buffered_cell(),
    };
    let (direct, faults) = direct::start(source, emitter);
    for fault in faults {
        notice::print(Level::Warn, &fault);
    }
    let direct = direct?;
    let destination = direct.destination();
    let alone = !any_external(&extensions(source));
    let exit_after = if alone { ALONE_EXIT_AFTER } else { sigterm::EXIT_AFTER };
    handoff.set_direct(direct, exit_after);
    Some(destination)
}
