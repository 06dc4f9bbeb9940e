//! A process that stands for the extension: takes frames from the socket and from the ring, grants what they took, and
//! does nothing with them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "no product")]

use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use lambda_flush_proto::frame::BELL;
use lambda_flush_proto::ring;
use lambda_flush_proto::ring::memory::SharedMemory;
use lambda_flush_proto::{ExtensionLink, Received};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The argument that makes this program a reader.
pub(crate) const ARGUMENT: &str = "--reader";

const CREDIT_BYTES: u64 = 4 << 20;
const READ_BYTES: usize = 256 << 10;
/// Smaller grants wait until they are worth a frame: as in the extension. One for each read would fill the function's
/// receive buffer, which it does not look at before it needs credit, and then nothing would be read any more.
const GRANT_BYTES_MIN: u64 = 16 << 10;
/// How long what is in a ring may stay there unread: as in the extension.
const LOOK_UP: Duration = Duration::from_secs(1);

/// A reader; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    child: Child,
    pub(crate) address: String,
}

impl Reader {
    pub(crate) fn start() -> Self {
        let address = format!("@lambda-flush-bench/{}", std::process::id());
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.args([ARGUMENT, &address]).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        Self { child, address }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The reader's `main`.
pub(crate) fn run(address: &str) {
    let listener = listen(address);
    println!("ready");
    serve(&listener);
}

pub(crate) fn listen(address: &str) -> UnixListener {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(&address[1..]).unwrap()).unwrap()
}

/// Takes all links, for ever.
pub(crate) fn serve(listener: &UnixListener) {
    for stream in listener.incoming() {
        std::thread::spawn(move || Served::new(stream.unwrap()).serve());
    }
}

struct Served {
    stream: UnixStream,
    link: ExtensionLink,
    ring: Option<ring::Reader<SharedMemory>>,
}

impl Served {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(LOOK_UP)).unwrap();
        Self { stream, link: ExtensionLink::default(), ring: None }
    }

    fn serve(mut self) {
        let mut buffer = vec![0; READ_BYTES];
        let mut messages = Vec::new();
        let mut owed = 0;
        while let Some(descriptor) = self.receive(&mut buffer) {
            self.link.poll_all(&mut messages).unwrap();
            for message in &messages {
                if let Received::Hello(hello) = message {
                    self.welcome(hello.ring_bytes, descriptor.as_ref());
                }
            }
            self.drain(&mut messages);
            owed += messages.drain(..).map(|message| credit_bytes(&message)).sum::<u64>();
            if owed >= GRANT_BYTES_MIN
                && self.stream.write_all(&self.link.grant(std::mem::take(&mut owed))).is_err()
            {
                return;
            }
        }
    }

    /// What came by the socket until [`LOOK_UP`], with the descriptor that came along; `None` at the end.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<Option<OwnedFd>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(buffer)];
        let len = match recvmsg(&self.stream, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) if received.bytes == 0 => return None,
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
            Err(_) => return None,
        };
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        self.link.receive(&buffer[..len]);
        Some(descriptor)
    }

    fn welcome(&mut self, ring_bytes: u64, descriptor: Option<&OwnedFd>) {
        let memory = descriptor.map(|descriptor| SharedMemory::open(descriptor, ring_bytes).unwrap());
        self.ring = memory.map(|memory| ring::Reader::new(memory, ring_bytes).unwrap());
        let welcome = match self.ring {
            Some(_) => self.link.welcome_to_ring(CREDIT_BYTES, ring_bytes),
            None => self.link.welcome(CREDIT_BYTES),
        };
        self.stream.write_all(&welcome).unwrap();
    }

    fn drain(&mut self, messages: &mut Vec<Received>) {
        let Some(ring) = &mut self.ring else { return };
        let mut frames = BytesMut::new();
        while ring.read(&mut frames, READ_BYTES).unwrap() > 0 {
            self.link.poll_ring(&mut frames, messages).unwrap();
        }
        if ring.writer_waits() {
            self.stream.write_all(&BELL).unwrap();
        }
    }
}

fn credit_bytes(message: &Received) -> u64 {
    match message {
        Received::Item(item) => item.credit_bytes,
        Received::Items(items) => items.credit_bytes(),
        _ => 0,
    }
}
