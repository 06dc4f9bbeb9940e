//! One backend: every step on the way of an export to it, in order, until one fails.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use tokio::net::TcpStream;

use super::items;
use super::network::Peer;
use super::report::{Destination, Finding, Status, Step};
use super::tls::Handshake;
use super::verdict::Tried;
use crate::clock::Clock;
use crate::config::{self, Compression, ExportConfig, Protocol};
use crate::core::Signal;
use crate::export::{Exporter, HeadersFile, Tls, resolve};
use crate::limits::CHECK_STEP_MAX;

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

/// Signals that go to the same place in the same way.
struct Group<'a> {
    endpoint: String,
    signals: Vec<(Signal, &'a config::Destination)>,
}

/// Tries every backend, one after the other.
pub(super) async fn all(config: &ExportConfig, clock: Clock) -> Vec<Destination> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (signal, to) in SIGNALS.into_iter().filter_map(|signal| Some((signal, config.of(signal)?))) {
        let endpoint = endpoint(&to.url);
        let same = |group: &&mut Group<'_>| {
            let of = group.signals.first();
            group.endpoint == endpoint
                && of.is_some_and(|(_, of)| {
                    let way = |to: &config::Destination| (to.protocol, to.compression);
                    way(of) == way(to) && of.tls == to.tls && of.headers == to.headers
                })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.signals.push((signal, to)),
            None => groups.push(Group { endpoint, signals: vec![(signal, to)] }),
        }
    }
    let mut destinations = Vec::new();
    for group in groups {
        destinations.extend(group.tried(config, clock).await);
    }
    destinations
}

/// When nothing could be tried at all.
pub(super) fn untried(error: &io::Error) -> Destination {
    let finding = Finding::fail(
        format!("nothing can be tried: {error}"),
        "give the process memory and file descriptors",
    );
    Destination {
        endpoint: "(none)".to_owned(),
        signals: Vec::new(),
        protocol: "none",
        compression: "none",
        headers: Vec::new(),
        steps: vec![finding.step("resolve", None, Duration::ZERO)],
    }
}

/// Scheme, host and port: nothing that could be a secret.
fn endpoint(url: &Uri) -> String {
    format!(
        "{}://{}",
        url.scheme_str().unwrap_or("http"),
        url.authority().map_or("", |authority| authority.as_str())
    )
}

impl Group<'_> {
    async fn tried(&self, config: &ExportConfig, clock: Clock) -> Option<Destination> {
        let (_, first) = self.signals.first()?;
        let headers = headers(config, first).await;
        let mut steps = self.way(config, first, clock).await;
        let clear = steps.iter().all(|step| step.status == Status::Ok);
        if clear {
            steps.extend(self.exports(config, &headers, clock).await);
        } else {
            let skipped = |(signal, _): &(Signal, _)| {
                Finding::skipped("not tried").step("export", Some(signal.name()), Duration::ZERO)
            };
            steps.extend(self.signals.iter().map(skipped));
        }
        Some(Destination {
            endpoint: self.endpoint.clone(),
            signals: self.signals.iter().map(|(signal, _)| signal.name()).collect(),
            protocol: match first.protocol {
                Protocol::HttpProtobuf => "http/protobuf",
                Protocol::Grpc => "grpc",
            },
            compression: match first.compression {
                Compression::Gzip => "gzip",
                Compression::Zstd => "zstd",
                Compression::None => "none",
            },
            headers: headers.into_iter().map(|(name, _)| name).collect(),
            steps,
        })
    }

    /// Name, connection, TLS.
    async fn way(&self, config: &ExportConfig, to: &config::Destination, clock: Clock) -> Vec<Step> {
        let proxy = config.proxies.of(&to.url);
        let peer = match &proxy {
            Some(proxy) => peer(&proxy.url, "HTTPS_PROXY or HTTP_PROXY"),
            None => peer(&to.url, "LAMBDA_FLUSH_OTLP_ENDPOINT"),
        };
        let begun = clock.now().monotonic;
        let found = addresses(config, &peer).await;
        let step = peer.found(&found).step("resolve", None, clock.now().monotonic.saturating_sub(begun));
        let resolved = step.status == Status::Ok;
        let mut steps = vec![step];
        if !resolved {
            steps.push(Finding::skipped("not tried").step("connect", None, Duration::ZERO));
            return steps;
        }
        let addresses = found.unwrap_or_default();
        let begun = clock.now().monotonic;
        let (stream, finding) = peer.connect(&addresses, CHECK_STEP_MAX).await;
        let took = clock.now().monotonic.saturating_sub(begun);
        let through = if proxy.is_some() { " (a proxy)" } else { "" };
        steps.push(
            Finding { detail: format!("{}{through}", finding.detail), ..finding }.step("connect", None, took),
        );
        if let Some(stream) = stream.filter(|_| to.url.scheme_str() == Some("https")) {
            let begun = clock.now().monotonic;
            let finding = match proxy {
                Some(_) => Finding::ok("through the proxy: the export shows it"),
                None => handshake(to, &peer, &addresses, stream, clock).await,
            };
            steps.push(finding.step("tls", None, clock.now().monotonic.saturating_sub(begun)));
        }
        steps
    }

    /// All signals at once, each with a real item.
    async fn exports(&self, config: &ExportConfig, headers: &[(String, String)], clock: Clock) -> Vec<Step> {
        let exporter = Exporter::new(config.clone());
        let mut running = Vec::new();
        for (signal, to) in &self.signals {
            let ids =
                u128::from(getrandom::u64().unwrap_or(1)) << 64 | u128::from(getrandom::u64().unwrap_or(1));
            let body = items::request(*signal, clock.now().wall, ids);
            let sending = exporter.send(*signal, body.into(), to.timeout, clock);
            let timed = tokio::spawn(async move {
                let begun = clock.now().monotonic;
                (sending.await, clock.now().monotonic.saturating_sub(begun))
            });
            running.push((signal.name(), to.timeout, timed));
        }
        let mut steps = Vec::new();
        for (signal, timeout, timed) in running {
            let tried = Tried {
                signal,
                headers: headers.iter().map(|(name, _)| name.clone()).collect(),
                secrets: headers.iter().map(|(_, value)| value.clone()).collect(),
                timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            };
            let (finding, took) = match timed.await {
                Ok((outcome, took)) => (tried.judge(outcome), took),
                Err(error) => {
                    (Finding::fail(error.to_string(), "report this: it is our fault"), Duration::ZERO)
                }
            };
            steps.push(finding.step("export", Some(signal), took));
        }
        steps
    }
}

/// Names and values; the values only so that no line repeats them. A file that can't be read fails the export.
async fn headers(config: &ExportConfig, to: &config::Destination) -> Vec<(String, String)> {
    let from_file = match &config.headers_from {
        Some(path) => {
            let file = HeadersFile::new(path.clone());
            let read = tokio::time::timeout(CHECK_STEP_MAX, file.headers()).await;
            read.ok().and_then(Result::ok).unwrap_or_default()
        }
        None => config::Headers::default(),
    };
    let all = to.headers.overridden(&from_file);
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    all.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn peer(url: &Uri, variable: &'static str) -> Peer {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    Peer { host, port, variable }
}

async fn addresses(config: &ExportConfig, peer: &Peer) -> Result<Vec<SocketAddr>, String> {
    match tokio::time::timeout(CHECK_STEP_MAX, resolve(&peer.host, config.name_server)).await {
        Ok(Ok(found)) => Ok(found.into_iter().map(|address| SocketAddr::new(address, peer.port)).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", CHECK_STEP_MAX.as_millis())),
    }
}

async fn handshake(
    to: &config::Destination,
    peer: &Peer,
    addresses: &[SocketAddr],
    stream: TcpStream,
    clock: Clock,
) -> Finding {
    let handshake = Handshake {
        tls: &Tls::new(Arc::clone(&to.tls), to.protocol),
        host: &peer.host,
        limit: CHECK_STEP_MAX,
        now_seconds: clock.now().wall.as_secs(),
    };
    // A second connection shows a certificate that the first did not accept.
    let (again, _) = peer.connect(addresses, CHECK_STEP_MAX).await;
    handshake.step(stream, again).await
}
