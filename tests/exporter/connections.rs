//! When a connection is used again, and what proxies get to see.

use bytes::Bytes;
use lambda_flush_extension::core::Outcome;
use lambda_testkit::{Backend, HttpProxy, Script, TlsSetup};

use crate::{exporter, file, refusal, send, spans};

/// Not a name of this sandbox, so that the proxy is used; it counts connections.
const ENDPOINT: &str = "http://backend.example";

async fn all_exported(exporter: &lambda_flush_extension::export::Exporter, bodies: &[Bytes]) {
    for body in bodies {
        assert_eq!(send(exporter, body).await, Outcome::Exported);
    }
}

#[tokio::test]
async fn a_connection_is_used_again_until_it_is_idle_for_too_long_or_forgotten() {
    for (idle_ms, connections) in [("3600000", 2), ("0", 6)] {
        let backend = Backend::start().unwrap();
        let proxy = HttpProxy::start(backend.address(), "200 OK").unwrap();
        let mut exporter = exporter(&[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", ENDPOINT),
            ("LAMBDA_FLUSH_OTLP_IDLE_MS", idle_ms),
            ("HTTP_PROXY", &proxy.url()),
        ]);
        all_exported(&exporter, &[spans(1), spans(2), spans(3)]).await;
        exporter.reset();
        all_exported(&exporter, &[spans(1), spans(2), spans(3)]).await;
        assert_eq!(proxy.heads().len(), connections, "idle for {idle_ms} ms at the most");
    }
}

/// As in a freeze, the exporter's tasks see nothing of what the backend does meanwhile.
#[expect(clippy::disallowed_methods, reason = "the whole thread has to stand still")]
fn frozen() {
    std::thread::sleep(std::time::Duration::from_millis(20));
}

#[tokio::test]
async fn a_connection_that_the_backend_closed_meanwhile_is_nobodys_failure() {
    let backend = Backend::start().unwrap();
    let exporter = exporter(&[
        ("LAMBDA_FLUSH_OTLP_ENDPOINT", &backend.endpoint()),
        ("LAMBDA_FLUSH_OTLP_IDLE_MS", "3600000"),
    ]);
    for _ in 0..20 {
        all_exported(&exporter, &[spans(1)]).await;
        backend.close_idle();
        frozen();
    }
    let requests = backend.requests();
    assert!(requests.len() == 20 && requests.iter().all(lambda_testkit::backend::OtlpRequest::is_ok));
}

#[tokio::test]
async fn a_proxy_gets_whole_requests_and_its_credentials() {
    let backend = Backend::start().unwrap();
    let proxy = HttpProxy::start(backend.address(), "200 OK").unwrap();
    let url = proxy.url().replace("http://", "http://user:pass@");
    let exporter = exporter(&[("LAMBDA_FLUSH_OTLP_ENDPOINT", ENDPOINT), ("ALL_PROXY", &url)]);
    all_exported(&exporter, &[spans(1)]).await;
    let head = &proxy.heads()[0];
    assert!(head.starts_with("POST http://backend.example/v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnz\r\n"), "{head}");
    assert!(head.to_lowercase().contains("\r\nhost: backend.example\r\n"), "{head}");
}

#[tokio::test]
async fn a_tunnel_carries_tls_and_the_backend_never_sees_the_proxys_credentials() {
    let setup = TlsSetup::default().named("backend.example");
    for (protocol, backend) in
        [("http/protobuf", Backend::start_tls(&setup)), ("grpc", Backend::start_grpc(Some(&setup)))]
    {
        let backend = backend.unwrap();
        let proxy = HttpProxy::start(backend.address(), "200 Connection established").unwrap();
        let (_kept, ca) = file(backend.ca_pem().unwrap());
        let exporter = exporter(&[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://backend.example"),
            ("LAMBDA_FLUSH_OTLP_PROTOCOL", protocol),
            ("LAMBDA_FLUSH_OTLP_CERTIFICATE", &ca),
            ("HTTPS_PROXY", &proxy.url().replace("http://", "http://user:pass@")),
        ]);
        all_exported(&exporter, &[spans(1), spans(2)]).await;
        let heads = proxy.heads();
        assert_eq!(heads.len(), 1);
        assert!(heads[0].starts_with("CONNECT backend.example:443 HTTP/1.1\r\n"), "{}", heads[0]);
        assert!(heads[0].contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{}", heads[0]);
        assert!(backend.requests().iter().all(|one| one.headers.get("proxy-authorization").is_none()));
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_from_one_that_fails() {
    let backend = Backend::start().unwrap();
    backend.set(Script::Healthy);
    let outcome = async |answer| {
        let proxy = HttpProxy::start(backend.address(), answer).unwrap();
        let exporter = exporter(&[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://backend.example"),
            ("HTTPS_PROXY", &proxy.url().replace("http://", "http://user:s3cret@")),
        ]);
        send(&exporter, &spans(1)).await
    };
    let refused = outcome("407 Proxy Authentication Required").await;
    assert!(refusal(&refused).contains("other credentials") && !refusal(&refused).contains("s3cret"));
    assert!(refusal(&outcome("403 Forbidden").await).contains("does not connect to backend.example:443"));
    assert!(matches!(outcome("503 Busy").await, Outcome::Retry { maybe_sent: false, .. }));
    assert!(backend.requests().is_empty());
}
