//! The start of the whole process, against a platform of a few lines: what is served when, and to whom.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambda_flush_extension::limits::{INVOCATION_STARTED_WAIT, REGISTER_WAIT};
use lambda_flush_proto::FunctionLink;

/// For what has to come.
const PATIENCE: Duration = Duration::from_secs(30);
const REGISTERED: &str = r#"{"functionName":"f","functionVersion":"1","handler":"h"}"#;

/// A Runtime API that answers when it is told to, and the extension that calls it.
struct Rig {
    listener: TcpListener,
    api: String,
    extension: Child,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.extension.kill().ok();
        self.extension.wait().ok();
    }
}

/// A request whose answer is owed.
struct Asked {
    connection: BufReader<TcpStream>,
    line: String,
}

impl Rig {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = listener.local_addr().unwrap().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lambda-flush-extension"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("AWS_LAMBDA_RUNTIME_API", &api).env("LAMBDA_FLUSH_TELEMETRY_ADDR", "off");
        command.env("LAMBDA_FLUSH_OTLP_HTTP_ADDR", "off").env("LAMBDA_FLUSH_OTLP_GRPC_ADDR", "off");
        Self { listener, api, extension: command.spawn().expect("the extension") }
    }

    /// The next request on a connection of its own.
    fn asked(&self) -> Asked {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Asked::read(BufReader::new(stream))
    }

    /// A function that has said who it is; nobody has to listen yet.
    fn link(&self) -> UnixStream {
        let address = SocketAddr::from_abstract_name(format!("lambda-flush/{}", self.api)).unwrap();
        let mut stream = UnixStream::connect_addr(&address).expect("bound before register");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&FunctionLink::new(7).connect(&Bytes::new(), "").unwrap()).unwrap();
        stream
    }
}

impl Asked {
    fn read(mut connection: BufReader<TcpStream>) -> Self {
        let (mut line, mut length) = (String::new(), 0);
        connection.read_line(&mut line).unwrap();
        loop {
            let mut header = String::new();
            connection.read_line(&mut header).unwrap();
            let header = header.trim().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        connection.read_exact(&mut vec![0; length]).unwrap();
        Self { connection, line }
    }

    fn answer(mut self, body: &str) -> BufReader<TcpStream> {
        let head = "HTTP/1.1 200 OK\r\nLambda-Extension-Identifier: id\r\nContent-Type: application/json";
        let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.connection.get_mut().write_all(answer.as_bytes()).unwrap();
        self.connection
    }
}

/// A link that connected before `register` was answered may still announce the first invocation, however soon that
/// comes: `/next` waits for it.
#[test]
fn the_first_invocation_is_not_judged_without_the_link_that_is_there() {
    for round in 0..8 {
        let rig = Rig::start();
        let register = rig.asked();
        assert!(register.line.contains("/register"), "{}", register.line);
        let _link = rig.link();
        let _connection = register.answer(REGISTERED);
        let next = rig.asked();
        assert!(next.line.contains("/event/next"), "{}", next.line);
        let deadline = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() + 60_000;
        let invoke = format!(
            r#"{{"eventType":"INVOKE","deadlineMs":{deadline},"requestId":"r","invokedFunctionArn":"a","tracing":{{"type":"t","value":"v"}}}}"#
        );
        let began = Instant::now();
        let connection = next.answer(&invoke);
        let second = Asked::read(connection);
        assert!(second.line.contains("/event/next"), "{}", second.line);
        assert!(began.elapsed() >= INVOCATION_STARTED_WAIT / 2, "round {round}: {:?}", began.elapsed());
    }
}

/// Whoever connected gets its answer, and faults are told, though the platform never answers `register`.
#[test]
fn a_platform_that_does_not_let_us_in_keeps_nobody_waiting() {
    let mut rig = Rig::start();
    let _register = rig.asked();
    let mut link = rig.link();
    assert!(link.read(&mut [0; 64]).expect("a welcome in time") > 0);
    assert!(REGISTER_WAIT < PATIENCE / 10, "or the wait above proves nothing");
    let mut line = String::new();
    BufReader::new(rig.extension.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("LAMBDA_FLUSH_OTLP_ENDPOINT"), "{line}");
}
