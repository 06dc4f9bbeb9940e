//! The companion extension of `lambda-flush`: takes telemetry from the function, holds it through freeze and
//! thaw, exports it over OTLP, and accounts for every item at SHUTDOWN.
//!
//! # Layout
//! - [`core`]: every decision, without I/O.
//! - [`limits`]: every limit.

pub mod core;
pub mod limits;
