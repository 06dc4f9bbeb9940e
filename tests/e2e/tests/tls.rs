//! Backends with TLS behind the whole extension: it works, or one line says what to change and everything is printed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use lambda_flush_e2e::rig::Fault;
use lambda_flush_e2e::{Ended, Rig};
use lambda_testkit::{Backend, Script, ShutdownReason, TlsSetup};

const SPANS: usize = 20;

/// Two invocations and the end. `vars` are the extension's; PEM texts become files.
async fn lived(backend: Backend, vars: &[(&str, &str)]) -> Result<Ended, Fault> {
    let dir = tempfile::tempdir()?;
    let mut all = Vec::new();
    for (name, text) in vars {
        let pem = text.starts_with("-----BEGIN");
        let path = dir.path().join(name);
        if pem {
            std::fs::write(&path, text)?;
        }
        all.push((*name, if pem { path.to_string_lossy().into_owned() } else { (*text).to_owned() }));
    }
    let rig = Rig::start_with(backend, |builder| {
        // Without billed time everything waits for SHUTDOWN; with too little of it a handshake would be cut.
        let builder = builder.env("LAMBDA_FLUSH_MAX_BILLED_MS", "2000");
        all.iter().fold(builder, |builder, (name, value)| builder.env(*name, value))
    })
    .await?;
    for _ in 0..2 {
        rig.sandbox.invoke(format!(r#"{{"spans":{SPANS}}}"#)).await;
    }
    rig.end(ShutdownReason::Spindown, false).await
}

/// Lines of the extension that are warnings or errors.
fn complaints(ended: &Ended) -> Vec<String> {
    let lines = ended.report.extension_stdout();
    let bad = |line: &&str| line.contains(r#""level":"warn""#) || line.contains(r#""level":"error""#);
    lines.filter(bad).map(str::to_owned).collect()
}

/// Everything arrived, once, and nobody complained.
fn delivered(ended: &Ended) {
    assert_eq!(complaints(ended), [] as [String; 0]);
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!(ended.witnessed_at_backend(), 2 * SPANS, "{:?}", ended.summary());
    assert_eq!(ended.witnessed_dead(), 0);
}

/// Nothing arrived, everything was printed, and one line says why.
fn refused(ended: &Ended, why: &str) {
    let complaints = complaints(ended);
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    assert!(complaints[0].contains(why), "{complaints:#?}");
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert!(ended.backend.requests().is_empty());
    assert_eq!(ended.witnessed_dead(), 2 * SPANS, "{:?}", ended.summary());
}

#[tokio::test]
async fn an_authority_of_ones_own_is_enough_over_http_and_grpc() -> Result<(), Fault> {
    for (protocol, backend) in [
        ("http/protobuf", Backend::start_https()?),
        ("grpc", Backend::start_grpc(Some(&TlsSetup::default()))?),
    ] {
        let ca = backend.ca_pem().unwrap().to_owned();
        let vars = [("LAMBDA_FLUSH_OTLP_CERTIFICATE", ca.as_str()), ("LAMBDA_FLUSH_OTLP_PROTOCOL", protocol)];
        delivered(&lived(backend, &vars).await?);
    }
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_is_shown() -> Result<(), Fault> {
    let backend = Backend::start_tls(&TlsSetup::default().client_certificates())?;
    let ca = backend.ca_pem().unwrap().to_owned();
    let (certificate, key) = backend.client_pem().unwrap();
    let (certificate, key) = (certificate.to_owned(), key.to_owned());
    // The standard variables' names will do.
    let vars = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key),
    ];
    delivered(&lived(backend, &vars).await?);
    Ok(())
}

#[tokio::test]
async fn a_missing_client_certificate_is_told_once() -> Result<(), Fault> {
    let backend = Backend::start_tls(&TlsSetup::default().client_certificates())?;
    let ca = backend.ca_pem().unwrap().to_owned();
    refused(
        &lived(backend, &[("LAMBDA_FLUSH_OTLP_CERTIFICATE", &ca)]).await?,
        "LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE",
    );
    Ok(())
}

#[tokio::test]
async fn an_expired_certificate_is_told_once() -> Result<(), Fault> {
    let backend = Backend::start_tls(&TlsSetup::default().expired())?;
    let ca = backend.ca_pem().unwrap().to_owned();
    let ended = lived(backend, &[("LAMBDA_FLUSH_OTLP_CERTIFICATE", &ca)]).await?;
    refused(&ended, "expired on Tue, 31 Dec 2019");
    Ok(())
}

#[tokio::test]
async fn a_wrong_name_and_an_unknown_authority_are_told_once() -> Result<(), Fault> {
    let backend = Backend::start_tls(&TlsSetup::default().named("elsewhere.example"))?;
    let ca = backend.ca_pem().unwrap().to_owned();
    let ended = lived(backend, &[("LAMBDA_FLUSH_OTLP_CERTIFICATE", &ca)]).await?;
    refused(&ended, "not for localhost");
    refused(&lived(Backend::start_https()?, &[]).await?, "LAMBDA_FLUSH_OTLP_CERTIFICATE");
    Ok(())
}

#[tokio::test]
async fn a_grpc_backend_that_is_busy_is_asked_again() -> Result<(), Fault> {
    let backend = Backend::start_grpc(None)?;
    backend.queue(&Script::Grpc { code: 14, message: "busy".into(), details: Vec::new() }, 1);
    let ended = lived(backend, &[("LAMBDA_FLUSH_OTLP_PROTOCOL", "grpc")]).await?;
    assert!(ended.verdict.is_ok(), "{:?}", ended.verdict);
    assert_eq!((ended.witnessed_at_backend(), ended.witnessed_dead()), (2 * SPANS, 0));
    Ok(())
}
