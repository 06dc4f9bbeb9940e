//! Taking telemetry in.

pub mod door;
pub mod link;
pub mod unix;
