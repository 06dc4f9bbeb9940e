//! The seam between what is collected (metrics) and who decides when (the runtime layer, the library's thread).

use std::fmt;

/// Collects what has been recorded since the last time and hands it over.
pub(crate) trait Collect: Send + Sync + fmt::Debug {
    /// Must not panic, and must not wait for anything but its own locks.
    fn collect(&self);
}
