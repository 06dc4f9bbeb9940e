//! Lambda's Extensions API and its Telemetry API.

mod connection;
pub mod fallback;
pub mod lifecycle;
pub mod telemetry;
pub mod turnstile;
