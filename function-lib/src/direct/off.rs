//! Without the feature `direct` there is no direct mode.

use std::sync::Arc;

use super::{Direct, Emitter};
use crate::config::Source;

/// Nothing to start, nothing to complain about.
pub(crate) fn start(_source: &dyn Source, _emitter: Emitter) -> (Option<Arc<dyn Direct>>, Vec<String>) {
    (None, Vec::new())
}
