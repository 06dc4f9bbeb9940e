//! As much of HTTP/1.1 as the bench needs at either end of a connection, and no more.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// A request or a response, read whole.
pub(crate) struct Message {
    /// The request or status line.
    pub(crate) first: String,
    /// `Content-Encoding`, or nothing.
    pub(crate) encoding: String,
    /// Without any transfer encoding.
    pub(crate) body: Vec<u8>,
    /// When the head was read.
    pub(crate) at: Instant,
}

/// Reads one message; `None` at the end of the connection.
pub(crate) fn read(connection: &mut BufReader<TcpStream>) -> io::Result<Option<Message>> {
    let mut message =
        Message { first: String::new(), encoding: String::new(), body: Vec::new(), at: Instant::now() };
    if connection.read_line(&mut message.first)? == 0 {
        return Ok(None);
    }
    let (mut length, mut chunked) = (0_u64, false);
    loop {
        let mut line = String::new();
        connection.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(io::Error::other)?,
            "transfer-encoding" => chunked = true,
            "content-encoding" => value.trim().clone_into(&mut message.encoding),
            _ => {}
        }
    }
    message.at = Instant::now();
    if chunked {
        while let size @ 1.. = chunk_size(connection)? {
            read_exactly(connection, size, &mut message.body)?;
            connection.read_line(&mut String::new())?;
        }
        connection.read_line(&mut String::new())?;
    } else {
        read_exactly(connection, length, &mut message.body)?;
    }
    Ok(Some(message))
}

/// Writes a response with these header lines (each ending in CR LF).
pub(crate) fn answer(
    connection: &mut BufReader<TcpStream>,
    status: u16,
    headers: &str,
    body: &[u8],
) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} -\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    connection.get_mut().write_all(&[head.as_bytes(), body].concat())
}

fn chunk_size(connection: &mut BufReader<TcpStream>) -> io::Result<u64> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)
}

fn read_exactly(connection: &mut BufReader<TcpStream>, size: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = connection.take(size).read_to_end(body)?;
    if u64::try_from(read) == Ok(size) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
