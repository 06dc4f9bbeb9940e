//! Lambda's Extensions API, played to one extension: it notes when it is called, and hands out events on command.

use std::io::{self, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::Fault;
use crate::http1;

/// What an extension may need between two calls, on a slow machine.
const CALL_MAX: Duration = Duration::from_secs(60);
/// An extension's share of a shutdown.
const SHUTDOWN_BUDGET: Duration = Duration::from_secs(2);
/// Threads that wait for connections: a thread made for each would be measured as the extension's time. A thread
/// stays with its connection; an extension has two or three.
const ACCEPTORS: usize = 6;
/// An invocation's deadline: far away.
const INVOKE_BUDGET: Duration = Duration::from_secs(600);

/// What the extension called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `POST /extension/register`.
    Register,
    /// `GET /extension/event/next`.
    Next,
}

/// See the module's description.
pub(crate) struct Platform {
    /// `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) address: String,
    calls: Receiver<(Call, Instant)>,
    events: Sender<String>,
}

impl Platform {
    /// Listens on a free port of the loopback interface, until the bench ends.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?.to_string();
        let (called, calls) = mpsc::channel();
        let (events, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..ACCEPTORS {
            let (listener, called, waiting) = (listener.try_clone()?, called.clone(), Arc::clone(&waiting));
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A connection that breaks is the extension's end.
                    drop(serve(stream, &called, &waiting));
                }
            });
        }
        Ok(Self { address, calls, events })
    }

    /// Waits for a call of this kind; others are passed over.
    pub(crate) fn called(&self, wanted: Call) -> Result<Instant, Fault> {
        let until = Instant::now() + CALL_MAX;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.calls.recv_timeout(left) {
                Ok((call, at)) if call == wanted => return Ok(at),
                Ok(_) => {}
                Err(_) => return Err(format!("the extension did not call {wanted:?} within {CALL_MAX:?}")),
            }
        }
    }

    /// Answers the waiting `next` call with an invocation.
    pub(crate) fn invoke(&self, request_id: &str) {
        self.answer(format!(
            r#"{{"eventType":"INVOKE","deadlineMs":{},"requestId":"{request_id}","invokedFunctionArn":"arn:aws:lambda:eu-central-1:123456789012:function:bench","tracing":{{"type":"X-Amzn-Trace-Id","value":"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"}}}}"#,
            unix_ms(INVOKE_BUDGET)
        ));
    }

    /// Answers the waiting `next` call with SHUTDOWN.
    pub(crate) fn shut_down(&self) {
        let deadline_ms = unix_ms(SHUTDOWN_BUDGET);
        self.answer(format!(
            r#"{{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":{deadline_ms}}}"#
        ));
    }

    fn answer(&self, event: String) {
        // The listening thread holds the other end as long as the bench runs.
        drop(self.events.send(event));
    }
}

fn serve(
    stream: TcpStream,
    called: &Sender<(Call, Instant)>,
    events: &Mutex<Receiver<String>>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = BufReader::new(stream);
    while let Some(request) = http1::read(&mut connection)? {
        let json = "Content-Type: application/json\r\nLambda-Extension-Identifier: 7b1e5bb6-0c0e-4c0b-8d2e-000000000001\r\n";
        if request.first.contains("/extension/register") {
            let _bench_ended = called.send((Call::Register, request.at));
            let body = r#"{"functionName":"bench","functionVersion":"$LATEST","handler":"bootstrap","accountId":"123456789012"}"#;
            http1::answer(&mut connection, 200, json, body.as_bytes())?;
        } else if request.first.contains("/extension/event/next") {
            let _bench_ended = called.send((Call::Next, request.at));
            let event = events.lock().unwrap_or_else(PoisonError::into_inner).recv();
            http1::answer(&mut connection, 200, json, event.map_err(io::Error::other)?.as_bytes())?;
        } else {
            http1::answer(&mut connection, 200, "", b"OK")?;
        }
    }
    Ok(())
}

fn unix_ms(ahead: Duration) -> u128 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (now + ahead).as_millis()
}
