//! TLS: works, or one message that says what is wrong and what to change.

use lambda_flush_extension::core::Outcome;
use lambda_testkit::{Backend, TlsSetup};

use crate::{exporter, file, refusal, send, spans};

/// With the backend's own authority.
async fn outcome(backend: &Backend, endpoint: &str, more: &[(&str, &str)]) -> Outcome {
    let (_kept, ca) = file(backend.ca_pem().unwrap());
    let all = [&[("LAMBDA_FLUSH_OTLP_ENDPOINT", endpoint), ("LAMBDA_FLUSH_OTLP_CERTIFICATE", &ca)], more];
    send(&exporter(&all.concat()), &spans(2)).await
}

#[tokio::test]
async fn an_authority_of_ones_own_works_by_name_and_by_address() {
    let backend = Backend::start_https().unwrap();
    let by_address = format!("https://{}", backend.address());
    for endpoint in [backend.endpoint(), by_address] {
        assert_eq!(outcome(&backend, &endpoint, &[]).await, Outcome::Exported);
    }
    assert_eq!(backend.deliveries().answered_ok.len(), 2);
}

#[tokio::test]
async fn each_fault_of_a_certificate_says_what_to_change() {
    let unknown = Backend::start_https().unwrap();
    let exporter = exporter(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &unknown.endpoint())]);
    let unknown_authority = send(&exporter, &spans(1)).await;
    assert!(refusal(&unknown_authority).contains("LAMBDA_FLUSH_OTLP_CERTIFICATE"), "{unknown_authority:?}");
    let expired = Backend::start_tls(&TlsSetup::default().expired()).unwrap();
    let told = outcome(&expired, &expired.endpoint(), &[]).await;
    assert!(refusal(&told).contains("expired on Tue, 31 Dec 2019"), "{told:?}");
    let elsewhere = Backend::start_tls(&TlsSetup::default().named("elsewhere.example")).unwrap();
    let told = outcome(&elsewhere, &elsewhere.endpoint(), &[]).await;
    let message = refusal(&told);
    assert!(message.contains("not for localhost") && message.contains("elsewhere.example"), "{message}");
    for backend in [unknown, expired, elsewhere] {
        assert!(backend.requests().is_empty());
    }
}

fn with<'a>(certificate: &'a str, key: &'a str) -> [(&'static str, &'a str); 2] {
    [("LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE", certificate), ("LAMBDA_FLUSH_OTLP_CLIENT_KEY", key)]
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_missed() {
    let backend = Backend::start_tls(&TlsSetup::default().client_certificates()).unwrap();
    let told = outcome(&backend, &backend.endpoint(), &[]).await;
    assert!(refusal(&told).contains("LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE"), "{told:?}");
    let (certificate, key) = backend.client_pem().unwrap();
    let ((_a, certificate), (_b, key)) = (file(certificate), file(key));
    assert_eq!(outcome(&backend, &backend.endpoint(), &with(&certificate, &key)).await, Outcome::Exported);
    let stranger = Backend::start_https().unwrap();
    let (strange, strange_key) = stranger.client_pem().unwrap();
    let ((_c, strange), (_d, strange_key)) = (file(strange), file(strange_key));
    let told = outcome(&backend, &backend.endpoint(), &with(&strange, &strange_key)).await;
    assert!(refusal(&told).contains("does not accept the client certificate"), "{told:?}");
    let told = outcome(&backend, &backend.endpoint(), &with(&certificate, &strange_key)).await;
    assert!(refusal(&told).contains("don't go together"), "{told:?}");
    assert_eq!(backend.requests().len(), 1);
}

#[tokio::test]
async fn https_and_http_taken_for_each_other_are_told() {
    let secure = Backend::start_https().unwrap();
    let plain = Backend::start().unwrap();
    let told = outcome(&secure, &format!("https://{}", plain.address()), &[]).await;
    assert!(refusal(&told).contains("does not speak TLS"), "{told:?}");
    let told = outcome(&secure, &format!("http://{}", secure.address()), &[]).await;
    assert!(refusal(&told).contains("https://"), "{told:?}");
}

#[tokio::test]
async fn files_are_read_at_the_first_connection_and_again_until_they_are_right() {
    let backend = Backend::start_https().unwrap();
    let (kept, path) = file("");
    std::fs::remove_file(kept.path()).unwrap();
    let endpoint = backend.endpoint();
    let exporter =
        exporter(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", &endpoint), ("LAMBDA_FLUSH_OTLP_CERTIFICATE", &path)]);
    for (content, problem) in [(None, "can't be read"), (Some("nothing"), "holds no PEM certificate")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let told = send(&exporter, &spans(1)).await;
        let message = refusal(&told);
        assert!(message.starts_with("LAMBDA_FLUSH_OTLP_CERTIFICATE names a file that"), "{message}");
        assert!(message.contains(problem), "{message}");
    }
    std::fs::write(&path, backend.ca_pem().unwrap()).unwrap();
    assert_eq!(send(&exporter, &spans(1)).await, Outcome::Exported);
}
