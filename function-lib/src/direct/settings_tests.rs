//! Which variable counts, what is a fault, and what is shown to nobody.

use super::*;
use std::collections::BTreeMap;

fn settings(pairs: &[(&str, &str)]) -> (Option<Settings>, Vec<String>) {
    let source: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    read(&source)
}

fn endpoints(pairs: &[(&str, &str)]) -> [String; 3] {
    let settings = settings(pairs).0;
    SIGNALS.map(|signal| {
        settings
            .as_ref()
            .and_then(|settings| settings.endpoint(signal))
            .map_or_else(String::new, Uri::to_string)
    })
}

#[test]
fn our_own_endpoint_comes_first_then_a_signals_then_the_common_one() {
    let standard = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://standard.example/otlp/");
    let logs = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs.example/as-is");
    let own = ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://own.example:4318");
    let base = "https://standard.example/otlp/v1";
    assert_eq!(
        endpoints(&[standard, logs]),
        [format!("{base}/traces"), format!("{base}/metrics"), "http://logs.example/as-is".to_owned()]
    );
    let base = "http://own.example:4318/v1";
    assert_eq!(
        endpoints(&[standard, logs, own]),
        ["traces", "metrics", "logs"].map(|name| format!("{base}/{name}"))
    );
    assert_eq!(endpoints(&[logs]), [String::new(), String::new(), "http://logs.example/as-is".to_owned()]);
    assert!(settings(&[]).0.is_none() && settings(&[]).1.is_empty());
}

#[test]
fn the_extensions_receiver_is_a_backend_outside_lambda_only() {
    let receiver = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
    let lambda = ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001");
    assert_eq!(endpoints(&[receiver])[0], "http://localhost:4318/v1/traces");
    let (none, faults) = settings(&[receiver, lambda]);
    assert!(none.is_none() && faults.is_empty());
    let own = ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://127.0.0.1:4317");
    let (none, faults) = settings(&[own, lambda]);
    assert!(none.is_none() && faults.len() == 1, "{faults:?}");
}

#[test]
fn a_receiver_is_known_wherever_it_listens() {
    let lambda = ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001");
    let elsewhere =
        [lambda, ("LAMBDA_FLUSH_OTLP_HTTP_ADDR", "127.0.0.1:80"), ("LAMBDA_FLUSH_OTLP_GRPC_ADDR", "off")];
    for url in
        ["http://127.9.9.9", "http://[::ffff:127.0.0.1]:80", "http://LocalHost:80", "http://localhost:4319"]
    {
        let own = ("LAMBDA_FLUSH_OTLP_ENDPOINT", url);
        let (none, faults) = settings(&[&elsewhere[..], &[own]].concat());
        assert!(none.is_none() && faults[0].contains("own receiver"), "{url}: {faults:?}");
    }
    let free = ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://localhost:4317");
    assert_eq!(endpoints(&[&elsewhere[..], &[free]].concat())[0], "http://localhost:4317/v1/traces");
}

#[test]
fn another_backends_credentials_stay_with_it() {
    let own = ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://own.example");
    let key = ("OTEL_EXPORTER_OTLP_HEADERS", "key=common");
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "key=traces");
    let sent = |standard: &[(&str, &str)]| {
        let settings =
            settings(&[&[own, key, traces, ("AWS_LAMBDA_RUNTIME_API", "x")], standard].concat()).0.unwrap();
        [Signal::Traces, Signal::Logs]
            .map(|signal| settings.headers(signal).get("key").map(|value| value.to_str().unwrap().to_owned()))
    };
    let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let all = [Some("traces".to_owned()), Some("common".to_owned())];
    assert_eq!(sent(&[]), all);
    assert_eq!(sent(&[(endpoint, "http://localhost:4318")]), all);
    assert_eq!(sent(&[(endpoint, "https://own.example:443/base")]), all);
    assert_eq!(sent(&[(endpoint, "https://vendor.example")]), [None, None]);
    let vendor = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://vendor.example");
    assert_eq!(sent(&[vendor]), [None, None]);
    let mixed = [
        (endpoint, "https://vendor.example"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://own.example/x"),
    ];
    assert_eq!(sent(&mixed), [all[0].clone(), None]);
}

#[test]
fn all_faults_are_told_at_once_and_no_secret_is() {
    let (settings, faults) = settings(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://backend.example"),
        ("LAMBDA_FLUSH_OTLP_HEADERS", "authorization=Bearer%20s3cret,s3cret"),
        ("LAMBDA_FLUSH_OTLP_PROTOCOL", "grpc"),
        ("LAMBDA_FLUSH_OTLP_TIMEOUT", "soon"),
        ("LAMBDA_FLUSH_OTLP_CERTIFICATE", "/nonexistent"),
        ("LAMBDA_FLUSH_NAME_SERVER", "here"),
        ("LAMBDA_FLUSH_BUFFER_BYTES_MAX", "plenty"),
        ("LAMBDA_FLUSH_MAX_BILLED_MS", "-1"),
    ]);
    let settings = settings.unwrap();
    assert_eq!(faults.len(), 7, "{faults:#?}");
    assert_eq!(settings.headers(Signal::Logs).get("authorization").unwrap(), "Bearer s3cret");
    assert!(!format!("{faults:?}{settings:?}").contains("s3cret"));
    assert_eq!(
        (settings.billed_max, settings.timeout),
        (Duration::from_millis(100), Duration::from_secs(10))
    );
    assert_eq!(settings.destination(), "https://backend.example");
}

#[test]
fn a_password_in_a_url_is_shown_to_nobody() {
    let own = ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://user:hunter2@backend.example:8443/base");
    let settings = settings(&[own]).0.unwrap();
    let shown = format!("{settings:?} {}", settings.destination());
    assert!(!shown.contains("hunter2") && !shown.contains("user"), "{shown}");
    assert!(shown.contains("https://backend.example:8443/base/v1/traces"), "{shown}");
    assert!(settings.endpoint(Signal::Traces).unwrap().to_string().contains("hunter2"), "it is used");
}

#[test]
fn a_url_that_is_none_is_a_fault() {
    for text in [
        "backend.example:4318",
        "ftp://backend.example",
        "http://",
        "nonsense",
        "http://a.example/?b",
        "http://a:99999",
        "http://a:",
    ] {
        let (none, faults) = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", text)]);
        assert!(none.is_none() && faults.len() == 1, "{text}: {faults:?}");
    }
}

#[test]
fn memory_bounds_what_is_held() {
    let held = |memory_mb| {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a.example");
        settings(&[endpoint, ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb)]).0.unwrap().held_bytes_max
    };
    assert_eq!([held("128"), held("10240")], [8 << 20, 16 << 20]);
}
