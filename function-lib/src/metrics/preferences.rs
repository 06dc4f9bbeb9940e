//! What the environment says about metrics.

use opentelemetry_sdk::metrics::Temporality;

use crate::config::Reader;

/// See the module's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Preferences {
    /// `OTEL_METRICS_EXPORTER` is not `none`.
    pub(crate) enabled: bool,
    /// `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`, delta if not set: an environment lives for minutes, and a
    /// cumulative series each would be one more for every cold start.
    pub(crate) temporality: Temporality,
}

impl Preferences {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        Self { enabled: enabled(reader), temporality: temporality(reader) }
    }
}

fn enabled(reader: &mut Reader<'_>) -> bool {
    const NAME: &str = "OTEL_METRICS_EXPORTER";
    match reader.text(NAME).as_deref().map(str::trim) {
        Some("none") => false,
        Some("otlp") | None => true,
        Some(other) => {
            reader.fault(NAME, format!("{other:?} is neither otlp nor none; otlp is used"));
            true
        }
    }
}

fn temporality(reader: &mut Reader<'_>) -> Temporality {
    const NAME: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    let Some(text) = reader.text(NAME) else { return Temporality::Delta };
    text.trim().parse().unwrap_or_else(|()| {
        reader.fault(NAME, format!("{text:?} is none of delta, cumulative, lowmemory; delta is used"));
        Temporality::Delta
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::collections::BTreeMap;

    fn read(name: &str, value: &str) -> (Preferences, usize) {
        let (config, faults) = Config::read(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
        (config.metrics, faults.len())
    }

    #[test]
    fn delta_unless_asked_otherwise() {
        let preference = |value| {
            let (preferences, faults) = read("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", value);
            (preferences.temporality, faults)
        };
        assert_eq!(preference(""), (Temporality::Delta, 0));
        assert_eq!(preference("Delta"), (Temporality::Delta, 0));
        assert_eq!(preference("cumulative"), (Temporality::Cumulative, 0));
        assert_eq!(preference("lowmemory"), (Temporality::LowMemory, 0));
        assert_eq!(preference("sometimes"), (Temporality::Delta, 1));
    }

    #[test]
    fn none_is_the_one_exporter_that_turns_metrics_off() {
        let on = |value| {
            let (preferences, faults) = read("OTEL_METRICS_EXPORTER", value);
            (preferences.enabled, faults)
        };
        assert_eq!(
            [on(""), on("otlp"), on("none"), on("console")],
            [(true, 0), (true, 0), (false, 0), (true, 1)]
        );
    }
}
