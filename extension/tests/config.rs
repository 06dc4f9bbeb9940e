//! Configuration: every fault at once, always something to run with, no secret shown.
#![allow(clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use lambda_flush_extension::config::{
    Compression, Config, Destination, Fault, Protocol, SocketAddress, Source, TABLE, read,
};
use lambda_flush_extension::core::{Signal, Strategy};

struct Env(BTreeMap<&'static str, &'static str>);

impl Source for Env {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (*value).to_owned())
    }
}

fn configured(vars: &[(&'static str, &'static str)]) -> (Config, Vec<Fault>) {
    read(&Env(vars.iter().copied().collect()))
}

fn url(config: &Config, signal: Signal) -> Option<String> {
    Some(config.export.of(signal)?.url.to_string())
}

fn traces(config: &Config) -> &Destination {
    config.export.of(Signal::Traces).expect("traces go somewhere")
}

fn named(faults: &[Fault]) -> Vec<&str> {
    faults.iter().map(|fault| fault.variable.as_str()).collect()
}

/// Variables of which any text is right.
const NEVER_FAULTY: [&str; 1] = ["LAMBDA_FLUSH_SOCKET"];

#[test]
fn every_fault_is_reported_at_once_and_defaults_hold() {
    let wrong = |name| match name {
        "LAMBDA_FLUSH_OTLP_ENDPOINT" => "https://",
        "LAMBDA_FLUSH_BUFFER_BYTES_MAX" => "12",
        "LAMBDA_FLUSH_OTLP_CERTIFICATE"
        | "LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE"
        | "LAMBDA_FLUSH_OTLP_CLIENT_KEY" => "/dev/null",
        _ => "nonsense",
    };
    let proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let own = TABLE.iter().map(|variable| variable.name).filter(|name| !name.contains(','));
    let mut vars: Vec<_> =
        own.filter(|name| !NEVER_FAULTY.contains(name)).map(|name| (name, wrong(name))).collect();
    vars.extend(proxies.map(|name| (name, "socks5://proxy:1080")));
    let (without, faults) = configured(&vars);
    for (name, _) in vars.iter().filter(|(name, _)| !name.contains("CERTIFICATE") && !name.contains("KEY")) {
        assert_eq!(named(&faults).iter().filter(|named| *named == name).count(), 1, "{name}: {faults:#?}");
    }
    assert!(!without.flush.export && without.flush.dead_letter);
    vars[0] = ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://backend");
    let (config, faults) = configured(&vars);
    // Files are read where they are used.
    assert_eq!(faults.len(), vars.len() - 1 - 3, "{faults:#?}");
    assert_eq!(config.flush.strategy, Strategy::End);
    assert_eq!(config.flush.billed_max, Duration::from_millis(100));
    assert_eq!(config.flush.export_timeout, Duration::from_secs(10));
    assert_eq!(config.flush.buffer_bytes_max, 4 << 20);
    assert_eq!(config.export.idle_max, Duration::from_secs(3));
    let Destination { protocol, compression, tls, .. } = traces(&config);
    assert_eq!((*protocol, *compression), (Protocol::HttpProtobuf, Compression::Gzip));
    assert!(tls.roots.is_some() && tls.client.is_some());
    assert!(config.export.headers_from.is_none() && config.export.name_server.is_none());
}

#[test]
fn nothing_set_is_one_fault_that_says_what_to_set() {
    let (config, faults) = configured(&[]);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].variable, "LAMBDA_FLUSH_OTLP_ENDPOINT");
    assert!(!config.flush.export);
}

#[test]
fn a_sound_configuration_has_no_faults() {
    let (config, faults) = configured(&[
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
    let (config, faults) = configured(&[
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
    let (config, faults) = configured(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")]);
    assert!(!config.flush.export);
    assert_eq!(faults[0].variable, "LAMBDA_FLUSH_OTLP_ENDPOINT");
    let (own, faults) = configured(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://127.0.0.1:4318")]);
    assert!(!own.flush.export);
    assert!(faults[0].message.contains("own receiver"), "{faults:?}");
}

#[test]
fn what_would_be_misread_or_ignored_is_a_fault() {
    for endpoint in ["http://backend/?token=x", "http://user:pass@backend", "http://user:p/ass@backend"] {
        let (config, faults) = configured(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint)]);
        assert!(!config.flush.export, "{faults:?}");
        let cut = endpoint.contains("p/ass");
        assert!(cut || faults[0].message.contains("LAMBDA_FLUSH_OTLP_HEADERS"), "{faults:?}");
        assert!(!format!("{faults:?}").contains("pass") && !format!("{faults:?}").contains("token=x"));
    }
}

#[test]
fn a_signal_has_its_own_of_everything_unless_ours_is_set() {
    let standard = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://backend"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=all"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "77"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
    ];
    let shown = |config: &Config, signal| {
        let Destination { url, protocol, compression, headers, timeout, .. } =
            config.export.of(signal).unwrap();
        let header = headers.iter().map(|(_, value)| value.to_str().unwrap()).collect::<String>();
        (url.to_string(), *protocol, *compression, header, timeout.as_millis())
    };
    let (config, faults) = configured(&standard);
    assert_eq!(faults, []);
    let of = |text: &str| text.to_owned();
    assert_eq!(
        [Signal::Traces, Signal::Metrics].map(|signal| shown(&config, signal)),
        [
            (
                of("https://backend/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
                Protocol::Grpc,
                Compression::Gzip,
                of("traces"),
                77
            ),
            (of("https://backend/v1/metrics"), Protocol::HttpProtobuf, Compression::None, of("all"), 10_000)
        ]
    );
    // The core waits for the slowest.
    assert_eq!(config.flush.export_timeout, Duration::from_secs(10));
    let own = [
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://own:9/x"),
        ("LAMBDA_FLUSH_OTLP_HEADERS", "a=own"),
        ("LAMBDA_FLUSH_OTLP_TIMEOUT", "5"),
        ("LAMBDA_FLUSH_OTLP_COMPRESSION", "zstd"),
    ];
    let (config, faults) = configured(&[&standard[..], &own].concat());
    assert_eq!(faults, []);
    // The standard protocol may be the one in which the function's SDK talks to us.
    let expected = (of("http://own:9/x/v1/traces"), Protocol::HttpProtobuf, Compression::Zstd, of("own"), 5);
    assert_eq!(shown(&config, Signal::Traces), expected);
}

#[test]
fn http_json_is_a_fault_and_a_path_has_no_place_in_grpc() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://backend/path");
    let (config, faults) = configured(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")]);
    assert_eq!((faults.len(), traces(&config).protocol), (1, Protocol::HttpProtobuf));
    assert!(faults[0].message.contains("http/protobuf is used"), "{faults:?}");
    let (config, faults) = configured(&[endpoint, ("LAMBDA_FLUSH_OTLP_PROTOCOL", "grpc")]);
    assert_eq!((faults.len(), traces(&config).protocol), (1, Protocol::Grpc));
    assert!(faults[0].message.contains("path"), "{faults:?}");
}

#[test]
fn where_we_listen_is_no_backend_wherever_that_is() {
    let elsewhere = [
        ("LAMBDA_FLUSH_OTLP_HTTP_ADDR", "127.0.0.1:9418"),
        ("LAMBDA_FLUSH_OTLP_GRPC_ADDR", "off"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4317"),
    ];
    for ours in [
        "http://127.0.0.1:9418",
        "http://127.9.9.9:9418/v1/traces",
        "http://[::1]:9418",
        "http://LOCALHOST:9418",
    ] {
        let own = ("LAMBDA_FLUSH_OTLP_ENDPOINT", ours);
        let (config, faults) = configured(&[&elsewhere[..], &[own]].concat());
        assert!(!config.flush.export && faults[0].message.contains("own receiver"), "{ours}: {faults:?}");
    }
    let (config, faults) = configured(&elsewhere);
    assert_eq!(url(&config, Signal::Traces).as_deref(), Some("http://localhost:4317/"));
    assert!(config.export.of(Signal::Logs).is_none());
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].message.contains("metrics and logs should go"), "{faults:?}");
}

#[test]
fn every_listener_is_known_by_any_address() {
    for (listen, ours) in [
        ("127.0.0.1:9418", "http://[::ffff:127.0.0.1]:9418"),
        ("0.0.0.0:9418", "http://127.0.0.1:9418"),
        ("127.0.0.1:80", "http://localhost"),
        ("127.0.0.1:443", "https://localhost"),
        ("10.7.7.7:9418", "http://10.7.7.7:9418"),
        ("127.0.0.1:9418", "http://127.0.0.1:4319"),
        ("127.0.0.1:9418", "http://sandbox.localdomain:4319/v1/traces"),
    ] {
        let vars = [("LAMBDA_FLUSH_OTLP_HTTP_ADDR", listen), ("LAMBDA_FLUSH_OTLP_ENDPOINT", ours)];
        let (config, faults) = configured(&vars);
        assert!(!config.flush.export && faults[0].message.contains("own receiver"), "{ours}: {faults:?}");
    }
}

#[test]
fn a_port_that_is_none_is_a_fault() {
    for url in ["http://127.0.0.1:99999", "http://127.0.0.1:", "http://127.0.0.1:0", "https://[::1]:x"] {
        for variable in ["LAMBDA_FLUSH_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] {
            let (config, faults) = configured(&[(variable, url)]);
            assert!(!config.flush.export && faults[0].variable == variable, "{url}: {faults:?}");
        }
    }
}

#[test]
fn a_signals_own_url_may_have_a_query() {
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://backend/in?tenant=7");
    let (config, faults) = configured(&[traces, ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://backend")]);
    assert_eq!(faults, []);
    assert_eq!(url(&config, Signal::Traces).as_deref(), Some("https://backend/in?tenant=7"));
}

#[test]
fn what_is_meant_for_another_backend_is_not_sent_to_ours() {
    let shown = |more: &[(&'static str, &'static str)]| {
        let all = [
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://own.example"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "key=common"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "key=traces"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "77"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/client.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem"),
        ];
        let (config, faults) = configured(&[&all[..], more].concat());
        assert_eq!(faults, []);
        [Signal::Traces, Signal::Logs].map(|signal| {
            let Destination { headers, timeout, tls, .. } = config.export.of(signal).unwrap();
            let header = headers.iter().map(|(_, value)| value.to_str().unwrap()).collect::<String>();
            (header, timeout.as_millis(), tls.roots.is_some(), tls.client.is_some())
        })
    };
    let [all_traces, all] = ["traces", "common"].map(|header| (header.to_owned(), 77, true, true));
    let none = (String::new(), 10_000, false, false);
    const COMMON: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    for meant in [&[][..], &[(COMMON, "http://localhost:4318")], &[(COMMON, "https://OWN.example:443/x")]] {
        assert_eq!(shown(meant), [all_traces.clone(), all.clone()], "{meant:?}");
    }
    assert_eq!(shown(&[(COMMON, "https://vendor.example")]), [none.clone(), none.clone()]);
    // Whose the common ones are then is unknown.
    assert_eq!(shown(&[(TRACES, "https://vendor.example")]), [none.clone(), none.clone()]);
    let mixed = [(COMMON, "https://vendor.example"), (TRACES, "https://own.example/in")];
    let traces = ("traces".to_owned(), 10_000, false, false);
    assert_eq!(shown(&mixed), [traces, none]);
}

#[test]
fn a_proxy_whose_password_cuts_its_url_in_two_is_not_used() {
    for url in [
        "http://u:s3c/r3t@127.0.0.1:1",
        "http://u:12/r3t@127.0.0.1:1",
        "http://u:12#r3t@127.0.0.1:1",
        "http://u:12?r3t@127.0.0.1:1",
        "u:12/r3t@127.0.0.1:1",
        "http://proxy:99999",
        "http://proxy:",
        "http://proxy/path",
    ] {
        let vars = [("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://backend"), ("HTTP_PROXY", url)];
        let (config, faults) = configured(&vars);
        assert_eq!(named(&faults), ["HTTP_PROXY"], "{url}");
        assert!(!faults[0].message.contains("r3t"), "{faults:?}");
        assert!(config.export.proxies.of(&"http://backend".parse().unwrap()).is_none(), "{url}");
    }
    for url in ["http://proxy:3128/", "proxy", "HTTP://u:s%2Fr@[::1]:3128"] {
        let (_, faults) =
            configured(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://backend"), ("HTTP_PROXY", url)]);
        assert_eq!(faults, [], "{url}");
    }
}

#[test]
fn proxies_are_never_used_for_this_sandbox() {
    let (config, faults) = configured(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://backend"),
        ("http_proxy", "proxy:3128"),
        ("HTTPS_PROXY", "http://user:pa%20ss@secure:3129"),
        ("NO_PROXY", "internal.example, 10.0.0.0/8"),
    ]);
    assert_eq!(faults, []);
    let proxy = |text: &str| config.export.proxies.of(&text.parse().unwrap());
    assert_eq!(proxy("http://backend").unwrap().url.authority().unwrap(), "proxy:3128");
    let secure = proxy("https://backend").unwrap();
    assert_eq!(secure.url.authority().unwrap(), "secure:3129");
    assert_eq!(secure.authorization.unwrap(), "Basic dXNlcjpwYSBzcw==");
    for direct in [
        "http://localhost:1",
        "https://127.0.0.1",
        "http://[::1]:2",
        "https://a.internal.example",
        "http://10.1.2.3",
    ] {
        assert!(proxy(direct).is_none(), "{direct}");
    }
    assert!(!format!("{config:?}").contains("ss@") && !format!("{config:?}").contains("dXNl"));
}

#[test]
fn the_buffer_follows_the_functions_memory() {
    for (memory, bytes) in [("128", 8 << 20), ("10240", 16 << 20), ("nonsense", 16 << 20)] {
        let (config, _) = configured(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory)]);
        assert_eq!(config.flush.buffer_bytes_max, bytes, "{memory} MB");
    }
}

#[test]
fn secrets_are_never_shown() {
    let (config, faults) = configured(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://backend:1"),
        ("LAMBDA_FLUSH_OTLP_HEADERS", "authorization=Bearer%20tops3cret,tops3cret,tops3cretA=="),
    ]);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(!format!("{config:?}{faults:?}").contains("tops3cret"), "{config:?}{faults:?}");
}
