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

use std::net::SocketAddr;

use tokio::sync::mpsc;

use crate::core::{Level, Notice, Platform};
use crate::output::Output;
use records::Schema;
use subscription::Subscription;

/// Listens, for a subscription that has to follow `register`. `None` if nothing listens: then the platform must not
/// be asked to send.
#[must_use]
pub fn open(
    address: Option<SocketAddr>,
    schema: Schema,
    events: &mpsc::Sender<Platform>,
    output: &Output,
) -> Option<Subscription> {
    let Some(address) = address else {
        let message = "LAMBDA_FLUSH_TELEMETRY_ADDR is off, so the platform does not tell how invocations end";
        output.notice(&Notice { level: Level::Info, message: message.to_owned() });
        return None;
    };
    let bound = listener::bind(address).and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
    match bound {
        Ok((port, listener)) => {
            let sink = listener::Sink::new(events.clone(), schema, output.clone());
            drop(tokio::spawn(listener::serve(listener, sink)));
            Some(Subscription { port, schema, events: events.clone(), output: output.clone() })
        }
        Err(error) => {
            let message = format!(
                "LAMBDA_FLUSH_TELEMETRY_ADDR {address} can't be bound ({error}), so the platform does not tell how \
                 invocations end: set another address, or off"
            );
            output.notice(&Notice { level: Level::Warn, message });
            None
        }
    }
}
