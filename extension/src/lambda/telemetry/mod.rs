//! The platform's telemetry: when an invocation began and how it ended, as the Telemetry API tells it.
//!
//! ```text
//!  listener ─bytes─▶ splitter ─one JSON record─▶ records ─Platform─▶ driver
//!  subscription: PUT right after `register`, answered while `/next` is outstanding already
//! ```
//! Only the type `platform` is subscribed to. `lambda-extension`'s own subscription is of no use: its schema is
//! refused on managed instances, and one unknown record costs a whole batch
//! (<https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html>).

pub mod listener;
pub mod records;
pub mod splitter;
pub mod subscription;
