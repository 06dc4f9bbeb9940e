//! Configuration: every fault at once, always something to run with, no secret shown.

use std::collections::BTreeMap;
use std::time::Duration;

use lambda_flush_extension::config::{Config, Fault, SocketAddress, Source, TABLE, read};
use lambda_flush_extension::core::{Signal, Strategy};

struct Env(BTreeMap<&'static str, &'static str>);

impl Source for Env {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (*value).to_owned())
    }
}

fn config(vars: &[(&'static str, &'static str)]) -> (Config, Vec<Fault>) {
    read(&Env(vars.iter().copied().collect()))
}

fn url(config: &Config, signal: Signal) -> Option<String> {
    config.endpoints.of(signal).map(ToString::to_string)
}

#[test]
fn every_fault_is_reported_at_once_and_defaults_hold() {
    let (config, faults) = config(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "not a url"),
        ("LAMBDA_FLUSH_OTLP_HEADERS", "authorization"),
        ("LAMBDA_FLUSH_OTLP_PROTOCOL", "grpc"),
        ("LAMBDA_FLUSH_OTLP_TIMEOUT", "soon"),
        ("LAMBDA_FLUSH_STRATEGY", "sometimes"),
        ("LAMBDA_FLUSH_MAX_BILLED_MS", "-1"),
        ("LAMBDA_FLUSH_BUFFER_BYTES_MAX", "12"),
        ("LAMBDA_FLUSH_DEAD_LETTER", "/dev/null"),
    ]);
    let named: Vec<_> = faults.iter().map(|fault| fault.variable.as_str()).collect();
    assert_eq!(named.len(), 8, "{faults:?}");
    for variable in TABLE.iter().map(|variable| variable.name).filter(|name| *name != "LAMBDA_FLUSH_SOCKET") {
        assert!(named.contains(&variable), "{variable} is faulty and was not reported");
    }
    assert_eq!(config.flush.strategy, Strategy::End);
    assert_eq!(config.flush.billed_max, Duration::from_millis(100));
    assert_eq!(config.flush.export_timeout, Duration::from_secs(10));
    assert!(config.flush.dead_letter && !config.flush.export);
}

#[test]
fn nothing_set_is_one_fault_that_says_what_to_set() {
    let (config, faults) = config(&[]);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].variable, "LAMBDA_FLUSH_OTLP_ENDPOINT");
    assert!(!config.flush.export);
}

#[test]
fn a_sound_configuration_has_no_faults() {
    let (config, faults) = config(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://10.0.0.9:4318/base/"),
        ("LAMBDA_FLUSH_OTLP_TIMEOUT", "1500"),
        ("LAMBDA_FLUSH_STRATEGY", "shutdown"),
        ("LAMBDA_FLUSH_MAX_BILLED_MS", "0"),
        ("LAMBDA_FLUSH_DEAD_LETTER", "none"),
        ("LAMBDA_FLUSH_SOCKET", "/tmp/x.sock"),
    ]);
    assert_eq!(faults, []);
    assert_eq!(url(&config, Signal::Traces).as_deref(), Some("http://10.0.0.9:4318/base/v1/traces"));
    assert_eq!(url(&config, Signal::Logs).as_deref(), Some("http://10.0.0.9:4318/base/v1/logs"));
    assert_eq!(config.flush.strategy, Strategy::Shutdown);
    assert_eq!(config.flush.billed_max, Duration::ZERO);
    assert_eq!(config.socket, SocketAddress::Path("/tmp/x.sock".into()));
    assert!(!config.flush.dead_letter);
}

#[test]
fn the_standard_variables_are_a_fallback_per_signal_too() {
    let (config, faults) = config(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4320"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:9/exactly/this"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "77"),
    ]);
    assert_eq!(faults, []);
    assert_eq!(url(&config, Signal::Traces).as_deref(), Some("http://traces:9/exactly/this"));
    assert_eq!(url(&config, Signal::Metrics).as_deref(), Some("http://collector:4320/v1/metrics"));
    assert_eq!(config.flush.export_timeout, Duration::from_millis(77));
}

#[test]
fn our_own_receiver_is_no_backend() {
    // The function's SDKs need this value, and we read the same environment.
    let (config, faults) = config(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")]);
    assert!(!config.flush.export);
    assert_eq!(faults[0].variable, "LAMBDA_FLUSH_OTLP_ENDPOINT");
    let (own, faults) = self::config(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://127.0.0.1:4318")]);
    assert!(!own.flush.export);
    assert!(faults[0].message.contains("own receiver"), "{faults:?}");
}

#[test]
fn what_would_be_misread_or_ignored_is_a_fault() {
    for endpoint in ["http://backend/?token=x", "http://user:pass@backend"] {
        let (config, faults) = config(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint)]);
        assert!(
            !config.flush.export && faults[0].message.contains("LAMBDA_FLUSH_OTLP_HEADERS"),
            "{faults:?}"
        );
        assert!(!format!("{faults:?}").contains("pass") && !format!("{faults:?}").contains("token=x"));
    }
    let (_, faults) = config(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://backend"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=b"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ]);
    assert_eq!(faults.len(), 2, "{faults:?}");
}

#[test]
fn the_buffer_follows_the_functions_memory() {
    for (memory, bytes) in [("128", 8 << 20), ("10240", 16 << 20), ("nonsense", 16 << 20)] {
        let (config, _) = config(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory)]);
        assert_eq!(config.flush.buffer_bytes_max, bytes, "{memory} MB");
    }
}

#[test]
fn secrets_are_never_shown() {
    let (config, faults) = config(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://backend:1"),
        ("LAMBDA_FLUSH_OTLP_HEADERS", "authorization=Bearer%20tops3cret,tops3cret"),
    ]);
    assert!(!format!("{config:?}{faults:?}").contains("tops3cret"), "{config:?}{faults:?}");
}
