//! A backend on loopback that does with each request what a test's script says.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

/// Nothing here takes this long unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a backend does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Status(u16),
    /// 503, and never to be asked again.
    RetryNever,
    Hang,
    /// One byte of the head every 50 ms.
    Drip,
}

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
    pub(crate) status: u16,
}

#[derive(Debug, Default)]
struct Log {
    received: Mutex<Vec<Received>>,
    news: Condvar,
}

/// A backend on loopback. Its threads end with the test process; they hold nothing.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
}

impl Backend {
    /// `script` says what happens to the n-th request, from 0 on.
    pub(crate) fn start(script: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (log, script) = (Arc::new(Log::default()), Arc::new(script));
        let theirs = log.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, script) = (theirs.clone(), script.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &log, &*script));
            }
        });
        Self { address, log }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.log.received.lock().unwrap().clone()
    }

    pub(crate) fn wait_for(&self, count: usize) -> Vec<Received> {
        let received = self.log.received.lock().unwrap();
        let (received, timeout) =
            self.log.news.wait_timeout_while(received, PATIENCE, |received| received.len() < count).unwrap();
        assert!(!timeout.timed_out(), "{} of {count} requests came", received.len());
        received.clone()
    }

    /// Names of spans in requests that were answered with success, in order.
    pub(crate) fn spans(&self) -> Vec<String> {
        let good = self
            .received()
            .into_iter()
            .filter(|request| request.status == 200 && request.path == "/v1/traces");
        good.flat_map(|request| names(&request.body)).collect()
    }
}

pub(crate) fn names(body: &[u8]) -> Vec<String> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
}

fn serve(stream: TcpStream, log: &Log, script: &(dyn Fn(usize) -> Answer + Send + Sync)) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        let header = |line: &String| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let headers: HashMap<_, _> = lines[1..].iter().map(header).collect();
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        let mut received = log.received.lock().unwrap();
        let answer = script(received.len());
        let status = match answer {
            Answer::Status(status) => status,
            Answer::RetryNever => 503,
            Answer::Hang | Answer::Drip => 0,
        };
        received.push(Received { path, headers, body, status });
        drop(received);
        log.news.notify_all();
        match answer {
            Answer::Status(_) | Answer::RetryNever => {
                let retry = format!("Retry-After: {}\r\n", u64::MAX);
                let retry = if matches!(answer, Answer::RetryNever) { retry.as_str() } else { "" };
                let answer = format!("HTTP/1.1 {status} X\r\n{retry}Content-Length: 0\r\n\r\n");
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
            }
            Answer::Hang => {}
            Answer::Drip => {
                for byte in b"HTTP/1.1 200 OK\r\nX: ".iter().chain(std::iter::repeat_n(&b'x', 10_000)) {
                    std::thread::sleep(Duration::from_millis(50));
                    if reader.get_mut().write_all(&[*byte]).is_err() {
                        return;
                    }
                }
            }
        }
    }
}
