//! What the carrier waits for, and what the library's thread has to wait for with it.

use std::sync::Arc;
use std::time::Instant;

use crate::socket::Socket;

/// What the thread of the library has to wait for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    /// Readable always counts; writable only with `for_room`.
    pub(crate) socket: Option<Arc<Socket>>,
    pub(crate) for_room: bool,
    pub(crate) until: Option<Instant>,
}

impl Watch {
    /// Whether a thread that waits for `self` would wake for all that `other` needs.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let socket = match (&self.socket, &other.socket) {
            (_, None) => true,
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, Some(_)) => false,
        };
        let until = match (self.until, other.until) {
            (_, None) => true,
            (Some(ours), Some(theirs)) => ours <= theirs,
            (None, Some(_)) => false,
        };
        socket && until && (self.for_room || !other.for_room)
    }

    /// Whether there is nothing to wait for.
    pub(crate) fn is_idle(&self) -> bool {
        self.socket.is_none() && self.until.is_none()
    }
}

/// What something waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// Room, in the kernel or in the ring.
    Room,
    /// The extension's word.
    Credit,
}
