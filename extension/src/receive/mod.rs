//! Taking telemetry in.

pub mod link;
pub mod unix;
