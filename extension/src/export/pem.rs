//! What the PEM files hold that the configuration names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Fault, PemFile, TlsFiles};
use crate::limits::PEM_BYTES_MAX;

type Chain = Vec<CertificateDer<'static>>;

/// Certificates and keys.
pub(super) struct Pem {
    pub(super) roots: Option<Chain>,
    pub(super) client: Option<(Chain, PrivateKeyDer<'static>)>,
}

impl Pem {
    /// Blocks on the files; returns every fault in them at once.
    pub(super) fn read(files: &TlsFiles) -> Result<Self, Vec<Fault>> {
        let roots = files.roots.as_ref().map(|file| read(file, certificates)).transpose();
        let chain = files.client.as_ref().map(|(chain, _)| read(chain, certificates)).transpose();
        let key = files.client.as_ref().map(|(_, key)| read(key, private_key)).transpose();
        match (roots, chain, key) {
            (Ok(roots), Ok(chain), Ok(key)) => Ok(Self { roots, client: chain.zip(key) }),
            (roots, chain, key) => Err([roots.err(), chain.err(), key.err()].into_iter().flatten().collect()),
        }
    }
}

/// For `--check`. Blocks on the files.
pub(crate) fn faults(files: &TlsFiles) -> Vec<Fault> {
    Pem::read(files).err().unwrap_or_default()
}

fn read<T>(file: &PemFile, parse: impl Fn(&[u8]) -> Result<T, &'static str>) -> Result<T, Fault> {
    let problem = match content(&file.path) {
        Ok(pem) => match parse(&pem) {
            Ok(parsed) => return Ok(parsed),
            Err(problem) => format!("names a file that {problem}; nothing is sent over TLS without it"),
        },
        Err(error) => {
            format!("names a file that can't be read ({error}); nothing is sent over TLS without it")
        }
    };
    Err(Fault { variable: file.variable.clone(), message: problem })
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= PEM_BYTES_MAX) {
        Ok(bytes)
    } else {
        Err(io::Error::other(format!("it is larger than {PEM_BYTES_MAX} bytes")))
    }
}

fn certificates(pem: &[u8]) -> Result<Chain, &'static str> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or("holds no PEM certificate")
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| "holds no unencrypted PEM private key")
}
