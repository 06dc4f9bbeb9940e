//! Certificates and keys: PEM files named by variables.

use std::fmt;
use std::fs::File;
use std::io::Read;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::vars::Vars;
use crate::limits::PEM_BYTES_MAX;

/// What the files hold.
#[derive(Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Instead of the built-in authorities.
    pub roots: Option<Vec<CertificateDer<'static>>>,
    /// The client's certificate chain and its key.
    pub client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// No key is shown.
impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFiles")
            .field("roots", &self.roots.as_ref().map(Vec::len))
            .field("client", &self.client.is_some())
            .finish()
    }
}

/// `names` says which variables name an option's file.
pub(super) fn read(vars: &mut Vars<'_>, names: impl Fn(&str) -> [String; 3]) -> TlsFiles {
    let roots = file(vars, &names("CERTIFICATE"), "the built-in authorities are used", certificates);
    let without = "no client certificate is used";
    let [own, ..] = &names("CLIENT_CERTIFICATE");
    let chain = file(vars, &names("CLIENT_CERTIFICATE"), without, certificates);
    let key = file(vars, &names("CLIENT_KEY"), without, |pem| {
        PrivateKeyDer::from_pem_slice(pem).map_err(|_| "holds no unencrypted PEM private key")
    });
    let client = match (chain, key) {
        (Found::Read(chain), Found::Read(key)) => Some((chain, key)),
        (Found::Read(_), Found::Unset) => {
            vars.fault(own, format!("needs LAMBDA_FLUSH_OTLP_CLIENT_KEY beside it; {without}"));
            None
        }
        (Found::Unset, Found::Read(_)) => {
            vars.fault("LAMBDA_FLUSH_OTLP_CLIENT_KEY", format!("needs {own} beside it; {without}"));
            None
        }
        _ => None,
    };
    let roots = if let Found::Read(roots) = roots { Some(roots) } else { None };
    TlsFiles { roots, client }
}

enum Found<T> {
    Unset,
    Faulty,
    Read(T),
}

fn file<T>(
    vars: &mut Vars<'_>,
    names: &[String; 3],
    instead: &str,
    parse: impl Fn(&[u8]) -> Result<T, &'static str>,
) -> Found<T> {
    let [own, of_signal, standard] = names;
    let Some((name, path)) = vars.first(&[own, of_signal, standard]) else { return Found::Unset };
    let problem = match content(&path) {
        Ok(pem) => match parse(&pem) {
            Ok(parsed) => return Found::Read(parsed),
            Err(problem) => format!("names a file that {problem}; {instead}"),
        },
        Err(error) => format!("names a file that can't be read ({error}); {instead}"),
    };
    vars.fault(name, problem);
    Found::Faulty
}

fn content(path: &str) -> std::io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(PEM_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or("holds no PEM certificate")
}
