//! One invocation over HTTP/1.0, where the end of the connection is the end of the answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The only function that the emulator has.
const PATH: &str = "/2015-03-31/functions/function/invocations";

/// What the emulator answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// Posts an event and reads the answer, all within `limit`.
pub(super) async fn invoke(address: SocketAddr, payload: &[u8], limit: Duration) -> io::Result<Answer> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the emulator did not answer in time");
    let answer = tokio::time::timeout(limit, exchange(address, payload)).await.map_err(late)??;
    parse(&answer).ok_or_else(|| io::Error::other("the emulator's answer is not HTTP"))
}

async fn exchange(address: SocketAddr, payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("POST {PATH} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", payload.len());
    // In one piece: an emulator without a free runtime answers before it has read the body, and a body that comes
    // after that has the connection reset, answer and all.
    stream.write_all(&[head.as_bytes(), payload].concat()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<Answer> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let end = answer.windows(HEAD_END.len()).position(|window| window == HEAD_END)?;
    let (head, body) = answer.split_at_checked(end)?;
    let status = std::str::from_utf8(head).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: Bytes::copy_from_slice(body.get(HEAD_END.len()..)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_read() {
        let answer =
            parse(b"HTTP/1.0 502 Bad Gateway\r\nContent-Type: text/plain\r\n\r\n{\r\n\r\n}").unwrap();
        assert_eq!((answer.status, answer.body.as_ref()), (502, b"{\r\n\r\n}".as_slice()));
        assert!(parse(b"HTTP/1.0 200 OK\r\n").is_none());
        assert!(parse(b"\r\n\r\n").is_none());
    }
}
