//! Which tracing spans and events become telemetry.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// The target of the invocation span. It is always enabled.
pub(crate) const INVOCATION_TARGET: &str = "lambda_flush";

/// Libraries below the function and below this crate, as prefixes of targets (`tower::` is not `tower_http`).
/// Their events would end up as span events of whatever span is open, and those of an exporter would feed
/// back into it.
const CHATTER_TARGETS: [&str; 9] = [
    "h2::",
    "hyper",
    "lambda_runtime",
    "mio::",
    "opentelemetry",
    "rustls::",
    "tokio::",
    "tonic::",
    "tower::",
];

/// Parses `RUST_LOG`'s directives. A chatty target stays off unless a directive names it or its child.
pub(crate) fn targets(directives: &str) -> Result<Targets, String> {
    if directives.is_empty() {
        return Ok(default_targets());
    }
    let asked: Targets = directives.parse().map_err(|error| format!("{directives:?}: {error}"))?;
    let named: Vec<String> = asked.iter().map(|(target, _)| target.to_owned()).collect();
    let off =
        CHATTER_TARGETS.into_iter().filter(|chatter| !named.iter().any(|target| covers(chatter, target)));
    Ok(asked
        .with_targets(off.map(|target| (target, LevelFilter::OFF)))
        .with_target(INVOCATION_TARGET, LevelFilter::TRACE))
}

/// INFO, without the chatter.
pub(crate) fn default_targets() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(CHATTER_TARGETS.map(|target| (target, LevelFilter::OFF)))
        .with_target(INVOCATION_TARGET, LevelFilter::TRACE)
}

fn covers(chatter: &str, target: &str) -> bool {
    target.starts_with(chatter) || chatter.strip_suffix("::") == Some(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn chatter_is_off_unless_asked_for() {
        let targets = targets("debug,hyper=trace,tower::limit=info").unwrap();
        assert!(targets.would_enable("my_function::db", &Level::DEBUG));
        assert!(targets.would_enable("hyper::client", &Level::TRACE));
        assert!(targets.would_enable("tower::limit", &Level::INFO));
        assert!(!targets.would_enable("h2::proto", &Level::ERROR));
        assert!(targets.would_enable("tokio_postgres::query", &Level::DEBUG));
        assert!(!default_targets().would_enable("lambda_runtime::layers::panic", &Level::ERROR));
        assert!(default_targets().would_enable("my_function", &Level::INFO));
        assert!(!default_targets().would_enable("my_function", &Level::DEBUG));
    }

    #[test]
    fn the_invocation_span_is_always_on() {
        assert!(targets("off").unwrap().would_enable(INVOCATION_TARGET, &Level::INFO));
        assert!(default_targets().would_enable(INVOCATION_TARGET, &Level::INFO));
    }
}
