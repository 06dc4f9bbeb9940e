//! TLS towards one kind of destination; set up at its first connection.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::Failure;
use super::pem::Pem;
use super::provider::provider;
use crate::config::{Fault, Protocol, TlsFiles};

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Arc<TlsFiles>,
    protocol: Protocol,
    ready: OnceLock<Arc<ClientConfig>>,
    /// Files are read on a thread of its own, one at a time: a network file system may hang for longer than an export.
    reading: Mutex<Option<Reading>>,
}

type Reading = JoinHandle<Result<Arc<ClientConfig>, String>>;

impl Tls {
    /// Nothing is set up yet.
    pub(crate) fn new(files: Arc<TlsFiles>, protocol: Protocol) -> Self {
        Self { files, protocol, ready: OnceLock::new(), reading: Mutex::default() }
    }

    /// The handshake; the caller sets the deadline. `host` is the name that the certificate has to be for.
    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> Result<TlsStream<S>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config().await.map_err(Failure::Never)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare)
            .map_err(|_| Failure::Never(format!("{host} can't be the name of a TLS server")))?;
        let stream =
            TlsConnector::from(config).connect(name, stream).await.map_err(|error| self.failure(&error))?;
        let (_, session) = stream.get_ref();
        if self.protocol == Protocol::Grpc && session.alpn_protocol() != Some(b"h2") {
            return Err(Failure::Never(
                "the backend does not offer HTTP/2, which LAMBDA_FLUSH_OTLP_PROTOCOL=grpc needs".to_owned(),
            ));
        }
        Ok(stream)
    }

    fn failure(&self, error: &io::Error) -> Failure {
        let closed = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
        if !closed.contains(&error.kind()) {
            return Failure::of(error);
        }
        let hint = match self.protocol {
            Protocol::HttpProtobuf => "",
            Protocol::Grpc => ": does it speak HTTP/2, as LAMBDA_FLUSH_OTLP_PROTOCOL=grpc needs?",
        };
        Failure::Later(format!("the backend closed the connection during the TLS handshake{hint}"))
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let mut reading = self.reading.lock().await;
        if let Some(ready) = self.ready.get() {
            return Ok(Arc::clone(ready));
        }
        // Whoever gives up leaves it to the next one, who may find it done.
        let task = reading.get_or_insert_with(|| {
            let (files, protocol) = (Arc::clone(&self.files), self.protocol);
            tokio::task::spawn_blocking(move || config(&files, protocol))
        });
        let result = task.await;
        *reading = None;
        let config = result.map_err(|error| format!("TLS can't be set up: {error}"))??;
        Ok(Arc::clone(self.ready.get_or_init(|| config)))
    }
}

/// Blocks on the files.
fn config(files: &TlsFiles, protocol: Protocol) -> Result<Arc<ClientConfig>, String> {
    let pem = Pem::read(files).map_err(|faults| {
        let told = faults.into_iter().map(|Fault { variable, message }| format!("{variable} {message}"));
        told.collect::<Vec<_>>().join("; ")
    })?;
    let mut roots = RootCertStore::empty();
    match pem.roots {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(own) => {
            let (added, _) = roots.add_parsable_certificates(own);
            if added == 0 {
                return Err(
                    "LAMBDA_FLUSH_OTLP_CERTIFICATE names a file without a usable authority".to_owned()
                );
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match pem.client {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
            format!("LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY don't go together: {error}")
        })?,
    };
    config.alpn_protocols = vec![match protocol {
        Protocol::HttpProtobuf => b"http/1.1".to_vec(),
        Protocol::Grpc => b"h2".to_vec(),
    }];
    Ok(Arc::new(config))
}
