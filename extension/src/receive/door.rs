//! What an OTLP receiver hands to the driver: whole, valid requests, each with the way to answer it; and what the
//! driver shows the receivers beforehand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::core::{Admission, Signal};

/// One OTLP export request.
#[derive(Debug)]
pub struct DoorInput {
    /// Of the request.
    pub signal: Signal,
    /// Telemetry items in it.
    pub items: u64,
    /// The request in protobuf, whatever it came in.
    pub body: Bytes,
    /// Whether it was taken into custody. Dropped unsent when the process ends: then it was not. Closed when nobody
    /// waits any more: the sender was told no.
    pub answer: oneshot::Sender<Admission>,
}

/// Whether it is worth reading a request at all. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sign {
    room_bytes: Arc<AtomicU64>,
    closed: watch::Sender<bool>,
}

impl Default for Sign {
    fn default() -> Self {
        Self { room_bytes: Arc::new(AtomicU64::new(u64::MAX)), closed: watch::Sender::default() }
    }
}

impl Sign {
    /// Bytes that a request may have at the moment; `None`: nothing is taken any more.
    pub fn show(&self, room_bytes: Option<u64>) {
        self.room_bytes.store(room_bytes.unwrap_or(0), Ordering::Relaxed);
        if room_bytes.is_none() && !*self.closed.borrow() {
            self.closed.send_replace(true);
        }
    }

    /// What is shown. It may be old by the time a request is read: the core decides.
    #[must_use]
    pub fn room_bytes(&self) -> Option<u64> {
        if *self.closed.borrow() { None } else { Some(self.room_bytes.load(Ordering::Relaxed)) }
    }

    /// Until nothing is taken any more.
    pub async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // It never fails while `self` has the other end.
        let _closed = closed.wait_for(|closed| *closed).await;
    }
}
