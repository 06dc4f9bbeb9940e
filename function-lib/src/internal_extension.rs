//! An internal extension that does nothing: without any extension Lambda ends a function with SIGKILL at once, with
//! one it sends SIGTERM first (AWS, "Lambda execution environment lifecycle", shutdown phase).
//!
//! It registers for no events before the runtime asks for its first invocation, and sends its one `/event/next`,
//! which the end of the init phase waits for. That is never answered; its socket stays open and nobody waits on it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const NAME: &str = "lambda-flush-internal";
const VERSION: &str = "2020-01-01";
/// For all of it. Lambda answers in about a millisecond.
const REGISTER_MAX: Duration = Duration::from_millis(500);
/// Of the answer's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// The outstanding `/event/next`: one for each process, and open as long as that lives.
static NEXT: OnceLock<TcpStream> = OnceLock::new();

/// Why there is no internal extension.
#[derive(Debug)]
pub(crate) enum RegisterError {
    /// The Runtime API's address is none.
    Address,
    Io(io::Error),
    /// What the Extensions API says instead of 200.
    Answer(String),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("AWS_LAMBDA_RUNTIME_API is no IP address with a port"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Answer(status) => write!(f, "the Extensions API answers {status:?}"),
        }
    }
}

impl From<io::Error> for RegisterError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Whether Lambda has started any external extension: each file there is one.
pub(crate) fn any_external(extensions: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(extensions) else { return false };
    // `metadata` of the path, not of the entry: a link to a file counts.
    entries.flatten().any(|entry| std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()))
}

/// Registers, once for each process.
pub(crate) fn register(runtime_api: &str) -> Result<(), RegisterError> {
    if NEXT.get().is_some() {
        return Ok(());
    }
    let until = Instant::now() + REGISTER_MAX;
    let api: SocketAddr = runtime_api.parse().map_err(|_| RegisterError::Address)?;
    let body = r#"{"events":[]}"#;
    let mut stream = connect(api, until)?;
    let request = format!(
        "POST /{VERSION}/extension/register HTTP/1.1\r\nHost: {api}\r\nLambda-Extension-Name: {NAME}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let id = identifier(&head(&mut stream, until)?)?;
    let mut next = connect(api, until)?;
    let request = format!(
        "GET /{VERSION}/extension/event/next HTTP/1.1\r\nHost: {api}\r\nLambda-Extension-Identifier: {id}\r\n\r\n"
    );
    next.write_all(request.as_bytes())?;
    // Whoever was faster has registered the same name; then this one was refused above.
    drop(NEXT.set(next));
    Ok(())
}

fn connect(api: SocketAddr, until: Instant) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&api, left(until)?)?;
    stream.set_write_timeout(Some(left(until)?))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn head(stream: &mut TcpStream, until: Instant) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        stream.set_read_timeout(Some(left(until)?))?;
        let len = stream.read(&mut buffer)?;
        if len == 0 || bytes.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.extend_from_slice(buffer.get(..len).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the extension is called from now on.
fn identifier(head: &str) -> Result<String, RegisterError> {
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    let id = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("lambda-extension-identifier"))
        .map(|(_, value)| value.trim().to_owned());
    match (status.split(' ').nth(1), id) {
        (Some("200"), Some(id)) if !id.is_empty() => Ok(id),
        _ => Err(RegisterError::Answer(status.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_200_with_an_identifier_registers() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nlambda-extension-IDENTIFIER: abc-1 \r\n\r\n{}";
        assert_eq!(identifier(head).unwrap(), "abc-1");
        for bad in [
            "",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 403 Forbidden\r\nLambda-Extension-Identifier: a\r\n\r\n",
        ] {
            assert!(matches!(identifier(bad), Err(RegisterError::Answer(_))), "{bad:?}");
        }
    }

    #[test]
    fn every_file_is_an_extension_and_folders_are_none() {
        let dir = std::env::temp_dir().join(format!("lambda-flush-extensions-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("folder")).unwrap();
        assert!(!any_external(&dir) && !any_external(Path::new("/nonexistent")));
        std::fs::write(dir.join("insights"), "").unwrap();
        assert!(any_external(&dir));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn an_api_that_does_not_answer_costs_no_more_than_the_limit() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let began = Instant::now();
        let error = register(&silent.local_addr().unwrap().to_string());
        assert!(matches!(error, Err(RegisterError::Io(_))), "{error:?}");
        assert!(began.elapsed() < REGISTER_MAX * 10);
        assert!(matches!(register("runtime:9001"), Err(RegisterError::Address)));
    }
}
