//! Taking telemetry in.

pub mod door;
pub mod doors;
pub(crate) mod json;
pub mod link;
mod offer;
pub(crate) mod serve;
pub mod unix;
