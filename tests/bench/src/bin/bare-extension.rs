//! The floor of a start: an external extension that registers, asks for events until SHUTDOWN, and does nothing else.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

fn main() -> io::Result<()> {
    let file = env::args_os().next().unwrap_or_default();
    let name = Path::new(&file).file_name().map(OsString::from).unwrap_or_default();
    let api = env::var("AWS_LAMBDA_RUNTIME_API").map_err(io::Error::other)?;
    let stream = TcpStream::connect(&api)?;
    stream.set_nodelay(true)?;
    let mut connection = BufReader::new(stream);
    let body = r#"{"events":["INVOKE","SHUTDOWN"]}"#;
    let register = format!(
        "POST /2020-01-01/extension/register HTTP/1.1\r\nHost: {api}\r\nLambda-Extension-Name: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        name.display(),
        body.len()
    );
    let (id, _) = exchange(&mut connection, &register)?;
    let next = format!(
        "GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: {api}\r\nLambda-Extension-Identifier: {id}\r\n\r\n"
    );
    while !exchange(&mut connection, &next)?.1.contains("SHUTDOWN") {}
    Ok(())
}

/// Sends a request; returns the extension's id, if the answer has one, and the body.
fn exchange(connection: &mut BufReader<TcpStream>, request: &str) -> io::Result<(String, String)> {
    connection.get_mut().write_all(request.as_bytes())?;
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line == "\r\n" {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "lambda-extension-identifier" => value.clone_into(&mut id),
            "content-length" => length = value.parse().map_err(io::Error::other)?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((id, String::from_utf8_lossy(&body).into_owned()))
}
