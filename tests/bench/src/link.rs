//! The function's end of the hand-off socket, with the library's own state machine.

use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use bytes::Bytes;
use lambda_flush_proto::wire::{InvocationStarted, invocation_done::Status};
use lambda_flush_proto::{Counters, FunctionLink, Signal};

use crate::Fault;
use crate::otlp;

/// For credit; the extension gives it as it exports.
const CREDIT_WAIT: Duration = Duration::from_secs(60);
/// The one scope of all spans.
const SCOPE: u32 = 1;
const ANSWER_BYTES: usize = 4 << 10;

/// An open link.
pub(crate) struct Link {
    stream: UnixStream,
    link: FunctionLink,
}

impl Link {
    /// Connects to the extension of this Runtime API, and names resource and scope.
    pub(crate) fn open(runtime_api: &str) -> Result<Self, Fault> {
        let connect = || {
            let address = SocketAddr::from_abstract_name(format!("lambda-flush/{runtime_api}"))?;
            let stream = UnixStream::connect_addr(&address)?;
            stream.set_read_timeout(Some(CREDIT_WAIT))?;
            Ok(stream)
        };
        let stream = connect().map_err(|fault: std::io::Error| format!("the hand-off socket: {fault}"))?;
        let mut link = Self { stream, link: FunctionLink::new(1) };
        let hello =
            link.link.connect(&Bytes::from(otlp::resource()), "").map_err(|fault| fault.to_string())?;
        link.write(&hello)?;
        let scope =
            link.link.scope(SCOPE, Bytes::from(otlp::scope()), "").map_err(|fault| fault.to_string())?;
        link.write(&scope)?;
        Ok(link)
    }

    /// The function begins to work.
    pub(crate) fn started(&mut self, request_id: &str, deadline_unix_ms: u64) -> Result<(), Fault> {
        let started = InvocationStarted {
            request_id: request_id.to_owned(),
            attempt: request_id.to_owned(),
            deadline_unix_ms,
            ..InvocationStarted::default()
        };
        let frame = self.link.invocation_started(started).map_err(|fault| fault.to_string())?;
        self.write(&frame)
    }

    /// One span in a frame and a write of its own, as the library does it.
    pub(crate) fn span(&mut self, span: &[u8]) -> Result<(), Fault> {
        let frame = self.link.item(Signal::Traces, SCOPE, span).map_err(|fault| fault.to_string())?;
        while !self.link.may_write(&frame) {
            let mut answer = [0; ANSWER_BYTES];
            let read = match self.stream.read(&mut answer) {
                Ok(0) => return Err("the extension closed the link".to_owned()),
                Ok(read) => read,
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => {
                    return Err("no credit for long".to_owned());
                }
                Err(fault) => return Err(fault.to_string()),
            };
            self.link.receive(answer.get(..read).unwrap_or_default()).map_err(|fault| fault.to_string())?;
        }
        self.write(&frame.bytes)?;
        self.link.wrote(&frame);
        Ok(())
    }

    /// The function has answered.
    pub(crate) fn done(&mut self, request_id: &str) -> Result<(), Fault> {
        let frame = self.link.invocation_done(request_id, request_id, Status::Ok, Counters::default());
        self.write(&frame.map_err(|fault| fault.to_string())?)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.stream.write_all(bytes).map_err(|fault| format!("the hand-off socket: {fault}"))
    }
}
