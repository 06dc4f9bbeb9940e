//! The Telemetry API's client: what the platform answers, what it delivers, and whatever else may come.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "all of this target is a test"
)]

mod corpus;
mod listener;
mod platform;
mod subscription;
