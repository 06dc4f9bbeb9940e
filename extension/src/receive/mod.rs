//! Taking telemetry in.

pub mod door;
pub mod doors;
pub(crate) mod json;
pub mod link;
pub(crate) mod serve;
pub mod unix;
