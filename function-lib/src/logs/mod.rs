//! Logs: a `tracing` event becomes a JSON line on stdout and, with the feature `logs`, an OTLP log record.
//!
//! Two layers with a filter each, so that either can be used alone. What they share of an event is in [`event`], what
//! keeps them from hearing themselves in [`silence`]. Stdout belongs to every build: CloudWatch users expect it.

mod event;
mod line;
#[cfg_attr(not(feature = "logs"), path = "absent.rs")]
mod otlp;
#[cfg(feature = "logs")]
mod processor;
#[cfg(feature = "logs")]
mod record;
mod silence;
mod stdout;

use tracing::{Metadata, Subscriber, subscriber::Interest};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Filter};

pub(crate) use otlp::Otlp;

/// A filter that lets no span pass: a layer for events must not make the registry keep spans nobody else wants.
#[derive(Debug, Clone)]
struct EventsOnly(Targets);

impl<S: Subscriber> Filter<S> for EventsOnly {
    fn enabled(&self, metadata: &Metadata<'_>, cx: &Context<'_, S>) -> bool {
        metadata.is_event() && Filter::<S>::enabled(&self.0, metadata, cx)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() { Filter::<S>::callsite_enabled(&self.0, metadata) } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Filter::<S>::max_level_hint(&self.0)
    }
}
