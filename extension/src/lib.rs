//! The companion extension of `lambda-flush`: takes telemetry from the function, holds it through freeze and
//! thaw, exports it over OTLP, and accounts for every item at SHUTDOWN.
//!
//! # Layout
//! - [`core`]: every decision, without I/O; [`limits`]: every limit.
//! - [`app`]: wiring; [`driver`]: the one loop around the core; [`clock`]: the only reader of clocks.
//! - [`listeners`]: what is bound before `register`;
//! - [`lambda`]: Extensions API; [`receive`]: hand-off socket; [`export`]: OTLP to the backend.
//! - [`config`]; [`output`]: lines on stdout; [`dead_letter`], [`summary`]: what they say.
//! - [`check`]: `--check`, the doctor.
//! - [`panics`]: none reaches the process boundary.

pub mod app;
pub mod check;
pub mod clock;
pub mod config;
pub mod core;
pub mod dead_letter;
pub mod driver;
pub mod export;
pub mod lambda;
pub mod limits;
pub mod listeners;
pub mod output;
pub mod panics;
pub mod receive;
pub mod summary;
