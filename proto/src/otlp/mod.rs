//! What both packages know of OTLP, apart from the hand-off protocol.

pub mod classify;
pub mod headers;
pub mod messages;
pub mod origin;
pub mod schema;
pub mod secrets;
pub mod walk;
