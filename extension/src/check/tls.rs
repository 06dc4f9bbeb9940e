//! The TLS step: a handshake with the exporter's own settings, and what the backend's certificate says of itself.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::Certificate;
use super::report::{Finding, Status};
use crate::export::{Failure, Tls, provider};
use crate::limits::CHECK_AFTERTHOUGHT_WAIT;

/// A certificate with fewer days left is told of.
const DAYS_LEFT_MIN: i64 = 14;

/// What the step needs to know.
pub(super) struct Handshake<'a> {
    /// The exporter's.
    pub(super) tls: &'a Tls,
    /// As in the endpoint, without brackets.
    pub(super) host: &'a str,
    pub(super) limit: Duration,
    /// Since the Unix epoch.
    pub(super) now_seconds: u64,
}

impl Handshake<'_> {
    /// `again` is a second connection, to look at a certificate that did not pass.
    pub(super) async fn step(&self, stream: TcpStream, again: Option<TcpStream>) -> Finding {
        let shake = async {
            let mut stream = self.tls.connect(self.host, stream).await?;
            afterthought(&mut stream).await.map_err(|error| Failure::of(&error))?;
            Ok(stream)
        };
        let failure = match tokio::time::timeout(self.limit, shake).await {
            Ok(Ok(stream)) => return self.passed(&stream),
            Ok(Err(Failure::Later(message) | Failure::Never(message))) => message,
            Err(_) => {
                return Finding::fail(
                    format!("no handshake within {} ms", self.limit.as_millis()),
                    "does this port speak TLS? An http:// endpoint would be one without",
                );
            }
        };
        let seen = match again {
            Some(again) => tokio::time::timeout(self.limit, seen(again, self.host)).await.ok().flatten(),
            None => None,
        };
        let detail = seen.map_or_else(|| "the handshake failed".to_owned(), |seen| seen.to_string());
        Finding::fail(detail, failure)
    }

    fn passed(&self, stream: &TlsStream<TcpStream>) -> Finding {
        let (_, session) = stream.get_ref();
        let version = match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        };
        let chain = session.peer_certificates().unwrap_or_default();
        let Some(certificate) = chain.first().and_then(|der| Certificate::read(der)) else {
            return Finding::ok(version);
        };
        let left = certificate.days_left(self.now_seconds);
        let change =
            (left < DAYS_LEFT_MIN).then(|| format!("it expires in {left} days: renew it at the backend"));
        Finding { status: Status::Ok, detail: format!("{version}, {certificate}"), change }
    }
}

/// Waits a moment for a refusal that comes after the handshake.
async fn afterthought(stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let mut byte = [0_u8; 1];
    match tokio::time::timeout(CHECK_AFTERTHOUGHT_WAIT, stream.read(&mut byte)).await {
        Ok(Err(error)) => Err(error),
        // HTTP/2 speaks first; and silence is what HTTP/1.1 has to say.
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// The certificate that the backend shows, whatever it is worth: the handshake is broken off at that point.
async fn seen(stream: TcpStream, host: &str) -> Option<Certificate> {
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let witness = Arc::new(Witness::default());
    let verifier: Arc<dyn ServerCertVerifier> = Arc::<Witness>::clone(&witness);
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_safe_default_protocol_versions().ok()?;
    let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    // Always fails: that is the point.
    drop(TlsConnector::from(Arc::new(config)).connect(name, stream).await);
    let der = witness.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
    Certificate::read(&der)
}

/// Keeps the certificate and accepts none.
#[derive(Debug, Default)]
struct Witness(Mutex<Option<Vec<u8>>>);

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.to_vec());
        Err(Error::General("looked at only".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("looked at only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("looked at only".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
