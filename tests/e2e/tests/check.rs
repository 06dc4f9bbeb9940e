//! `lambda-flush-extension --check` against backends that are well, and in every other way: what it says, and how it ends.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of this target is a test; JSON is read by index"
)]

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lambda_flush_e2e::rig;
use lambda_testkit::sandbox::free_address;
use lambda_testkit::{Backend, HttpProxy, Script, TlsSetup};
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use serde_json::Value;

const SECRET: &str = "s3cr3t-k3y";
const OK: i32 = 0;
const FAILED: i32 = 1;
const USAGE: i32 = 64;
const CONFIG: i32 = 78;

/// How the doctor ended and what it printed, with these variables and no other.
fn doctor(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut doctor = Command::new(rig::extension().expect("the extension"));
    doctor.args(arguments).env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    let output = doctor.output().expect("it runs");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).expect("text");
    assert!(!printed.contains(SECRET), "{printed}");
    (output.status.code(), printed)
}

fn checked(code: i32, variables: &[(&str, &str)]) -> Value {
    let (ended, printed) = doctor(&["--check", "--json"], variables);
    assert_eq!(ended, Some(code), "{printed}");
    let report: Value = serde_json::from_str(&printed).expect("one object");
    assert_eq!(
        (&report["lambda_flush"], &report["ok"]),
        (&"check".into(), &(code == OK).into()),
        "{printed}"
    );
    // People are told the same, and the process ends in the same way.
    let (ended, told) = doctor(&["--check"], variables);
    assert_eq!(ended, Some(code), "{told}");
    assert_eq!(told.contains("FAIL"), code != OK, "{told}");
    report
}

/// `step status`, `export traces status`: all of the first destination, in order.
fn steps(report: &Value) -> Vec<String> {
    let steps = report["destinations"][0]["steps"].as_array().expect("steps");
    let shown = |step: &Value| {
        let part = |key: &str| step[key].as_str().map(str::to_owned);
        [part("step"), part("signal"), part("status")].into_iter().flatten().collect::<Vec<_>>().join(" ")
    };
    steps.iter().map(shown).collect()
}

/// `detail | change` of the first step that failed.
fn failure(report: &Value) -> String {
    let steps = report["destinations"][0]["steps"].as_array().expect("steps");
    let failed = steps.iter().find(|step| step["status"] == "fail").expect("a step that failed");
    format!("{} | {}", failed["detail"].as_str().unwrap_or(""), failed["change"].as_str().unwrap_or(""))
}

const ALL_EXPORTED: [&str; 3] = ["export traces ok", "export metrics ok", "export logs ok"];
const NONE_TRIED: [&str; 3] = ["export traces skipped", "export metrics skipped", "export logs skipped"];

#[test]
fn a_healthy_backend_gets_one_item_of_each_signal() {
    let backend = Backend::start().expect("a backend");
    backend.keep_bodies(true);
    let headers = format!("api-key={SECRET}");
    let report = checked(
        OK,
        &[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint()), ("LAMBDA_FLUSH_OTLP_HEADERS", &headers)],
    );
    assert_eq!(steps(&report), [&["resolve ok", "connect ok"][..], &ALL_EXPORTED].concat());
    let destination = &report["destinations"][0];
    assert_eq!(destination["endpoint"], backend.endpoint());
    assert_eq!(destination["signals"], serde_json::json!(["traces", "metrics", "logs"]));
    assert_eq!(destination["headers"], serde_json::json!(["api-key"]));
    assert_eq!(
        (&destination["protocol"], &destination["compression"]),
        (&"http/protobuf".into(), &"gzip".into())
    );
    assert_eq!(report["settings"]["dead_letter"], "stdout");
    assert_eq!(report["settings"]["buffer_bytes_max"], 16 << 20);
    let requests = backend.requests();
    // Twice: as JSON and for people.
    assert_eq!((requests.len(), requests.iter().map(|request| request.items).sum::<usize>()), (6, 6));
    let traces = requests.iter().find_map(|request| request.traces()).expect("traces");
    let service = &traces.resource_spans[0].resource.as_ref().expect("a resource").attributes[0];
    let name = service.value.clone().and_then(|value| value.value);
    assert_eq!(name, Some(AnyValue::StringValue("lambda-flush-check".to_owned())));
}

#[test]
fn unknown_credentials_are_told_from_missing_permission() {
    let backend = Backend::start().expect("a backend");
    let (endpoint, headers) = (backend.endpoint(), format!("api-key={SECRET}"));
    let variables =
        [("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint.as_str()), ("LAMBDA_FLUSH_OTLP_HEADERS", headers.as_str())];
    for (code, words) in [(401, "LAMBDA_FLUSH_OTLP_HEADERS"), (403, "may not write traces")] {
        backend.set(Script::status(code));
        let failure = failure(&checked(FAILED, &variables));
        assert!(failure.contains(&code.to_string()) && failure.contains(words), "{failure}");
        assert!(failure.contains("api-key"), "{failure}");
    }
}

#[test]
fn a_wrong_path_and_a_partial_success_are_failures() {
    let backend = Backend::start().expect("a backend");
    let variables = [("LAMBDA_FLUSH_OTLP_ENDPOINT", &*backend.endpoint())];
    backend.set(Script::status(404));
    let wrong_path = failure(&checked(FAILED, &variables));
    assert!(wrong_path.contains("/v1/traces is appended"), "{wrong_path}");
    backend.set(Script::PartialSuccess { rejected: 1, message: "no room for spans".to_owned() });
    let refused = failure(&checked(FAILED, &variables));
    assert!(refused.contains("no room for spans"), "{refused}");
}

#[test]
fn a_backend_that_hangs_costs_one_timeout() {
    let backend = Backend::start().expect("a backend");
    backend.set(Script::Hang);
    // Built before time counts.
    rig::extension().expect("the extension");
    let begun = Instant::now();
    let report = checked(
        FAILED,
        &[("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint()), ("LAMBDA_FLUSH_OTLP_TIMEOUT", "1500")],
    );
    // Two runs of one timeout each, not of three; half a second of noise for each.
    assert!(begun.elapsed() < Duration::from_millis(2 * 2_000 + 1_000), "{:?}", begun.elapsed());
    let failure = failure(&report);
    assert!(failure.contains("LAMBDA_FLUSH_OTLP_TIMEOUT (1500 ms)"), "{failure}");
}

#[test]
fn nothing_listening_and_no_such_name_end_at_their_step() {
    let closed = free_address().expect("a port");
    let report = checked(FAILED, &[("LAMBDA_FLUSH_OTLP_ENDPOINT", &format!("http://{closed}"))]);
    assert_eq!(steps(&report), [&["resolve ok", "connect fail"][..], &NONE_TRIED].concat());
    assert!(failure(&report).contains("nothing listens there"), "{report}");
    // A name server that is not there either.
    let server = closed.to_string();
    let report = checked(
        FAILED,
        &[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://nowhere.invalid:4318"),
            ("LAMBDA_FLUSH_NAME_SERVER", &server),
        ],
    );
    assert_eq!(steps(&report), [&["resolve fail", "connect skipped"][..], &NONE_TRIED].concat());
    assert!(failure(&report).contains("nowhere.invalid"), "{report}");
}

#[test]
fn tls_says_whose_certificate_it_is_and_what_is_wrong_with_it() {
    let backend = Backend::start_https().expect("a backend");
    let authority = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(authority.path(), backend.ca_pem().expect("an authority")).expect("a file");
    let authority = authority.path().to_str().expect("a path");
    let endpoint = backend.endpoint();
    let trusted =
        [("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint.as_str()), ("LAMBDA_FLUSH_OTLP_CERTIFICATE", authority)];
    let report = checked(OK, &trusted);
    assert_eq!(steps(&report), [&["resolve ok", "connect ok", "tls ok"][..], &ALL_EXPORTED].concat());
    let tls = report["destinations"][0]["steps"][2]["detail"].as_str().expect("a detail");
    assert!(tls.contains("issued by lambda-testkit, valid to "), "{tls}");
    let report = checked(FAILED, &trusted[..1]);
    assert_eq!(steps(&report), [&["resolve ok", "connect ok", "tls fail"][..], &NONE_TRIED].concat());
    let unknown = failure(&report);
    assert!(unknown.contains("LAMBDA_FLUSH_OTLP_CERTIFICATE"), "{unknown}");
    assert!(unknown.contains("issued by lambda-testkit"), "{unknown}");
    let other = endpoint.replace("localhost", "other.localhost");
    let variables = [("LAMBDA_FLUSH_OTLP_ENDPOINT", other.as_str()), trusted[1]];
    let wrong_name = failure(&checked(FAILED, &variables));
    assert!(wrong_name.contains("is not for other.localhost"), "{wrong_name}");
}

/// Files with what a client of this backend needs: authority, certificate, key.
fn pem_files(backend: &Backend) -> (tempfile::TempDir, [String; 3]) {
    let dir = tempfile::tempdir().expect("a directory");
    let (certificate, key) = backend.client_pem().expect("a client certificate");
    let parts = [("ca", backend.ca_pem().expect("an authority")), ("certificate", certificate), ("key", key)];
    let paths = parts.map(|(name, pem)| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).expect("a file");
        path.to_string_lossy().into_owned()
    });
    (dir, paths)
}

#[test]
fn an_expired_certificate_shows_its_day() {
    let backend = Backend::start_tls(&TlsSetup::default().expired()).expect("a backend");
    let (_dir, [authority, ..]) = pem_files(&backend);
    let endpoint = backend.endpoint();
    let variables = [
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint.as_str()),
        ("LAMBDA_FLUSH_OTLP_CERTIFICATE", authority.as_str()),
    ];
    let expired = failure(&checked(FAILED, &variables));
    assert!(expired.contains("valid to 20") && expired.contains("renewed"), "{expired}");
}

#[test]
fn a_missing_client_certificate_is_found_in_the_step_tls() {
    let backend = Backend::start_tls(&TlsSetup::default().client_certificates()).expect("a backend");
    let (_dir, [authority, certificate, key]) = pem_files(&backend);
    let endpoint = backend.endpoint();
    let variables = [
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint.as_str()),
        ("LAMBDA_FLUSH_OTLP_CERTIFICATE", authority.as_str()),
        ("LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE", certificate.as_str()),
        ("LAMBDA_FLUSH_OTLP_CLIENT_KEY", key.as_str()),
    ];
    checked(OK, &variables);
    let report = checked(FAILED, &variables[..2]);
    assert_eq!(steps(&report), [&["resolve ok", "connect ok", "tls fail"][..], &NONE_TRIED].concat());
    assert!(failure(&report).contains("LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE"), "{report}");
}

#[test]
fn grpc_is_tried_as_grpc() {
    let backend = Backend::start_grpc(None).expect("a backend");
    let endpoint = backend.endpoint();
    let variables =
        [("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint.as_str()), ("LAMBDA_FLUSH_OTLP_PROTOCOL", "grpc")];
    let report = checked(OK, &variables);
    assert_eq!(report["destinations"][0]["protocol"], "grpc");
    assert_eq!(steps(&report), [&["resolve ok", "connect ok"][..], &ALL_EXPORTED].concat());
    // The same backend, asked in the wrong protocol.
    checked(FAILED, &variables[..1]);
}

#[test]
fn a_proxy_is_gone_through() {
    let backend = Backend::start_tls(&TlsSetup::default().named("backend.example")).expect("a backend");
    let (_dir, [authority, ..]) = pem_files(&backend);
    let proxy = HttpProxy::start(backend.address(), "200 OK").expect("a proxy");
    let url = proxy.url();
    let variables = [
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://backend.example"),
        ("LAMBDA_FLUSH_OTLP_CERTIFICATE", authority.as_str()),
        ("HTTPS_PROXY", url.as_str()),
    ];
    let report = checked(OK, &variables);
    let connect = report["destinations"][0]["steps"][1]["detail"].as_str().expect("a detail");
    assert!(connect.ends_with("(a proxy)"), "{connect}");
    assert!(
        proxy.heads().iter().any(|head| head.starts_with("CONNECT backend.example:443")),
        "{:?}",
        proxy.heads()
    );
}

#[test]
fn a_port_that_takes_connections_and_says_nothing_is_given_up() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = silent.local_addr().expect("its address");
    rig::extension().expect("the extension");
    let begun = Instant::now();
    let endpoint = format!("https://{address}");
    let (code, printed) = doctor(&["--check"], &[("LAMBDA_FLUSH_OTLP_ENDPOINT", &endpoint)]);
    assert_eq!(code, Some(FAILED), "{printed}");
    assert!(printed.contains("no handshake within 5000 ms"), "{printed}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn every_fault_of_the_configuration_has_its_line() {
    let report =
        checked(CONFIG, &[("LAMBDA_FLUSH_STRATEGY", "sometimes"), ("LAMBDA_FLUSH_OTLP_TIMEOUT", "soon")]);
    let faults = report["configuration"]["faults"].as_array().expect("faults");
    let named: Vec<_> = faults.iter().filter_map(|fault| fault["variable"].as_str()).collect();
    for variable in ["LAMBDA_FLUSH_OTLP_ENDPOINT", "LAMBDA_FLUSH_STRATEGY", "LAMBDA_FLUSH_OTLP_TIMEOUT"] {
        assert!(named.contains(&variable), "{variable} is not in {named:?}");
    }
    assert_eq!(report["destinations"], serde_json::json!([]));
}

/// The extension reads certificates at its first connection, and exports nothing where a signal has no endpoint.
#[test]
fn files_that_are_none_and_signals_that_go_nowhere_are_faults_too() {
    let report = checked(
        CONFIG,
        &[
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://localhost:9"),
            ("LAMBDA_FLUSH_OTLP_CERTIFICATE", "/nonexistent/ca.pem"),
            ("LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE", "/dev/null"),
            ("LAMBDA_FLUSH_OTLP_CLIENT_KEY", "/etc/hostname"),
        ],
    );
    let faults = report["configuration"]["faults"].as_array().expect("faults");
    let told: Vec<_> = faults
        .iter()
        .map(|fault| {
            format!("{} {}", fault["variable"].as_str().unwrap(), fault["message"].as_str().unwrap())
        })
        .collect();
    for (fault, words) in told.iter().zip([
        "LAMBDA_FLUSH_OTLP_ENDPOINT is not set, and nothing else says where traces and metrics should go",
        "LAMBDA_FLUSH_OTLP_CERTIFICATE names a file that can't be read",
        "LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE names a file that can't be read (it is no regular file)",
        "LAMBDA_FLUSH_OTLP_CLIENT_KEY names a file that holds no unencrypted PEM private key",
    ]) {
        assert!(fault.starts_with(words), "{fault}");
    }
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn wrong_usage_is_told_apart() {
    for arguments in [&["--check", "--yaml"][..], &["--check", "now"], &["--json"], &["--check", "--json=1"]]
    {
        let (code, printed) = doctor(arguments, &[]);
        assert_eq!(code, Some(USAGE), "{arguments:?}: {printed}");
        assert!(printed.contains("see --help"), "{printed}");
    }
    let (code, help) = doctor(&["--help"], &[]);
    assert_eq!(code, Some(0));
    assert!(help.contains("--check") && help.contains("78"), "{help}");
}
