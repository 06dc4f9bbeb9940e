//! What an OTLP receiver hands to the driver: whole, valid requests, each with the way to answer it.

use bytes::Bytes;
use tokio::sync::oneshot;

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
    /// Whether it was taken into custody. Dropped unsent when the process ends: then it was not.
    pub answer: oneshot::Sender<Admission>,
}
