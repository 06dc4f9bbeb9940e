//! Which tracing spans and events become telemetry, and which events are printed.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// The target of the invocation span. It is always enabled.
pub(crate) const INVOCATION_TARGET: &str = "lambda_flush";

/// The target of `lambda_runtime`'s own events.
const RUNTIME_TARGET: &str = "lambda_runtime";

/// Libraries below the function and below this crate, as prefixes of targets (`tower::` is not `tower_http`).
/// Their events would end up as span events of whatever span is open, and those of an exporter would feed
/// back into it.
const CHATTER_TARGETS: [&str; 10] = [
    "h2::",
    "hyper",
    RUNTIME_TARGET,
    "mio::",
    "opentelemetry",
    "rustls::",
    "tokio::",
    "tonic::",
    "tower::",
    "ureq",
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

/// Parses `AWS_LAMBDA_LOG_LEVEL`. There is no event as severe as FATAL.
pub(crate) fn lambda_level(level: &str) -> Option<LevelFilter> {
    if level.eq_ignore_ascii_case("FATAL") { Some(LevelFilter::OFF) } else { level.parse().ok() }
}

/// What is printed: what `RUST_LOG` says as far as it is not below `least`, or where it says nothing all from `least`
/// on. Directives that can't be parsed say nothing.
///
/// `lambda_runtime` tells of a handler's errors and panics, which nobody wants to miss who does not turn everything
/// off.
pub(crate) fn stdout_targets(directives: &str, least: Option<LevelFilter>) -> Targets {
    let asked = targets(directives).ok().filter(|_| !directives.is_empty());
    let Some(asked) = asked else {
        return with_handler_errors(default_targets(), least)
            .with_default(least.unwrap_or(LevelFilter::INFO));
    };
    let silent = asked.default_level() == Some(LevelFilter::OFF);
    let names_runtime =
        asked.iter().any(|(target, level)| target == RUNTIME_TARGET && level != LevelFilter::OFF);
    if silent || names_runtime { clamped(asked, least) } else { with_handler_errors(asked, least) }
}

fn with_handler_errors(targets: Targets, least: Option<LevelFilter>) -> Targets {
    clamped(targets.with_target(RUNTIME_TARGET, LevelFilter::ERROR), least)
}

fn clamped(targets: Targets, least: Option<LevelFilter>) -> Targets {
    let Some(least) = least else { return targets };
    let default = targets.default_level();
    let clamped: Targets =
        targets.iter().map(|(target, level)| (target.to_owned(), level.min(least))).collect();
    match default {
        Some(level) => clamped.with_default(level.min(least)),
        None => clamped,
    }
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
    fn stdout_has_a_floor_of_its_own_and_a_handlers_errors() {
        let printed = |directives, level: Option<&str>, target, event| {
            let least = level.map(|level| lambda_level(level).unwrap());
            stdout_targets(directives, least).would_enable(target, &event)
        };
        assert!(printed("", None, "app", Level::INFO) && !printed("", None, "app", Level::DEBUG));
        assert!(printed("", Some("DEBUG"), "app", Level::DEBUG));
        assert!(!printed("", Some("DEBUG"), "hyper::client", Level::ERROR));
        assert!(!printed("", Some("WARN"), "app", Level::INFO));
        assert!(!printed("", Some("FATAL"), "app", Level::ERROR));
        assert!(printed("app=trace", Some("debug"), "app", Level::DEBUG));
        assert!(!printed("app=trace", Some("debug"), "app", Level::TRACE));
        assert!(!printed("app=trace", None, "other", Level::ERROR));
        assert!(!printed("trace", Some("ERROR"), "other", Level::WARN));
        for directives in ["", "warn", "app=info", "=not a directive="] {
            assert!(printed(directives, None, "lambda_runtime::layers::panic", Level::ERROR), "{directives}");
            assert!(!printed(directives, None, "lambda_runtime::layers::panic", Level::WARN), "{directives}");
        }
        assert!(!printed("off", None, "lambda_runtime::layers::panic", Level::ERROR));
        assert!(printed("lambda_runtime=debug", None, "lambda_runtime::layers", Level::DEBUG));
        assert_eq!(lambda_level("loud"), None);
    }

    #[test]
    fn the_invocation_span_is_always_on() {
        assert!(targets("off").unwrap().would_enable(INVOCATION_TARGET, &Level::INFO));
        assert!(default_targets().would_enable(INVOCATION_TARGET, &Level::INFO));
    }
}
