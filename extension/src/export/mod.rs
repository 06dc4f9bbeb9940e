//! Sending batches to the backend.

pub mod classify;
pub mod http;
