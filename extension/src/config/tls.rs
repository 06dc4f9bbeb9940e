//! Certificates and keys: which PEM files the variables name. They are read at the first connection.

use std::path::PathBuf;

use super::vars::Vars;

/// A PEM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    /// Names it.
    pub variable: String,
    /// Where it should be.
    pub path: PathBuf,
}

/// The files for one destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Instead of the built-in authorities.
    pub roots: Option<PemFile>,
    /// The client's certificate chain and its key.
    pub client: Option<(PemFile, PemFile)>,
}

/// `names` says which variables name an option's file.
pub(super) fn read(vars: &mut Vars<'_>, names: impl Fn(&str) -> Vec<String>) -> TlsFiles {
    const CERTIFICATE: &str = "LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE";
    const KEY: &str = "LAMBDA_FLUSH_OTLP_CLIENT_KEY";
    let file = |vars: &Vars<'_>, option| {
        let (variable, path) = vars.first_of(&names(option))?;
        Some(PemFile { variable, path: path.into() })
    };
    let client = match (file(vars, "CLIENT_CERTIFICATE"), file(vars, "CLIENT_KEY")) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (Some(_), None) => {
            vars.fault(CERTIFICATE, format!("needs {KEY} beside it; no client certificate is used"));
            None
        }
        (None, Some(_)) => {
            vars.fault(KEY, format!("needs {CERTIFICATE} beside it; no client certificate is used"));
            None
        }
        (None, None) => None,
    };
    TlsFiles { roots: file(vars, "CERTIFICATE"), client }
}
