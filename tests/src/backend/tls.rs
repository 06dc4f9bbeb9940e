//! A certificate authority for one backend, the backend's certificate, and its clients'.

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// Whom a certificate is for unless the test says otherwise.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

/// How an https backend is to be trusted, or not.
#[derive(Debug, Clone, Default)]
pub struct TlsSetup {
    name: Option<String>,
    expired: bool,
    client_certificates: bool,
}

impl TlsSetup {
    /// A certificate for this name only, instead of `localhost` and `127.0.0.1`.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// A certificate of 2019.
    #[must_use]
    pub fn expired(mut self) -> Self {
        self.expired = true;
        self
    }

    /// Clients have to show a certificate: [`super::Backend::client_pem`].
    #[must_use]
    pub fn client_certificates(mut self) -> Self {
        self.client_certificates = true;
        self
    }
}

/// See the module's description.
pub(crate) struct Identity {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) pem: Pem,
}

/// What clients need.
#[derive(Debug)]
pub(crate) struct Pem {
    /// Whom to trust.
    pub(crate) authority: String,
    /// A certificate and its key, signed by the same authority.
    pub(crate) client: (String, String),
}

impl Identity {
    /// A new authority with new keys; `protocol` is offered by ALPN.
    pub(crate) fn new(setup: &TlsSetup, protocol: &[u8]) -> io::Result<Self> {
        let (pem, chain, key) = certificates(setup).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = if setup.client_certificates {
            let mut roots = RootCertStore::empty();
            let authority = CertificateDer::from_pem_slice(pem.authority.as_bytes());
            roots.add(authority.map_err(io::Error::other)?).map_err(io::Error::other)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(io::Error::other)?)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(vec![chain], key).map_err(io::Error::other)?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self { acceptor: Arc::new(config).into(), pem })
    }
}

type Certificates = (Pem, CertificateDer<'static>, PrivateKeyDer<'static>);

fn certificates(setup: &TlsSetup) -> Result<Certificates, rcgen::Error> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "lambda-testkit");
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);
    let names = match &setup.name {
        Some(name) => vec![name.clone()],
        None => NAMES.map(str::to_owned).to_vec(),
    };
    let mut params = CertificateParams::new(names)?;
    if setup.expired {
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2019, 12, 31));
    }
    let key = KeyPair::generate()?;
    let server = params.signed_by(&key, &issuer)?;
    let mut client = CertificateParams::new(Vec::new())?;
    client.distinguished_name.push(DnType::CommonName, "a client");
    client.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    let client_key = KeyPair::generate()?;
    let client = (client.signed_by(&client_key, &issuer)?.pem(), client_key.serialize_pem());
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((Pem { authority: authority_pem, client }, server.der().clone(), key.into()))
}
