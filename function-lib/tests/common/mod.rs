//! An extension in a thread: listens, greets, grants, accepts and remembers, as told.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its part")]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lambda_flush::{Builder, Telemetry};
use lambda_flush_proto::extension_link::Content;
use lambda_flush_proto::wire::InvocationDone;
use lambda_flush_proto::{ExtensionLink, Received, Signal, Versions};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// Nothing here takes this long unless it never happens.
pub const PATIENCE: Duration = Duration::from_secs(20);

const TICK: Duration = Duration::from_millis(2);

/// How a [`FakeExtension`] behaves.
#[derive(Debug, Clone, Copy)]
pub struct Manners {
    /// What `Welcome` grants.
    pub credit_bytes: u64,
    /// Whether what an item took is granted again at once.
    pub regrants: bool,
    /// Whether a `Barrier` is answered.
    pub accepts: bool,
    pub versions: Versions,
    /// Whether `Hello` is answered before [`Command::Welcome`].
    pub welcomes: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            credit_bytes: 4 << 20,
            regrants: true,
            accepts: true,
            versions: Versions::CURRENT,
            welcomes: true,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Command {
    Grant(u64),
    Welcome,
    Stop,
}

#[derive(Debug, Default)]
struct Log {
    received: Mutex<Vec<Received>>,
    news: Condvar,
    stalled: AtomicBool,
}

/// See the module's description. Ends, and closes its connection, when dropped.
#[derive(Debug)]
pub struct FakeExtension {
    pub address: String,
    log: Arc<Log>,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

/// An address nobody else has.
pub fn address() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("@lambda-flush-test/{}/{number}", std::process::id())
}

/// A builder that knows only `address`, installs nothing globally, and leaves metrics off, which would be counted.
pub fn builder(address: &str) -> Builder {
    builder_with(address, &[("OTEL_METRICS_EXPORTER", "none")])
}

/// As [`builder`], with these variables and with metrics, unless one of them says otherwise. A run of tests may be for
/// one of the carriers.
pub fn builder_with(address: &str, variables: &[(&str, &str)]) -> Builder {
    let known = [("LAMBDA_FLUSH_SOCKET", address), ("AWS_LAMBDA_FUNCTION_NAME", "orders")];
    let all = known.iter().chain(variables);
    let mut source: HashMap<_, _> =
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    if let Ok(carrier) = std::env::var("LAMBDA_FLUSH_TEST_CARRIER") {
        source.entry("LAMBDA_FLUSH_CARRIER".to_owned()).or_insert(carrier);
    }
    Telemetry::builder().source(source).install_global(false)
}

impl FakeExtension {
    pub fn start(manners: Manners) -> Self {
        Self::start_at(address(), manners)
    }

    pub fn start_at(address: String, manners: Manners) -> Self {
        let name = SocketAddr::from_abstract_name(&address[1..]).unwrap();
        let listener = UnixListener::bind_addr(&name).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (commands, inbox) = channel();
        let log = Arc::new(Log::default());
        let server = Server { manners, inbox, log: log.clone(), connections: Vec::new() };
        let thread = std::thread::spawn(move || server.run(&listener));
        Self { address, log, commands, thread: Some(thread) }
    }

    pub fn command(&self, command: Command) {
        self.commands.send(command).unwrap();
    }

    /// Stops reading, or goes on.
    pub fn stall(&self, stalled: bool) {
        self.log.stalled.store(stalled, Ordering::Release);
    }

    /// Waits until `found` finds something in all that was received.
    pub fn wait_for<T>(&self, what: &str, found: impl Fn(&[Received]) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut received = self.log.received.lock().unwrap();
        loop {
            if let Some(found) = found(&received) {
                return found;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} did not come; {} messages did", received.len());
            received = self.log.news.wait_timeout(received, left).unwrap().0;
        }
    }

    pub fn received(&self) -> Vec<Received> {
        self.log.received.lock().unwrap().clone()
    }

    /// The spans received so far, with their sequence number and scope.
    pub fn spans(&self) -> Vec<(u64, u32, Span)> {
        spans(&self.received())
    }

    pub fn wait_for_spans(&self, count: usize) -> Vec<(u64, u32, Span)> {
        self.wait_for(&format!("{count} spans"), |received| {
            // Log records and metrics come the same way.
            Some(spans(received)).filter(|spans| spans.len() >= count)
        })
    }

    pub fn wait_for_done(&self) -> InvocationDone {
        self.wait_for("InvocationDone", |received| {
            received.iter().find_map(|message| match message {
                Received::InvocationDone(done) => Some(done.clone()),
                _ => None,
            })
        })
    }
}

impl Drop for FakeExtension {
    fn drop(&mut self) {
        self.commands.send(Command::Stop).ok();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the fake extension panicked");
        }
    }
}

fn spans(received: &[Received]) -> Vec<(u64, u32, Span)> {
    let decode = |message: &Received| match message {
        Received::Item(item) if item.signal == Signal::Traces => {
            let Content::Item { scope_id } = item.content else { return None };
            Some((item.seq, scope_id, Span::decode(item.bytes.clone()).unwrap()))
        }
        _ => None,
    };
    received.iter().filter_map(decode).collect()
}

struct Server {
    manners: Manners,
    inbox: Receiver<Command>,
    log: Arc<Log>,
    connections: Vec<(UnixStream, ExtensionLink, bool)>,
}

impl Server {
    fn run(mut self, listener: &UnixListener) {
        loop {
            match self.inbox.recv_timeout(TICK) {
                Ok(Command::Stop) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
                Ok(Command::Grant(bytes)) => self.answer(|link| link.grant(bytes)),
                Ok(Command::Welcome) => {
                    let credit_bytes = self.manners.credit_bytes;
                    self.answer(|link| link.welcome(credit_bytes));
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            }
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true).unwrap();
                self.connections.push((stream, ExtensionLink::new(self.manners.versions), true));
            }
            for connection in &mut self.connections {
                read(connection, &self.manners, &self.log);
            }
            self.connections.retain(|connection| connection.2);
        }
    }

    fn answer(&mut self, frame: impl Fn(&mut ExtensionLink) -> Vec<u8>) {
        for (stream, link, _) in &mut self.connections {
            let frame = frame(link);
            stream.write_all(&frame).unwrap();
        }
    }
}

fn read((stream, link, open): &mut (UnixStream, ExtensionLink, bool), manners: &Manners, log: &Log) {
    let mut buffer = [0; 64 << 10];
    let mut last_seq = 0;
    while !log.stalled.load(Ordering::Acquire) {
        match stream.read(&mut buffer) {
            Ok(0) => return *open = false,
            Ok(len) => link.receive(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return *open = false,
        }
        loop {
            let message = match link.poll() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(_) => {
                    stream.write_all(&link.refusal()).ok();
                    return *open = false;
                }
            };
            let answer = match &message {
                Received::Hello(_) if manners.welcomes => Some(link.welcome(manners.credit_bytes)),
                Received::Item(item) => {
                    last_seq = item.seq;
                    manners.regrants.then(|| link.grant(item.credit_bytes))
                }
                Received::Barrier if manners.accepts => Some(link.accepted(last_item(log).max(last_seq))),
                _ => None,
            };
            log.received.lock().unwrap().push(message);
            log.news.notify_all();
            if let Some(answer) = answer {
                // A peer that is gone does not matter here.
                stream.write_all(&answer).ok();
            }
        }
    }
}

fn last_item(log: &Log) -> u64 {
    let received = log.received.lock().unwrap();
    let seq = |message: &Received| match message {
        Received::Item(item) => Some(item.seq),
        _ => None,
    };
    received.iter().filter_map(seq).max().unwrap_or_default()
}
