//! Headers out of a file that somebody rotates (`LAMBDA_FLUSH_OTLP_HEADERS_FROM`).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio::sync::Mutex;

use super::failure::Failure;
use crate::config::Headers;
use crate::limits::HEADERS_FILE_BYTES_MAX;

/// Not read before it is asked for.
#[derive(Debug)]
pub(crate) struct HeadersFile {
    path: PathBuf,
    known: Mutex<Option<Headers>>,
}

impl HeadersFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::default() }
    }

    /// What the file held when it was last read.
    pub(crate) async fn headers(&self) -> Result<Headers, Failure> {
        let mut known = self.known.lock().await;
        match &*known {
            Some(headers) => Ok(headers.clone()),
            None => Ok(known.insert(self.read().await?).clone()),
        }
    }

    /// What the file holds by now, if that is something else than `used`, which the backend refused.
    pub(super) async fn changed(&self, used: &Headers) -> Option<Headers> {
        let mut known = self.known.lock().await;
        if known.as_ref() == Some(used) {
            *known = Some(self.read().await.ok()?);
        }
        known.clone().filter(|now| now != used)
    }

    /// On a thread of its own: a network file system may hang.
    async fn read(&self) -> Result<Headers, Failure> {
        const NAME: &str = "LAMBDA_FLUSH_OTLP_HEADERS_FROM";
        let path = self.path.clone();
        let text = tokio::task::spawn_blocking(move || content(&path)).await;
        let text = text.map_err(io::Error::other).and_then(|text| text).map_err(|error| {
            Failure::Never(format!("{NAME} names a file that can't be read as text: {error}"))
        })?;
        match Headers::parse_lines(&text) {
            (headers, faults) if faults.is_empty() => Ok(headers),
            (_, faults) => Err(Failure::Never(format!("{NAME}: {}", faults.join("; ")))),
        }
    }
}

fn content(path: &Path) -> io::Result<String> {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(HEADERS_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|len| len <= HEADERS_FILE_BYTES_MAX) {
        Ok(text)
    } else {
        // A part of a credential is none.
        Err(io::Error::other(format!("it is larger than {HEADERS_FILE_BYTES_MAX} bytes")))
    }
}
