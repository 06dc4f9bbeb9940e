//! The hand-off protocol between `lambda-flush` in a Lambda function and its companion extension.
//!
//! This crate has no clock and no async, and no I/O but for the mapping of shared memory ([`ring::memory`]): bytes go
//! in, bytes and values come out. Both ends drive it from their own sockets.
//!
//! ```text
//! function (FunctionLink)                         extension (ExtensionLink)
//!   Hello{version, process, resource} ────────────▶
//!                                     ◀──────────── Welcome{version, credit}
//!   Scope{id}, Item{seq, scope_id} …  ────────────▶  custody passes when a frame is written whole
//!   InvocationStarted{request_id}     ────────────▶
//!   Item{seq} …                       ────────────▶
//!                                     ◀──────────── Credit{credit}   as memory is free again
//!   InvocationDone{last_seq,counters} ────────────▶  the extension may let the sandbox freeze
//!   Barrier{last_seq}                 ────────────▶
//!                                     ◀──────────── Accepted{seq}    only for flush().await
//!   Goodbye{last_seq, counters}       ────────────▶
//! ```
//!
//! # Layout
//! - [`frame`]: length-prefixed frames; `Incomplete` is a value.
//! - [`function_link`], [`extension_link`]: the two ends' state machines.
//! - [`items`]: many items of one read, taken off together.
//! - [`ring`]: the second carrier, a ring in shared memory.
//! - [`version`]: which versions an end speaks and what two ends agree on.
//! - [`limits`]: every limit, with its unit in its name.
//! - [`splice`]: writing length-delimited protobuf fields around bytes encoded elsewhere.
//! - [`otlp`], [`dns`]: what both packages know of OTLP and of name resolution.

pub mod dns;
pub mod error;
pub mod extension_link;
pub mod frame;
pub mod function_link;
#[doc(hidden)]
pub mod fuzzing;
pub mod items;
pub mod limits;
pub mod otlp;
pub mod ring;
pub mod splice;
pub mod version;

/// The messages of `handoff.proto`, generated and committed (`tests/generated.rs` rebuilds and compares).
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod wire {
    include!("generated.rs");
}

pub use error::WireError;
pub use extension_link::{ExtensionLink, Received};
pub use function_link::{FunctionLink, LinkState};
pub use version::Versions;
pub use wire::{Counters, Signal};
