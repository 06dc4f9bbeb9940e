//! The seam between what is collected (metrics) and who decides when (the runtime layer, the library's thread).

use std::fmt;

use bytes::Bytes;
use lambda_flush_proto::Signal;

/// Takes a whole OTLP export request, with its signal and its number of items.
pub(crate) type HandOver<'a> = dyn FnMut(Signal, u32, Bytes) + 'a;

/// Collects what has been recorded since the last time.
///
/// It holds no [`crate::handoff::Handoff`] of its own: the hand-off holds it.
pub(crate) trait Collect: Send + Sync + fmt::Debug {
    /// All that was recorded before the call has been given to `hand_over` when it returns, by this call or by one
    /// that was under way. Must not panic, and must not wait for anything but its own locks, and for those not long.
    fn collect(&self, hand_over: &mut HandOver<'_>);
}
