//! A blocking HTTP/1.1 client over one kept connection: as much as the Lambda APIs need, and no more.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// Longest line of a response's head.
const LINE_BYTES_MAX: u64 = 16 * 1024;
/// Largest body: Lambda's payloads end at 6 MiB.
const BODY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A connection to `AWS_LAMBDA_RUNTIME_API`, opened when needed.
pub(crate) struct Client {
    address: String,
    connection: Option<BufReader<TcpStream>>,
}

/// An answer, read whole.
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    }
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), connection: None }
    }

    /// Sends one request and waits, without a limit, for the answer. An error closes the connection.
    pub(crate) fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let message = [head.as_bytes(), body].concat();
        connection.get_mut().write_all(&message)?;
        let response = read_response(&mut connection)?;
        if !response.header("connection").eq_ignore_ascii_case("close") {
            self.connection = Some(connection);
        }
        Ok(response)
    }
}

fn read_response(connection: &mut BufReader<TcpStream>) -> io::Result<Response> {
    let status = read_line(connection)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    let mut response = Response { status, headers: Vec::new(), body: Vec::new() };
    loop {
        let line = read_line(connection)?;
        let Some((name, value)) = line.split_once(':') else { break };
        response.headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    if response.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        while let size @ 1.. = u64::from_str_radix(&read_line(connection)?, 16).map_err(|_| malformed())? {
            read_exactly(connection, size, &mut response.body)?;
            read_line(connection)?;
        }
        read_line(connection)?;
    } else if let Ok(size) = response.header("content-length").parse() {
        read_exactly(connection, size, &mut response.body)?;
    }
    Ok(response)
}

fn read_exactly(connection: &mut BufReader<TcpStream>, size: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = connection.take(size.min(BODY_BYTES_MAX)).read_to_end(body)?;
    if u64::try_from(read) == Ok(size) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn read_line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if connection.take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
